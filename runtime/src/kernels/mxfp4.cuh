// MXFP4 to halves. 8 values lie in a 32-bit word of the repacked plane (repack.cu): each 16-bit half of the word has 4
// values with signs at bits 15, 12, 14, 13 and magnitudes (E2M1 without its sign) at bits 11-9, 8-6, 5-3, 2-0.
//
// A magnitude put at the right place of a 16-bit float, low bits of the exponent and high bit of the fraction, is the value
// itself times a power of two, subnormals included; the block's scale takes that power back. bf16 holds every product
// exactly; f16 those between 2^-24 and 65,504.
#pragma once
#include "half.cuh"

template <class Half> struct Mxfp4Scale;

// e2m1 in bits 8-6: the value times 2^-126.
template <> struct Mxfp4Scale<bf16> {
    static constexpr int SHIFT = 3;
    __nv_bfloat162 factor, rest;
    bool twice;
    __device__ __forceinline__ explicit Mxfp4Scale(uint32_t e) {
        // 2^(e - 127 + 126) has the exponent field e + 126, of which the type holds 254.
        uint32_t first = min(e + 126, 254u), second = e + 126 - first + 127;
        factor = two(first << 7);
        rest = two(second << 7);
        twice = e > 128;
    }
    static __device__ __forceinline__ __nv_bfloat162 two(uint32_t bits) {
        return __halves2bfloat162(__ushort_as_bfloat16(bits), __ushort_as_bfloat16(bits));
    }
    __device__ __forceinline__ uint32_t apply(uint32_t pair) const {
        __nv_bfloat162 x = __hmul2(*reinterpret_cast<__nv_bfloat162*>(&pair), factor);
        if (twice) x = __hmul2(x, rest);
        return *reinterpret_cast<uint32_t*>(&x);
    }
};

// e2m1 in bits 11-9: the value times 2^-14.
template <> struct Mxfp4Scale<f16> {
    static constexpr int SHIFT = 0;
    __half2 factor, rest;
    __device__ __forceinline__ explicit Mxfp4Scale(uint32_t e) {
        // 2^(e - 127 + 14) as two factors: the type has normal powers of two from -14 to 15.
        int power = int(e) - 113, first = min(max(power, -14), 15), second = min(max(power - first, -14), 15);
        factor = two((first + 15) << 10);
        rest = two((second + 15) << 10);
    }
    static __device__ __forceinline__ __half2 two(uint32_t bits) {
        return __halves2half2(__ushort_as_half(bits), __ushort_as_half(bits));
    }
    __device__ __forceinline__ uint32_t apply(uint32_t pair) const {
        __half2 x = __hmul2(__hmul2(*reinterpret_cast<__half2*>(&pair), factor), rest);
        return *reinterpret_cast<uint32_t*>(&x);
    }
};

__device__ __forceinline__ uint32_t shift_left(uint32_t x, int by) { return by >= 0 ? x << by : x >> -by; }

// A word of 8 values in their order.
template <class Half> __device__ __forceinline__ uint4 mxfp4_word(uint32_t w, const Mxfp4Scale<Half>& scale) {
    constexpr int S = Mxfp4Scale<Half>::SHIFT; // places further right than in f16
    constexpr uint32_t SIGN = 0x80008000u, MAGNITUDE = 0x0E000E00u >> S;
    // Pair p holds values p and p + 4.
    uint32_t p0 = scale.apply((w & SIGN) | (shift_left(w, -S) & MAGNITUDE));
    uint32_t p1 = scale.apply((w << 3 & SIGN) | (shift_left(w, 3 - S) & MAGNITUDE));
    uint32_t p2 = scale.apply((w << 1 & SIGN) | (shift_left(w, 6 - S) & MAGNITUDE));
    uint32_t p3 = scale.apply((w << 2 & SIGN) | (shift_left(w, 9 - S) & MAGNITUDE));
    return make_uint4(__byte_perm(p0, p1, 0x5410), __byte_perm(p2, p3, 0x5410), __byte_perm(p0, p1, 0x7632),
                      __byte_perm(p2, p3, 0x7632));
}
