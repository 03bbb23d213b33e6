// y = W x for 1 to 8 tokens, W quantized: tiles of 16 rows on tensor cores, the width of a tile cut among warps of a block,
// tiles dealt round robin over a grid that is resident as a whole. See quant.cuh.
#include "quant.cuh"

struct GemvQuantParams {
    Planes weights;
    Input in;
    Output out;
    uint32_t rows;        // of the matrix
    uint32_t tiles;
    // Rows of lane group g in a tile: a = (tile * per_tile + g) * row_step and b = a + pair_step: 16 neighbours, or the gate
    // and up rows of 8 outputs.
    uint32_t per_tile, row_step, pair_step;
    uint32_t splits;      // warps that share a tile
    uint32_t tokens;
    uint32_t unused;
};

// Warps' sums of a tile, to be added by the first of them.
template <int TOKENS, int WARPS>
struct Parts {
    float sums[2][WARPS][TOKENS][16];  // [turn][warp][token][row]
};

// Units of a row (whole steps), warps of a block and warps that share a tile may be known when the kernel is compiled (one
// token), or be 0.
template <class F, int AHEAD, int TOKENS, int UNITS = 0, int WARPS = 0, int SPLITS = 0, int CHAINS = F::HALVES == 1 ? 2 : 1>
__device__ __forceinline__ void gemv_quant(const GemvQuantParams& p) {
    extern __shared__ uint4 shared[];
    __shared__ float scratch[32 * TOKENS];
    __shared__ unsigned long long keys[32];
    __shared__ Parts<TOKENS, WARPS ? WARPS : 16> parts;
    constexpr bool FIXED = UNITS != 0;
    static_assert(!FIXED || (TOKENS == 1 && UNITS % 8 == 0), "sizes are fixed for one token and whole steps");
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const unsigned units = FIXED ? UNITS : p.in.k / 32, steps = (units + 7) / 8, splits = FIXED ? SPLITS : p.splits;
    const unsigned tiles_a_block = (FIXED ? WARPS : blockDim.x / 32) / splits, split = warp % splits;
    const unsigned per_warp = (steps + splits - 1) / splits;
    // All steps of all warps are there.
    constexpr bool EVEN = FIXED && UNITS / 8 % (SPLITS ? SPLITS : 1) == 0 && UNITS / 8 / (SPLITS ? SPLITS : 1) % AHEAD == 0;
    const unsigned begin = split * per_warp, end = EVEN ? begin + per_warp : min(steps, begin + per_warp);
    const unsigned stride = gridDim.x * tiles_a_block;

    typename F::Row row_a, row_b;
    auto go_to = [&](unsigned tile) {
        const unsigned a = (tile * p.per_tile + g) * p.row_step, last = p.rows - 1;
        row_a = F::row(p.weights, min(a, last), units);
        row_b = F::row(p.weights, min(a + p.pair_step, last), units);
    };
    typename F::Weights a[AHEAD], b[AHEAD];
    auto load = [&](int i, unsigned step) {
        if (!EVEN && step >= end) return;
        a[i] = F::template load<FIXED>(row_a, step, t, units);
        b[i] = F::template load<FIXED>(row_b, step, t, units);
    };

    unsigned tile = blockIdx.x * tiles_a_block + warp / splits;
    if (tile < p.tiles) {
        go_to(tile);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) load(i, begin + i);
    }
    prefetch_norm_weights(p.in);
    let_next_begin();
    wait_for_predecessor();
    float factor[TOKENS];
    if constexpr (FIXED) {
        factor[0] = stage_fixed<F, UNITS, WARPS>(p.in, shared, scratch);
    } else {
        stage<F, TOKENS>(p.in, p.tokens, shared, scratch, factor);
    }

    unsigned long long best[TOKENS] = {};
    unsigned turn = 0;
    // All warps of a block take as many turns: they meet at the barrier.
    for (unsigned base = blockIdx.x * tiles_a_block; base < p.tiles; base += stride, tile += stride, turn ^= 1) {
        // The first warp of a tile has its outputs: lane r of 16 that of row r.
        const bool finishing = split == 0 && tile < p.tiles;
        const unsigned row = (tile * p.per_tile + lane % 8) * p.row_step + (lane & 8 ? p.pair_step : 0);
        const bool mine = finishing && lane < 16 && row < p.rows;
        Extras extra[TOKENS];
#pragma unroll
        for (int token = 0; token < TOKENS; token++) extra[token] = extras(p.out, row, token, mine && token < p.tokens);
        float sums[2][TOKENS] = {};
        if (tile < p.tiles) {
#pragma unroll 1
            for (unsigned step = begin; step < end; step += AHEAD) {
                const bool last = step + AHEAD >= end;
                const bool more = !last || tile + stride < p.tiles;
                if (last && more) go_to(tile + stride);
                const unsigned ahead = last ? begin : step + AHEAD;
#pragma unroll
                for (int i = 0; i < AHEAD; i++) {
                    if constexpr (FIXED) {
                        float one[2] = {sums[0][0], sums[1][0]};
                        const Staged x = staged<F>(shared, units, 0);
                        using Entry = typename F::Entry;
                        if (EVEN || step + i < end) {
                            multiply_one<F, true, false, CHAINS>(a[i], b[i], x.chunks, static_cast<const Entry*>(x.table),
                                                                                 units, step + i, units, one);
                        }
                        sums[0][0] = one[0];
                        sums[1][0] = one[1];
                    } else if (step + i < end) {
                        multiply<F, TOKENS, TOKENS == 1 && F::HALVES == 1 ? 2 : 1>(a[i], b[i], shared, units, 0, step + i, units, sums);
                    }
                    if (more) load(i, ahead + i);
                }
            }
        }
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const float sum_a = quad_sum(sums[0][token]), sum_b = quad_sum(sums[1][token]);
            if (t == 0) {
                parts.sums[turn][warp][token][g] = sum_a * factor[token];
                parts.sums[turn][warp][token][g + 8] = sum_b * factor[token];
            }
        }
        if (splits > 1) {
            __syncthreads();
        } else {
            __syncwarp();
        }
        if (!finishing) continue;
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            if (token >= p.tokens) break;
            float v = 0.0f;
            for (unsigned s = 0; s < splits; s++) v += parts.sums[turn][warp + s][token][lane % 16];
            float* out = p.out.out + static_cast<size_t>(token) * p.out.stride;
            if (p.out.glu.kind != NO_GLU) {
                v += extra[token].bias;
                const float up = __shfl_down_sync(ALL_LANES, v, 8);
                const unsigned m = tile * p.per_tile + lane;
                if (lane < 8 && 2 * m < p.rows) out[m] = join(p.out.glu, v, up);
            } else if (mine) {
                v = finish(p.out, v, extra[token]);
                out[row] = v;
                if (p.out.best) {
                    const unsigned long long key = logit_key(v, row);
                    best[token] = key > best[token] ? key : best[token];
                }
            }
        }
    }
    if (p.out.best) {
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            if (token < p.tokens) offer_best(p.out.best + token, best[token], keys);
        }
    }
}

#define GEMV_QUANT(name, F, AHEAD, TOKENS, THREADS, BLOCKS)                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) name##_a##AHEAD##_t##TOKENS(PARAMS(GemvQuantParams)) { \
        gemv_quant<F, AHEAD, TOKENS>(p);                                                                                \
    }

// Rows of K values, blocks of WARPS warps of which SPLITS share a tile, products in one or two CHAINS (two are faster and take
// registers), BLOCKS blocks a multiprocessor.
#define GEMV_QUANT_FIXED(name, F, K, AHEAD, WARPS, SPLITS, CHAINS, BLOCKS)                                                         \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) name##_k##K##_a##AHEAD##_w##WARPS##_s##SPLITS(PARAMS(GemvQuantParams)) { \
        gemv_quant<F, AHEAD, 1, K / 32, WARPS, SPLITS, CHAINS>(p);                                                                   \
    }

#define GEMVS_QUANT(name, F, ONE)       \
    GEMV_QUANT(name, F, ONE, 1, 512, 1) \
    GEMV_QUANT(name, F, ONE, 2, 256, 2) \
    GEMV_QUANT(name, F, ONE, 4, 256, 1) \
    GEMV_QUANT(name, F, ONE, 8, 256, 1)

GEMVS_QUANT(gemv_mxfp4, Mxfp4, 2)
GEMVS_QUANT(gemv_q4_0, Q4_0, 2)
GEMVS_QUANT(gemv_q8_0, Q8_0, 1)
GEMVS_QUANT(gemv_q4k, Q4K, 2)
GEMVS_QUANT(gemv_q6k, Q6K, 1)

// Widths of Llama 3.
GEMV_QUANT_FIXED(gemv_q8_0, Q8_0, 4096, 1, 16, 16, 2, 1)
GEMV_QUANT_FIXED(gemv_q8_0, Q8_0, 4096, 2, 16, 8, 1, 1)
GEMV_QUANT_FIXED(gemv_q8_0, Q8_0, 14336, 2, 14, 14, 1, 1)
