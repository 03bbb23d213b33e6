// A layer of experts for single tokens, experts quantized: router logits, then gate and up of the chosen experts joined, then
// down summed with the weights of the choice onto the residual stream. See quant.cuh and route.cuh.
#include "quant.cuh"
#include "route.cuh"

// ---- router: a block a (logit, token) --------------------------------------------------------------------------------

struct RouterParams {
    const void* weights;  // [experts][k]
    Input in;
    const float* bias;    // [experts] or null
    float* logits;        // [tokens][experts]
};

struct RouterBf16 {
    static constexpr int WIDTH = 8;
    static __device__ __forceinline__ void unpack(const uint4& w, float (&v)[8]) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = __uint_as_float(word(w, i) << 16);
            v[2 * i + 1] = __uint_as_float(word(w, i) & 0xffff0000u);
        }
    }
};

struct RouterF16 {
    static constexpr int WIDTH = 8;
    static __device__ __forceinline__ void unpack(const uint4& w, float (&v)[8]) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t pair = word(w, i);
            const float2 f = __half22float2(*reinterpret_cast<const __half2*>(&pair));
            v[2 * i] = f.x;
            v[2 * i + 1] = f.y;
        }
    }
};

struct RouterF32 {
    static constexpr int WIDTH = 4;
    static __device__ __forceinline__ void unpack(const uint4& w, float (&v)[4]) {
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = __uint_as_float(word(w, i));
    }
};

template <class W>
__device__ __forceinline__ void router(const RouterParams& p) {
    __shared__ float scratch[2 * 32];
    const unsigned chunks = p.in.k / W::WIDTH, expert = blockIdx.x, token = blockIdx.y;
    const uint4* row = reinterpret_cast<const uint4*>(p.weights) + static_cast<size_t>(expert) * chunks;
    const float* x = p.in.x + static_cast<size_t>(token) * p.in.stride;
    uint4 first = make_uint4(0, 0, 0, 0);
    if (threadIdx.x < chunks) first = load_weights(row + threadIdx.x);
    prefetch_norm_weights(p.in);
    // Here the trigger comes after the wait: what follows may read what this kernel's predecessor wrote before its own wait.
    wait_for_predecessor();
    let_next_begin();
    float sums[2] = {};
    for (unsigned c = threadIdx.x; c < chunks; c += blockDim.x) {
        float w[W::WIDTH];
        W::unpack(c == threadIdx.x ? first : load_weights(row + c), w);
#pragma unroll
        for (int i = 0; i < W::WIDTH / 4; i++) {
            const unsigned quad = c * (W::WIDTH / 4) + i;
            float4 v = load_activations(x, quad);
            sums[1] += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
            if (p.in.norm && p.in.weight) {
                const float4 n = __ldg(reinterpret_cast<const float4*>(p.in.weight) + quad);
                v = make_float4(v.x * n.x, v.y * n.y, v.z * n.z, v.w * n.w);
            }
            sums[0] += w[4 * i] * v.x + w[4 * i + 1] * v.y + w[4 * i + 2] * v.z + w[4 * i + 3] * v.w;
        }
    }
    block_sums_once(sums, scratch);
    if (threadIdx.x == 0) {
        const float factor = p.in.norm ? rsqrtf(sums[1] / p.in.k + p.in.eps) : 1.0f;
        p.logits[token * gridDim.x + expert] = sums[0] * factor + (p.bias ? p.bias[expert] : 0.0f);
    }
}

extern "C" __global__ void __launch_bounds__(512) moe_router_bf16(PARAMS(RouterParams)) { router<RouterBf16>(p); }
extern "C" __global__ void __launch_bounds__(512) moe_router_f16(PARAMS(RouterParams)) { router<RouterF16>(p); }
extern "C" __global__ void __launch_bounds__(512) moe_router_f32(PARAMS(RouterParams)) { router<RouterF32>(p); }

// ---- gate and up -----------------------------------------------------------------------------------------------------

struct MoeGateUpParams {
    Planes gate, up;      // [experts][rows][k]; the same where they are rows of one matrix
    Input in;
    RouteParams route;
    GluParams glu;
    uint32_t inter;
    // Row of output m: m * row_step in `gate`, m * row_step + up_row in `up`; biases at the same places.
    uint32_t row_step, up_row, rows;
    uint32_t splits;      // warps that share a tile of 8 outputs
    float half_scale;     // 0: `out` is f32; else halves, this much too large
    uint32_t unused;
    const float* gate_bias;  // [experts][rows] or null
    const float* up_bias;
    void* out;            // [tokens][top][inter]
};

// A row of tiles a token; what the router does not decide happens before the wait.
template <class F, int AHEAD>
__device__ __forceinline__ void moe_gate_up(const MoeGateUpParams& p) {
    extern __shared__ uint4 shared[];
    __shared__ float scratch[32];
    __shared__ float parts[32][16];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, token = blockIdx.y;
    const unsigned units = p.in.k / 32, steps = (units + 7) / 8;
    const unsigned split = warp % p.splits, per_warp = (steps + p.splits - 1) / p.splits;
    const unsigned begin = split * per_warp, end = min(steps, begin + per_warp);

    // Our router triggers after its own wait: the input is complete. Who else chose may have triggered before.
    if (p.route.ids) wait_for_predecessor();
    prefetch_norm_weights(p.in);
    float squares[1] = {stage_row<F>(p.in, p.in.x + static_cast<size_t>(token) * p.in.stride, staged<F>(shared, units, 0), units)};
    block_sums_once(squares, scratch);
    const float factor = p.in.norm ? rsqrtf(squares[0] / p.in.k + p.in.eps) : 1.0f;
    wait_for_predecessor();
    let_next_begin();
    const Route route = choose(p.route, token);

    const unsigned tiles_an_expert = (p.inter + 7) / 8, tile = blockIdx.x * (blockDim.x / 32 / p.splits) + warp / p.splits;
    const unsigned choice = tile / tiles_an_expert, first = (tile - choice * tiles_an_expert) * 8;
    const bool working = choice < p.route.top;
    const Route mine = of_choice(route, working ? choice : 0);
    float gate_bias = 0.0f, up_bias = 0.0f;
    if (working) {
        const unsigned m = min(first + g, p.inter - 1);
        const size_t row = static_cast<size_t>(mine.expert) * p.rows + m * p.row_step;
        const typename F::Row row_a = F::row(p.gate, row, units), row_b = F::row(p.up, row + p.up_row, units);
        typename F::Weights a[AHEAD], b[AHEAD];
        auto load = [&](int i, unsigned step) {
            if (step >= end) return;
            a[i] = F::load(row_a, step, t, units);
            b[i] = F::load(row_b, step, t, units);
        };
#pragma unroll
        for (int i = 0; i < AHEAD; i++) load(i, begin + i);
        const size_t at = static_cast<size_t>(mine.expert) * p.rows + min(first + lane % 8, p.inter - 1) * p.row_step;
        if (p.gate_bias) gate_bias = __ldg(p.gate_bias + at);
        if (p.up_bias) up_bias = __ldg(p.up_bias + at + p.up_row);
        float sums[2][1] = {};
        for (unsigned step = begin; step < end; step += AHEAD) {
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                if (step + i < end) multiply<F, 1>(a[i], b[i], shared, units, 0, step + i, units, sums);
                load(i, step + AHEAD + i);
            }
        }
        const float sum_a = quad_sum(sums[0][0]), sum_b = quad_sum(sums[1][0]);
        if (t == 0) {
            parts[warp][g] = sum_a;
            parts[warp][g + 8] = sum_b;
        }
    }
    const float input_weight = p.route.on_input ? of_choice(weigh(p.route, route), working ? choice : 0).weight : 1.0f;
    if (p.splits > 1) {
        __syncthreads();
    } else {
        __syncwarp();
    }
    const unsigned m = first + lane;
    if (!working || split != 0 || lane >= 8 || m >= p.inter) return;
    float gate = 0.0f, up = 0.0f;
    for (unsigned s = 0; s < p.splits; s++) {
        gate += parts[warp + s][lane];
        up += parts[warp + s][lane + 8];
    }
    const float weight = p.route.on_input ? factor * input_weight : factor;
    gate = gate * weight + gate_bias;
    up = up * weight + up_bias;
    const size_t place = (static_cast<size_t>(token) * p.route.top + choice) * p.inter + m;
    const float h = join(p.glu, gate, up);
    if (p.half_scale != 0.0f) {
        static_cast<__half*>(p.out)[place] = __float2half(h * p.half_scale);
    } else {
        static_cast<float*>(p.out)[place] = h;
    }
}

// The same where the width is known when the kernel is compiled, a token's own router chooses TOP of at most 32 experts whose
// weights multiply outputs, and halves go to `down`: little code, one power of two for the whole input.
template <class F, int UNITS, int TOP, int WARPS, int SPLITS, int AHEAD>
__device__ __forceinline__ void moe_gate_up_fixed(const MoeGateUpParams& p) {
    using Stage = FlatStage<UNITS, WARPS>;
    constexpr int STEPS = Stage::PITCH / 8, PER_WARP = STEPS / SPLITS;
    static_assert(Stage::PITCH > UNITS, "idle lanes read zeros behind the row");
    static_assert(STEPS % SPLITS == 0 && PER_WARP % AHEAD == 0 && WARPS % SPLITS == 0, "every warp has as many steps");
    __shared__ uint4 chunks[Stage::BYTES / 16];
    __shared__ float scratch[64];
    __shared__ float parts[WARPS][16];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, token = blockIdx.y;
    const unsigned split = warp % SPLITS, begin = split * PER_WARP;
    const unsigned tiles_an_expert = (p.inter + 7) / 8, tile = blockIdx.x * (WARPS / SPLITS) + warp / SPLITS;
    const unsigned choice = tile / tiles_an_expert, first = (tile - choice * tiles_an_expert) * 8;
    const bool working = choice < TOP;

    // Our router triggers after its own wait: the input is complete.
    const float factor = Stage::run(p.in, p.in.x + static_cast<size_t>(token) * p.in.stride, chunks, scratch);
    wait_for_predecessor();
    let_next_begin();
    const Route route = choose_among<1, TOP>(p.route, p.route.logits + token * p.route.experts);
    const uint32_t expert = of_choice(route, working ? choice : 0).expert;
    const unsigned m = min(first + g, p.inter - 1);
    const size_t row = static_cast<size_t>(expert) * p.rows + m * p.row_step;
    const typename F::Row row_a = F::row(p.gate, row, UNITS), row_b = F::row(p.up, row + p.up_row, UNITS);
    typename F::Weights a[AHEAD], b[AHEAD];
    auto load = [&](int i, unsigned step) {
        a[i] = F::template load_within<UNITS>(row_a, step, t);
        b[i] = F::template load_within<UNITS>(row_b, step, t);
    };
    if (working) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) load(i, begin + i);
    }
    const size_t at = static_cast<size_t>(expert) * p.rows + min(first + lane % 8, p.inter - 1) * p.row_step;
    const float gate_bias = p.gate_bias ? __ldg(p.gate_bias + at) : 0.0f, up_bias = p.up_bias ? __ldg(p.up_bias + at + p.up_row) : 0.0f;
    __syncthreads();
    float sums[2] = {};
    if (working) {
#pragma unroll 1
        for (unsigned step = begin; step < begin + PER_WARP; step += AHEAD) {
            const bool more = step + AHEAD < begin + PER_WARP;
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                multiply_one<F, true, true>(a[i], b[i], chunks, nullptr, Stage::PITCH, step + i, Stage::PITCH, sums);
                if (more) load(i, step + AHEAD + i);
            }
        }
    }
    sums[0] = quad_sum(sums[0]);
    sums[1] = quad_sum(sums[1]);
    if (t == 0) {
        parts[warp][g] = sums[0];
        parts[warp][g + 8] = sums[1];
    }
    if (SPLITS > 1) {
        __syncthreads();
    } else {
        __syncwarp();
    }
    const unsigned output = first + lane;
    if (!working || split != 0 || lane >= 8 || output >= p.inter) return;
    float gate = 0.0f, up = 0.0f;
#pragma unroll
    for (int s = 0; s < SPLITS; s++) {
        gate += parts[warp + s][lane];
        up += parts[warp + s][lane + 8];
    }
    const float all = factor * (1 << F::FACTOR_LOG2);
    const float h = join(p.glu, gate * all + gate_bias, up * all + up_bias);
    static_cast<__half*>(p.out)[(static_cast<size_t>(token) * TOP + choice) * p.inter + output] = __float2half(h * p.half_scale);
}

// ---- down ------------------------------------------------------------------------------------------------------------

struct MoeDownParams {
    Planes weights;       // [experts][hidden][inter]
    RouteParams route;
    const void* h;        // [tokens][top][inter]
    const float* bias;    // [experts][hidden] or null
    const float* residual;  // [tokens][stride] or null; may be `out`
    float* out;
    uint32_t inter, hidden, stride;
    uint32_t splits;      // warps that share an expert's part of a tile
    float scale;          // of the sum, before the residual is added
    float half_scale;     // of MoeGateUpParams
};

// A block has 16 rows of every chosen expert and adds them in order: the same result every time, without atomics.
template <class F, int AHEAD>
__device__ __forceinline__ void moe_down(const MoeDownParams& p) {
    extern __shared__ uint4 shared[];
    __shared__ float parts[32][16];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, token = blockIdx.y;
    const unsigned units = p.inter / 32, steps = (units + 7) / 8, pitch = units * p.route.top;
    const unsigned choice = warp / p.splits, split = warp % p.splits, per_warp = (steps + p.splits - 1) / p.splits;
    const unsigned begin = split * per_warp, end = min(steps, begin + per_warp), first = blockIdx.x * 16;

    // gate_up triggers after its own wait: the router's logits are complete.
    const Route route = choose(p.route, token);
    const Route mine = of_choice(route, choice);
    const size_t base = static_cast<size_t>(mine.expert) * p.hidden;
    const typename F::Row row_a = F::row(p.weights, base + min(first + g, p.hidden - 1), units);
    const typename F::Row row_b = F::row(p.weights, base + min(first + g + 8, p.hidden - 1), units);
    typename F::Weights a[AHEAD], b[AHEAD];
    auto load = [&](int i, unsigned step) {
        if (step >= end) return;
        a[i] = F::load(row_a, step, t, units);
        b[i] = F::load(row_b, step, t, units);
    };
#pragma unroll
    for (int i = 0; i < AHEAD; i++) load(i, begin + i);
    const Route weighed = weigh(p.route, route);
    const unsigned row = first + lane % 16;
    const bool finishing = warp == 0 && row < p.hidden;
    float bias = 0.0f;
    for (unsigned c = 0; p.bias && c < p.route.top; c++) {
        const Route r = of_choice(weighed, c);
        if (finishing) bias = fmaf(p.route.on_input ? 1.0f : r.weight, __ldg(p.bias + static_cast<size_t>(r.expert) * p.hidden + row), bias);
    }
    let_next_begin();
    wait_for_predecessor();
    const size_t at = static_cast<size_t>(token) * p.stride + row;
    const float residual = finishing && p.residual ? __ldcg(p.residual + at) : 0.0f;
    const size_t width = p.route.top * p.inter;
    const Staged to = staged<F>(shared, pitch, 0);
    bool halves = false;
    if constexpr (F::HALVES == 1 && !F::NIBBLES && F::BIAS == 0.0f) {
        halves = p.half_scale != 0.0f;
        if (halves) stage_halves<F>(static_cast<const __half*>(p.h) + token * width, to, pitch, p.half_scale);
    }
    if (!halves) stage_batches<F, 2, false>(Input{}, static_cast<const float*>(p.h) + token * width, to, pitch);
    __syncthreads();
    float sums[2][1] = {};
    for (unsigned step = begin; step < end; step += AHEAD) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (step + i < end) multiply<F, 1>(a[i], b[i], shared, pitch, choice * units, step + i, units, sums);
            load(i, step + AHEAD + i);
        }
    }
    const float sum_a = quad_sum(sums[0][0]), sum_b = quad_sum(sums[1][0]);
    const float weight = p.route.on_input ? 1.0f : of_choice(weighed, choice).weight;
    if (t == 0) {
        parts[warp][g] = sum_a * weight;
        parts[warp][g + 8] = sum_b * weight;
    }
    __syncthreads();
    if (!finishing || lane >= 16) return;
    float v = bias;
    for (unsigned w = 0; w < blockDim.x / 32; w++) v += parts[w][lane];
    p.out[at] = fmaf(v, p.scale, residual);
}

// The same where `moe_gate_up_fixed` has been before: TOP experts whose rows are UNITS long.
template <class F, int UNITS, int TOP, int SPLITS, int AHEAD>
__device__ __forceinline__ void moe_down_fixed(const MoeDownParams& p) {
    constexpr int WARPS = TOP * SPLITS;
    using Stage = FlatStage<UNITS, WARPS>;
    constexpr int STEPS = Stage::PITCH / 8, PER_WARP = STEPS / SPLITS, PITCH = TOP * Stage::PITCH;
    static_assert(Stage::PITCH > UNITS, "idle lanes read zeros behind the row");
    static_assert(STEPS % SPLITS == 0 && PER_WARP % AHEAD == 0, "every warp has as many steps");
    __shared__ uint4 chunks[TOP * Stage::BYTES / 16];
    __shared__ float parts[WARPS][16];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, token = blockIdx.y;
    const unsigned choice = warp / SPLITS, begin = warp % SPLITS * PER_WARP, first = blockIdx.x * 16;

    // gate_up triggers after its own wait: the router's logits are complete.
    const Route route = choose_among<1, TOP>(p.route, p.route.logits + token * p.route.experts);
    const size_t base = static_cast<size_t>(of_choice(route, choice).expert) * p.hidden;
    const typename F::Row row_a = F::row(p.weights, base + min(first + g, p.hidden - 1), UNITS);
    const typename F::Row row_b = F::row(p.weights, base + min(first + g + 8, p.hidden - 1), UNITS);
    typename F::Weights a[AHEAD], b[AHEAD];
    auto load = [&](int i, unsigned step) {
        a[i] = F::template load_within<UNITS>(row_a, step, t);
        b[i] = F::template load_within<UNITS>(row_b, step, t);
    };
#pragma unroll
    for (int i = 0; i < AHEAD; i++) load(i, begin + i);
    let_next_begin();
    const Route weighed = weigh(p.route, route);
    const unsigned row = first + lane % 16;
    const bool finishing = warp == 0 && row < p.hidden;
    float bias = 0.0f;
    if (p.bias) {
#pragma unroll
        for (int c = 0; c < TOP; c++) {
            const Route r = of_choice(weighed, c);
            if (finishing) bias = fmaf(r.weight, __ldg(p.bias + static_cast<size_t>(r.expert) * p.hidden + row), bias);
        }
    }
    for (int c = 0; c < TOP; c++) Stage::pad(chunks + c * Stage::PITCH, PITCH);
    wait_for_predecessor();
    const size_t at = static_cast<size_t>(token) * p.stride + row;
    const float residual = finishing && p.residual ? __ldcg(p.residual + at) : 0.0f;
    constexpr int CHUNKS = TOP * Stage::CHUNKS, HELD = ceil_div(CHUNKS, Stage::THREADS);
    const uint4* halves = reinterpret_cast<const uint4*>(static_cast<const __half*>(p.h) + static_cast<size_t>(token) * CHUNKS * 8);
    uint4 v[HELD];
#pragma unroll
    for (int n = 0; n < HELD; n++) {
        const unsigned i = threadIdx.x + n * Stage::THREADS;
        if (i < CHUNKS) v[n] = __ldcg(halves + i);
    }
#pragma unroll
    for (int n = 0; n < HELD; n++) {
        const unsigned i = threadIdx.x + n * Stage::THREADS, unit = i / 4;
        if (i < CHUNKS) chunks[i % 4 * PITCH + unit / UNITS * Stage::PITCH + unit % UNITS] = ordered_halves(v[n]);
    }
    __syncthreads();
    float sums[2] = {};
#pragma unroll 1
    for (unsigned step = begin; step < begin + PER_WARP; step += AHEAD) {
        const bool more = step + AHEAD < begin + PER_WARP;
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            multiply_one<F, true, true>(a[i], b[i], chunks + choice * Stage::PITCH, nullptr, PITCH, step + i, Stage::PITCH, sums);
            if (more) load(i, step + AHEAD + i);
        }
    }
    const float weight = of_choice(weighed, choice).weight * ((1 << F::FACTOR_LOG2) / p.half_scale);
    sums[0] = quad_sum(sums[0]) * weight;
    sums[1] = quad_sum(sums[1]) * weight;
    if (t == 0) {
        parts[warp][g] = sums[0];
        parts[warp][g + 8] = sums[1];
    }
    __syncthreads();
    if (!finishing || lane >= 16) return;
    float sum = bias;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += parts[w][lane];
    p.out[at] = fmaf(sum, p.scale, residual);
}

// Rows of K values, TOP experts, BLOCKS blocks a multiprocessor.
#define MOE_GATE_UP_FIXED(name, F, K, TOP, WARPS, SPLITS, AHEAD, BLOCKS)                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) moe_gate_up_##name##_k##K##_top##TOP##_w##WARPS##_s##SPLITS##_a##AHEAD( \
        PARAMS(MoeGateUpParams)) {                                                                                                               \
        moe_gate_up_fixed<F, K / 32, TOP, WARPS, SPLITS, AHEAD>(p);                                                                              \
    }
#define MOE_DOWN_FIXED(name, F, K, TOP, SPLITS, AHEAD, BLOCKS)                                                                             \
    extern "C" __global__ void __launch_bounds__(TOP * SPLITS * 32, BLOCKS) moe_down_##name##_k##K##_top##TOP##_s##SPLITS##_a##AHEAD( \
        PARAMS(MoeDownParams)) {                                                                                                           \
        moe_down_fixed<F, K / 32, TOP, SPLITS, AHEAD>(p);                                                                                  \
    }

#define MOE_GATE_UP(name, F, AHEAD, BLOCKS)                                                                                \
    extern "C" __global__ void __launch_bounds__(192, BLOCKS) moe_gate_up_##name##_a##AHEAD(PARAMS(MoeGateUpParams)) { \
        moe_gate_up<F, AHEAD>(p);                                                                                          \
    }
#define MOE_DOWN(name, F, AHEAD, THREADS, BLOCKS)                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) moe_down_##name##_a##AHEAD(PARAMS(MoeDownParams)) { \
        moe_down<F, AHEAD>(p);                                                                                           \
    }

MOE_GATE_UP_FIXED(mxfp4, Mxfp4, 2880, 4, 4, 1, 4, 3)
MOE_DOWN_FIXED(mxfp4, Mxfp4, 2880, 4, 2, 3, 2)

MOE_GATE_UP(mxfp4, Mxfp4, 4, 2)
MOE_GATE_UP(q4_0, Q4_0, 3, 2)
MOE_GATE_UP(q8_0, Q8_0, 2, 2)
MOE_GATE_UP(q4k, Q4K, 3, 2)
MOE_GATE_UP(q6k, Q6K, 2, 2)
MOE_DOWN(mxfp4, Mxfp4, 2, 384, 2)
MOE_DOWN(mxfp4, Mxfp4, 3, 256, 2)
MOE_DOWN(q4_0, Q4_0, 2, 384, 1)
MOE_DOWN(q8_0, Q8_0, 1, 384, 1)
MOE_DOWN(q4k, Q4K, 2, 384, 1)
MOE_DOWN(q6k, Q6K, 1, 384, 1)
