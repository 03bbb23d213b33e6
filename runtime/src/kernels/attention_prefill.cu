// Attention of many queries over the paged cache: an online softmax over tiles of 64 keys, products by mma.sync.
//
// A block of 8 warps takes 128 rows of one key/value head. A row is a query head of a token: the `group` heads that share
// the key/value head stand next to each other, so keys are read once for all of them. Each warp has 16 rows, their sums in
// registers.
#include "mma.cuh"

struct AttentionPrefillParams {
    const void* q;           // half [tokens, q_heads * dim]
    void* out;               // half or f32 [tokens, q_heads * dim]
    const void* k;           // block b at b * k_block halves: [kv_heads, 32, dim]
    const void* v;
    const uint32_t* table;   // [slots, table_stride] blocks
    const uint32_t* runs;    // [run_count, 4]: first token, tokens, position of the first, slot
    const float* sinks;      // [q_heads] or null
    const float* slopes;     // [q_heads] or null: alibi
    uint64_t k_block, v_block;
    uint32_t table_stride;   // position p is in block table[slot, p / 32]
    uint32_t run_count, kv_heads, group;
    float scale, softcap;    // softcap 0: none
    uint32_t window, chunk;  // a query at i sees keys j with i - j < window and j / chunk == i / chunk; 0: all before it
    uint32_t out_f32, unused;
};

constexpr int PAGE = 32, KEYS = 64, WARPS = 8, THREADS = WARPS * 32, ROWS = WARPS * 16;
constexpr float LOG2_E = 1.4426950408889634f;

__device__ __forceinline__ uint32_t first_seen(const AttentionPrefillParams& p, uint32_t position) {
    uint32_t first = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
    return p.chunk != 0 ? max(first, position / p.chunk * p.chunk) : first;
}

// Rows in shared memory are 16 bytes apart beyond their width: 8 of them meet all banks.
template <int DIM> constexpr int PITCH = (DIM + 8) * 2;

// A block's share of the work.
struct Work {
    uint32_t first_token, tokens; // of the run
    uint32_t start, slot;
    uint32_t row, rows;           // first row (token * group + head) of the block in its run, rows of the run

    __device__ __forceinline__ bool find(const AttentionPrefillParams& p, uint32_t tile) {
        for (uint32_t r = 0; r < p.run_count; r++) {
            const uint4 run = __ldg((const uint4*)p.runs + r);
            uint32_t tiles = (run.y * p.group + ROWS - 1) / ROWS;
            if (tile < tiles) {
                first_token = run.x;
                tokens = run.y;
                start = run.z;
                slot = run.w;
                rows = run.y * p.group;
                // Rows at the end see most keys: they begin first.
                row = (tiles - 1 - tile) * ROWS;
                return true;
            }
            tile -= tiles;
        }
        return false;
    }
};

// Copies keys or values of the positions tile.. to shared memory; positions outside of lo..=hi become zeros.
template <class Half, int DIM>
__device__ __forceinline__ void load_tile(const AttentionPrefillParams& p, const Work& w, const void* cache, uint64_t block_len,
                                          uint32_t head, uint32_t tile, uint32_t lo, uint32_t hi, uint32_t to) {
    constexpr int CHUNKS = DIM / 8;
    const Half* base = (const Half*)cache;
    for (uint32_t i = threadIdx.x; i < KEYS * CHUNKS; i += THREADS) {
        uint32_t key = i / CHUNKS, chunk = i % CHUNKS, position = tile + key;
        bool seen = position >= lo && position <= hi;
        const Half* from = base;
        if (seen) {
            uint32_t page = position / PAGE;
            uint32_t block = __ldg(p.table + (size_t)w.slot * p.table_stride + page);
            from += block * block_len + (size_t)(head * PAGE + position % PAGE) * DIM + chunk * 8;
        }
        cp_async_16(to + key * PITCH<DIM> + chunk * 16, from, seen ? 16 : 0);
    }
}

template <class Half, int DIM> __device__ void attention_prefill(const AttentionPrefillParams& p) {
    constexpr bool KEEP_Q = DIM <= 128; // the queries' fragments fit into registers
    constexpr uint32_t TILE_BYTES = KEYS * PITCH<DIM>;
    extern __shared__ __align__(128) uint8_t dynamic[];
    const uint32_t keys = shared_address(dynamic), values = keys + 2 * TILE_BYTES, queries = values + 2 * TILE_BYTES;
    const uint32_t head = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, heads = p.kv_heads * p.group;
    wait_for_predecessor();
    let_next_begin();
    Work w;
    if (!w.find(p, blockIdx.y)) return;

    const uint32_t last_row = min(w.row + ROWS, w.rows) - 1;
    const uint32_t lo = first_seen(p, w.start + w.row / p.group), hi = w.start + last_row / p.group;
    auto load = [&](uint32_t tile, uint32_t buffer) {
        load_tile<Half, DIM>(p, w, p.k, p.k_block, head, tile, lo, hi, keys + buffer * TILE_BYTES);
        load_tile<Half, DIM>(p, w, p.v, p.v_block, head, tile, lo, hi, values + buffer * TILE_BYTES);
    };
    for (uint32_t i = threadIdx.x; i < ROWS * (DIM / 8); i += THREADS) {
        uint32_t r = i / (DIM / 8), chunk = i % (DIM / 8), row = w.row + r;
        bool exists = row < w.rows;
        size_t at = exists ? (size_t)(w.first_token + row / p.group) * heads + head * p.group + row % p.group : 0;
        cp_async_16(queries + r * PITCH<DIM> + chunk * 16, (const Half*)p.q + at * DIM + chunk * 8, exists ? 16 : 0);
    }
    uint32_t tile = lo / KEYS * KEYS;
    load(tile, 0);
    cp_async_commit();

    // This thread's two rows.
    const uint32_t rows[2] = {w.row + warp * 16 + lane / 4, w.row + warp * 16 + lane / 4 + 8};
    uint32_t seen_from[2], seen_to[2];
    float max_seen[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, slope[2] = {0.0f, 0.0f};
    for (int h = 0; h < 2; h++) {
        uint32_t position = w.start + min(rows[h], w.rows - 1) / p.group;
        seen_from[h] = first_seen(p, position);
        seen_to[h] = position;
        if (p.slopes != nullptr) slope[h] = __ldg(p.slopes + head * p.group + rows[h] % p.group);
    }
    float out[DIM / 8][4] = {};
    uint32_t q[KEEP_Q ? DIM / 16 : 1][4];
    const uint32_t q_address = queries + (warp * 16 + lane % 16) * PITCH<DIM> + lane / 16 * 16;

    for (uint32_t buffer = 0; tile <= hi; tile += KEYS, buffer ^= 1) {
        cp_async_wait<0>();
        __syncthreads();
        if (KEEP_Q && tile == lo / KEYS * KEYS) {
#pragma unroll
            for (int d = 0; d < DIM / 16; d++) ldmatrix(q[KEEP_Q ? d : 0], q_address + d * 32);
        }
        if (tile + KEYS <= hi) load(tile + KEYS, buffer ^ 1);
        cp_async_commit();

        float score[KEYS / 8][4] = {};
#pragma unroll
        for (int d = 0; d < DIM / 16; d++) {
            if (!KEEP_Q) ldmatrix(q[0], q_address + d * 32);
#pragma unroll
            for (int n = 0; n < KEYS / 16; n++) {
                uint32_t k[4];
                ldmatrix(k, keys + buffer * TILE_BYTES + (n * 16 + lane / 16 * 8 + lane % 8) * PITCH<DIM> + d * 32 + lane / 8 % 2 * 16);
                mma_16816<Half>(score[2 * n], q[KEEP_Q ? d : 0], k[0], k[1]);
                mma_16816<Half>(score[2 * n + 1], q[KEEP_Q ? d : 0], k[2], k[3]);
            }
        }

        // Scores in units of log2: exponentials are powers of two.
        const float to_log2 = p.softcap != 0.0f ? 1.0f : p.scale * LOG2_E;
        if (p.softcap != 0.0f) {
            const float in = p.scale / p.softcap, cap = p.softcap * LOG2_E;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) score[n][i] = cap * tanhf(score[n][i] * in);
        }
        if (p.slopes != nullptr) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    score[n][i] += slope[i / 2] * (LOG2_E / to_log2) * float(tile + n * 8 + lane % 4 * 2 + i % 2);
        }
        bool all_seen = true;
#pragma unroll
        for (int h = 0; h < 2; h++) all_seen &= tile >= seen_from[h] && tile + KEYS - 1 <= seen_to[h];
        if (!all_seen) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint32_t position = tile + n * 8 + lane % 4 * 2 + i % 2;
                    if (position < seen_from[i / 2] || position > seen_to[i / 2]) score[n][i] = -INFINITY;
                }
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float most = -INFINITY;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) most = fmaxf(most, fmaxf(score[n][2 * h], score[n][2 * h + 1]));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2)) * to_log2;
            most = fmaxf(most, max_seen[h]);
            // A row that has seen nothing yet must not divide infinities.
            float base = most == -INFINITY ? 0.0f : most;
            float shrink = exp2f(max_seen[h] - base), added = 0.0f;
            max_seen[h] = most;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 2 * h; i < 2 * h + 2; i++) {
                    score[n][i] = exp2f(score[n][i] * to_log2 - base);
                    added += score[n][i];
                }
            sum[h] = sum[h] * shrink + added;
#pragma unroll
            for (int d = 0; d < DIM / 8; d++) {
                out[d][2 * h] *= shrink;
                out[d][2 * h + 1] *= shrink;
            }
        }

        // The scores' places in registers are those of the left operand of the next product.
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            const float* s0 = score[2 * n];
            const float* s1 = score[2 * n + 1];
            const uint32_t weights[4] = {HalfTraits<Half>::pack(s0[0], s0[1]), HalfTraits<Half>::pack(s0[2], s0[3]),
                                         HalfTraits<Half>::pack(s1[0], s1[1]), HalfTraits<Half>::pack(s1[2], s1[3])};
#pragma unroll
            for (int d = 0; d < DIM / 16; d++) {
                uint32_t v[4];
                ldmatrix_transposed(v, values + buffer * TILE_BYTES + (n * 16 + lane % 16) * PITCH<DIM> + d * 32 + lane / 16 * 16);
                mma_16816<Half>(out[2 * d], weights, v[0], v[1]);
                mma_16816<Half>(out[2 * d + 1], weights, v[2], v[3]);
            }
        }
    }

#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
        sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
        uint32_t row = rows[h];
        if (row >= w.rows) continue;
        uint32_t q_head = head * p.group + row % p.group;
        float factor = 1.0f / sum[h];
        if (p.sinks != nullptr) {
            float sink = __ldg(p.sinks + q_head) * LOG2_E, most = fmaxf(sink, max_seen[h]);
            float shrink = exp2f(max_seen[h] - most);
            factor = shrink / (sum[h] * shrink + exp2f(sink - most));
        }
        size_t at = ((size_t)(w.first_token + row / p.group) * heads + q_head) * DIM + lane % 4 * 2;
        if (p.out_f32) {
            float* to = (float*)p.out + at;
#pragma unroll
            for (int d = 0; d < DIM / 8; d++)
                *(float2*)(to + d * 8) = make_float2(out[d][2 * h] * factor, out[d][2 * h + 1] * factor);
        } else {
            Half* to = (Half*)p.out + at;
#pragma unroll
            for (int d = 0; d < DIM / 8; d++)
                *(uint32_t*)(to + d * 8) = HalfTraits<Half>::pack(out[d][2 * h] * factor, out[d][2 * h + 1] * factor);
        }
    }
}

#define KERNEL(HALF, DIM)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) attention_prefill_##HALF##_##DIM(                                 \
        PARAMS(AttentionPrefillParams)) {                                                                    \
        attention_prefill<HALF, DIM>(p);                                                                                       \
    }
KERNEL(bf16, 64)
KERNEL(bf16, 96)
KERNEL(bf16, 128)
KERNEL(bf16, 256)
KERNEL(f16, 64)
KERNEL(f16, 96)
KERNEL(f16, 128)
KERNEL(f16, 256)
#undef KERNEL
