// 16-bit operands of the tensor cores: bf16 or f16, chosen per kernel by a template parameter.
#pragma once
#include "common.cuh"

using bf16 = __nv_bfloat16;
using f16 = __half;

template <class Half> struct HalfTraits;

template <> struct HalfTraits<bf16> {
    using Pair = __nv_bfloat162;
    static __device__ __forceinline__ bf16 from(float x) { return __float2bfloat16_rn(x); }
    static __device__ __forceinline__ float to(bf16 x) { return __bfloat162float(x); }
    static __device__ __forceinline__ uint32_t pack(float lo, float hi) {
        Pair p = __floats2bfloat162_rn(lo, hi);
        return *reinterpret_cast<uint32_t*>(&p);
    }
};

template <> struct HalfTraits<f16> {
    using Pair = __half2;
    static __device__ __forceinline__ f16 from(float x) { return __float2half_rn(x); }
    static __device__ __forceinline__ float to(f16 x) { return __half2float(x); }
    static __device__ __forceinline__ uint32_t pack(float lo, float hi) {
        Pair p = __floats2half2_rn(lo, hi);
        return *reinterpret_cast<uint32_t*>(&p);
    }
};

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
