// Products with rows of bf16, f16 or f32 on the ordinary cores: activations in shared memory as f32, the norm in front of them.
#pragma once
#include "decode.cuh"

// A 16-byte chunk of weights and the product with as many activations. Activations lie in shared memory as quads, the first
// quad of every chunk in front of all second quads, so that a warp's reads have no bank conflicts.
struct F32 {
    static constexpr int QUADS = 1;
    static __device__ __forceinline__ float dot(const uint4& w, const float4* x, unsigned, unsigned chunk, float sum) {
        const float4 a = x[chunk];
        sum = fmaf(__uint_as_float(w.x), a.x, sum);
        sum = fmaf(__uint_as_float(w.y), a.y, sum);
        sum = fmaf(__uint_as_float(w.z), a.z, sum);
        return fmaf(__uint_as_float(w.w), a.w, sum);
    }
};

struct Bf16 {
    static constexpr int QUADS = 2;
    static __device__ __forceinline__ float2 pair(uint32_t w) {
        return make_float2(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u));
    }
};

struct F16 {
    static constexpr int QUADS = 2;
    static __device__ __forceinline__ float2 pair(uint32_t w) {
        return __half22float2(*reinterpret_cast<const __half2*>(&w));
    }
};

template <class W>
__device__ __forceinline__ float dot_chunk(const uint4& w, const float4* x, unsigned chunks, unsigned chunk, float sum) {
    if constexpr (W::QUADS == 1) {
        return W::dot(w, x, chunks, chunk, sum);
    } else {
        const float4 a = x[chunk], b = x[chunks + chunk];
        const float2 w0 = W::pair(w.x), w1 = W::pair(w.y), w2 = W::pair(w.z), w3 = W::pair(w.w);
        sum = fmaf(w0.x, a.x, sum);
        sum = fmaf(w0.y, a.y, sum);
        sum = fmaf(w1.x, a.z, sum);
        sum = fmaf(w1.y, a.w, sum);
        sum = fmaf(w2.x, b.x, sum);
        sum = fmaf(w2.y, b.y, sum);
        sum = fmaf(w3.x, b.z, sum);
        return fmaf(w3.y, b.w, sum);
    }
}

// Where quad j of a row lies.
template <class W>
__device__ __forceinline__ unsigned place(unsigned quad, unsigned chunks) {
    return W::QUADS == 1 ? quad : (quad & 1) * chunks + quad / 2;
}

__device__ __forceinline__ float4 times(const float4& a, const float4& b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

__device__ __forceinline__ float squares(const float4& a) {
    return a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
}

// Quads of a row that a thread holds at once.
constexpr int STAGED_QUADS = 4;

// The thread's first quads of the norm's weights: they are on their way before the activations are complete.
__device__ __forceinline__ void load_norm_weights(const Input& in, float4 (&weights)[STAGED_QUADS], unsigned first) {
#pragma unroll
    for (int n = 0; n < STAGED_QUADS; n++) {
        const unsigned j = first + n * blockDim.x;
        weights[n] = make_float4(1, 1, 1, 1);
        if (in.norm == RMS_NORM && in.weight && j < in.k / 4) weights[n] = __ldg(reinterpret_cast<const float4*>(in.weight) + j);
    }
}

// Activations of TOKENS tokens to shared memory; factor[t] is what a dot product with token t still lacks. `weights` are the
// thread's first quads of the norm's weights.
template <class W, int TOKENS>
__device__ __forceinline__ void stage_rms(const Input& in, uint32_t tokens, float4* xs, float* scratch,
                                          float4 (&weights)[STAGED_QUADS], float (&factor)[TOKENS]) {
    const unsigned quads = in.k / 4, chunks = quads / W::QUADS;
    float sums[TOKENS] = {};
    for (unsigned first = threadIdx.x; first < quads; first += STAGED_QUADS * blockDim.x) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            // Several loads on their way at once: each trip to the second-level cache costs half a microsecond.
            float4 x[STAGED_QUADS];
#pragma unroll
            for (int n = 0; n < STAGED_QUADS; n++) {
                const unsigned j = first + n * blockDim.x;
                const bool inside = j < quads && t < tokens;
                x[n] = inside ? load_activations(in.x + static_cast<size_t>(t) * in.stride, j) : make_float4(0, 0, 0, 0);
            }
#pragma unroll
            for (int n = 0; n < STAGED_QUADS; n++) {
                const unsigned j = first + n * blockDim.x;
                sums[t] += squares(x[n]);
                if (j < quads) xs[t * quads + place<W>(j, chunks)] = times(x[n], weights[n]);
            }
        }
        load_norm_weights(in, weights, first + STAGED_QUADS * blockDim.x);
    }
    if (in.norm == NO_NORM) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++) factor[t] = 1.0f;
        __syncthreads();
        return;
    }
    block_sums_once(sums, scratch);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) factor[t] = rsqrtf(sums[t] / in.k + in.eps);
}

// The same for one token where width and block are known: a thread holds all that it stages, so that everything it loads is on
// its way at once, and one barrier does.
template <class W, int CHUNKS, int WARPS>
struct Stage {
    static constexpr int QUADS = CHUNKS * W::QUADS, THREADS = 32 * WARPS, HELD = ceil_div(QUADS, THREADS);
    float4 weights[HELD];

    static __device__ __forceinline__ bool inside(int n, unsigned quad) {
        return (n + 1) * THREADS <= QUADS || quad < QUADS;
    }
    // Before the activations are complete.
    __device__ __forceinline__ void load_weights(const Input& in) {
#pragma unroll
        for (int n = 0; n < HELD; n++) {
            const unsigned j = threadIdx.x + n * THREADS;
            weights[n] = make_float4(1, 1, 1, 1);
            if (in.norm && in.weight && inside(n, j)) weights[n] = __ldg(reinterpret_cast<const float4*>(in.weight) + j);
        }
    }
    __device__ __forceinline__ float run(const Input& in, float4* xs, float* scratch) const {
        float4 x[HELD];
#pragma unroll
        for (int n = 0; n < HELD; n++) {
            const unsigned j = threadIdx.x + n * THREADS;
            x[n] = inside(n, j) ? load_activations(in.x, j) : make_float4(0, 0, 0, 0);
        }
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < HELD; n++) {
            const unsigned j = threadIdx.x + n * THREADS;
            sum += squares(x[n]);
            if (inside(n, j)) xs[place<W>(j, CHUNKS)] = times(x[n], weights[n]);
        }
        if (!in.norm) {
            __syncthreads();
            return 1.0f;
        }
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = sum;
        __syncthreads();
        return rsqrtf(sum_of_warps<WARPS>(scratch) / (CHUNKS * W::QUADS * 4) + in.eps);
    }
};

// A layer norm needs the mean before the deviations: three passes over what each thread holds in shared memory.
template <class W, int TOKENS>
__device__ __noinline__ void stage_layer(const Input& in, uint32_t tokens, float4* xs, float* scratch) {
    const unsigned quads = in.k / 4, chunks = quads / W::QUADS;
    for (int t = 0; t < TOKENS; t++) {
        float4* row = xs + t * quads;
        float sum[1] = {0.0f};
        for (unsigned j = threadIdx.x; j < quads; j += blockDim.x) {
            const float4 x = t < tokens ? load_activations(in.x + static_cast<size_t>(t) * in.stride, j) : make_float4(0, 0, 0, 0);
            sum[0] += (x.x + x.y) + (x.z + x.w);
            row[place<W>(j, chunks)] = x;
        }
        block_sums(sum, scratch);
        const float mean = sum[0] / in.k;
        sum[0] = 0.0f;
        for (unsigned j = threadIdx.x; j < quads; j += blockDim.x) {
            float4& x = row[place<W>(j, chunks)];
            x = make_float4(x.x - mean, x.y - mean, x.z - mean, x.w - mean);
            sum[0] += squares(x);
        }
        block_sums(sum, scratch);
        const float factor = rsqrtf(sum[0] / in.k + in.eps);
        for (unsigned j = threadIdx.x; j < quads; j += blockDim.x) {
            float4& x = row[place<W>(j, chunks)];
            x = times(x, make_float4(factor, factor, factor, factor));
            if (in.weight) x = times(x, __ldg(reinterpret_cast<const float4*>(in.weight) + j));
            if (in.bias) {
                const float4 b = __ldg(reinterpret_cast<const float4*>(in.bias) + j);
                x = make_float4(x.x + b.x, x.y + b.y, x.z + b.z, x.w + b.w);
            }
        }
    }
    __syncthreads();
}
