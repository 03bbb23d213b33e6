// Choice of experts, the sum of their outputs, and the choice of the next token.
#include "act.cuh"
#include "common.cuh"

enum : uint32_t { SOFTMAX_SCORE, SIGMOID_SCORE, SQRT_SOFTPLUS_SCORE };

struct RouteParams {
    const float* logits;       // [tokens][experts]
    const float* select_bias;  // [experts], or none
    uint32_t* chosen;          // [tokens][top]
    float* weights;            // [tokens][top]
    uint32_t experts, top;
    uint32_t score, selected;  // selected: only the chosen ones are scored
    uint32_t groups, keep, top2;  // groups 0: none; top2: rank by the sum of the two best
    uint32_t renorm;
    float softcap, renorm_eps, scale;
    uint32_t unused;
};

// What is no number comes last, of equals the lower index first.
__device__ __forceinline__ float worth_of(float x) { return isnan(x) ? -INFINITY : x; }

// The best index not yet taken among [count] values, by a warp. `taken` marks 1.
__device__ uint32_t best(const float* values, const uint8_t* taken, uint32_t count) {
    float most = -INFINITY;
    uint32_t index = 0xffffffffu;
    for (uint32_t i = threadIdx.x; i < count; i += 32) {
        if (taken[i]) continue;
        const float value = worth_of(values[i]);
        if (index == 0xffffffffu || value > most) most = value, index = i;
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, most, offset);
        const uint32_t at = __shfl_xor_sync(0xffffffffu, index, offset);
        if (at != 0xffffffffu && (index == 0xffffffffu || other > most || (other == most && at < index)))
            most = other, index = at;
    }
    return index;
}

__device__ float score_one(uint32_t kind, float x) { return kind == SIGMOID_SCORE ? sigmoid(x) : sqrtf(softplus(x)); }

// Scores [count] values in place, by a warp.
__device__ void score_all(uint32_t kind, float* values, uint32_t count) {
    if (kind == SOFTMAX_SCORE) {
        float most = -INFINITY, sum = 0.0f;
        for (uint32_t i = threadIdx.x; i < count; i += 32) most = fmaxf(most, values[i]);
        most = warp_max(most);
        for (uint32_t i = threadIdx.x; i < count; i += 32) sum += values[i] = expf(values[i] - most);
        sum = warp_sum(sum);
        for (uint32_t i = threadIdx.x; i < count; i += 32) values[i] *= 1.0f / sum;
    } else {
        for (uint32_t i = threadIdx.x; i < count; i += 32) values[i] = score_one(kind, values[i]);
    }
    __syncwarp();
}

// A warp a token. Shared memory: scores, worths, weights of the chosen and ranks [experts] floats each, then two marks a value.
extern "C" __global__ void route(PARAMS(RouteParams)) {
    wait_for_predecessor();
    let_next_begin();
    extern __shared__ float shared[];
    float *scores = shared, *worth = scores + p.experts, *chosen = worth + p.experts, *ranks = chosen + p.experts;
    uint8_t *taken = reinterpret_cast<uint8_t*>(ranks + p.experts), *kept = taken + p.experts;
    const uint32_t token = blockIdx.x, lane = threadIdx.x;
    for (uint32_t i = lane; i < p.experts; i += 32) {
        float z = p.logits[size_t(token) * p.experts + i];
        if (p.softcap != 0.0f) z = p.softcap * tanhf(z / p.softcap);
        scores[i] = z;
        taken[i] = kept[i] = 0;
    }
    __syncwarp();
    if (!p.selected) score_all(p.score, scores, p.experts);
    for (uint32_t i = lane; i < p.experts; i += 32) worth[i] = scores[i] + (p.select_bias ? p.select_bias[i] : 0.0f);
    __syncwarp();
    if (p.groups) {
        const uint32_t size = p.experts / p.groups;
        for (uint32_t g = 0; g < p.groups; ++g) {
            const float* group = worth + g * size;
            const uint32_t first = best(group, taken, size);
            float rank = group[first];
            if (p.top2 && size > 1) {
                if (lane == 0) taken[first] = 1;
                __syncwarp();
                rank += group[best(group, taken, size)];
                __syncwarp();
                if (lane == 0) taken[first] = 0;
                __syncwarp();
            }
            if (lane == 0) ranks[g] = rank;
        }
        __syncwarp();
        for (uint32_t k = 0; k < p.keep; ++k) {
            const uint32_t g = best(ranks, kept, p.groups);
            if (lane == 0) kept[g] = 1;
            __syncwarp();
        }
        for (uint32_t i = lane; i < p.experts; i += 32)
            if (!kept[i / size]) worth[i] = -INFINITY;
        __syncwarp();
    }
    for (uint32_t k = 0; k < p.top; ++k) {
        const uint32_t expert = best(worth, taken, p.experts);
        if (lane == 0) {
            taken[expert] = 1;
            chosen[k] = scores[expert];
            p.chosen[size_t(token) * p.top + k] = expert;
        }
        __syncwarp();
    }
    if (p.selected) score_all(p.score, chosen, p.top);
    float sum = 1.0f;
    if (p.renorm) {
        sum = 0.0f;
        for (uint32_t k = lane; k < p.top; k += 32) sum += chosen[k];
        sum = warp_sum(sum) + p.renorm_eps;
    }
    for (uint32_t k = lane; k < p.top; k += 32) p.weights[size_t(token) * p.top + k] = chosen[k] / sum * p.scale;
}

struct CombineParams {
    const float* x;         // [tokens][top][width]
    const float* weights;   // [tokens][top], or none: 1
    const float* residual;  // as out, or none
    float* out;             // [tokens][width]
    uint64_t count;         // of out
    uint32_t top, width;
};

extern "C" __global__ void combine(PARAMS(CombineParams)) {
    wait_for_predecessor();
    let_next_begin();
    for (uint64_t i = blockIdx.x * uint64_t(blockDim.x) + threadIdx.x; i < p.count; i += uint64_t(gridDim.x) * blockDim.x) {
        const uint64_t token = i / p.width;
        float sum = 0.0f;
        for (uint32_t k = 0; k < p.top; ++k) {
            const float weight = p.weights ? p.weights[token * p.top + k] : 1.0f;
            sum += weight * p.x[(token * p.top + k) * p.width + i % p.width];
        }
        p.out[i] = p.residual ? p.residual[i] + sum : sum;
    }
}

struct ArgmaxParams {
    const float* logits;  // [rows][vocab]
    uint32_t* token;      // [rows]: the first with the largest logit
    float* largest;       // [rows]: NaN if any logit is
    uint32_t vocab;
    uint32_t unused;
};

// A block of 1024 threads a row.
extern "C" __global__ void __launch_bounds__(1024) argmax(PARAMS(ArgmaxParams)) {
    wait_for_predecessor();
    let_next_begin();
    __shared__ float values[32];
    __shared__ uint32_t places[32];
    const float* logits = p.logits + size_t(blockIdx.x) * p.vocab;
    float most = -INFINITY;
    uint32_t at = 0;
    bool broken = false;
    for (uint32_t i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        const float x = logits[i];
        broken |= isnan(x);
        if (x > most) most = x, at = i;
    }
    const bool any = __syncthreads_or(broken);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int pass = 0; pass < 2; ++pass) {
        for (int offset = 16; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, most, offset);
            const uint32_t place = __shfl_xor_sync(0xffffffffu, at, offset);
            if (other > most || (other == most && place < at)) most = other, at = place;
        }
        if (pass == 1) break;
        if (lane == 0) values[warp] = most, places[warp] = at;
        __syncthreads();
        if (warp != 0) return;
        most = values[lane], at = places[lane];
    }
    if (threadIdx.x == 0) {
        p.token[blockIdx.x] = at;
        p.largest[blockIdx.x] = any ? NAN : most;
    }
}

struct NextParams {
    const uint32_t* sampled;  // [runs]
    uint32_t* tokens;         // [runs]
    uint32_t* positions;      // [runs]
    uint32_t runs;
    uint32_t unused;
};

// The last kernel of a step: nothing of the same step reads these any more.
extern "C" __global__ void next_step(PARAMS(NextParams)) {
    wait_for_predecessor();
    const uint32_t run = blockIdx.x * blockDim.x + threadIdx.x;
    if (run < p.runs) {
        p.tokens[run] = p.sampled[run];
        p.positions[run] += 1;
    }
}
