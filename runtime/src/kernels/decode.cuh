// What the decode kernels (1 to 8 tokens a step) share: loads, activation functions, the staging of activations in shared
// memory and what happens to a finished dot product. docs/cuda-decode.md says what was measured and why it is so.
#pragma once
#include "common.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;

// ---- loads -----------------------------------------------------------------------------------------------------------

// Weights are read once a token: no copy in the first-level cache, and the read-only path, which loads may take before
// griddepcontrol.wait because nobody writes weights.
__device__ __forceinline__ uint4 load_weights(const void* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

__device__ __forceinline__ uint2 load_weights_8(const void* p) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

__device__ __forceinline__ uint32_t load_weights_4(const void* p) {
    uint32_t v;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

__device__ __forceinline__ uint32_t load_weights_2(const void* p) {
    uint16_t v;
    asm volatile("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}

__device__ __forceinline__ uint32_t load_weights_1(const void* p) {
    uint32_t v;
    asm volatile("ld.global.nc.L1::no_allocate.u8 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

// Activations always come from the second-level cache: another SM has just written them.
__device__ __forceinline__ float4 load_activations(const float* x, unsigned quad) {
    return __ldcg(reinterpret_cast<const float4*>(x) + quad);
}

// ---- functions of one number -----------------------------------------------------------------------------------------

enum Act : uint32_t { IDENTITY, SILU, GELU, GELU_TANH, RELU, RELU2, SIGMOID, SOFTPLUS };
enum Glu : uint32_t { NO_GLU, GLU_ACT, GLU_CLAMPED };

__device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + __expf(-x));
}

__device__ __forceinline__ float softplus(float x) {
    return fmaxf(x, 0.0f) + log1pf(__expf(-fabsf(x)));
}

// Comparisons instead of fmaxf and fminf, so that NaN stays NaN.
__device__ __forceinline__ float activate(uint32_t act, float x) {
    switch (act) {
        case SILU: return x * sigmoid(x);
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        case GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
        case RELU: return x < 0.0f ? 0.0f : x;
        case RELU2: return x < 0.0f ? 0.0f : x * x;
        case SIGMOID: return sigmoid(x);
        case SOFTPLUS: return softplus(x);
        default: return x;
    }
}

// Joins gate and up.
struct GluParams {
    uint32_t kind;  // Glu
    uint32_t act;   // Act, of GLU_ACT
    float alpha, limit, up_shift;  // of GLU_CLAMPED
};

__device__ __forceinline__ float join(const GluParams& glu, float gate, float up) {
    if (glu.kind == GLU_ACT) return activate(glu.act, gate) * up;
    gate = gate > glu.limit ? glu.limit : gate;
    up = up > glu.limit ? glu.limit : up < -glu.limit ? -glu.limit : up;
    return (up + glu.up_shift) * gate * sigmoid(glu.alpha * gate);
}

// ---- the greatest logit ----------------------------------------------------------------------------------------------

// Orders (logit, token): the greater logit first, of equals the lower token. What is no number comes first of all, so that
// whoever reads the winner sees that the computation broke down. Never 0.
__device__ __forceinline__ unsigned long long logit_key(float logit, uint32_t token) {
    uint32_t bits = __float_as_uint(logit);
    if (logit == 0.0f) bits = 0;  // -0 equals 0
    uint32_t order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if (logit != logit) order = 0xffffffffu;
    return (static_cast<unsigned long long>(order) << 32) | static_cast<uint32_t>(~token);
}

__device__ __forceinline__ uint32_t warp_greatest(uint32_t x) {
    return __reduce_max_sync(ALL_LANES, x);
}

__device__ __forceinline__ unsigned long long warp_max(unsigned long long x) {
    for (int offset = 16; offset > 0; offset /= 2) {
        const unsigned long long other = __shfl_xor_sync(ALL_LANES, x, offset);
        x = other > x ? other : x;
    }
    return x;
}

// ---- before a product ------------------------------------------------------------------------------------------------

enum NormKind : uint32_t { NO_NORM, RMS_NORM, LAYER_NORM };

// The input of a product and the norm in front of it.
struct Input {
    const float* x;       // [tokens][stride], 16-byte aligned rows
    const float* weight;  // [k] of the norm, or null for ones
    const float* bias;    // [k] of the norm, or null
    uint32_t k, stride;
    uint32_t norm;        // NormKind
    float eps;
};

// ---- after a product -------------------------------------------------------------------------------------------------

// out = residual + softcap(scale * act(dot + bias)), or the join of two rows.
struct Output {
    const float* bias;      // [rows] or null
    const float* residual;  // [tokens][stride] or null; may be `out`
    float* out;             // [tokens][stride]
    unsigned long long* best;  // [tokens] greatest logit_key so far, or null
    uint32_t stride;
    uint32_t act;
    float scale;
    float softcap;          // 0 is off
    GluParams glu;
    uint32_t unused;
};

// What an output is made of besides the product. Loaded long before it is needed: it must not cost a trip to memory then.
struct Extras {
    float bias, residual;
};

__device__ __forceinline__ Extras extras(const Output& o, uint32_t row, uint32_t token, bool wanted) {
    Extras e = {0.0f, 0.0f};
    if (wanted && o.bias) e.bias = __ldg(o.bias + row);
    if (wanted && o.residual) e.residual = __ldcg(o.residual + static_cast<size_t>(token) * o.stride + row);
    return e;
}

__device__ __forceinline__ float finish(const Output& o, float v, const Extras& e) {
    v = activate(o.act, v + e.bias) * o.scale;
    if (o.softcap != 0.0f) v = o.softcap * tanhf(v / o.softcap);
    return v + e.residual;
}

// Offers each warp's best key to the token's. All warps of the block call it; `scratch` has 32 places.
__device__ __forceinline__ void offer_best(unsigned long long* best, unsigned long long key, unsigned long long* scratch) {
    key = warp_max(key);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = key;
    __syncthreads();
    if (threadIdx.x < 32) {
        key = warp_max(threadIdx.x < blockDim.x / 32 ? scratch[threadIdx.x] : 0ull);
        // The greatest is the same in whatever order blocks arrive.
        if (threadIdx.x == 0 && key) atomicMax(best, key);
    }
}

// Sums over the block of N numbers a thread; every thread gets them. One barrier, which is the caller's too: what threads wrote
// to shared memory before is there. `scratch` has 32 * N places that nobody reads any more.
template <int N>
__device__ __forceinline__ void block_sums_once(float (&sums)[N], float* scratch) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] = warp_sum(sums[i]);
    if (lane == 0) {
#pragma unroll
        for (int i = 0; i < N; i++) scratch[i * 32 + warp] = sums[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] = warp_sum(lane < warps ? scratch[i * 32 + lane] : 0.0f);
}

// The same where `scratch` may be in use. Two barriers.
template <int N>
__device__ __forceinline__ void block_sums(float (&sums)[N], float* scratch) {
    __syncthreads();
    block_sums_once(sums, scratch);
}

// The sum over a block of WARPS warps, each of which has left its share in `scratch`: no trip through the lanes.
template <int WARPS>
__device__ __forceinline__ float sum_of_warps(const float* scratch) {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++) sum += scratch[warp];
    return sum;
}

// For kernels whose sizes are known when they are compiled.
__host__ __device__ constexpr int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}
