// What the two matrix products (gemm_sm90.cu, gemm_mma.cu) share: their arguments, the order of tiles, the epilogue.
//
//   C[t, n] = sum over k of A[t, k] W[n, k]
//
// A [tokens, k] and W [rows, k] are bf16 or f16, sums are f32. In a *paired* product W has two parts, gate and up, and
// C[t, n] = glu(A . gate row n, A . up row n). In a *grouped* one the rows of A lie sorted by expert, and each expert has
// rows of W of its own.
#pragma once
#include "act.cuh"
#include "half.cuh"

enum Store : uint32_t {
    STORE_F32,  // out f32 = C, and the residual if there is one
    PAIRED_HALF // out half = glu(gate, up)
};

struct Epilogue {
    void* out;          // [tokens, out_stride]
    const float* residual; // [tokens, out_stride], may be `out`; or null
    const float* bias;  // [n] or null; of expert e at e * bias_experts
    const float* bias2; // the up rows' in a paired product
    uint32_t out_stride, bias_experts;
    uint32_t store;
    Glu glu;
};

// The ways of joining gate and up that are worth code of their own. The result becomes 16 bits wide: the hardware's
// exponential and division are exact enough.
enum Join { JOIN_SILU, JOIN_GELU_TANH, JOIN_CLAMPED };

__device__ __forceinline__ float fast_sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

template <Join JOIN> __device__ __forceinline__ float join(const Glu& how, float gate, float up) {
    if (JOIN == JOIN_SILU) return gate * fast_sigmoid(gate) * up;
    // tanh(y) = 2 sigmoid(2 y) - 1
    if (JOIN == JOIN_GELU_TANH) return gate * fast_sigmoid(1.5957691216f * (gate + 0.044715f * gate * gate * gate)) * up;
    // Comparisons instead of fminf, so that NaN stays NaN.
    gate = gate > how.limit ? how.limit : gate;
    up = up > how.limit ? how.limit : up < -how.limit ? -how.limit : up;
    return (up + how.up_shift) * gate * fast_sigmoid(how.alpha * gate);
}

// Which rows of A and W a product covers.
struct GemmShape {
    uint32_t tokens, n, k;
    uint32_t experts;        // 0: a dense product
    uint32_t first_expert;   // W holds the experts from this one on
    uint32_t expert_rows;    // rows of W from one expert to the next
    const uint32_t* offsets; // [first_expert + experts + 1] first row of A of each expert
};

struct Tile {
    uint32_t expert; // counted from first_expert
    uint32_t row, row_end;
    uint32_t column;
};

constexpr uint32_t MAX_EXPERTS = 512;

// The tiles of a product in an order in which neighbours share rows of W, and W is read from memory once.
template <int BM, int BN> struct Tiles {
    uint32_t count, columns;

    // `starts` [MAX_EXPERTS + 1] in shared memory: tile number at which each expert begins. All threads call it.
    __device__ __forceinline__ void init(const GemmShape& s, uint32_t* starts) {
        columns = (s.n + BN - 1) / BN;
        if (s.experts == 0) {
            count = (s.tokens + BM - 1) / BM * columns;
            return;
        }
        if (threadIdx.x < 32) {
            uint32_t sum = 0;
            for (uint32_t base = 0; base < s.experts; base += 32) {
                uint32_t e = base + threadIdx.x, tiles = 0;
                if (e < s.experts) {
                    const uint32_t* o = s.offsets + s.first_expert + e;
                    tiles = (__ldcg(o + 1) - __ldcg(o) + BM - 1) / BM * columns;
                }
                uint32_t scan = tiles;
                for (int d = 1; d < 32; d *= 2) {
                    uint32_t left = __shfl_up_sync(~0u, scan, d);
                    if (threadIdx.x >= d) scan += left;
                }
                if (e < s.experts) starts[e] = sum + scan - tiles;
                sum += __shfl_sync(~0u, scan, 31);
            }
            if (threadIdx.x == 0) starts[s.experts] = sum;
        }
        __syncthreads();
        count = starts[s.experts];
    }

    __device__ __forceinline__ Tile at(const GemmShape& s, const uint32_t* starts, uint32_t index) const {
        Tile t{0, 0, s.tokens, 0};
        uint32_t rows = (s.tokens + BM - 1) / BM, first = 0;
        if (s.experts != 0) {
            uint32_t lo = 0, hi = s.experts; // the last expert that begins at or before `index` and has tiles
            while (hi - lo > 1) {
                uint32_t mid = (lo + hi) / 2;
                if (starts[mid] <= index) lo = mid; else hi = mid;
            }
            index -= starts[lo];
            rows = (starts[lo + 1] - starts[lo]) / columns;
            const uint32_t* o = s.offsets + s.first_expert + lo;
            t.expert = lo;
            first = __ldcg(o);
            t.row_end = __ldcg(o + 1);
        }
        // Bands of 16 tiles in height: their rows of A stay in L2 while all of W passes by.
        constexpr uint32_t BAND = 16;
        uint32_t band = index / (BAND * columns), in_band = index % (BAND * columns);
        uint32_t height = min(BAND, rows - band * BAND);
        t.row = first + (band * BAND + in_band % height) * BM;
        t.column = in_band / height * BN;
        return t;
    }
};

// Two neighbouring columns of a row, the second only if it is one of the `n`.
template <class Half>
__device__ __forceinline__ void store_halves(const Epilogue& e, uint32_t row, uint32_t column, uint32_t n, float x, float y) {
    Half* out = (Half*)e.out + (size_t)row * e.out_stride + column;
    if (column + 1 < n && (size_t)out % sizeof(uint32_t) == 0) {
        *(uint32_t*)out = HalfTraits<Half>::pack(x, y);
    } else {
        out[0] = HalfTraits<Half>::from(x);
        if (column + 1 < n) out[1] = HalfTraits<Half>::from(y);
    }
}

// The residual of two neighbouring columns.
__device__ __forceinline__ float2 residual_two(const Epilogue& e, uint32_t row, uint32_t column, uint32_t n) {
    if (e.residual == nullptr) return make_float2(0.0f, 0.0f);
    const float* at = e.residual + (size_t)row * e.out_stride + column;
    if (column + 1 < n && (size_t)at % sizeof(float2) == 0) return __ldcg((const float2*)at);
    return make_float2(__ldcg(at), column + 1 < n ? __ldcg(at + 1) : 0.0f);
}

__device__ __forceinline__ void store_f32(const Epilogue& e, uint32_t row, uint32_t column, uint32_t n, float x, float y) {
    float* out = (float*)e.out + (size_t)row * e.out_stride + column;
    if (column + 1 < n && (size_t)out % sizeof(float2) == 0) {
        *(float2*)out = make_float2(x, y);
    } else {
        out[0] = x;
        if (column + 1 < n) out[1] = y;
    }
}

__device__ __forceinline__ float2 bias_two(const float* bias, uint32_t column, uint32_t n) {
    if (bias == nullptr) return make_float2(0.0f, 0.0f);
    return make_float2(__ldg(bias + column), column + 1 < n ? __ldg(bias + column + 1) : 0.0f);
}

// Finishes a tile of which a thread holds, for each 8-column group j, acc[j] = {row, two columns; row + 8, the same two}.
// `column(j)` is the product's column of group j (plus this thread's two); of a paired product the second half of the
// groups are the up rows.
template <class Half, Join JOIN, int GROUPS, class Column>
__device__ __forceinline__ void finish_paired(const Epilogue& e, const Tile& t, uint32_t n, uint32_t row,
                                              const float (&acc)[GROUPS][4], Column column, const float* bias,
                                              const float* bias2) {
#pragma unroll
    for (int j = 0; j < GROUPS / 2; j++) {
        uint32_t c = column(j);
        if (c >= n) continue;
        float2 b = bias_two(bias, c, n), b2 = bias_two(bias2, c, n);
        const float* g = acc[j];
        const float* u = acc[j + GROUPS / 2];
        if (row < t.row_end)
            store_halves<Half>(e, row, c, n, join<JOIN>(e.glu, g[0] + b.x, u[0] + b2.x), join<JOIN>(e.glu, g[1] + b.y, u[1] + b2.y));
        if (row + 8 < t.row_end)
            store_halves<Half>(e, row + 8, c, n, join<JOIN>(e.glu, g[2] + b.x, u[2] + b2.x), join<JOIN>(e.glu, g[3] + b.y, u[3] + b2.y));
    }
}

template <class Half, int GROUPS, class Column>
__device__ __forceinline__ void finish(const Epilogue& e, const Tile& t, uint32_t first_expert, uint32_t n, uint32_t row,
                                       const float (&acc)[GROUPS][4], Column column) {
    size_t expert = (size_t)(first_expert + t.expert) * e.bias_experts;
    const float* bias = e.bias == nullptr ? nullptr : e.bias + expert;
    if (e.store == PAIRED_HALF) {
        const float* bias2 = e.bias2 == nullptr ? nullptr : e.bias2 + expert;
        if (e.glu.clamped) finish_paired<Half, JOIN_CLAMPED>(e, t, n, row, acc, column, bias, bias2);
        else if (e.glu.act == SILU) finish_paired<Half, JOIN_SILU>(e, t, n, row, acc, column, bias, bias2);
        else finish_paired<Half, JOIN_GELU_TANH>(e, t, n, row, acc, column, bias, bias2);
        return;
    }
    // The residual may be where the result goes: a few groups are read before any of them is written, not one by one.
    constexpr int AT_ONCE = 4;
#pragma unroll
    for (int first = 0; first < GROUPS; first += AT_ONCE) {
        float2 upper[AT_ONCE], lower[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            uint32_t c = column(first + i);
            float2 b = c < n ? bias_two(bias, c, n) : make_float2(0.0f, 0.0f);
            upper[i] = lower[i] = b;
            if (c < n && row < t.row_end) {
                float2 r = residual_two(e, row, c, n);
                upper[i] = make_float2(b.x + r.x, b.y + r.y);
            }
            if (c < n && row + 8 < t.row_end) {
                float2 r = residual_two(e, row + 8, c, n);
                lower[i] = make_float2(b.x + r.x, b.y + r.y);
            }
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            uint32_t c = column(first + i);
            const float* sum = acc[first + i];
            if (c < n && row < t.row_end) store_f32(e, row, c, n, sum[0] + upper[i].x, sum[1] + upper[i].y);
            if (c < n && row + 8 < t.row_end) store_f32(e, row + 8, c, n, sum[2] + lower[i].x, sum[3] + lower[i].y);
        }
    }
}
