// The choice of experts, made by each warp for itself out of a token's logits: no kernel, no barrier.
#pragma once
#include "decode.cuh"

enum Score : uint32_t { SOFTMAX, SQUASHED, SQRT_SOFTPLUS };

constexpr int MOST_EXPERTS = 256;

struct RouteParams {
    const float* logits;       // [tokens][experts]
    const float* select_bias;  // [experts] or null: added to the scores for choosing only
    // Where somebody else has chosen: [tokens][top]; else null.
    const uint32_t* ids;
    const float* weights;
    uint32_t experts, top;     // at most 256, at most 32
    uint32_t score;            // Score
    uint32_t over_selected;    // scores of the chosen ones only
    uint32_t renorm;
    uint32_t on_input;         // weights multiply an expert's input instead of its output
    float renorm_eps, scale, softcap;
    uint32_t unused;
};

// Lane i holds choice i of `top`.
struct Route {
    uint32_t expert;
    float weight;
};

__device__ __forceinline__ float score_of(uint32_t score, float z) {
    return score == SQUASHED ? sigmoid(z) : score == SQRT_SOFTPLUS ? sqrtf(softplus(z)) : z;
}

// A number's place in the order, NaN last; never 0, which is for what is taken.
__device__ __forceinline__ uint32_t order_of(float x) {
    if (x != x) return 1;
    const uint32_t bits = x == 0.0f ? 0u : __float_as_uint(x);
    return bits & 0x80000000u ? max(~bits, 2u) : bits | 0x80000000u;
}

// Chooses among up to 32 * N experts, TOP of them (0: as many as the parameters say): the weight is a score as it goes into
// `weigh`.
template <int N, int TOP = 0>
__device__ __forceinline__ Route choose_among(const RouteParams& p, const float* logits) {
    const unsigned lane = threadIdx.x % 32;
    float scores[N];
    uint32_t order[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        const unsigned expert = 32 * i + lane;
        scores[i] = expert < p.experts ? __ldcg(logits + expert) : -INFINITY;
    }
    if (p.softcap != 0.0f) {
#pragma unroll
        for (int i = 0; i < N; i++) scores[i] = p.softcap * tanhf(scores[i] / p.softcap);
    }
    if (!p.over_selected && p.score == SOFTMAX) {
        float greatest = -INFINITY, sum = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (32 * i + lane < p.experts) greatest = fmaxf(greatest, scores[i]);
        }
        greatest = warp_max(greatest);
#pragma unroll
        for (int i = 0; i < N; i++) {
            scores[i] = 32 * i + lane < p.experts ? __expf(scores[i] - greatest) : 0.0f;
            sum += scores[i];
        }
        const float factor = 1.0f / warp_sum(sum);
#pragma unroll
        for (int i = 0; i < N; i++) scores[i] *= factor;
    } else if (!p.over_selected) {
#pragma unroll
        for (int i = 0; i < N; i++) scores[i] = score_of(p.score, scores[i]);
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        const unsigned expert = 32 * i + lane;
        float worth = scores[i];
        if (p.select_bias && expert < p.experts) worth += __ldg(p.select_bias + expert);
        order[i] = expert < p.experts ? order_of(worth) : 0;
    }
    Route route = {0, 0.0f};
    if constexpr (N == 1) {
        const unsigned top = TOP ? TOP : p.top;
#pragma unroll TOP ? TOP : 1
        for (unsigned n = 0; n < top; n++) {
            const uint32_t most = warp_greatest(order[0]);
            // Of equals the lowest.
            const uint32_t expert = __ffs(__ballot_sync(ALL_LANES, order[0] == most)) - 1;
            if (lane == expert) order[0] = 0;
            if (lane == n) route.expert = expert;
        }
        route.weight = __shfl_sync(ALL_LANES, scores[0], route.expert);
        if (lane >= top) route = {0, 0.0f};
    } else {
#pragma unroll 1
        for (unsigned n = 0; n < p.top; n++) {
            // Each lane's best; of equals the lower index.
            uint32_t best = 0, slot = 0;
            float score = 0.0f;
#pragma unroll
            for (int i = 0; i < N; i++) {
                const bool better = order[i] > best;
                best = better ? order[i] : best;
                slot = better ? i : slot;
                score = better ? scores[i] : score;
            }
            const uint32_t most = __reduce_max_sync(ALL_LANES, best);
            const uint32_t expert = __reduce_min_sync(ALL_LANES, best == most ? 32 * slot + lane : 0xffffffffu);
            score = __shfl_sync(ALL_LANES, score, expert % 32);
#pragma unroll
            for (int i = 0; i < N; i++) order[i] = expert == 32 * i + lane ? 0 : order[i];
            if (lane == n) route = {expert, score};
        }
    }
    return route;
}

// Who is chosen; `weigh` makes weights of the result.
__device__ __forceinline__ Route choose(const RouteParams& p, unsigned token) {
    const unsigned lane = threadIdx.x % 32;
    if (p.ids) {
        if (lane >= p.top) return {0, 0.0f};
        return {min(__ldcg(p.ids + token * p.top + lane), p.experts - 1), __ldcg(p.weights + token * p.top + lane)};
    }
    const float* logits = p.logits + token * p.experts;
    return p.experts <= 32 ? choose_among<1>(p, logits) : choose_among<MOST_EXPERTS / 32>(p, logits);
}

__device__ __forceinline__ Route weigh(const RouteParams& p, Route route) {
    if (p.ids) return route;
    const bool chosen = threadIdx.x % 32 < p.top;
    if (p.over_selected) {
        if (p.score == SOFTMAX) {
            const float most = warp_max(chosen ? route.weight : -INFINITY);
            const float e = chosen ? __expf(route.weight - most) : 0.0f;
            route.weight = e / warp_sum(e);
        } else {
            route.weight = score_of(p.score, route.weight);
        }
    }
    if (p.renorm) route.weight /= warp_sum(chosen ? route.weight : 0.0f) + p.renorm_eps;
    route.weight = chosen ? route.weight * p.scale : 0.0f;
    return route;
}

__device__ __forceinline__ Route of_choice(const Route& route, unsigned choice) {
    return {__shfl_sync(ALL_LANES, route.expert, choice), __shfl_sync(ALL_LANES, route.weight, choice)};
}
