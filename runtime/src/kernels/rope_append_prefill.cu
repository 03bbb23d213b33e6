// Rotates queries and keys of many tokens and writes keys and values to the paged cache.
#include "half.cuh"

struct RopeAppendParams {
    const float* qkv;       // [tokens, (q_heads + 2 kv_heads) * dim]
    void* q;                // half [tokens, q_heads * dim]
    void* k;                // block b at b * k_block halves: [kv_heads, 32, dim]
    void* v;
    const float* cos;       // [tokens, rotated / 2], attention factor included; null: no rotation
    const float* sin;
    const uint32_t* table;  // [slots, table_stride]
    const uint32_t* positions; // [tokens]
    const uint32_t* slots;  // [tokens]
    uint64_t k_block, v_block;
    uint32_t table_stride;
    uint32_t q_heads, kv_heads, dim, rotated;
    uint32_t adjacent;      // 1: pairs are neighbours, 0: the two halves of the rotated part
};

constexpr uint32_t PAGE = 32;

// One block a token; a thread takes two columns of a head at a time, the two that are rotated together.
template <class Half> __device__ void rope_append(const RopeAppendParams& p) {
    const uint32_t token = blockIdx.x, pairs = p.dim / 2, heads = p.q_heads + 2 * p.kv_heads;
    wait_for_predecessor();
    let_next_begin();
    const float* row = p.qkv + (size_t)token * heads * p.dim;
    const uint32_t position = __ldg(p.positions + token), page = position / PAGE;
    const size_t block = __ldg(p.table + (size_t)__ldg(p.slots + token) * p.table_stride + page);
    const uint32_t half = p.cos == nullptr ? 0 : p.rotated / 2;
    for (uint32_t i = threadIdx.x; i < heads * pairs; i += blockDim.x) {
        uint32_t head = i / pairs, j = i % pairs, a, b;
        bool rotates = j < half && head < p.q_heads + p.kv_heads;
        if (j < half && !p.adjacent) a = j, b = j + half;
        else a = 2 * j, b = a + 1;
        float x = __ldcg(row + head * p.dim + a), y = __ldcg(row + head * p.dim + b);
        if (rotates) {
            float c = __ldcg(p.cos + (size_t)token * half + j), s = __ldcg(p.sin + (size_t)token * half + j);
            float turned = x * c - y * s;
            y = y * c + x * s;
            x = turned;
        }
        Half* to;
        if (head < p.q_heads) {
            to = (Half*)p.q + ((size_t)token * p.q_heads + head) * p.dim;
        } else {
            bool key = head < p.q_heads + p.kv_heads;
            uint32_t kv = head - p.q_heads - (key ? 0 : p.kv_heads);
            to = (key ? (Half*)p.k + block * p.k_block : (Half*)p.v + block * p.v_block) +
                 (size_t)(kv * PAGE + position % PAGE) * p.dim;
        }
        to[a] = HalfTraits<Half>::from(x);
        to[b] = HalfTraits<Half>::from(y);
    }
}

extern "C" __global__ void __launch_bounds__(512) rope_append_prefill_bf16(PARAMS(RopeAppendParams)) { rope_append<bf16>(p); }
extern "C" __global__ void __launch_bounds__(512) rope_append_prefill_f16(PARAMS(RopeAppendParams)) { rope_append<f16>(p); }
