// Projections with weights of any storage type: the plain kernels, right for every size.
#include "matrix.cuh"

struct LinearParams {
    Matrix matrix;
    const float* x;         // [tokens][x_stride], of which cols are read
    const float* bias;      // of row 0 of expert 0, or none
    const float* residual;  // as out, or none
    float* out;             // [tokens][out_stride], of which rows are written
    const uint32_t* experts;  // [tokens]: rows expert * rows and following of the matrix; none: all of it
    const float* factors;   // [tokens] of x, or none
    uint32_t tokens, rows, x_stride, out_stride;
    uint32_t x_tokens;      // tokens that share a row of x
    uint32_t unused;
};

constexpr uint32_t WARPS = 8;

// A warp computes a row for TOKENS tokens.
template <uint32_t DTYPE, uint32_t TOKENS>
__device__ __forceinline__ void linear(const LinearParams& p, uint32_t first) {
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, cols = p.matrix.cols;
    if (row >= p.rows) return;
    const uint32_t expert = p.experts ? p.experts[first] : 0;
    const size_t matrix_row = size_t(expert) * p.rows + row;
    float sum[TOKENS] = {};
    const float* x[TOKENS];
    for (uint32_t t = 0; t < TOKENS; ++t) x[t] = p.x + size_t(min(first + t, p.tokens - 1) / p.x_tokens) * p.x_stride;
    if (cols % 8 == 0 && p.x_stride % 4 == 0) {
        for (uint32_t i = lane; i < cols / 8; i += 32) {
            float w[8];
            numbers8<DTYPE>(p.matrix, matrix_row, i, w);
            for (uint32_t t = 0; t < TOKENS; ++t) {
                const float4* at = reinterpret_cast<const float4*>(x[t] + i * 8);
                const float4 a = at[0], b = at[1];
                sum[t] += w[0] * a.x + w[1] * a.y + w[2] * a.z + w[3] * a.w + w[4] * b.x + w[5] * b.y + w[6] * b.z +
                          w[7] * b.w;
            }
        }
    } else if constexpr (DTYPE <= BF16) {
        for (uint32_t col = lane; col < cols; col += 32) {
            const float w = number<DTYPE>(p.matrix, matrix_row, col);
            for (uint32_t t = 0; t < TOKENS; ++t) sum[t] += w * x[t][col];
        }
    } else {
        // Rows of blocks are multiples of 8 wide; only x lies unaligned.
        for (uint32_t i = lane; i < cols / 8; i += 32) {
            float w[8];
            numbers8<DTYPE>(p.matrix, matrix_row, i, w);
            for (uint32_t t = 0; t < TOKENS; ++t)
                for (int k = 0; k < 8; ++k) sum[t] += w[k] * x[t][i * 8 + k];
        }
    }
    for (uint32_t t = 0; t < TOKENS; ++t) {
        float y = warp_sum(sum[t]);
        if (lane != 0 || first + t >= p.tokens) continue;
        if (p.factors) y *= p.factors[first + t];
        if (p.bias) y += p.bias[matrix_row];
        const size_t at = size_t(first + t) * p.out_stride + row;
        if (p.residual) y += p.residual[at];
        p.out[at] = y;
    }
}

#define LINEAR(name, DTYPE)                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) linear_##name(PARAMS(LinearParams)) {                \
        wait_for_predecessor();                                                                                   \
        let_next_begin();                                                                                         \
        linear<DTYPE, 1>(p, blockIdx.y);                                                                          \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) linear8_##name(PARAMS(LinearParams)) {               \
        wait_for_predecessor();                                                                                   \
        let_next_begin();                                                                                         \
        linear<DTYPE, 8>(p, blockIdx.y * 8);                                                                      \
    }

FOR_EACH_DTYPE(LINEAR)

struct EmbedParams {
    Matrix table;
    Matrix places;             // learned positions
    const uint32_t* tokens;    // [tokens]
    const uint32_t* positions; // [tokens]
    float* out;                // [tokens][cols]
    float scale;
    uint32_t has_places;
    uint32_t place_offset;
    uint32_t unused;
};

template <uint32_t DTYPE>
__device__ void add_row(const Matrix& m, uint32_t row, float scale, float* out, bool first) {
    if (m.cols % 8 == 0) {
        for (uint32_t i = threadIdx.x; i < m.cols / 8; i += blockDim.x) {
            float w[8];
            numbers8<DTYPE>(m, row, i, w);
            for (int k = 0; k < 8; ++k) out[i * 8 + k] = w[k] * scale + (first ? 0.0f : out[i * 8 + k]);
        }
    } else if constexpr (DTYPE <= BF16) {
        for (uint32_t col = threadIdx.x; col < m.cols; col += blockDim.x)
            out[col] = number<DTYPE>(m, row, col) * scale + (first ? 0.0f : out[col]);
    }
}

__device__ void add_row_of(const Matrix& m, uint32_t row, float scale, float* out, bool first) {
    switch (m.dtype) {
#define CASE(name, DTYPE) \
    case DTYPE: return add_row<DTYPE>(m, row, scale, out, first);
        FOR_EACH_DTYPE(CASE)
#undef CASE
    }
}

// A block a token. Ids and positions were checked by the host; what the device fed back is clamped.
extern "C" __global__ void embed(PARAMS(EmbedParams)) {
    wait_for_predecessor();
    let_next_begin();
    float* out = p.out + size_t(blockIdx.x) * p.table.cols;
    add_row_of(p.table, min(__ldcg(p.tokens + blockIdx.x), p.table.rows - 1), p.scale, out, true);
    if (p.has_places) {
        __syncthreads();
        add_row_of(p.places, min(__ldcg(p.positions + blockIdx.x) + p.place_offset, p.places.rows - 1), 1.0f, out, false);
    }
}
