// Products with quantized rows on tensor cores, for 1 to 8 tokens.
//
// A row is units of 32 values. A warp takes 16 rows and 8 units a step: each lane loads whole units of two rows in 16-byte
// loads. Packed values become halves by one AND each (after at most one shift): an integer in the low bits of a half is a
// subnormal, exact, and tensor cores take subnormals at full speed. The activations are halves too, each unit of 32 with its
// own power of two, so that nothing overflows whatever the model; in the second operand of m16n8k16 they are nonzero in one
// column per unit, so the 8 columns of the sums are 8 units and a scale multiplies 4 sums instead of 64 weights.
//
// Layouts of the planes: docs/cuda-decode.md and repack.cu.
#pragma once
#include "decode.cuh"

// The parts of a quantized matrix; which are used depends on the format.
struct Planes {
    const uint8_t* quants;
    const uint8_t* high;
    const uint8_t* scales;
    const uint8_t* supers;
};

__device__ __forceinline__ void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float half_bits(uint32_t bits) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Small scales of two neighbouring units, of which the first is even: one load where rows begin at even places.
template <int BYTES, bool WHOLE>
__device__ __forceinline__ uint32_t load_scale_pair(const uint8_t* row, unsigned unit, unsigned units) {
    const uint8_t* p = row + unit * BYTES;
    if (WHOLE || units % 2 == 0) {
        if (!WHOLE && unit >= units) return 0;
        return BYTES == 1 ? load_weights_2(p) : load_weights_4(p);
    }
    const uint32_t first = unit >= units ? 0 : BYTES == 1 ? load_weights_1(p) : load_weights_2(p);
    const uint32_t second = unit + 1 >= units ? 0 : BYTES == 1 ? load_weights_1(p + 1) : load_weights_2(p + 2);
    return first | second << (8 * BYTES);
}

// A format says
//   Row       where a row's planes are
//   Weights   what a lane holds of one row and step: units 8 * step + t and + 4, scales of units 8 * step + 2 * t and + 1
//   load      those; WHOLE: the row has all units of the step
//   halves    four pairs of values (v[p], v[p + 4]) of eight, as halves, times 2^-FACTOR_LOG2 (and 2^4 where p is odd, if
//             NIBBLES: the activations make up for it)
//   add       what the sums of two units are worth
// The table that `add` reads has a Unit per unit: the factor that undoes the activations' power of two, and the sum of its
// activations, times what values are stored too high by.

struct Unit {
    float factor, sum;
};

// 16 values of a unit have a scale of their own: two sums.
struct SplitUnit {
    float factor, sum[2], unused;
};

struct NibbleWeights {
    uint4 q[2];
    uint32_t scales;
};

struct NibbleRow {
    const uint8_t *quants, *scales;
};

// Nibbles in order, low bits first.
__device__ __forceinline__ void nibble_halves(uint32_t w, uint32_t (&d)[4]) {
    d[0] = w & 0x000f000fu;
    d[1] = w & 0x00f000f0u;
    w >>= 8;
    d[2] = w & 0x000f000fu;
    d[3] = w & 0x00f000f0u;
}

struct Mxfp4 {
    static constexpr bool NIBBLES = false;
    static constexpr int HALVES = 1, FACTOR_LOG2 = 14;
    static constexpr float BIAS = 0.0f;
    using Entry = Unit;
    using Row = NibbleRow;
    using Weights = NibbleWeights;

    static __device__ __forceinline__ Row row(const Planes& planes, size_t row, unsigned units) {
        return {planes.quants + row * units * 16, planes.scales + row * units};
    }
    template <bool WHOLE = false>
    static __device__ __forceinline__ Weights load(const Row& row, unsigned step, unsigned t, unsigned units) {
        Weights w;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const unsigned unit = 8 * step + 4 * h + t;
            w.q[h] = WHOLE || unit < units ? load_weights(row.quants + unit * 16) : make_uint4(0, 0, 0, 0);
        }
        w.scales = load_scale_pair<1, WHOLE>(row.scales, 8 * step + 2 * t, units);
        return w;
    }
    // Where the row ends before the step does, what is loaded instead does not count: the activations there are zeros. A scale is
    // that of a unit of the row, never a number of its own making.
    template <int UNITS>
    static __device__ __forceinline__ Weights load_within(const Row& row, unsigned step, unsigned t) {
        static_assert(UNITS % 2 == 0, "scales come in pairs");
        if (UNITS % 8 == 0) return load<true>(row, step, t, UNITS);
        return {{load_weights(row.quants + min(8 * step + t, UNITS - 1u) * 16), load_weights(row.quants + min(8 * step + 4 + t, UNITS - 1u) * 16)},
                load_weights_2(row.scales + min(8 * step + 2 * t, UNITS - 2u))};
    }
    // e2m1 to half: sign to bit 15, magnitude to bits 11 to 9.
    static __device__ __forceinline__ void halves(const Weights& weights, int h, int q, uint32_t (&d)[4]) {
        const uint32_t w = word(weights.q[h], q);
        d[0] = w & 0x8e008e00u;
        d[1] = (w << 3) & 0x8e008e00u;
        d[2] = ((w << 1) & 0x80008000u) | ((w << 6) & 0x0e000e00u);
        d[3] = ((w << 2) & 0x80008000u) | ((w << 9) & 0x0e000e00u);
    }
    static __device__ __forceinline__ float add(const Weights& w, unsigned, const float (&v)[2], const Unit (&unit)[2], float sum) {
        sum = fmaf(v[0] * unit[0].factor, __uint_as_float((w.scales & 0xff) << 23), sum);
        return fmaf(v[1] * unit[1].factor, __uint_as_float((w.scales >> 8) << 23), sum);
    }
    static __device__ __forceinline__ float add_flat(const Weights& w, const float (&v)[2], float sum) {
        sum = fmaf(v[0], __uint_as_float((w.scales & 0xff) << 23), sum);
        return fmaf(v[1], __uint_as_float((w.scales >> 8) << 23), sum);
    }
};

struct Q4_0 {
    static constexpr bool NIBBLES = true;
    static constexpr int HALVES = 1, FACTOR_LOG2 = 20;
    static constexpr float BIAS = 8.0f;
    using Entry = Unit;
    using Row = NibbleRow;
    using Weights = NibbleWeights;

    static __device__ __forceinline__ Row row(const Planes& planes, size_t row, unsigned units) {
        return {planes.quants + row * units * 16, planes.scales + row * units * 2};
    }
    template <bool WHOLE = false>
    static __device__ __forceinline__ Weights load(const Row& row, unsigned step, unsigned t, unsigned units) {
        Weights w;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const unsigned unit = 8 * step + 4 * h + t;
            w.q[h] = WHOLE || unit < units ? load_weights(row.quants + unit * 16) : make_uint4(0, 0, 0, 0);
        }
        w.scales = load_scale_pair<2, WHOLE>(row.scales, 8 * step + 2 * t, units);
        return w;
    }
    static __device__ __forceinline__ void halves(const Weights& weights, int h, int q, uint32_t (&d)[4]) {
        nibble_halves(word(weights.q[h], q), d);
    }
    static __device__ __forceinline__ float add(const Weights& w, unsigned, const float (&v)[2], const Unit (&unit)[2], float sum) {
        sum = fmaf(fmaf(v[0], unit[0].factor, -unit[0].sum), half_bits(w.scales & 0xffff), sum);
        return fmaf(fmaf(v[1], unit[1].factor, -unit[1].sum), half_bits(w.scales >> 16), sum);
    }
};

// Bytes 128 too high, those of eight in the order 0, 1, 4, 5, 2, 3, 6, 7.
struct Q8_0 {
    static constexpr bool NIBBLES = false;
    static constexpr int HALVES = 1, FACTOR_LOG2 = 24;
    static constexpr float BIAS = 128.0f;
    using Entry = Unit;
    using Row = NibbleRow;
    struct Weights {
        uint4 q[2][2];
        uint32_t scales;
    };

    static __device__ __forceinline__ Row row(const Planes& planes, size_t row, unsigned units) {
        return {planes.quants + row * units * 32, planes.scales + row * units * 2};
    }
    template <bool WHOLE = false>
    static __device__ __forceinline__ Weights load(const Row& row, unsigned step, unsigned t, unsigned units) {
        Weights w;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const unsigned unit = 8 * step + 4 * h + t;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                w.q[h][i] = WHOLE || unit < units ? load_weights(row.quants + unit * 32 + i * 16) : make_uint4(0, 0, 0, 0);
            }
        }
        w.scales = load_scale_pair<2, WHOLE>(row.scales, 8 * step + 2 * t, units);
        return w;
    }
    static __device__ __forceinline__ void halves(const Weights& weights, int h, int q, uint32_t (&d)[4]) {
        const uint32_t w0 = word(weights.q[h][q / 2], q % 2 * 2), w1 = word(weights.q[h][q / 2], q % 2 * 2 + 1);
        d[0] = w0 & 0x00ff00ffu;
        d[1] = (w0 >> 8) & 0x00ff00ffu;
        d[2] = w1 & 0x00ff00ffu;
        d[3] = (w1 >> 8) & 0x00ff00ffu;
    }
    static __device__ __forceinline__ float add(const Weights& w, unsigned, const float (&v)[2], const Unit (&unit)[2], float sum) {
        sum = fmaf(fmaf(v[0], unit[0].factor, -unit[0].sum), half_bits(w.scales & 0xffff), sum);
        return fmaf(fmaf(v[1], unit[1].factor, -unit[1].sum), half_bits(w.scales >> 16), sum);
    }
};

// A step is a super-block.
struct Q4K {
    static constexpr bool NIBBLES = true;
    static constexpr int HALVES = 1, FACTOR_LOG2 = 20;
    static constexpr float BIAS = 1.0f;
    using Entry = Unit;
    struct Row {
        const uint8_t *quants, *supers;
    };
    struct Weights {
        uint4 q[2], super;
    };

    static __device__ __forceinline__ Row row(const Planes& planes, size_t row, unsigned units) {
        return {planes.quants + row * units * 16, planes.supers + row * units * 2};
    }
    template <bool = true>
    static __device__ __forceinline__ Weights load(const Row& row, unsigned step, unsigned t, unsigned) {
        const uint8_t* quants = row.quants + (8 * step + t) * 16;
        return {{load_weights(quants), load_weights(quants + 64)}, load_weights(row.supers + step * 16)};
    }
    static __device__ __forceinline__ void halves(const Weights& weights, int h, int q, uint32_t (&d)[4]) {
        nibble_halves(word(weights.q[h], q), d);
    }
    static __device__ __forceinline__ float add(const Weights& w, unsigned t, const float (&v)[2], const Unit (&unit)[2], float sum) {
        const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&w.super.x));
        // Fields 2t and 2t + 1: scale, minimum, scale, minimum, 6 bits each, from bit 24t on.
        const uint32_t low = t < 2 ? w.super.y : t == 2 ? w.super.z : w.super.w;
        const uint32_t high = t < 2 ? w.super.z : w.super.w;
        const uint32_t fields = __funnelshift_r(low, high, (24 * t) & 31);
        const float scale0 = static_cast<float>(fields & 63), min0 = static_cast<float>((fields >> 6) & 63);
        const float scale1 = static_cast<float>((fields >> 12) & 63), min1 = static_cast<float>((fields >> 18) & 63);
        sum = fmaf(v[0] * unit[0].factor, d.x * scale0, sum);
        sum = fmaf(-unit[0].sum, d.y * min0, sum);
        sum = fmaf(v[1] * unit[1].factor, d.x * scale1, sum);
        return fmaf(-unit[1].sum, d.y * min1, sum);
    }
};

// A step is a super-block.
struct Q6K {
    static constexpr bool NIBBLES = true;
    static constexpr int HALVES = 2, FACTOR_LOG2 = 20;
    static constexpr float BIAS = 32.0f;
    using Entry = SplitUnit;
    struct Row {
        const uint8_t *low, *high, *scales, *supers;
    };
    struct Weights {
        uint4 q[2];
        uint2 high[2];
        uint32_t scales, super;
    };

    static __device__ __forceinline__ Row row(const Planes& planes, size_t row, unsigned units) {
        return {planes.quants + row * units * 16, planes.high + row * units * 8, planes.scales + row * units * 2,
                planes.supers + row * (units / 8) * 2};
    }
    template <bool = true>
    static __device__ __forceinline__ Weights load(const Row& row, unsigned step, unsigned t, unsigned) {
        const unsigned unit = 8 * step + t;
        const uint8_t *low = row.low + unit * 16, *high = row.high + unit * 8;
        return {{load_weights(low), load_weights(low + 64)},
                {load_weights_8(high), load_weights_8(high + 32)},
                load_weights_4(row.scales + 16 * step + 4 * t),
                load_weights_2(row.supers + 2 * step)};
    }
    static __device__ __forceinline__ void halves(const Weights& weights, int h, int q, uint32_t (&d)[4]) {
        uint32_t w = word(weights.q[h], q);
        const uint32_t u = q < 2 ? weights.high[h].x : weights.high[h].y;
        const bool even = q % 2 == 0;
        d[0] = (w & 0x000f000fu) | ((even ? u : u >> 8) & 0x00300030u);
        d[1] = (w & 0x00f000f0u) | ((even ? u : u << 8) & 0x03000300u);
        w >>= 8;
        d[2] = (w & 0x000f000fu) | ((even ? u >> 2 : u >> 10) & 0x00300030u);
        d[3] = (w & 0x00f000f0u) | ((even ? u >> 2 : u << 6) & 0x03000300u);
    }
    // v[2 * unit + half]
    static __device__ __forceinline__ float add(const Weights& w, unsigned, const float (&v)[4], const SplitUnit (&unit)[2], float sum) {
        float part = 0.0f;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float scale = static_cast<float>(static_cast<int8_t>(w.scales >> (8 * i)));
            part = fmaf(fmaf(v[i], unit[i / 2].factor, -unit[i / 2].sum[i % 2]), scale, part);
        }
        return fmaf(part, half_bits(w.super), sum);
    }
};

// ---- activations -----------------------------------------------------------------------------------------------------

// Shared memory of one token's activations: 4 * units chunks of eight halves, chunk q of all units together, then the table;
// a multiple of 16 bytes.
template <class F>
__host__ __device__ constexpr unsigned staged_bytes(unsigned units) {
    return units * 64 + (units * sizeof(typename F::Entry) + 15) / 16 * 16;
}

struct Staged {
    uint4* chunks;
    void* table;
};

template <class F>
__device__ __forceinline__ Staged staged(void* shared, unsigned units, unsigned token) {
    char* base = static_cast<char*>(shared) + static_cast<size_t>(token) * staged_bytes<F>(units);
    return {reinterpret_cast<uint4*>(base), base + units * 64};
}

__device__ __forceinline__ void prefetch_norm_weights(const Input& in) {
    if (!in.norm || !in.weight) return;
    for (unsigned i = threadIdx.x * 32; i < in.k; i += blockDim.x * 32) {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(in.weight + i));
    }
}

// Eight activations `v` to their place, chunk i of the row.
template <class F>
__device__ __forceinline__ void stage_eight(const Staged& to, unsigned units, unsigned i, const float (&v)[8], bool inside) {
    float greatest = 0.0f;
#pragma unroll
    for (int j = 0; j < 8; j++) greatest = fmaxf(greatest, fabsf(v[j]));
    greatest = fmaxf(greatest, __shfl_xor_sync(ALL_LANES, greatest, 1));
    greatest = fmaxf(greatest, __shfl_xor_sync(ALL_LANES, greatest, 2));
    // The power of two that brings the greatest below 2^15 (2^11 where some are multiplied by 16).
    const int top = F::NIBBLES ? 10 : 14;
    int exponent = static_cast<int>(__float_as_uint(greatest) >> 23) - 127;
    exponent = greatest == 0.0f ? top : max(-100, min(exponent, 100));
    const float up = __uint_as_float(static_cast<uint32_t>(127 + top - exponent) << 23);
    const float down = __uint_as_float(static_cast<uint32_t>(127 - top + exponent) << 23);
    float sum = 0.0f;
    __half2 pairs[4];
#pragma unroll
    for (int p = 0; p < 4; p++) {
        const float factor = F::NIBBLES && p % 2 == 0 ? 16.0f : 1.0f;
        pairs[p] = __floats2half2_rn(v[p] * (up * factor), v[p + 4] * (up * factor));
        const float2 rounded = __half22float2(pairs[p]);
        sum += (rounded.x + rounded.y) * (1.0f / factor);
    }
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    const float other = __shfl_xor_sync(ALL_LANES, sum, 2);
    if (!inside) return;
    const unsigned unit = i / 4, q = i % 4;
    to.chunks[q * units + unit] = *reinterpret_cast<uint4*>(pairs);
    if (q != 0) return;
    const float factor = down * static_cast<float>(1 << F::FACTOR_LOG2), bias = down * F::BIAS;
    if constexpr (F::HALVES == 1) {
        static_cast<Unit*>(to.table)[unit] = {factor, (sum + other) * bias};
    } else {
        static_cast<SplitUnit*>(to.table)[unit] = {factor, {sum * bias, other * bias}, 0.0f};
    }
}

// BATCH chunks of a thread are on their way at once: each trip to the second-level cache costs half a microsecond.
template <class F, int BATCH, bool NORM>
__device__ __forceinline__ float stage_batches(const Input& in, const float* x, const Staged& to, unsigned units) {
    float squares = 0.0f;
    for (unsigned first = threadIdx.x; first - threadIdx.x < 4 * units; first += BATCH * blockDim.x) {
        float4 a[BATCH][2], w[BATCH][2];
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            const unsigned i = first + n * blockDim.x;
#pragma unroll
            for (int j = 0; j < 2; j++) {
                a[n][j] = i < 4 * units ? load_activations(x, 2 * i + j) : make_float4(0, 0, 0, 0);
                w[n][j] = make_float4(1, 1, 1, 1);
                if (NORM && in.weight && i < 4 * units) w[n][j] = __ldg(reinterpret_cast<const float4*>(in.weight) + 2 * i + j);
            }
        }
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            // The whole block, or none of it: `stage_eight` shuffles.
            if (first - threadIdx.x + n * blockDim.x >= 4 * units) break;
            const unsigned i = first + n * blockDim.x;
            float v[8] = {a[n][0].x, a[n][0].y, a[n][0].z, a[n][0].w, a[n][1].x, a[n][1].y, a[n][1].z, a[n][1].w};
            if (NORM) {
                const float f[8] = {w[n][0].x, w[n][0].y, w[n][0].z, w[n][0].w, w[n][1].x, w[n][1].y, w[n][1].z, w[n][1].w};
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    squares = fmaf(v[j], v[j], squares);
                    v[j] *= f[j];
                }
            }
            stage_eight<F>(to, units, i, v, i < 4 * units);
        }
    }
    return squares;
}

// One token's activations times the norm's weights; returns the thread's share of the sum of squares.
template <class F>
__device__ __forceinline__ float stage_row(const Input& in, const float* x, const Staged& to, unsigned units) {
    return in.norm ? stage_batches<F, 2, true>(in, x, to, units) : stage_batches<F, 4, false>(in, x, to, units);
}

// Eight halves as pairs (p, p + 4).
__device__ __forceinline__ uint4 ordered_halves(const uint4& v) {
    return make_uint4(__byte_perm(v.x, v.z, 0x5410), __byte_perm(v.x, v.z, 0x7632), __byte_perm(v.y, v.w, 0x5410), __byte_perm(v.y, v.w, 0x7632));
}

// Activations that are halves already, `scale` times too large.
template <class F>
__device__ __forceinline__ void stage_halves(const __half* x, const Staged& to, unsigned units, float scale) {
    static_assert(F::HALVES == 1 && !F::NIBBLES && F::BIAS == 0.0f, "the table needs no sums");
    constexpr int BATCH = 4;
    for (unsigned first = threadIdx.x; first < 4 * units; first += BATCH * blockDim.x) {
        uint4 v[BATCH];
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            const unsigned i = first + n * blockDim.x;
            v[n] = i < 4 * units ? __ldcg(reinterpret_cast<const uint4*>(x) + i) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            const unsigned i = first + n * blockDim.x;
            if (i >= 4 * units) break;
            to.chunks[i % 4 * units + i / 4] = ordered_halves(v[n]);
        }
    }
    for (unsigned unit = threadIdx.x; unit < units; unit += blockDim.x) {
        static_cast<Unit*>(to.table)[unit] = {static_cast<float>(1 << F::FACTOR_LOG2) / scale, 0.0f};
    }
}

// All tokens; factor[t] is what a product with token t still lacks.
template <class F, int TOKENS>
__device__ __forceinline__ void stage(const Input& in, uint32_t tokens, void* shared, float* scratch, float (&factor)[TOKENS]) {
    const unsigned units = in.k / 32;
    float sums[TOKENS] = {};
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const float* x = in.x + static_cast<size_t>(t < tokens ? t : 0) * in.stride;
        sums[t] = stage_row<F>(in, x, staged<F>(shared, units, t), units);
        factor[t] = 1.0f;
    }
    if (!in.norm) {
        __syncthreads();
        return;
    }
    block_sums_once(sums, scratch);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) factor[t] = rsqrtf(sums[t] / in.k + in.eps);
}

// One token's activations where width and block are known: nothing diverges.
template <class F, int UNITS, int WARPS, bool NORM>
__device__ __forceinline__ float stage_held(const Input& in, const Staged& to) {
    constexpr int CHUNKS = 4 * UNITS, THREADS = 32 * WARPS, HELD = ceil_div(CHUNKS, THREADS), BATCH = NORM ? 2 : 4;
    float sum = 0.0f;
#pragma unroll
    for (int first = 0; first < HELD; first += BATCH) {
        float4 a[BATCH][2], w[BATCH][2];
#pragma unroll
        for (int n = 0; n < BATCH && first + n < HELD; n++) {
            const unsigned i = threadIdx.x + (first + n) * THREADS;
#pragma unroll
            for (int j = 0; j < 2; j++) {
                a[n][j] = i < CHUNKS ? load_activations(in.x, 2 * i + j) : make_float4(0, 0, 0, 0);
                w[n][j] = make_float4(1, 1, 1, 1);
                if (NORM && in.weight && i < CHUNKS) w[n][j] = __ldg(reinterpret_cast<const float4*>(in.weight) + 2 * i + j);
            }
        }
#pragma unroll
        for (int n = 0; n < BATCH && first + n < HELD; n++) {
            const unsigned i = threadIdx.x + (first + n) * THREADS;
            float v[8] = {a[n][0].x, a[n][0].y, a[n][0].z, a[n][0].w, a[n][1].x, a[n][1].y, a[n][1].z, a[n][1].w};
            if (NORM) {
                const float f[8] = {w[n][0].x, w[n][0].y, w[n][0].z, w[n][0].w, w[n][1].x, w[n][1].y, w[n][1].z, w[n][1].w};
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    sum = fmaf(v[j], v[j], sum);
                    v[j] *= f[j];
                }
            }
            stage_eight<F>(to, UNITS, i, v, i < CHUNKS);
        }
    }
    return sum;
}

// Returns what a product still lacks; `scratch` has a place for each warp.
template <class F, int UNITS, int WARPS>
__device__ __forceinline__ float stage_fixed(const Input& in, void* shared, float* scratch) {
    const Staged to = staged<F>(shared, UNITS, 0);
    if (!in.norm) {
        stage_held<F, UNITS, WARPS, false>(in, to);
        __syncthreads();
        return 1.0f;
    }
    const float sum = warp_sum(stage_held<F, UNITS, WARPS, true>(in, to));
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = sum;
    __syncthreads();
    return rsqrtf(sum_of_warps<WARPS>(scratch) / (32 * UNITS) + in.eps);
}

// One token's activations where width and block are known and a row is whole chunks of F without a table: one power of two for
// all of them, which half precision has the range for (what it rounds to nothing is 2^-28 of the greatest). A thread holds what
// it stages. Rows are padded with zeros to whole steps.
template <int UNITS, int WARPS>
struct FlatStage {
    static constexpr int CHUNKS = 4 * UNITS, THREADS = 32 * WARPS, HELD = ceil_div(CHUNKS, THREADS), PITCH = ceil_div(UNITS, 8) * 8;
    static constexpr int BYTES = PITCH * 64;

    // Zeros behind the row; its four rows of chunks are `pitch` apart.
    static __device__ __forceinline__ void pad(uint4* chunks, unsigned pitch) {
        constexpr int MORE = PITCH - UNITS;
        if constexpr (MORE != 0) {
            const unsigned i = threadIdx.x;
            if (i < 4 * MORE) chunks[i / MORE * pitch + UNITS + i % MORE] = make_uint4(0, 0, 0, 0);
        }
    }

    // Returns what a product still lacks; `scratch` has 64 places. An RMS norm at most.
    static __device__ __forceinline__ float run(const Input& in, const float* x, uint4* chunks, float* scratch) {
        float v[HELD][8], sum = 0.0f, most = 0.0f;
        float4 a[HELD][2], w[HELD][2];
#pragma unroll
        for (int n = 0; n < HELD; n++) {
            const unsigned i = threadIdx.x + n * THREADS;
#pragma unroll
            for (int j = 0; j < 2; j++) {
                a[n][j] = i < CHUNKS ? load_activations(x, 2 * i + j) : make_float4(0, 0, 0, 0);
                w[n][j] = make_float4(1, 1, 1, 1);
                if (in.norm && in.weight && i < CHUNKS) w[n][j] = __ldg(reinterpret_cast<const float4*>(in.weight) + 2 * i + j);
            }
        }
        pad(chunks, PITCH);
#pragma unroll
        for (int n = 0; n < HELD; n++) {
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const float4 p = a[n][j], q = w[n][j];
                sum += p.x * p.x + p.y * p.y + p.z * p.z + p.w * p.w;
                v[n][4 * j] = p.x * q.x;
                v[n][4 * j + 1] = p.y * q.y;
                v[n][4 * j + 2] = p.z * q.z;
                v[n][4 * j + 3] = p.w * q.w;
            }
#pragma unroll
            for (int j = 0; j < 8; j++) most = fmaxf(most, fabsf(v[n][j]));
        }
        sum = warp_sum(sum);
        most = __uint_as_float(warp_greatest(__float_as_uint(most)));
        if (threadIdx.x % 32 == 0) {
            scratch[threadIdx.x / 32] = sum;
            scratch[32 + threadIdx.x / 32] = most;
        }
        __syncthreads();
        most = scratch[32];
#pragma unroll
        for (int i = 1; i < WARPS; i++) most = fmaxf(most, scratch[32 + i]);
        constexpr int TOP = 14;
        int exponent = static_cast<int>(__float_as_uint(most) >> 23) - 127;
        exponent = most == 0.0f ? TOP : max(-100, min(exponent, 100));
        const float up = __uint_as_float(static_cast<uint32_t>(127 + TOP - exponent) << 23);
        const float down = __uint_as_float(static_cast<uint32_t>(127 - TOP + exponent) << 23);
#pragma unroll
        for (int n = 0; n < HELD; n++) {
            const unsigned i = threadIdx.x + n * THREADS;
            __half2 pairs[4];
#pragma unroll
            for (int p = 0; p < 4; p++) pairs[p] = __floats2half2_rn(v[n][p] * up, v[n][p + 4] * up);
            if (i < CHUNKS) chunks[i % 4 * PITCH + i / 4] = *reinterpret_cast<uint4*>(pairs);
        }
        const float rms = in.norm ? rsqrtf(sum_of_warps<WARPS>(scratch) / (32 * UNITS) + in.eps) : 1.0f;
        return rms * down;
    }
};

// ---- products --------------------------------------------------------------------------------------------------------

// Adds one step of rows a and b (of the lane's group g: rows g and g + 8 of the tile) to sums[row][token]. `pitch` and `first`
// place the row's units among those that are staged. A product waits for the one before it in its chain.
template <class F, int TOKENS, int CHAINS = 1>
__device__ __forceinline__ void multiply(const typename F::Weights& a, const typename F::Weights& b, void* shared, unsigned pitch,
                                         unsigned first, unsigned step, unsigned units, float (&sums)[2][TOKENS]) {
    const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const unsigned mine = 8 * step + (g & 4) + t;
    const bool active = (g & 3) == t && mine < units;
    static_assert(F::HALVES == 1 || CHAINS == 1, "halves are chains already");
    float c[TOKENS][F::HALVES * CHAINS][2][4] = {};
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int chain = F::HALVES == 1 ? q % CHAINS : q / 2;
        uint32_t da[2][4], db[2][4];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            F::halves(a, h, q, da[h]);
            F::halves(b, h, q, db[h]);
        }
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const Staged x = staged<F>(shared, pitch, token);
            uint4 v = make_uint4(0, 0, 0, 0);
            if (active) v = x.chunks[q * pitch + first + mine];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                mma(c[token][chain][h], da[h][0], db[h][0], da[h][1], db[h][1], v.x, v.y);
                mma(c[token][chain][h], da[h][2], db[h][2], da[h][3], db[h][3], v.z, v.w);
            }
        }
    }
    // Columns 0 to 3 of the first sums and 4 to 7 of the second are units of this step: each lane has two of them.
    const unsigned unit = 8 * step + 2 * t;
#pragma unroll
    for (int token = 0; token < TOKENS; token++) {
        using Entry = typename F::Entry;
        const Entry* table = static_cast<const Entry*>(staged<F>(shared, pitch, token).table) + first;
        // Steps end beyond a row where its units are no multiple of 8: those weights are zero, but the table has no entry.
        Entry entries[2] = {};
        if (unit < units) entries[0] = table[unit];
        if (unit + 1 < units) entries[1] = table[unit + 1];
        float va[2 * F::HALVES], vb[2 * F::HALVES];
#pragma unroll
        for (int half = 0; half < F::HALVES; half++) {
            float(&s)[2][4] = c[token][half];
            if (CHAINS == 2) {
#pragma unroll
                for (int i = 0; i < 8; i++) s[i / 4][i % 4] += c[token][CHAINS - 1][i / 4][i % 4];
            }
#pragma unroll
            for (int i = 0; i < 2; i++) {
                va[i * F::HALVES + half] = t < 2 ? s[0][i] : s[1][i];
                vb[i * F::HALVES + half] = t < 2 ? s[0][2 + i] : s[1][2 + i];
            }
        }
        sums[0][token] = F::add(a, t, va, entries, sums[0][token]);
        sums[1][token] = F::add(b, t, vb, entries, sums[1][token]);
    }
}

// The same for one token, with what is known when the kernel is compiled: WHOLE: a step has all its units, or zeros in their
// place; FLAT: no table, `add_flat` knows all, and the row's last place is zeros, which lanes that take no part read.
template <class F, bool WHOLE, bool FLAT, int CHAINS = 1>
__device__ __forceinline__ void multiply_one(const typename F::Weights& a, const typename F::Weights& b, const uint4* chunks,
                                             const typename F::Entry* table, unsigned pitch, unsigned step, unsigned units,
                                             float (&sums)[2]) {
    const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    unsigned mine = 8 * step + (g & 4) + t;
    const bool active = (g & 3) == t && (WHOLE || mine < units);
    if (FLAT && !active) mine = units - 1;
    static_assert(F::HALVES == 1 || CHAINS == 1, "halves are chains already");
    float c[F::HALVES * CHAINS][2][4] = {};
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int chain = F::HALVES == 1 ? q % CHAINS : q / 2;
        uint4 x = make_uint4(0, 0, 0, 0);
        if (FLAT || active) x = chunks[q * pitch + mine];
        uint32_t da[2][4], db[2][4];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            F::halves(a, h, q, da[h]);
            F::halves(b, h, q, db[h]);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            mma(c[chain][h], da[h][0], db[h][0], da[h][1], db[h][1], x.x, x.y);
            mma(c[chain][h], da[h][2], db[h][2], da[h][3], db[h][3], x.z, x.w);
        }
    }
    float va[2 * F::HALVES], vb[2 * F::HALVES];
#pragma unroll
    for (int half = 0; half < F::HALVES; half++) {
        if (CHAINS == 2) {
#pragma unroll
            for (int i = 0; i < 8; i++) c[half][i / 4][i % 4] += c[CHAINS - 1][i / 4][i % 4];
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            va[i * F::HALVES + half] = t < 2 ? c[half][0][i] : c[half][1][i];
            vb[i * F::HALVES + half] = t < 2 ? c[half][0][2 + i] : c[half][1][2 + i];
        }
    }
    if constexpr (FLAT) {
        sums[0] = F::add_flat(a, va, sums[0]);
        sums[1] = F::add_flat(b, vb, sums[1]);
    } else {
        const unsigned unit = 8 * step + 2 * t;
        typename F::Entry entries[2] = {};
        if (WHOLE || unit < units) entries[0] = table[unit];
        if (WHOLE || unit + 1 < units) entries[1] = table[unit + 1];
        sums[0] = F::add(a, t, va, entries, sums[0]);
        sums[1] = F::add(b, t, vb, entries, sums[1]);
    }
}

// The sum over the four lanes that share rows g and g + 8.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
