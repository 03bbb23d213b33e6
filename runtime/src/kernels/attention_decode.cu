// Attention of single tokens over the paged cache, with what stands in front of it: the norm of queries and keys, rope, and
// the append of the token's own key and value. One block a (token, KV head, group of up to 8 query heads, share of the
// context); a warp takes 16 or 32 keys at a time; warps meet in shared memory, shares in the block that finishes last, which
// adds them in order, so that the result is always the same.
//
// The query heads of a KV head are the rows of m16n8k16 (half of them idle); probabilities come out of the first product as
// the second operand of the next, in which dimensions are the rows. Keys and values go from memory to registers, 16 bytes a
// load, those of earlier steps before the kernel waits for its predecessor.
#include <cooperative_groups.h>

#include "decode.cuh"

struct AttentionDecodeParams {
    const float* qkv;          // [tokens][stride]: q heads, k heads, v heads
    const float* cos;          // [tokens][rotated / 2]
    const float* sin;
    const float* q_norm;       // [dim], or [heads][dim] where q_norm_stride is dim, or null
    const float* k_norm;
    const float* sinks;        // [heads] or null
    void* keys;                // block b: [kv_heads][32][dim] from b * block_stride on
    void* values;
    const uint32_t* table;     // [slots][table_stride]
    const uint32_t* positions; // [tokens]
    const uint32_t* slots;     // [tokens]
    float* partial;            // [units][shares][8 * dim + 16]
    uint32_t* counters;        // [units], 0 between launches
    float* out;                // [tokens][heads * dim]
    unsigned long long block_stride;  // elements
    uint32_t stride, table_stride, ring, heads, kv_heads;
    uint32_t rotated;          // leading dimensions that rotate
    uint32_t adjacent;         // pairs (2j, 2j + 1) instead of (j, j + rotated / 2)
    uint32_t append;           // 0: qkv rows are prepared queries and the cache is complete
    uint32_t window;           // keys that a token sees, or 0 for all
    uint32_t shares;
    uint32_t q_norm_stride, k_norm_stride;
    float eps, scale, softcap;
    uint32_t unused;
};

constexpr float NEVER = -1e30f;

struct KvBf16 {
    using Element = __nv_bfloat16;
    static __device__ __forceinline__ Element from(float x) { return __float2bfloat16(x); }
    static __device__ __forceinline__ uint32_t pack(float a, float b) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
        return *reinterpret_cast<const uint32_t*>(&pair);
    }
    static __device__ __forceinline__ void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }
};

struct KvF16 {
    using Element = __half;
    static __device__ __forceinline__ Element from(float x) { return __float2half(x); }
    static __device__ __forceinline__ uint32_t pack(float a, float b) {
        const __half2 pair = __floats2half2_rn(a, b);
        return *reinterpret_cast<const uint32_t*>(&pair);
    }
    static __device__ __forceinline__ void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }
};

// Pair i of a head's DIM / 2: which dimensions it is made of.
template <int DIM>
__device__ __forceinline__ int2 dims_of_pair(const AttentionDecodeParams& p, unsigned i) {
    const unsigned half = p.rotated / 2;
    if (i >= half || p.adjacent) return make_int2(2 * i, 2 * i + 1);
    return make_int2(i, i + half);
}

// One head by one warp: norm, rope, times `scale`, to `to`.
template <class Kv, int DIM>
__device__ __forceinline__ void prepare(const AttentionDecodeParams& p, const float* head, const float* norm, unsigned token, bool rope,
                                        float scale, typename Kv::Element* to) {
    constexpr int N = (DIM / 2 + 31) / 32;
    const unsigned lane = threadIdx.x % 32, half = p.rotated / 2;
    float a[N], b[N], c[N], s[N], squares = 0.0f;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const unsigned i = lane + 32 * n;
        a[n] = b[n] = s[n] = 0.0f;
        c[n] = 1.0f;
        if (i < DIM / 2) {
            const int2 d = dims_of_pair<DIM>(p, i);
            a[n] = __ldcg(head + d.x);
            b[n] = __ldcg(head + d.y);
            if (rope && i < half) {
                c[n] = __ldcg(p.cos + token * half + i);
                s[n] = __ldcg(p.sin + token * half + i);
            }
        }
        squares += a[n] * a[n] + b[n] * b[n];
    }
    const float factor = norm ? rsqrtf(warp_sum(squares) / DIM + p.eps) : 1.0f;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const unsigned i = lane + 32 * n;
        if (i >= DIM / 2) continue;
        const int2 d = dims_of_pair<DIM>(p, i);
        const float x = a[n] * factor * (norm ? __ldg(norm + d.x) : 1.0f), y = b[n] * factor * (norm ? __ldg(norm + d.y) : 1.0f);
        to[d.x] = Kv::from((x * c[n] - y * s[n]) * scale);
        to[d.y] = Kv::from((y * c[n] + x * s[n]) * scale);
    }
}

// Adds the results of a cluster's blocks, which are the shares of one context, in their order.
template <int DIM>
__device__ __forceinline__ void add_cluster(const AttentionDecodeParams& p, float* partial, unsigned token, unsigned first_head, unsigned heads) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const auto cluster = cooperative_groups::this_cluster();
    cluster.sync();
    for (unsigned i = cluster.block_rank() * blockDim.x + threadIdx.x; i < heads * DIM; i += p.shares * blockDim.x) {
        const unsigned head = i / DIM;
        const float sink = p.sinks ? __ldg(p.sinks + first_head + head) : NEVER;
        float top = sink;
        for (unsigned s = 0; s < p.shares; s++) top = fmaxf(top, cluster.map_shared_rank(partial, s)[8 * DIM + head]);
        float x = 0.0f, total = p.sinks ? __expf(sink - top) : 0.0f;
        for (unsigned s = 0; s < p.shares; s++) {
            const float* from = cluster.map_shared_rank(partial, s);
            const float weight = __expf(from[8 * DIM + head] - top);
            x += weight * from[i];
            total += weight * from[8 * DIM + 8 + head];
        }
        p.out[(static_cast<size_t>(token) * p.heads + first_head) * DIM + i] = x / total;
    }
    // Nobody leaves while others read what he has.
    cluster.sync();
#endif
}

template <class Kv, int DIM, int WARPS, bool CLUSTER>
__device__ __forceinline__ void attention_decode(const AttentionDecodeParams& p) {
    using Element = typename Kv::Element;
    constexpr int KEYS = DIM > 96 ? 16 : 32;          // a warp's at a time
    constexpr int KEY_CHUNKS = DIM / 32;              // 16-byte chunks of a key's row in a lane
    constexpr int VALUE_CHUNKS = (DIM + 63) / 64;     // of a value's
    constexpr int TILES = VALUE_CHUNKS * 4;           // of 16 dimensions, some of which a row may lack
    constexpr int THREADS = WARPS * 32;
    constexpr int PARTIAL = 8 * DIM + 16;             // a share's results: heads, their maxima, their sums
    constexpr int PADDED = DIM + 8;                   // a query's row in shared memory: no bank conflicts
    // First queries, key and value of the token, then warps' results: WARPS * 8 * (DIM + 2) numbers,
    // and those of the block in a cluster.
    extern __shared__ float4 shared4[];
    float* shared = reinterpret_cast<float*>(shared4);
    __shared__ bool last;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const unsigned group = p.heads / p.kv_heads, groups = (group + 7) / 8;
    const unsigned share = blockIdx.x, kv_head = blockIdx.y / groups, first_head = kv_head * group + blockIdx.y % groups * 8;
    const unsigned heads = min(8u, group - blockIdx.y % groups * 8), token = blockIdx.z;
    const unsigned unit = token * gridDim.y + blockIdx.y;

    // At once: what follows loads its weights while this kernel still finds out where its keys lie.
    let_next_begin();
    // The step's first kernel has written these before anything else of the step began.
    const int position = __ldcg(p.positions + token);
    const uint32_t* table = p.table + static_cast<size_t>(__ldcg(p.slots + token)) * p.table_stride;
    const int seen = p.window && position >= static_cast<int>(p.window) ? position - static_cast<int>(p.window) + 1 : 0;
    const int first_block = seen / 32, blocks = position / 32 + 1 - first_block;
    const int per_share = (blocks + p.shares - 1) / p.shares;
    const int begin = (first_block + share * per_share) * 32, end = min(position + 1, begin + per_share * 32);
    const bool own = begin <= position && position < end;  // the token's own key is in this share
    Element* keys = static_cast<Element*>(p.keys);
    Element* values = static_cast<Element*>(p.values);

    // Where row `index` of the cache lies, without the base.
    auto row = [&](int index) {
        const unsigned block = static_cast<unsigned>(index) / 32;
        const unsigned id = __ldcg(table + (p.ring ? block % p.ring : block));
        return id * p.block_stride + (static_cast<size_t>(kv_head) * 32 + index % 32) * DIM;
    };

    uint4 k[KEYS / 8][KEY_CHUNKS], v[KEYS / 16][4][VALUE_CHUNKS];
    auto load = [&](int first) {
        // All of a warp's keys are in one block; keys beyond the last are the last.
        const size_t base = row(first);
        const int most = end - 1 - first;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
            const uint4* chunks = reinterpret_cast<const uint4*>(keys + base + min(8 * j + static_cast<int>(g), most) * DIM);
#pragma unroll
            for (int i = 0; i < KEY_CHUNKS; i++) k[j][i] = __ldcg(chunks + t + 4 * i);
        }
#pragma unroll
        for (int h = 0; h < KEYS / 16; h++) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const int key = min(16 * h + 2 * static_cast<int>(t) + (q & 1) + (q >> 1) * 8, most);
                const uint4* chunks = reinterpret_cast<const uint4*>(values + base + key * DIM);
#pragma unroll
                for (int i = 0; i < VALUE_CHUNKS; i++) {
                    v[h][q][i] = DIM % 64 == 0 || (g + 8 * i) * 8 < DIM ? __ldcg(chunks + g + 8 * i) : make_uint4(0, 0, 0, 0);
                }
            }
        }
    };

    int at = begin + warp * KEYS;
    const bool early = p.append != 0;  // else the cache is not complete before the wait
    if (early && at < end) load(at);
    wait_for_predecessor();
    if (!early && at < end) load(at);

    // Prepared queries, then the token's own key and value.
    Element* queries = reinterpret_cast<Element*>(shared);
    Element* own_key = queries + 8 * PADDED;
    Element* own_value = own_key + PADDED;
    const float* input = p.qkv + static_cast<size_t>(token) * p.stride;
    const unsigned items = heads + (own && p.append ? 2 : 0);
    for (unsigned item = warp; item < items; item += WARPS) {
        if (item < heads) {
            const unsigned head = first_head + item;
            const float* norm = p.append && p.q_norm ? p.q_norm + head * p.q_norm_stride : nullptr;
            prepare<Kv, DIM>(p, input + head * DIM, norm, token, p.append && p.rotated, p.scale, queries + item * PADDED);
        } else if (item == heads) {
            const float* norm = p.k_norm ? p.k_norm + kv_head * p.k_norm_stride : nullptr;
            prepare<Kv, DIM>(p, input + (p.heads + kv_head) * DIM, norm, token, p.rotated != 0, 1.0f, own_key);
        } else {
            const float* value = input + (p.heads + p.kv_heads + kv_head) * DIM;
            for (unsigned d = lane; d < DIM; d += 32) own_value[d] = Kv::from(__ldcg(value + d));
        }
    }
    // Rows that have no head.
    for (unsigned i = threadIdx.x; i < (8 - heads) * PADDED; i += THREADS) queries[heads * PADDED + i] = Kv::from(0.0f);
    __syncthreads();
    if (own && p.append && blockIdx.y % groups == 0) {
        const size_t base = row(position);
        for (unsigned d = threadIdx.x; d < 2 * DIM; d += THREADS) {
            if (d < DIM) {
                keys[base + d] = own_key[d];
            } else {
                values[base + d - DIM] = own_value[d - DIM];
            }
        }
    }
    // The registers that were to hold the token's own key and value got what lay there before.
    auto patch = [&](int first) {
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
            if (first + 8 * j + static_cast<int>(g) < position) continue;
#pragma unroll
            for (int i = 0; i < KEY_CHUNKS; i++) k[j][i] = reinterpret_cast<const uint4*>(own_key)[t + 4 * i];
        }
#pragma unroll
        for (int h = 0; h < KEYS / 16; h++) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                if (first + 16 * h + 2 * static_cast<int>(t) + (q & 1) + (q >> 1) * 8 < position) continue;
#pragma unroll
                for (int i = 0; i < VALUE_CHUNKS; i++) {
                    if (DIM % 64 == 0 || (g + 8 * i) * 8 < DIM) v[h][q][i] = reinterpret_cast<const uint4*>(own_value)[g + 8 * i];
                }
            }
        }
    };

    uint4 q[KEY_CHUNKS];
#pragma unroll
    for (int i = 0; i < KEY_CHUNKS; i++) q[i] = *reinterpret_cast<const uint4*>(queries + g * PADDED + (t + 4 * i) * 8);
    float o[TILES][4] = {};  // rows: dimensions, columns: heads 2t and 2t + 1
    float greatest = NEVER, sum = 0.0f;  // of head g
    while (at < end) {
        if (own && p.append && at + KEYS > position) patch(at);
        float s[KEYS / 8][4] = {};
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
            for (int i = 0; i < KEY_CHUNKS; i++) {
                Kv::mma(s[j], q[i].x, 0, q[i].y, 0, k[j][i].x, k[j][i].y);
                Kv::mma(s[j], q[i].z, 0, q[i].w, 0, k[j][i].z, k[j][i].w);
            }
        }
        float most = greatest;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int key = at + 8 * j + 2 * t + i;
                if (p.softcap != 0.0f) s[j][i] = p.softcap * tanhf(s[j][i] / p.softcap);
                if (key >= end || key < seen) s[j][i] = NEVER;
                most = fmaxf(most, s[j][i]);
            }
        }
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
        const float fade = __expf(greatest - most);
        greatest = most;
        sum *= fade;
        // Where all keys so far are outside the window, NEVER - NEVER must not count.
        const float base = most == NEVER ? 0.0f : most;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                s[j][i] = __expf(s[j][i] - base);
                sum += s[j][i];
            }
        }
        const float fade0 = __shfl_sync(ALL_LANES, fade, 8 * t), fade1 = __shfl_sync(ALL_LANES, fade, 8 * t + 4);
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            o[i][0] *= fade0;
            o[i][1] *= fade1;
            o[i][2] *= fade0;
            o[i][3] *= fade1;
        }
#pragma unroll
        for (int h = 0; h < KEYS / 16; h++) {
            const uint32_t b0 = Kv::pack(s[2 * h][0], s[2 * h][1]), b1 = Kv::pack(s[2 * h + 1][0], s[2 * h + 1][1]);
#pragma unroll
            for (int i = 0; i < TILES; i++) {
                const int c = i / 4, w = i % 4;  // chunk and its word: two dimensions
                auto at_word = [&](const uint4& x) { return w == 0 ? x.x : w == 1 ? x.y : w == 2 ? x.z : x.w; };
                const uint32_t v0 = at_word(v[h][0][c]), v1 = at_word(v[h][1][c]), v2 = at_word(v[h][2][c]), v3 = at_word(v[h][3][c]);
                Kv::mma(o[i], __byte_perm(v0, v1, 0x5410), __byte_perm(v0, v1, 0x7632), __byte_perm(v2, v3, 0x5410),
                        __byte_perm(v2, v3, 0x7632), b0, b1);
            }
        }
        at += WARPS * KEYS;
        if (at < end) load(at);
    }
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    sum += __shfl_xor_sync(ALL_LANES, sum, 2);
    __syncthreads();

    // Warps' results: [warp][head][dim], then maxima and sums [warp][head].
    float* maxima = shared + WARPS * 8 * DIM;
    float* sums = maxima + WARPS * 8;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        const unsigned d = (g + 8 * (i / 4)) * 8 + 2 * (i % 4);
        if (DIM % 64 != 0 && d >= DIM) continue;
        float* to = shared + (warp * 8 + 2 * t) * DIM + d;
        *reinterpret_cast<float2*>(to) = make_float2(o[i][0], o[i][2]);
        *reinterpret_cast<float2*>(to + DIM) = make_float2(o[i][1], o[i][3]);
    }
    if (t == 0) {
        maxima[warp * 8 + g] = greatest;
        sums[warp * 8 + g] = sum;
    }
    __syncthreads();
    float* partial = p.partial + (static_cast<size_t>(unit) * p.shares + share) * PARTIAL;
    if (CLUSTER) partial = sums + WARPS * 8;
    for (unsigned i = threadIdx.x; i < heads * DIM; i += THREADS) {
        const unsigned head = i / DIM, d = i % DIM;
        float most = NEVER;
#pragma unroll
        for (int w = 0; w < WARPS; w++) most = fmaxf(most, maxima[w * 8 + head]);
        float x = 0.0f, total = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            const float weight = __expf(maxima[w * 8 + head] - most);
            x += weight * shared[(w * 8 + head) * DIM + d];
            total += weight * sums[w * 8 + head];
        }
        if (!CLUSTER && p.shares == 1) {
            const float sink = p.sinks ? __ldg(p.sinks + first_head + head) : NEVER, top = fmaxf(most, sink), weight = __expf(most - top);
            p.out[(static_cast<size_t>(token) * p.heads + first_head) * DIM + i] = x * weight / (total * weight + (p.sinks ? __expf(sink - top) : 0.0f));
        } else {
            partial[i] = x;
            if (d == 0) {
                partial[8 * DIM + head] = most;
                partial[8 * DIM + 8 + head] = total;
            }
        }
    }
    if (CLUSTER) {
        add_cluster<DIM>(p, partial, token, first_head, heads);
        return;
    }
    if (p.shares == 1) return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(p.counters + unit, 1) == p.shares - 1;
        if (last) p.counters[unit] = 0;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    partial = p.partial + static_cast<size_t>(unit) * p.shares * PARTIAL;
    for (unsigned i = threadIdx.x; i < heads * DIM; i += THREADS) {
        const unsigned head = i / DIM;
        const float sink = p.sinks ? __ldg(p.sinks + first_head + head) : NEVER;
        float top = sink;
        for (unsigned s = 0; s < p.shares; s++) top = fmaxf(top, __ldcg(partial + s * PARTIAL + 8 * DIM + head));
        float x = 0.0f, total = p.sinks ? __expf(sink - top) : 0.0f;
#pragma unroll 4
        for (unsigned s = 0; s < p.shares; s++) {
            const float* from = partial + s * PARTIAL;
            const float weight = __expf(__ldcg(from + 8 * DIM + head) - top);
            x += weight * __ldcg(from + i);
            total += weight * __ldcg(from + 8 * DIM + 8 + head);
        }
        p.out[(static_cast<size_t>(token) * p.heads + first_head) * DIM + i] = x / total;
    }
}

#define ATTENTION_DECODE(name, Kv, DIM, WARPS)                                                                     \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 1) name##_##DIM##_w##WARPS(PARAMS(AttentionDecodeParams)) { \
        attention_decode<Kv, DIM, WARPS, false>(p);                                                                       \
    }

// Shares meet in a cluster's shared memory instead of in global memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define CLUSTER_OF(SHARES)
#else
#define CLUSTER_OF(SHARES) __cluster_dims__(SHARES, 1, 1)
#endif
#define ATTENTION_CLUSTER(name, Kv, DIM, SHARES)                                                                         \
    extern "C" __global__ void CLUSTER_OF(SHARES) __launch_bounds__(8 * 32, 1) name##_##DIM##_c##SHARES(PARAMS(AttentionDecodeParams)) { \
        attention_decode<Kv, DIM, 8, true>(p);                                                                            \
    }

#define ATTENTIONS_DECODE(name, Kv)      \
    ATTENTION_DECODE(name, Kv, 64, 8)    \
    ATTENTION_DECODE(name, Kv, 64, 16)   \
    ATTENTION_DECODE(name, Kv, 96, 8)    \
    ATTENTION_DECODE(name, Kv, 128, 8)   \
    ATTENTION_DECODE(name, Kv, 256, 8)   \
    ATTENTION_CLUSTER(name, Kv, 128, 4)  \
    ATTENTION_CLUSTER(name, Kv, 128, 8)

ATTENTIONS_DECODE(attention_decode_bf16, KvBf16)
ATTENTIONS_DECODE(attention_decode_f16, KvF16)
