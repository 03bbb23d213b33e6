// Attention over the paged cache: the plain kernels, right for every size.
#include "kv.cuh"

enum : uint32_t { CLIP, HEAD_NORM, ROPE, TEMPERATURE, SCALE_VALUES };

// What is done to a token's row q | k | v, one after the other.
struct AppendOp {
    uint32_t kind;
    uint32_t adjacent;     // ROPE: pairs are neighbours
    uint32_t centred;      // HEAD_NORM: the mean is subtracted
    uint32_t q_width, k_width;    // HEAD_NORM: numbers of one norm
    uint32_t q_step, k_step;      // HEAD_NORM: numbers of weight from one norm to the next (0: the same)
    uint32_t pairs;        // ROPE
    float a, b;            // CLIP, SCALE_VALUES: a; HEAD_NORM: eps of q and k; TEMPERATURE: scale, floor
    uint32_t from_one;     // TEMPERATURE
    uint32_t unused;
    const float* q_weight; // HEAD_NORM; ROPE: cosines [tokens][pairs]
    const float* k_weight; // HEAD_NORM; ROPE: sines
    const float* q_bias;
    const float* k_bias;
};

constexpr uint32_t MAX_OPS = 8;

struct AppendParams {
    Kv kv;
    const float* qkv;          // [tokens][width]
    float* row;                // [tokens][q + k + v]: room to work
    float* q;                  // [tokens][q]
    const uint32_t* positions; // [tokens]
    const uint32_t* slots;     // [tokens]
    uint32_t q_heads;
    uint32_t v_is_k;
    uint32_t dtype;
    uint32_t ops;
    AppendOp op[MAX_OPS];
};

__device__ void norms(float* x, uint32_t count, uint32_t width, const float* weight, const float* bias, uint32_t step,
                      bool centred, float eps) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (uint32_t k = warp; k < count / width; k += warps) {
        float* head = x + k * width;
        float mean = 0.0f;
        if (centred) {
            float sum = 0.0f;
            for (uint32_t i = lane; i < width; i += 32) sum += head[i];
            mean = warp_sum(sum) / float(width);
        }
        float squares = 0.0f;
        for (uint32_t i = lane; i < width; i += 32) squares += (head[i] - mean) * (head[i] - mean);
        const float factor = 1.0f / sqrtf(warp_sum(squares) / float(width) + eps);
        for (uint32_t i = lane; i < width; i += 32) {
            float y = (head[i] - mean) * factor;
            if (weight) y *= weight[k * step + i];
            if (bias) y += bias[k * step + i];
            head[i] = y;
        }
    }
}

__device__ void rotate(float* x, uint32_t count, uint32_t dim, const AppendOp& op, const float* cosines, const float* sines) {
    for (uint32_t i = threadIdx.x; i < count / dim * op.pairs; i += blockDim.x) {
        const uint32_t pair = i % op.pairs;
        float* head = x + i / op.pairs * dim;
        float* a = head + (op.adjacent ? 2 * pair : pair);
        float* b = head + (op.adjacent ? 2 * pair + 1 : op.pairs + pair);
        const float cosine = cosines[pair], sine = sines[pair], from = *a, to = *b;
        *a = from * cosine - to * sine;
        *b = to * cosine + from * sine;
    }
}

__device__ float clipped(float x, float limit) { return x > limit ? limit : x < -limit ? -limit : x; }

__device__ void run_op(const AppendOp& op, const AppendParams& p, float* row, uint32_t q, uint32_t k, uint32_t v) {
    const uint32_t token = blockIdx.x;
    switch (op.kind) {
        case CLIP:
            for (uint32_t i = threadIdx.x; i < q + k + v; i += blockDim.x) row[i] = clipped(row[i], op.a);
            break;
        case HEAD_NORM:
            norms(row, q, op.q_width, op.q_weight, op.q_bias, op.q_step, op.centred, op.a);
            norms(row + q, k, op.k_width, op.k_weight, op.k_bias, op.k_step, op.centred, op.b);
            break;
        case ROPE:
            rotate(row, q + k, p.kv.k_dim, op, op.q_weight + size_t(token) * op.pairs, op.k_weight + size_t(token) * op.pairs);
            break;
        case TEMPERATURE: {
            const double position = double(p.positions[token]) + (op.from_one ? 1.0 : 0.0);
            const float factor = float(1.0 + double(op.a) * log1p(floor(position / double(op.b))));
            for (uint32_t i = threadIdx.x; i < q; i += blockDim.x) row[i] *= factor;
            break;
        }
        default:
            for (uint32_t i = threadIdx.x; i < v; i += blockDim.x) row[q + k + i] *= op.a;
    }
}

template <uint32_t DTYPE>
__device__ void store(const AppendParams& p, const float* row, uint32_t q, uint32_t k, uint32_t v) {
    using N = KvNumber<DTYPE>;
    using T = typename N::type;
    const uint32_t position = p.positions[blockIdx.x], slot = p.slots[blockIdx.x], at = position % BLOCK;
    const size_t block = p.kv.table[size_t(slot) * p.kv.stride + position / BLOCK];
    T* keys = static_cast<T*>(p.kv.k) + block * p.kv.heads * BLOCK * p.kv.k_dim;
    T* values = static_cast<T*>(p.kv.v) + block * p.kv.heads * BLOCK * p.kv.v_dim;
    for (uint32_t i = threadIdx.x; i < k; i += blockDim.x)
        N::store(keys + (size_t(i / p.kv.k_dim) * BLOCK + at) * p.kv.k_dim + i % p.kv.k_dim, row[q + i]);
    for (uint32_t i = threadIdx.x; i < v; i += blockDim.x)
        N::store(values + (size_t(i / p.kv.v_dim) * BLOCK + at) * p.kv.v_dim + i % p.kv.v_dim, row[q + k + i]);
}

// A block a token.
extern "C" __global__ void append(PARAMS(AppendParams)) {
    wait_for_predecessor();
    let_next_begin();
    const uint32_t q = p.q_heads * p.kv.k_dim, k = p.kv.heads * p.kv.k_dim, v = p.kv.heads * p.kv.v_dim;
    const float* from = p.qkv + size_t(blockIdx.x) * (p.v_is_k ? q + k : q + k + v);
    float* row = p.row + size_t(blockIdx.x) * (q + k + v);
    for (uint32_t i = threadIdx.x; i < q + k + v; i += blockDim.x) row[i] = from[p.v_is_k && i >= q + k ? i - k : i];
    for (uint32_t i = 0; i < p.ops; ++i) {
        __syncthreads();
        run_op(p.op[i], p, row, q, k, v);
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < q; i += blockDim.x) p.q[size_t(blockIdx.x) * q + i] = row[i];
    switch (p.dtype) {
        case KV_F32: return store<KV_F32>(p, row, q, k, v);
        case KV_F16: return store<KV_F16>(p, row, q, k, v);
        default: return store<KV_BF16>(p, row, q, k, v);
    }
}

struct AttendParams {
    Kv kv;
    const float* q;            // [tokens][q_heads][k_dim]
    const float* sinks;        // [q_heads], or none
    float* out;                // [tokens][q_heads][v_dim]
    const uint32_t* positions; // [tokens]
    const uint32_t* slots;     // [tokens]
    uint32_t q_heads;
    uint32_t window, chunk;    // 0: none
    uint32_t alibi;
    float scale, softcap;      // softcap 0: off
    uint32_t dtype;
    uint32_t unused;
};

constexpr uint32_t ATTEND_WARPS = 4;

__device__ float slope(uint32_t head, uint32_t heads) {
    const uint32_t power = 1u << (31 - __clz(heads));
    const float exponent = head < power ? -8.0f * float(head + 1) / float(power)
                                        : -4.0f * float(2 * (head - power) + 1) / float(power);
    return exp2f(exponent);
}

// A block a token and query head; its warps take blocks of 32 keys in turn, a lane a key. Shared memory: the query, and of
// each warp the weighted values, the largest score and the sum of weights.
template <uint32_t DTYPE>
__device__ void attend_tokens(const AttendParams& p) {
    using N = KvNumber<DTYPE>;
    using T = typename N::type;
    extern __shared__ float shared[];
    const uint32_t token = blockIdx.x, head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t dim = p.kv.k_dim, v_dim = p.kv.v_dim, kv_head = head / (p.q_heads / p.kv.heads);
    float* query = shared;
    float* sums = shared + dim;
    float* mine = sums + warp * (v_dim + 2);
    for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x)
        query[i] = p.q[(size_t(token) * p.q_heads + head) * dim + i] * p.scale;
    for (uint32_t i = lane; i < v_dim; i += 32) mine[i] = 0.0f;
    __syncthreads();
    const uint32_t position = p.positions[token];
    uint32_t first = 0;
    if (p.window && position + 1 > p.window) first = position + 1 - p.window;
    if (p.chunk) first = max(first, position - position % p.chunk);
    const uint32_t* table = p.kv.table + size_t(p.slots[token]) * p.kv.stride;
    const float lift = p.alibi ? slope(head, p.q_heads) : 0.0f;
    float largest = -INFINITY, total = 0.0f;
    for (uint32_t index = first / BLOCK + warp; index <= position / BLOCK; index += ATTEND_WARPS) {
        const size_t at = (size_t(table[index]) * p.kv.heads + kv_head) * BLOCK;
        const T* keys = static_cast<const T*>(p.kv.k) + (at + lane) * dim;
        const T* values = static_cast<const T*>(p.kv.v) + at * v_dim;
        const uint32_t key = index * BLOCK + lane;
        const bool seen = key >= first && key <= position;
        float score = -INFINITY;
        if (seen) {
            score = 0.0f;
            for (uint32_t i = 0; i < dim; ++i) score += query[i] * N::load(keys + i);
            if (p.softcap != 0.0f) score = p.softcap * tanhf(score / p.softcap);
            score += lift * float(key);
        }
        const float most = fmaxf(largest, warp_max(score));
        // A NaN among the scores must show: it reaches the weights.
        const float weight = seen ? expf(score - most) : 0.0f;
        const float fade = largest == -INFINITY ? 0.0f : expf(largest - most);
        total = total * fade + warp_sum(weight);
        largest = most;
        const uint32_t count = min(BLOCK, position + 1 - index * BLOCK);
        for (uint32_t i = lane; i < v_dim; i += 32) mine[i] *= fade;
        const uint32_t start = first > index * BLOCK ? first - index * BLOCK : 0;
        for (uint32_t j = start; j < count; ++j) {
            const float w = __shfl_sync(0xffffffffu, weight, j);
            for (uint32_t i = lane; i < v_dim; i += 32) mine[i] += w * N::load(values + size_t(j) * v_dim + i);
        }
    }
    if (lane == 0) mine[v_dim] = largest, mine[v_dim + 1] = total;
    __syncthreads();
    float most = p.sinks ? p.sinks[head] : -INFINITY;
    for (uint32_t w = 0; w < ATTEND_WARPS; ++w) most = fmaxf(most, sums[w * (v_dim + 2) + v_dim]);
    float weights[ATTEND_WARPS], sum = p.sinks ? expf(p.sinks[head] - most) : 0.0f;
    for (uint32_t w = 0; w < ATTEND_WARPS; ++w) {
        const float* part = sums + w * (v_dim + 2) + v_dim;
        weights[w] = part[0] == -INFINITY ? 0.0f : expf(part[0] - most);
        sum += weights[w] * part[1];
    }
    float* out = p.out + (size_t(token) * p.q_heads + head) * v_dim;
    for (uint32_t i = threadIdx.x; i < v_dim; i += blockDim.x) {
        float y = 0.0f;
        for (uint32_t w = 0; w < ATTEND_WARPS; ++w)
            if (weights[w] != 0.0f) y += weights[w] * sums[w * (v_dim + 2) + i];
        out[i] = y / sum;
    }
}

extern "C" __global__ void __launch_bounds__(ATTEND_WARPS * 32) attend(PARAMS(AttendParams)) {
    wait_for_predecessor();
    let_next_begin();
    switch (p.dtype) {
        case KV_F32: return attend_tokens<KV_F32>(p);
        case KV_F16: return attend_tokens<KV_F16>(p);
        default: return attend_tokens<KV_BF16>(p);
    }
}

struct AnglesParams {
    const float* frequencies;  // [slots][pairs]
    const uint32_t* positions; // [tokens]
    const uint32_t* slots;     // [tokens]
    float* cosines;            // [tokens][pairs]
    float* sines;
    uint32_t pairs;
    float attention, direction;
    uint32_t unused;
};

// A block a token.
extern "C" __global__ void rope_angles(PARAMS(AnglesParams)) {
    wait_for_predecessor();
    let_next_begin();
    const float* frequencies = p.frequencies + size_t(__ldcg(p.slots + blockIdx.x)) * p.pairs;
    const float position = float(__ldcg(p.positions + blockIdx.x));
    for (uint32_t i = threadIdx.x; i < p.pairs; i += blockDim.x) {
        const float angle = position * __ldcg(frequencies + i);
        p.cosines[size_t(blockIdx.x) * p.pairs + i] = cosf(angle) * p.attention;
        p.sines[size_t(blockIdx.x) * p.pairs + i] = sinf(angle) * p.attention * p.direction;
    }
}
