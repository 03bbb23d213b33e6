// Rows of a quantized matrix as bf16 or f16, for the matrix products of prefill. A thread makes 8 values of a row.
//
// Five types lie in planes (repack.cu says how: quants, scales, and of K-quants the scales of scales, apart from each
// other); of the others the file's blocks are read byte by byte.
#include "half.cuh"
#include "mxfp4.cuh"

struct DequantizeParams {
    const uint8_t* quants; // the file's blocks, or the first plane
    const uint8_t* high;   // Q6_K: upper bits
    const uint8_t* scales;
    const uint8_t* supers;
    void* out;             // half [rows, out_stride]
    uint64_t first_row;
    uint32_t rows, k, out_stride;
};

constexpr int THREADS = 256;

__device__ __forceinline__ float half_at(const uint8_t* p) { // at any address
    return __half2float(__ushort_as_half(__ldg(p) | __ldg(p + 1) << 8));
}
__device__ __forceinline__ float aligned_half(const uint8_t* p) { return __half2float(__ushort_as_half(__ldg((const uint16_t*)p))); }

// In each of these `row` counts rows from the matrix's first, `c` is the number of the 8 values in the row.

struct Q4_0 {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        size_t unit = row * (p.k / 32) + c / 4;
        uint32_t w = __ldg((const uint32_t*)p.quants + unit * 4 + c % 4);
        float d = aligned_half(p.scales + unit * 2);
#pragma unroll
        for (int i = 0; i < 8; i++) y[i] = (float(w >> 4 * i & 15) - 8.0f) * d;
    }
};

struct Q8_0 {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        constexpr int ORDER[8] = {0, 1, 4, 5, 2, 3, 6, 7};
        size_t unit = row * (p.k / 32) + c / 4;
        uint2 w = __ldg((const uint2*)p.quants + unit * 4 + c % 4);
        float d = aligned_half(p.scales + unit * 2);
#pragma unroll
        for (int i = 0; i < 8; i++) y[ORDER[i]] = (float((i < 4 ? w.x : w.y) >> i % 4 * 8 & 255) - 128.0f) * d;
    }
};

struct Q4_K {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        size_t unit = row * (p.k / 32) + c / 4;
        uint32_t w = __ldg((const uint32_t*)p.quants + unit * 4 + c % 4);
        const uint4 super = __ldg((const uint4*)p.supers + unit / 8);
        __half2 both = *reinterpret_cast<const __half2*>(&super.x);
        // The 12 bits of this unit; 64 bits from the word in which they begin hold them.
        uint32_t bit = uint32_t(unit % 8) * 12, word = bit / 32;
        uint64_t bits = word == 0 ? (uint64_t)super.z << 32 | super.y : word == 1 ? (uint64_t)super.w << 32 | super.z : super.w;
        uint32_t pair = uint32_t(bits >> bit % 32);
        float d = __low2float(both) * float(pair & 63), m = __high2float(both) * float(pair >> 6 & 63);
#pragma unroll
        for (int i = 0; i < 8; i++) y[i] = d * float(w >> 4 * i & 15) - m;
    }
};

struct Q6_K {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        constexpr int EVEN[4] = {4, 8, 6, 10}, ODD[4] = {12, 0, 14, 2};
        size_t unit = row * (p.k / 32) + c / 4;
        uint32_t low = __ldg((const uint32_t*)p.quants + unit * 4 + c % 4);
        uint32_t high = __ldg((const uint32_t*)p.high + unit * 2 + c % 4 / 2);
        float scale = float((int8_t)__ldg(p.scales + unit * 2 + c % 4 / 2)) * aligned_half(p.supers + unit / 8 * 2);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int at = (c % 2 ? ODD[i % 4] : EVEN[i % 4]) + i / 4 * 16;
            y[i] = scale * (float((low >> 4 * i & 15) | (high >> at & 3) << 4) - 32.0f);
        }
    }
};

struct F32 {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const float* x = (const float*)p.quants + row * p.k + c * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) y[i] = c * 8 + i < p.k ? __ldg(x + i) : 0.0f;
    }
};

// The 8 values from number 8 c % 32 of a block whose byte j has elements j (low) and j + 16 (high).
__device__ __forceinline__ uint32_t nibble(const uint8_t* quants, uint32_t k) {
    return __ldg(quants + k % 16) >> (k / 16 * 4) & 15;
}

struct Q4_1 {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const uint8_t* b = p.quants + (row * (p.k / 32) + c / 4) * 20;
        float d = half_at(b), m = half_at(b + 2);
#pragma unroll
        for (int i = 0; i < 8; i++) y[i] = float(nibble(b + 4, c % 4 * 8 + i)) * d + m;
    }
};

__device__ __forceinline__ uint32_t bytes_at(const uint8_t* p) {
    return __ldg(p) | __ldg(p + 1) << 8 | __ldg(p + 2) << 16 | (uint32_t)__ldg(p + 3) << 24;
}

struct Q5_0 {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const uint8_t* b = p.quants + (row * (p.k / 32) + c / 4) * 22;
        float d = half_at(b);
        uint32_t fifth = bytes_at(b + 2);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t k = c % 4 * 8 + i;
            y[i] = (float(nibble(b + 6, k) | (fifth >> k & 1) << 4) - 16.0f) * d;
        }
    }
};

struct Q5_1 {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const uint8_t* b = p.quants + (row * (p.k / 32) + c / 4) * 24;
        float d = half_at(b), m = half_at(b + 2);
        uint32_t fifth = bytes_at(b + 4);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t k = c % 4 * 8 + i;
            y[i] = float(nibble(b + 8, k) | (fifth >> k & 1) << 4) * d + m;
        }
    }
};

struct Q2_K {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const uint8_t* b = p.quants + (row * (p.k / 256) + c / 32) * 84;
        uint32_t k = c % 32 * 8, scale = __ldg(b + k / 16);
        float d = half_at(b + 80) * float(scale & 15), m = half_at(b + 82) * float(scale >> 4);
#pragma unroll
        for (int i = 0; i < 8; i++)
            y[i] = d * float(__ldg(b + 16 + k / 128 * 32 + k % 32 + i) >> (k % 128 / 32 * 2) & 3) - m;
    }
};

struct Q3_K {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const uint8_t* b = p.quants + (row * (p.k / 256) + c / 32) * 110;
        uint32_t k = c % 32 * 8, j = k / 16;
        uint32_t scale = (__ldg(b + 96 + j % 8) >> (j / 8 * 4) & 15) | (__ldg(b + 104 + j % 4) >> (j / 4 * 2) & 3) << 4;
        float d = half_at(b + 108) * (float(scale) - 32.0f);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t low = __ldg(b + 32 + k / 128 * 32 + k % 32 + i) >> (k % 128 / 32 * 2) & 3;
            uint32_t third = __ldg(b + k % 32 + i) >> (k / 32) & 1;
            y[i] = d * (float(low | third << 2) - 4.0f);
        }
    }
};

struct Q5_K {
    static __device__ __forceinline__ void run(const DequantizeParams& p, size_t row, uint32_t c, float (&y)[8]) {
        const uint8_t* b = p.quants + (row * (p.k / 256) + c / 32) * 176;
        const uint8_t* s = b + 4;
        uint32_t k = c % 32 * 8, j = k / 32, scale, min;
        if (j < 4) {
            scale = __ldg(s + j) & 63;
            min = __ldg(s + j + 4) & 63;
        } else {
            scale = (__ldg(s + j + 4) & 15) | (__ldg(s + j - 4) >> 6) << 4;
            min = (__ldg(s + j + 4) >> 4) | (__ldg(s + j) >> 6) << 4;
        }
        float d = half_at(b) * float(scale), m = half_at(b + 2) * float(min);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t low = __ldg(b + 48 + k / 64 * 32 + k % 32 + i) >> (k % 64 / 32 * 4) & 15;
            uint32_t fifth = __ldg(b + 16 + k % 32 + i) >> (k / 32) & 1;
            y[i] = d * float(low | fifth << 4) - m;
        }
    }
};

template <class Half, class Type> __device__ __forceinline__ uint4 eight(const DequantizeParams& p, size_t row, uint32_t c) {
    float y[8];
    Type::run(p, row, c, y);
    return make_uint4(HalfTraits<Half>::pack(y[0], y[1]), HalfTraits<Half>::pack(y[2], y[3]), HalfTraits<Half>::pack(y[4], y[5]),
                      HalfTraits<Half>::pack(y[6], y[7]));
}

struct MXFP4 {};

template <class Half> __device__ __forceinline__ uint4 mxfp4_eight(const DequantizeParams& p, size_t row, uint32_t c) {
    size_t unit = row * (p.k / 32) + c / 4;
    return mxfp4_word<Half>(__ldg((const uint32_t*)p.quants + unit * 4 + c % 4), Mxfp4Scale<Half>(__ldg(p.scales + unit)));
}
template <> __device__ __forceinline__ uint4 eight<bf16, MXFP4>(const DequantizeParams& p, size_t row, uint32_t c) {
    return mxfp4_eight<bf16>(p, row, c);
}
template <> __device__ __forceinline__ uint4 eight<f16, MXFP4>(const DequantizeParams& p, size_t row, uint32_t c) {
    return mxfp4_eight<f16>(p, row, c);
}

// Rows of the output are `out_stride` long, a multiple of 8; what is beyond the matrix's columns becomes zeros.
template <class Half, class Type> __device__ void dequantize(const DequantizeParams& p) {
    wait_for_predecessor(); // the scratch may still be read by the product before
    let_next_begin();
    const uint32_t chunks = p.out_stride / 8;
    const size_t count = (size_t)p.rows * chunks;
    for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
        size_t row = i / chunks;
        uint32_t c = uint32_t(i % chunks);
        ((uint4*)p.out)[i] = c * 8 < p.k ? eight<Half, Type>(p, p.first_row + row, c) : make_uint4(0, 0, 0, 0);
    }
}

#define KERNELS(NAME, TYPE)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) dequantize_##NAME##_bf16(PARAMS(DequantizeParams)) { \
        dequantize<bf16, TYPE>(p);                                                                                            \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) dequantize_##NAME##_f16(PARAMS(DequantizeParams)) { \
        dequantize<f16, TYPE>(p);                                                                                             \
    }
KERNELS(f32, F32)
KERNELS(q4_0, Q4_0)
KERNELS(q4_1, Q4_1)
KERNELS(q5_0, Q5_0)
KERNELS(q5_1, Q5_1)
KERNELS(q8_0, Q8_0)
KERNELS(q2_k, Q2_K)
KERNELS(q3_k, Q3_K)
KERNELS(q4_k, Q4_K)
KERNELS(q5_k, Q5_K)
KERNELS(q6_k, Q6_K)
KERNELS(mxfp4, MXFP4)
#undef KERNELS
