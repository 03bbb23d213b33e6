// A layer of experts for single tokens, experts in bf16, f16 or f32. The router is that of moe_decode.cu.
#include "dense.cuh"
#include "route.cuh"

struct MoeGateUpDenseParams {
    const void *gate, *up;  // [experts][rows][k]; the same where they are rows of one matrix
    Input in;
    RouteParams route;
    GluParams glu;
    uint32_t inter;
    // Row of output m: m * row_step in `gate`, m * row_step + up_row in `up`; biases at the same places.
    uint32_t row_step, up_row, rows;
    uint32_t unused;
    const float* gate_bias;  // [experts][rows] or null
    const float* up_bias;
    float* out;             // [tokens][top][inter]
};

// A warp an output of a chosen expert, dealt round robin; a row of blocks a token.
template <class W>
__device__ __forceinline__ void moe_gate_up(const MoeGateUpDenseParams& p) {
    extern __shared__ float4 xs[];
    __shared__ float scratch[32];
    constexpr int UNROLL = 8;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, token = blockIdx.y;
    const unsigned quads = p.in.k / 4, chunks = quads / W::QUADS, outputs = p.route.top * p.inter;
    Input in = p.in;
    in.x += static_cast<size_t>(token) * in.stride;
    // Our router triggers after its own wait: the input is complete. Who else chose may have triggered before.
    if (p.route.ids) wait_for_predecessor();
    float4 norm_weights[STAGED_QUADS];
    load_norm_weights(in, norm_weights, threadIdx.x);
    float factor[1];
    stage_rms<W, 1>(in, 1, xs, scratch, norm_weights, factor);
    wait_for_predecessor();
    let_next_begin();
    const Route route = weigh(p.route, choose(p.route, token));
    for (unsigned output = blockIdx.x + gridDim.x * warp; output < outputs; output += gridDim.x * (blockDim.x / 32)) {
        const unsigned choice = output / p.inter, m = output % p.inter;
        const Route mine = of_choice(route, choice);
        const size_t row = static_cast<size_t>(mine.expert) * p.rows + m * p.row_step;
        const uint4* gate = static_cast<const uint4*>(p.gate) + row * chunks + lane;
        const uint4* up = static_cast<const uint4*>(p.up) + (row + p.up_row) * chunks + lane;
        float sums[2] = {};
        for (unsigned first = 0; first < chunks; first += 32 * UNROLL) {
            uint4 w[2][UNROLL];
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                const unsigned chunk = first + 32 * u;
                const bool inside = chunk + lane < chunks;
                w[0][u] = inside ? load_weights(gate + chunk) : make_uint4(0, 0, 0, 0);
                w[1][u] = inside ? load_weights(up + chunk) : make_uint4(0, 0, 0, 0);
            }
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                const unsigned chunk = first + 32 * u + lane;
                if (chunk >= chunks) continue;
                sums[0] = dot_chunk<W>(w[0][u], xs, chunks, chunk, sums[0]);
                sums[1] = dot_chunk<W>(w[1][u], xs, chunks, chunk, sums[1]);
            }
        }
        const float weight = p.route.on_input ? factor[0] * mine.weight : factor[0];
        const float g = warp_sum(sums[0]) * weight + (p.gate_bias ? __ldg(p.gate_bias + row) : 0.0f);
        const float u = warp_sum(sums[1]) * weight + (p.up_bias ? __ldg(p.up_bias + row + p.up_row) : 0.0f);
        if (lane == 0) p.out[static_cast<size_t>(token) * outputs + output] = join(p.glu, g, u);
    }
}

struct MoeDownDenseParams {
    const void* weights;  // [experts][hidden][inter]
    RouteParams route;
    const float* h;       // [tokens][top][inter]
    const float* bias;    // [experts][hidden] or null
    const float* residual;  // [tokens][stride] or null; may be `out`
    float* out;
    uint32_t inter, hidden, stride;
    float scale;          // of the sum, before the residual is added
};

// A warp a row of all chosen experts, which it adds in order.
template <class W>
__device__ __forceinline__ void moe_down(const MoeDownDenseParams& p) {
    extern __shared__ float4 xs[];
    __shared__ float scratch[32];
    constexpr int UNROLL = 8;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, token = blockIdx.y;
    const unsigned quads = p.inter / 4, chunks = quads / W::QUADS;
    // gate_up triggers after its own wait: the router's logits are complete.
    const Route route = weigh(p.route, choose(p.route, token));
    let_next_begin();
    wait_for_predecessor();
    for (unsigned c = 0; c < p.route.top; c++) {
        Input in = {};
        in.x = p.h + (static_cast<size_t>(token) * p.route.top + c) * p.inter;
        in.k = p.inter;
        float4 ones[STAGED_QUADS];
        load_norm_weights(in, ones, threadIdx.x);
        float factor[1];
        stage_rms<W, 1>(in, 1, xs + c * quads, scratch, ones, factor);
    }
    for (unsigned row = blockIdx.x + gridDim.x * warp; row < p.hidden; row += gridDim.x * (blockDim.x / 32)) {
        float v = 0.0f;
        for (unsigned c = 0; c < p.route.top; c++) {
            const Route mine = of_choice(route, c);
            const size_t at = static_cast<size_t>(mine.expert) * p.hidden + row;
            const uint4* weights = static_cast<const uint4*>(p.weights) + at * chunks + lane;
            float sum = 0.0f;
            for (unsigned first = 0; first < chunks; first += 32 * UNROLL) {
                uint4 w[UNROLL];
#pragma unroll
                for (int u = 0; u < UNROLL; u++) {
                    const unsigned chunk = first + 32 * u;
                    w[u] = chunk + lane < chunks ? load_weights(weights + chunk) : make_uint4(0, 0, 0, 0);
                }
#pragma unroll
                for (int u = 0; u < UNROLL; u++) {
                    const unsigned chunk = first + 32 * u + lane;
                    if (chunk < chunks) sum = dot_chunk<W>(w[u], xs + c * quads, chunks, chunk, sum);
                }
            }
            sum = warp_sum(sum) + (p.bias ? __ldg(p.bias + at) : 0.0f);
            v = fmaf(p.route.on_input ? 1.0f : mine.weight, sum, v);
        }
        if (lane != 0) continue;
        v *= p.scale;
        const size_t at = static_cast<size_t>(token) * p.stride + row;
        if (p.residual) v += __ldcg(p.residual + at);
        p.out[at] = v;
    }
}

#define MOE_DENSE(name, W)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256, 2) moe_gate_up_##name(PARAMS(MoeGateUpDenseParams)) { \
        moe_gate_up<W>(p);                                                                                          \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256, 2) moe_down_##name(PARAMS(MoeDownDenseParams)) { moe_down<W>(p); }

MOE_DENSE(bf16, Bf16)
MOE_DENSE(f16, F16)
MOE_DENSE(f32, F32)
