// y = W x for 1 to 8 tokens, W in bf16, f16 or f32: a warp per row (or per few rows), all of a row's 16-byte loads issued
// before the first is used, rows dealt round robin over a grid that is resident as a whole, so that every SM reads the same
// number of bytes. The first loads are on their way before the kernel waits for its predecessor.
//
// An RMS norm in front costs nothing: x * weight goes to shared memory, the sum of squares is taken on the way, and the
// finished dot product is multiplied by 1/rms.
#include "dense.cuh"

struct GemvParams {
    const void* weights;  // [rows][k]
    Input in;
    Output out;
    uint32_t groups;      // of ROWS rows
    // Row r of group g is g * row_step + r * pair_step: neighbours, or the gate and up rows of one output.
    uint32_t row_step, pair_step;
    uint32_t tokens;
};

// Chunks of a row and warps of a block may be known when the kernel is compiled (one token, no layer norm), or be 0.
template <class W, int ROWS, int UNROLL, int TOKENS, int CHUNKS = 0, int WARPS = 0>
__device__ __forceinline__ void gemv(const GemvParams& p) {
    extern __shared__ float4 xs[];
    __shared__ float scratch[32 * TOKENS];
    __shared__ unsigned long long keys[32];
    constexpr unsigned STRIDE = 32 * UNROLL;
    constexpr bool FIXED = CHUNKS != 0;
    static_assert(!FIXED || TOKENS == 1, "sizes are fixed for one token");
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned chunks = FIXED ? CHUNKS : p.in.k / 4 / W::QUADS, quads = chunks * W::QUADS;
    const unsigned step = gridDim.x * (FIXED ? WARPS : blockDim.x / 32);
    // Whether a row has the chunk that a lane takes `u` places after `first`.
    auto inside = [&](unsigned first, int u) {
        return (FIXED && (CHUNKS % STRIDE == 0 || (CHUNKS < STRIDE && 32 * (u + 1) <= CHUNKS))) || first + lane + 32 * u < chunks;
    };

    uint4 w[ROWS][UNROLL];
    auto load = [&](unsigned group, unsigned first) {
        if (group >= p.groups) return;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const size_t row = static_cast<size_t>(group) * p.row_step + r * p.pair_step;
            const uint4* chunk = reinterpret_cast<const uint4*>(p.weights) + row * chunks + first + lane;
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                w[r][u] = inside(first, u) ? load_weights(chunk + 32 * u) : make_uint4(0, 0, 0, 0);
            }
        }
    };

    unsigned group = blockIdx.x + gridDim.x * warp;
    load(group, 0);
    float factor[TOKENS];
    if constexpr (FIXED) {
        Stage<W, CHUNKS, WARPS> stage;
        stage.load_weights(p.in);
        let_next_begin();
        wait_for_predecessor();
        factor[0] = stage.run(p.in, xs, scratch);
    } else {
        float4 norm_weights[STAGED_QUADS];
        load_norm_weights(p.in, norm_weights, threadIdx.x);
        let_next_begin();
        wait_for_predecessor();
        if (p.in.norm == LAYER_NORM) {
            stage_layer<W, TOKENS>(p.in, p.tokens, xs, scratch);
#pragma unroll
            for (int t = 0; t < TOKENS; t++) factor[t] = 1.0f;
        } else {
            stage_rms<W, TOKENS>(p.in, p.tokens, xs, scratch, norm_weights, factor);
        }
    }

    // Lane r * TOKENS + t has the result of row r and token t.
    const unsigned my_row = lane / TOKENS, my_token = lane % TOKENS;
    const bool mine = my_row < ROWS && my_token < p.tokens, joined = ROWS == 2 && p.out.glu.kind != NO_GLU;
    unsigned long long best = 0;
    while (group < p.groups) {
        const unsigned row = group * p.row_step + my_row * p.pair_step;
        const Extras extra = extras(p.out, row, my_token, mine);
        float sums[ROWS][TOKENS] = {};
        const unsigned next = group + step;
#pragma unroll 1
        for (unsigned first = 0; first < chunks; first += STRIDE) {
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                const unsigned chunk = first + lane + 32 * u;
                if (inside(first, u)) {
#pragma unroll
                    for (int t = 0; t < TOKENS; t++) {
#pragma unroll
                        for (int r = 0; r < ROWS; r++) {
                            sums[r][t] = dot_chunk<W>(w[r][u], xs + t * quads, chunks, chunk, sums[r][t]);
                        }
                    }
                }
            }
            if (first + STRIDE < chunks) {
                load(group, first + STRIDE);
            } else {
                load(next, 0);
            }
        }
        float v = 0.0f;
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const float sum = warp_sum(sums[r][t]) * factor[t];
                v = lane == r * TOKENS + t ? sum : v;
            }
        }
        float* out = p.out.out + static_cast<size_t>(my_token) * p.out.stride;
        if (joined) {
            v += extra.bias;
            const float up = __shfl_down_sync(ALL_LANES, v, TOKENS);
            if (mine && my_row == 0) out[group] = join(p.out.glu, v, up);
        } else if (mine) {
            v = finish(p.out, v, extra);
            out[row] = v;
            if (p.out.best) {
                const unsigned long long key = logit_key(v, row);
                best = key > best ? key : best;
            }
        }
        group = next;
    }
    if (p.out.best) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            if (t < p.tokens) offer_best(p.out.best + t, mine && my_token == t ? best : 0, keys);
        }
    }
}

#define GEMV(name, W, ROWS, UNROLL, TOKENS, THREADS, BLOCKS)                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) name##_r##ROWS##_u##UNROLL##_t##TOKENS(PARAMS(GemvParams)) { \
        gemv<W, ROWS, UNROLL, TOKENS>(p);                                                                          \
    }

// Rows of K numbers, blocks of WARPS warps, BLOCKS of them a multiprocessor.
#define GEMV_FIXED(name, W, K, ROWS, UNROLL, WARPS, BLOCKS)                                                                            \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) name##_k##K##_r##ROWS##_u##UNROLL##_w##WARPS(PARAMS(GemvParams)) { \
        gemv<W, ROWS, UNROLL, 1, K / (4 * W::QUADS), WARPS>(p);                                                                        \
    }

// One token: rows a warp and loads in flight by shape. Several: one shape.
#define GEMVS(name, W)              \
    GEMV(name, W, 1, 8, 1, 512, 1)  \
    GEMV(name, W, 1, 12, 1, 320, 2) \
    GEMV(name, W, 2, 8, 1, 512, 1)  \
    GEMV(name, W, 4, 4, 1, 256, 2)  \
    GEMV(name, W, 4, 6, 1, 256, 2)  \
    GEMV(name, W, 1, 8, 2, 256, 2)  \
    GEMV(name, W, 2, 4, 2, 256, 2)  \
    GEMV(name, W, 1, 8, 4, 256, 2)  \
    GEMV(name, W, 2, 4, 4, 256, 2)  \
    GEMV(name, W, 1, 8, 8, 256, 2)  \
    GEMV(name, W, 2, 4, 8, 256, 2)

GEMVS(gemv_bf16, Bf16)
// Widths of Llama 3 and gpt-oss.
GEMV_FIXED(gemv_bf16, Bf16, 2048, 2, 8, 16, 1)
GEMV_FIXED(gemv_bf16, Bf16, 2880, 2, 12, 10, 1)
GEMV_FIXED(gemv_bf16, Bf16, 4096, 2, 8, 8, 2)
GEMV_FIXED(gemv_bf16, Bf16, 4096, 2, 8, 12, 1)
GEMV_FIXED(gemv_bf16, Bf16, 4096, 2, 16, 11, 1)
GEMV_FIXED(gemv_bf16, Bf16, 8192, 2, 8, 16, 1)
GEMV_FIXED(gemv_bf16, Bf16, 14336, 1, 8, 16, 1)
GEMVS(gemv_f16, F16)
GEMV(gemv_f32, F32, 1, 16, 1, 512, 1)
GEMV(gemv_f32, F32, 2, 8, 1, 512, 1)
GEMV(gemv_f32, F32, 1, 8, 8, 256, 1)
GEMV(gemv_f32, F32, 2, 4, 8, 256, 1)

struct TakeBestParams {
    unsigned long long* best;  // [rows]: what products left; 0 afterwards
    uint32_t* token;           // [rows]: the first with the largest logit
    float* largest;            // [rows]: NaN if any logit is
    uint32_t* tokens;          // [rows]: of the next step, or null
    uint32_t* positions;       // [rows]: of the next step
    uint32_t rows;
    uint32_t unused;
};

extern "C" __global__ void take_best(PARAMS(TakeBestParams)) {
    let_next_begin();
    wait_for_predecessor();
    const uint32_t row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= p.rows) return;
    const unsigned long long key = __ldcg(p.best + row);
    const uint32_t order = static_cast<uint32_t>(key >> 32);
    const uint32_t token = ~static_cast<uint32_t>(key);
    p.token[row] = token;
    if (p.tokens) {
        p.tokens[row] = token;
        p.positions[row] = __ldcg(p.positions + row) + 1;
    }
    p.largest[row] = __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
    p.best[row] = 0;
}
