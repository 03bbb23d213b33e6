// What a sampler needs of a row of logits, so that only few of them are sent to the host: the largest, the sums of softmax
// weights, and the most likely tokens. Bit for bit what sampling/select.rs computes; the twin is sampling/shortlist.rs.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr uint32_t BINS = 2048;   // of distances from the largest score,
constexpr float PER_LOGIT = 64;   // so many in a unit
constexpr uint32_t SUM = 64;      // scores of a sum
constexpr uint32_t PARTS = 64;    // blocks of threads

struct Edit {
    uint32_t token, flags;  // 1: add, 2: penalise repetition, 4: subtract
    float add, subtract;
};

struct SampleParams {
    const float* logits;   // as the model gave them
    float* scores;         // after edits; the logits themselves if there are none
    const Edit* edits;     // one a token
    float2* parts;         // [PARTS]: largest score, and 1 if a logit is no number
    uint32_t* histogram;   // [BINS]
    uint32_t* out;         // 8 words: largest, broken, candidates, bins taken; then sums, then (token, score)
    uint32_t vocab, edit_count;
    float repetition, scale;
    uint32_t keep, most;   // candidates wanted, and how many there is room for
    uint32_t sums;         // words of sums in `out`, 0: none wanted
    uint32_t unused;
};

__device__ __forceinline__ uint32_t bin_of(float max, float x) {
    const float bin = __fmul_rn(__fsub_rn(max, x), PER_LOGIT);
    return bin < float(BINS - 1) ? uint32_t(bin) : BINS - 1;
}

// select.rs's exponential: no fused multiply-add, no table.
__device__ __forceinline__ float weight_of(float x) {
    const float magic = 12582912.0f, clamped = fmaxf(x, -87.0f);
    float n = __fadd_rn(__fmul_rn(clamped, 1.44269504088896340736f), magic);
    const float exponent = __uint_as_float((__float_as_uint(n) << 23) + 0x3f800000u);
    n = __fsub_rn(n, magic);
    const float r = __fsub_rn(__fsub_rn(clamped, __fmul_rn(n, 0.6933594f)), __fmul_rn(n, -2.1219444e-4f));
    float p = 1.9875691e-4f;
    p = __fadd_rn(__fmul_rn(p, r), 1.3981999e-3f);
    p = __fadd_rn(__fmul_rn(p, r), 8.333452e-3f);
    p = __fadd_rn(__fmul_rn(p, r), 4.1665796e-2f);
    p = __fadd_rn(__fmul_rn(p, r), 0.16666666f);
    p = __fadd_rn(__fmul_rn(p, r), 0.5f);
    const float e = __fmul_rn(__fadd_rn(__fadd_rn(__fmul_rn(p, __fmul_rn(r, r)), r), 1.0f), exponent);
    return x < -87.0f ? 0.0f : e;
}

// Bias and penalties, after a copy of the logits.
extern "C" __global__ void sample_edit(PARAMS(SampleParams)) {
    wait_for_predecessor();
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.edit_count) return;
    const Edit edit = p.edits[i];
    float score = p.scores[edit.token];
    if (edit.flags & 1) score = __fadd_rn(score, edit.add);
    if (edit.flags & 2) {
        const float penalised = score < 0.0f ? __fmul_rn(score, p.repetition) : __fdiv_rn(score, p.repetition);
        score = fminf(penalised, 3.40282347e+38f);
    }
    if (edit.flags & 4) score = __fsub_rn(score, edit.subtract);
    p.scores[edit.token] = score;
}

extern "C" __global__ void __launch_bounds__(THREADS) sample_max(PARAMS(SampleParams)) {
    wait_for_predecessor();
    const uint32_t thread = blockIdx.x * THREADS + threadIdx.x;
    for (uint32_t i = thread; i < BINS; i += PARTS * THREADS) p.histogram[i] = 0;
    if (thread < 8) p.out[thread] = 0;
    float max = -INFINITY, broken = 0.0f;
    for (uint32_t i = thread; i < p.vocab; i += PARTS * THREADS) {
        const float logit = p.logits[i];
        if (isnan(logit) || logit == INFINITY) broken = 1.0f;
        max = fmaxf(max, p.scores[i]);
    }
    max = warp_max(max);
    broken = warp_max(broken);
    __shared__ float2 warps[THREADS / 32];
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = make_float2(max, broken);
    __syncthreads();
    if (threadIdx.x == 0) {
        float2 all = warps[0];
        for (int i = 1; i < THREADS / 32; i++) all = make_float2(fmaxf(all.x, warps[i].x), fmaxf(all.y, warps[i].y));
        p.parts[blockIdx.x] = all;
    }
}

// The largest of all, for every thread.
__device__ __forceinline__ float2 whole(const SampleParams& p) {
    const uint32_t lane = threadIdx.x % 32;
    const float2 a = p.parts[lane], b = p.parts[lane + 32];
    return make_float2(warp_max(fmaxf(a.x, b.x)), warp_max(fmaxf(a.y, b.y)));
}

// Sums of weights, eight threads a sum, and how many scores are in each bin.
extern "C" __global__ void __launch_bounds__(THREADS) sample_count(PARAMS(SampleParams)) {
    wait_for_predecessor();
    const float2 all = whole(p);
    const float max = all.x;
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        p.out[0] = __float_as_uint(max);
        p.out[1] = all.y != 0.0f;
    }
    __shared__ uint32_t counts[BINS];
    for (uint32_t i = threadIdx.x; i < BINS; i += THREADS) counts[i] = 0;
    __syncthreads();
    const uint32_t lane = threadIdx.x % 8, each = THREADS / 8, blocks = (p.vocab + SUM - 1) / SUM;
    float* sums = reinterpret_cast<float*>(p.out + 8);
    // All threads of a warp stay together: the shuffles below need them.
    for (uint32_t first = blockIdx.x * each; first < blocks; first += PARTS * each) {
        const uint32_t block = first + threadIdx.x / 8;
        float sum = 0.0f;
        for (uint32_t j = 0; j < SUM / 8; j++) {
            const uint32_t i = block * SUM + 8 * j + lane;
            if (i >= p.vocab) break;
            const float score = p.scores[i];
            if (p.sums) sum = __fadd_rn(sum, weight_of(__fmul_rn(__fsub_rn(score, max), p.scale)));
            if (p.keep) atomicAdd(&counts[bin_of(max, score)], 1u);
        }
        // The host adds the lanes one after the other.
        float total = 0.0f;
        for (int from = 0; from < 8; from++) total = __fadd_rn(total, __shfl_sync(0xffffffffu, sum, from, 8));
        if (p.sums && lane == 0 && block < blocks) sums[block] = total;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < BINS; i += THREADS)
        if (counts[i]) atomicAdd(&p.histogram[i], counts[i]);
}

// Takes whole bins, the most likely first, until enough are taken or no more fit. What is left out is less likely than all
// that is taken.
extern "C" __global__ void __launch_bounds__(THREADS) sample_take(PARAMS(SampleParams)) {
    wait_for_predecessor();
    constexpr uint32_t EACH = BINS / THREADS;
    __shared__ uint32_t sums[THREADS];
    __shared__ uint32_t taken;
    uint32_t mine[EACH], sum = 0;
    for (uint32_t i = 0; i < EACH; i++) {
        mine[i] = sum;
        sum += p.histogram[threadIdx.x * EACH + i];
    }
    if (threadIdx.x == 0) taken = BINS;
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (uint32_t step = 1; step < THREADS; step *= 2) {
        const uint32_t before = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
        __syncthreads();
        sums[threadIdx.x] += before;
        __syncthreads();
    }
    const uint32_t before = sums[threadIdx.x] - sum;
    for (uint32_t i = 0; i < EACH; i++) {
        const uint32_t bin = threadIdx.x * EACH + i, until = before + mine[i], with = until + p.histogram[bin];
        // The first bin that is not taken.
        if (until >= p.keep || with > p.most) {
            atomicMin(&taken, bin);
            break;
        }
    }
    __syncthreads();
    if (blockIdx.x == 0 && threadIdx.x == 0) p.out[3] = taken;
    const float max = whole(p).x;
    uint2* out = reinterpret_cast<uint2*>(p.out + 8 + p.sums);
    for (uint32_t i = blockIdx.x * THREADS + threadIdx.x; i < p.vocab; i += PARTS * THREADS) {
        const float score = p.scores[i];
        if (bin_of(max, score) < taken) {
            const uint32_t place = atomicAdd(&p.out[2], 1u);
            if (place < p.most) out[place] = make_uint2(i, __float_as_uint(score));
        }
    }
}
