// The paged cache: a layer's keys [blocks][heads][32][k_dim] and values [blocks][heads][32][v_dim] in the cache's type;
// position p of slot s is row p % 32 of block table[s * stride + p / 32].
#pragma once
#include "common.cuh"

constexpr uint32_t BLOCK = 32;

enum : uint32_t { KV_F32, KV_F16, KV_BF16 };

struct Kv {
    void* k;
    void* v;
    const uint32_t* table;  // [slots][stride]
    uint32_t stride;
    uint32_t heads, k_dim, v_dim;
};

template <uint32_t DTYPE>
struct KvNumber;
template <>
struct KvNumber<KV_F32> {
    using type = float;
    static __device__ __forceinline__ float load(const type* at) { return *at; }
    static __device__ __forceinline__ void store(type* at, float x) { *at = x; }
};
template <>
struct KvNumber<KV_F16> {
    using type = __half;
    static __device__ __forceinline__ float load(const type* at) { return __half2float(*at); }
    static __device__ __forceinline__ void store(type* at, float x) { *at = __float2half_rn(x); }
};
template <>
struct KvNumber<KV_BF16> {
    using type = __nv_bfloat16;
    static __device__ __forceinline__ float load(const type* at) { return __bfloat162float(*at); }
    static __device__ __forceinline__ void store(type* at, float x) { *at = __float2bfloat16_rn(x); }
};
