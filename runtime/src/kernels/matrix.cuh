// Weight matrices as they lie on the device, and their numbers. The layouts are those of weights/dequantize.rs.
#pragma once
#include "common.cuh"

enum : uint32_t {
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, MXFP4
};

// Row-major [rows][cols]. Floats: plane 0. Blocks: plane 0 holds whole blocks as in the file, or repack.cu has spread them
// over planes: the same part of all blocks, row after row.
struct Matrix {
    const uint8_t* plane[4];
    uint32_t rows, cols;
    uint32_t dtype;
    uint32_t unused;
};

__device__ __forceinline__ float half_at(const uint8_t* at) {
    return __half2float(*reinterpret_cast<const __half*>(at));
}

__device__ __forceinline__ uint32_t word_at(const uint8_t* plane, size_t index) {
    return reinterpret_cast<const uint32_t*>(plane)[index];
}

__device__ __forceinline__ float e2m1(uint32_t nibble) {
    // 0, 0.5, 1, 1.5, 2, 3, 4, 6: one mantissa bit, two of exponent.
    const uint32_t magnitude = nibble & 7;
    const float value = magnitude < 2 ? 0.5f * float(magnitude)
                                      : __uint_as_float(((magnitude >> 1) + 126) << 23 | (magnitude & 1) << 22);
    return nibble & 8 ? -value : value;
}

__device__ __forceinline__ float e8m0(uint32_t e) {
    return e == 0 ? __uint_as_float(0x00400000u) : __uint_as_float(e << 23);
}

__device__ __forceinline__ void scale_min(const uint8_t* scales, uint32_t j, float& scale, float& min) {
    if (j < 4) {
        scale = float(scales[j] & 63);
        min = float(scales[j + 4] & 63);
    } else {
        scale = float((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
        min = float((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
    }
}

// Numbers 8 i to 8 i + 7 of a row, for any i within it; the widths of blocks are multiples of 8.
template <uint32_t DTYPE>
__device__ __forceinline__ void numbers8(const Matrix& m, size_t row, uint32_t i, float w[8]) {
    if constexpr (DTYPE == F32) {
        const float4* at = reinterpret_cast<const float4*>(m.plane[0] + (row * m.cols + i * 8) * 4);
        const float4 a = at[0], b = at[1];
        w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w, w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
    } else if constexpr (DTYPE == F16 || DTYPE == BF16) {
        const uint4 a = *reinterpret_cast<const uint4*>(m.plane[0] + (row * m.cols + i * 8) * 2);
        const uint32_t parts[4] = {a.x, a.y, a.z, a.w};
        for (int k = 0; k < 4; ++k) {
            if constexpr (DTYPE == BF16) {
                w[2 * k] = __uint_as_float(parts[k] << 16);
                w[2 * k + 1] = __uint_as_float(parts[k] & 0xffff0000u);
            } else {
                const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&parts[k]));
                w[2 * k] = pair.x, w[2 * k + 1] = pair.y;
            }
        }
    } else if constexpr (DTYPE == Q4_0) {
        const size_t block = row * (m.cols / 32) + i / 4;
        const uint32_t quants = word_at(m.plane[0], block * 4 + i % 4);
        const float scale = half_at(m.plane[1] + block * 2);
        for (int k = 0; k < 8; ++k) w[k] = (float(quants >> (4 * k) & 15) - 8.0f) * scale;
    } else if constexpr (DTYPE == MXFP4) {
        const size_t block = row * (m.cols / 32) + i / 4;
        const uint32_t quants = word_at(m.plane[0], block * 4 + i % 4);
        const float scale = e8m0(m.plane[1][block]);
        constexpr int sign[4] = {15, 12, 14, 13};
        for (int k = 0; k < 8; ++k) {
            const uint32_t half = quants >> (k / 4 * 16);
            w[k] = e2m1((half >> sign[k % 4] & 1) << 3 | (half >> (9 - 3 * (k % 4)) & 7)) * scale;
        }
    } else if constexpr (DTYPE == Q8_0) {
        const size_t block = row * (m.cols / 32) + i / 4;
        const uint8_t* quants = m.plane[0] + block * 32 + (i % 4) * 8;
        const float scale = half_at(m.plane[1] + block * 2);
        constexpr int place[8] = {0, 1, 4, 5, 2, 3, 6, 7};
        for (int k = 0; k < 8; ++k) w[k] = (float(quants[place[k]]) - 128.0f) * scale;
    } else if constexpr (DTYPE == Q4_1 || DTYPE == Q5_0 || DTYPE == Q5_1) {
        constexpr bool five = DTYPE != Q4_1, minimum = DTYPE != Q5_0;
        constexpr uint32_t head = 2 + 2 * minimum, bytes = head + 4 * five + 16;
        const uint8_t* block = m.plane[0] + (row * (m.cols / 32) + i / 4) * bytes;
        const float scale = half_at(block), least = minimum ? half_at(block + 2) : 0.0f;
        const uint8_t* quants = block + head + 4 * five + (i % 2) * 8;
        const uint32_t shift = (i % 4) / 2 * 4;
        const uint32_t fifths = five ? block[head + i % 4] : 0;
        for (int k = 0; k < 8; ++k) {
            const uint32_t q = (quants[k] >> shift & 15) | (fifths >> k & 1) << 4;
            w[k] = DTYPE == Q5_0 ? (float(q) - 16.0f) * scale : float(q) * scale + least;
        }
    } else if constexpr (DTYPE == Q2_K) {
        const uint8_t* block = m.plane[0] + (row * (m.cols / 256) + i / 32) * 84;
        const uint32_t first = i % 32 * 8, scale = block[first / 16];
        const uint8_t* quants = block + 16 + first / 128 * 32 + first % 32;
        const float d = half_at(block + 80) * float(scale & 15), min = half_at(block + 82) * float(scale >> 4);
        for (int k = 0; k < 8; ++k) w[k] = d * float(quants[k] >> (first % 128 / 32 * 2) & 3) - min;
    } else if constexpr (DTYPE == Q3_K) {
        const uint8_t* block = m.plane[0] + (row * (m.cols / 256) + i / 32) * 110;
        const uint32_t first = i % 32 * 8, j = first / 16;
        const uint8_t* scales = block + 96;
        const uint32_t scale = (scales[j % 8] >> (j / 8 * 4) & 15) | (scales[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
        const uint8_t* quants = block + 32 + first / 128 * 32 + first % 32;
        const uint8_t* high = block + first % 32;
        const float d = half_at(block + 108) * (float(scale) - 32.0f);
        for (int k = 0; k < 8; ++k) {
            const uint32_t q = (quants[k] >> (first % 128 / 32 * 2) & 3) | (high[k] >> (first / 32) & 1) << 2;
            w[k] = d * (float(q) - 4.0f);
        }
    } else if constexpr (DTYPE == Q4_K) {
        const size_t super = row * (m.cols / 256) + i / 32;
        const uint32_t unit = i % 32 / 4, bit = 12 * unit;
        const uint32_t quants = word_at(m.plane[0], super * 32 + i % 32);
        // 96 bits: a scale and a minimum of 6 bits for each unit of 32.
        const uint32_t low = word_at(m.plane[1], super * 4 + 1 + bit / 32);
        const uint32_t high = word_at(m.plane[1], super * 4 + 1 + min(bit / 32 + 1, 2u));
        const uint32_t field = __funnelshift_r(low, high, bit % 32);
        const float scale = half_at(m.plane[1] + super * 16) * float(field & 63);
        const float min = half_at(m.plane[1] + super * 16 + 2) * float(field >> 6 & 63);
        for (int k = 0; k < 8; ++k) w[k] = scale * float(quants >> (4 * k) & 15) - min;
    } else if constexpr (DTYPE == Q5_K) {
        const uint8_t* block = m.plane[0] + (row * (m.cols / 256) + i / 32) * 176;
        const uint32_t first = i % 32 * 8;
        float scale, min;
        scale_min(block + 4, first / 32, scale, min);
        scale *= half_at(block), min *= half_at(block + 2);
        const uint8_t* quants = block + 48 + first / 64 * 32 + first % 32;
        const uint8_t* high = block + 16 + first % 32;
        for (int k = 0; k < 8; ++k) {
            const uint32_t q = (quants[k] >> (first % 64 / 32 * 4) & 15) | (high[k] >> (first / 32) & 1) << 4;
            w[k] = scale * float(q) - min;
        }
    } else {
        static_assert(DTYPE == Q6_K);
        const size_t super = row * (m.cols / 256) + i / 32;
        const uint32_t quants = word_at(m.plane[0], super * 32 + i % 32);
        const uint32_t upper = word_at(m.plane[1], super * 16 + i % 32 / 2);
        const float scale = half_at(m.plane[3] + super * 2) * float(int8_t(m.plane[2][super * 16 + i % 32 / 2]));
        constexpr int bit[2][4] = {{4, 8, 6, 10}, {12, 0, 14, 2}};
        for (int k = 0; k < 8; ++k) {
            const uint32_t high = upper >> (bit[i % 2][k % 4] + k / 4 * 16) & 3;
            w[k] = scale * (float((quants >> (4 * k) & 15) | high << 4) - 32.0f);
        }
    }
}

// One number; slow, for rows whose width is no multiple of 8 (only floats have such).
template <uint32_t DTYPE>
__device__ __forceinline__ float number(const Matrix& m, size_t row, uint32_t col) {
    const size_t at = row * m.cols + col;
    if constexpr (DTYPE == F32) return reinterpret_cast<const float*>(m.plane[0])[at];
    if constexpr (DTYPE == F16) return __half2float(reinterpret_cast<const __half*>(m.plane[0])[at]);
    if constexpr (DTYPE == BF16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(m.plane[0])[at]);
    return 0.0f;
}

// One instance of a template for each storage type, named after it.
#define FOR_EACH_DTYPE(X) \
    X(f32, F32) X(f16, F16) X(bf16, BF16) X(q4_0, Q4_0) X(q4_1, Q4_1) X(q5_0, Q5_0) X(q5_1, Q5_1) X(q8_0, Q8_0) \
    X(q2_k, Q2_K) X(q3_k, Q3_K) X(q4_k, Q4_K) X(q5_k, Q5_K) X(q6_k, Q6_K) X(mxfp4, MXFP4)
