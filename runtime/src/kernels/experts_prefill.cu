// What the experts of many tokens need around their products: tokens sorted by expert, rows copied in that order, results
// joined. The host learns nothing of who goes where.
#include "common.cuh"

constexpr int THREADS = 256;

struct SortByExpertParams {
    const uint32_t* experts; // [tokens, top]
    uint32_t* offsets;       // [expert_count + 1]: first sorted row of each expert
    uint32_t* places;        // [tokens, top]: the sorted row of each
    uint32_t* tokens_of;     // [tokens * top]: the token of each sorted row
    uint32_t count;          // tokens * top
    uint32_t top, expert_count;
};

constexpr int SORT_WARPS = 32;

// One block. Each warp counts the experts of a stretch of entries; sums over warps and experts give every warp the first
// place of each of its experts; then it deals them out in order. The same input always gives the same order.
extern "C" __global__ void __launch_bounds__(SORT_WARPS * 32) sort_by_expert(PARAMS(SortByExpertParams)) {
    extern __shared__ uint32_t counts[]; // [SORT_WARPS, expert_count], then places
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t stretch = (p.count + SORT_WARPS - 1) / SORT_WARPS, first = min(warp * stretch, p.count);
    const uint32_t end = min(first + stretch, p.count);
    for (uint32_t i = threadIdx.x; i < SORT_WARPS * p.expert_count; i += blockDim.x) counts[i] = 0;
    wait_for_predecessor();
    let_next_begin();
    __syncthreads();
    for (uint32_t i = first + lane; i < end; i += 32) atomicAdd(&counts[warp * p.expert_count + __ldcg(p.experts + i)], 1u);
    __syncthreads();
    if (warp == 0) {
        uint32_t before = 0;
        for (uint32_t base = 0; base < p.expert_count; base += 32) {
            uint32_t e = base + lane, total = 0;
            if (e < p.expert_count)
                for (int w = 0; w < SORT_WARPS; w++) {
                    uint32_t* c = &counts[w * p.expert_count + e];
                    uint32_t n = *c;
                    *c = total; // of the warps before
                    total += n;
                }
            uint32_t scan = total;
            for (int d = 1; d < 32; d *= 2) {
                uint32_t left = __shfl_up_sync(~0u, scan, d);
                if (lane >= d) scan += left;
            }
            if (e < p.expert_count) {
                uint32_t start = before + scan - total;
                p.offsets[e] = start;
                for (int w = 0; w < SORT_WARPS; w++) counts[w * p.expert_count + e] += start;
            }
            before += __shfl_sync(~0u, scan, 31);
        }
        if (lane == 0) p.offsets[p.expert_count] = before;
    }
    __syncthreads();
    for (uint32_t base = first; base < end; base += 32) {
        uint32_t i = base + lane;
        // Lanes beyond the end get numbers of their own.
        uint32_t expert = i < end ? __ldcg(p.experts + i) : p.expert_count + lane;
        uint32_t same = __match_any_sync(~0u, expert);
        uint32_t rank = __popc(same & ((1u << lane) - 1));
        uint32_t* next = &counts[warp * p.expert_count + (i < end ? expert : 0)];
        uint32_t place = *next + rank;
        __syncwarp();
        if (i < end) {
            p.places[i] = place;
            p.tokens_of[place] = i / p.top;
            if (rank == 0) *next += __popc(same);
        }
        __syncwarp();
    }
}

struct GatherRowsParams {
    const void* from;       // half [_, stride]
    void* to;               // half [rows, stride]
    const uint32_t* rows_of; // [rows]
    uint32_t rows, stride;  // stride % 8 == 0
};

extern "C" __global__ void __launch_bounds__(THREADS) gather_rows(PARAMS(GatherRowsParams)) {
    const uint32_t chunks = p.stride / 8;
    wait_for_predecessor();
    let_next_begin();
    for (uint32_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
        const uint4* from = (const uint4*)p.from + (size_t)__ldcg(p.rows_of + row) * chunks;
        uint4* to = (uint4*)p.to + (size_t)row * chunks;
        for (uint32_t i = threadIdx.x; i < chunks; i += THREADS) to[i] = __ldcg(from + i);
    }
}

struct CombineExpertsParams {
    const float* y;         // [tokens * top, width], sorted by expert
    const uint32_t* places; // [tokens, top]
    const float* weights;   // [tokens, top]
    const float* residual;  // [tokens, width], may be `out`; or null
    float* out;             // [tokens, width]
    uint32_t tokens, top, width;
    uint32_t unused;
};

// The sum over a token's experts, always in the order of the router's choice.
extern "C" __global__ void __launch_bounds__(THREADS) combine_experts(PARAMS(CombineExpertsParams)) {
    wait_for_predecessor();
    let_next_begin();
    const uint32_t token = blockIdx.x;
    const uint32_t* places = p.places + (size_t)token * p.top;
    const float* weights = p.weights + (size_t)token * p.top;
    float* out = p.out + (size_t)token * p.width;
    const float* residual = p.residual == nullptr ? nullptr : p.residual + (size_t)token * p.width;
    if (p.width % 4 == 0) {
        for (uint32_t i = threadIdx.x; i < p.width / 4; i += THREADS) {
            float4 sum = residual != nullptr ? __ldcg((const float4*)residual + i) : make_float4(0, 0, 0, 0);
            for (uint32_t j = 0; j < p.top; j++) {
                float4 y = __ldcg((const float4*)(p.y + (size_t)__ldcg(places + j) * p.width) + i);
                float w = __ldcg(weights + j);
                sum.x += w * y.x, sum.y += w * y.y, sum.z += w * y.z, sum.w += w * y.w;
            }
            ((float4*)out)[i] = sum;
        }
        return;
    }
    for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) {
        float sum = residual != nullptr ? __ldcg(residual + i) : 0.0f;
        for (uint32_t j = 0; j < p.top; j++) sum += __ldcg(weights + j) * __ldcg(p.y + (size_t)__ldcg(places + j) * p.width + i);
        out[i] = sum;
    }
}
