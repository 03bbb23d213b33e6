// The likeliest tokens of a distribution, so that the host can sample exactly without reading all logits.
//
// Logits are counted by their distance from the greatest, in steps of 1/64; the steps that hold the wanted number are
// collected, then sorted by the block that finishes last. Everything is counted in integers or added in a fixed order: the
// same logits give the same result.
#include "decode.cuh"

struct CandidatesParams {
    const float* logits;        // [tokens][stride]
    unsigned long long* best;   // [tokens]: the greatest logit_key
    uint32_t* counts;           // [tokens][STEPS + 2], 0 between launches: histogram, collected, finished blocks
    float* sums;                // [tokens][blocks]: sums of e^((logit - greatest) / temperature)
    const float* inverse_temperature;  // [tokens]
    unsigned long long* keys;   // [tokens][CAPACITY]: logit_keys, the greatest first
    float* sum;                 // [tokens]
    uint32_t* count;            // [tokens]: keys collected; more than CAPACITY: too many are alike, read all logits
    uint32_t vocab, stride, wanted, unused;
};

constexpr unsigned STEPS = 4096, CAPACITY = 1024, COUNTERS = STEPS + 2;

__device__ __forceinline__ float logit_of(unsigned long long key) {
    const uint32_t order = static_cast<uint32_t>(key >> 32);
    return __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

// The last step holds everything far away.
__device__ __forceinline__ unsigned step_of(float greatest, float logit) {
    const float distance = (greatest - logit) * 64.0f;
    return distance < STEPS - 1 ? static_cast<unsigned>(fmaxf(distance, 0.0f)) : STEPS - 1;
}

#define FOR_EACH_LOGIT(i) for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < p.vocab; i += gridDim.x * blockDim.x)

// The greatest logit, for logits that did not come out of a kernel that offers it. `best` is 0 before.
extern "C" __global__ void __launch_bounds__(512) greatest_logit(PARAMS(CandidatesParams)) {
    __shared__ unsigned long long scratch[32];
    const unsigned token = blockIdx.y;
    const float* logits = p.logits + static_cast<size_t>(token) * p.stride;
    let_next_begin();
    wait_for_predecessor();
    unsigned long long best = 0;
    FOR_EACH_LOGIT(i) {
        const unsigned long long key = logit_key(__ldcg(logits + i), i);
        best = key > best ? key : best;
    }
    offer_best(p.best + token, best, scratch);
}

extern "C" __global__ void __launch_bounds__(512) candidates_count(PARAMS(CandidatesParams)) {
    __shared__ uint32_t counts[STEPS];
    __shared__ float scratch[32];
    const unsigned token = blockIdx.y;
    const float* logits = p.logits + static_cast<size_t>(token) * p.stride;
    for (unsigned i = threadIdx.x; i < STEPS; i += blockDim.x) counts[i] = 0;
    let_next_begin();
    wait_for_predecessor();
    const float greatest = logit_of(__ldcg(p.best + token)), factor = __ldcg(p.inverse_temperature + token);
    __syncthreads();
    float sum[1] = {0.0f};
    FOR_EACH_LOGIT(i) {
        const float logit = __ldcg(logits + i);
        sum[0] += __expf((logit - greatest) * factor);
        atomicAdd(counts + step_of(greatest, logit), 1);
    }
    block_sums(sum, scratch);
    if (threadIdx.x == 0) p.sums[token * gridDim.x + blockIdx.x] = sum[0];
    for (unsigned i = threadIdx.x; i < STEPS; i += blockDim.x) {
        if (counts[i]) atomicAdd(p.counts + token * COUNTERS + i, counts[i]);
    }
}

// The first step up to which at least `wanted` logits lie. Every thread of 512 gets it.
__device__ __forceinline__ unsigned last_step(const uint32_t* counts, uint32_t wanted, uint32_t* scratch) {
    constexpr unsigned EACH = STEPS / 512;
    uint32_t mine[EACH], before = 0;
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) before += mine[i] = __ldcg(counts + threadIdx.x * EACH + i);
    const uint32_t total = before;
    for (int offset = 1; offset < 32; offset *= 2) {
        const uint32_t other = __shfl_up_sync(ALL_LANES, before, offset);
        if (threadIdx.x % 32 >= offset) before += other;
    }
    if (threadIdx.x % 32 == 31) scratch[threadIdx.x / 32] = before;
    if (threadIdx.x == 0) scratch[16] = STEPS - 1;
    __syncthreads();
    for (unsigned w = 0; w < threadIdx.x / 32; w++) before += scratch[w];
    uint32_t sum = before - total;
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) {
        if (sum < wanted && sum + mine[i] >= wanted) scratch[16] = threadIdx.x * EACH + i;
        sum += mine[i];
    }
    __syncthreads();
    return scratch[16];
}

extern "C" __global__ void __launch_bounds__(512) candidates_collect(PARAMS(CandidatesParams)) {
    __shared__ uint32_t scratch[17];
    __shared__ unsigned long long keys[CAPACITY];
    __shared__ bool last;
    const unsigned token = blockIdx.y;
    const float* logits = p.logits + static_cast<size_t>(token) * p.stride;
    uint32_t *counts = p.counts + token * COUNTERS, *collected = counts + STEPS, *finished = collected + 1;
    unsigned long long* out = p.keys + static_cast<size_t>(token) * CAPACITY;
    let_next_begin();
    wait_for_predecessor();
    const float greatest = logit_of(__ldcg(p.best + token));
    const unsigned end = last_step(counts, p.wanted, scratch);
    FOR_EACH_LOGIT(i) {
        const float logit = __ldcg(logits + i);
        if (step_of(greatest, logit) > end) continue;
        const uint32_t at = atomicAdd(collected, 1);
        if (at < CAPACITY) out[at] = logit_key(logit, i);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(finished, 1) == gridDim.x - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    const uint32_t count = __ldcg(collected);
    for (unsigned i = threadIdx.x; i < CAPACITY; i += blockDim.x) keys[i] = i < count ? __ldcg(out + i) : 0;
    // Bitonic, the greatest first.
    for (unsigned size = 2; size <= CAPACITY; size *= 2) {
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            __syncthreads();
            const unsigned i = threadIdx.x / stride * 2 * stride + threadIdx.x % stride, j = i + stride;
            const bool descending = (i & size) == 0;
            if ((keys[i] < keys[j]) == descending) {
                const unsigned long long other = keys[i];
                keys[i] = keys[j];
                keys[j] = other;
            }
        }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < CAPACITY; i += blockDim.x) out[i] = keys[i];
    for (unsigned i = threadIdx.x; i < COUNTERS; i += blockDim.x) counts[i] = 0;
    if (threadIdx.x == 0) {
        float sum = 0.0f;
        for (unsigned b = 0; b < gridDim.x; b++) sum += __ldcg(p.sums + token * gridDim.x + b);
        p.sum[token] = sum;
        p.count[token] = count;
    }
}
