// The matrix product of prefill for every GPU from sm_80 on: mma.sync fed by a cp.async pipeline.
//
// A block of 8 warps makes a tile of 128 rows and 128 columns, each warp 64 x 32 of it; a step is 32 of k. Any k works:
// where rows do not begin at 16-byte borders, elements are copied one by one.
#include "gemm.cuh"
#include "mma.cuh"

struct GemmMmaParams {
    const void* a;
    const void* w;
    const void* w2;  // the up rows of a paired product
    uint32_t a_stride, w_stride; // elements from row to row
    uint32_t a_rows, w_rows;     // rows that may be read
    GemmShape shape;
    Epilogue epilogue;
};

constexpr int BM = 128, BN = 128, BK = 32, STAGES = 4, THREADS = 256;
constexpr int CHUNKS = BK / 8; // of 16 bytes in a row of a stage
constexpr uint32_t STAGE_BYTES = (BM + BN) * BK * 2;

// Rows of 64 bytes, two to a line of banks: swizzled so that 8 consecutive rows' chunks of one column meet all banks.
__device__ __forceinline__ uint32_t place(uint32_t row, uint32_t chunk) {
    return row * (BK * 2) + (chunk ^ (row / 2 % 4)) * 16;
}

// 8 halves of a row from column `k` on; zeros beyond the row's end or where there is no row.
template <class Half>
__device__ __forceinline__ void load_chunk(uint32_t to, const Half* row, uint32_t k, uint32_t width, bool exists, bool aligned) {
    int count = exists && k < width ? min(8u, width - k) : 0;
    if (aligned) {
        cp_async_16(to, row + (count ? k : 0), count * 2);
        return;
    }
    const uint16_t* from = (const uint16_t*)row + k;
    uint32_t v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t lo = 2 * i < count ? __ldcg(from + 2 * i) : 0, hi = 2 * i + 1 < count ? __ldcg(from + 2 * i + 1) : 0;
        v[i] = lo | hi << 16;
    }
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]) : "memory");
}

template <class Half> struct Loader {
    const Half* a;
    const Half* w;
    const Half* w2;
    const GemmMmaParams& p;
    Tile tile;
    bool paired, a_aligned, w_aligned;

    __device__ __forceinline__ Loader(const GemmMmaParams& p, Tile tile) : p(p), tile(tile) {
        a = (const Half*)p.a;
        w = (const Half*)p.w;
        w2 = (const Half*)p.w2;
        paired = p.epilogue.store == PAIRED_HALF;
        a_aligned = p.a_stride % 8 == 0 && (size_t)p.a % 16 == 0;
        w_aligned = p.w_stride % 8 == 0 && ((size_t)p.w | (size_t)p.w2) % 16 == 0;
    }

    __device__ __forceinline__ void stage(uint32_t to, uint32_t step) const {
        // Rows of W from row number `tile_row` on.
        uint32_t tile_row = tile.expert * p.shape.expert_rows + (paired ? tile.column / 2 : tile.column);
#pragma unroll
        for (int i = 0; i < (BM + BN) * CHUNKS / THREADS; i++) {
            uint32_t item = i * THREADS + threadIdx.x, r = item / CHUNKS, chunk = item % CHUNKS;
            uint32_t k = step * BK + chunk * 8;
            if (r < BM) {
                uint32_t row = tile.row + r;
                bool exists = row < min(tile.row_end, p.a_rows);
                load_chunk(to + place(r, chunk), a + (exists ? (size_t)row * p.a_stride : 0), k, p.shape.k, exists, a_aligned);
            } else {
                uint32_t column = r - BM;
                bool up = paired && column >= BN / 2;
                uint32_t row = tile_row + (up ? column - BN / 2 : column);
                bool exists = row < p.w_rows;
                load_chunk(to + place(r, chunk), (up ? w2 : w) + (exists ? (size_t)row * p.w_stride : 0), k, p.shape.k, exists,
                           w_aligned);
            }
        }
    }
};

// Multiplies a stage. Warp (wm, wn) has rows 64 wm.. and the column groups 16 wn.. of each half of the tile, so that gate
// and up of a paired product meet in one thread.
template <class Half>
__device__ __forceinline__ void multiply(uint32_t stage, uint32_t wm, uint32_t wn, float (&acc)[4][4][4]) {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < BK / 16; k++) {
        uint32_t a[4][4], b[2][4];
#pragma unroll
        for (int m = 0; m < 4; m++) ldmatrix(a[m], stage + place(wm * 64 + m * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
        for (int h = 0; h < 2; h++)
            ldmatrix(b[h], stage + place(BM + h * 64 + wn * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int j = 0; j < 4; j++) mma_16816<Half>(acc[m][j], a[m], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
}

template <class Half> __device__ void gemm_mma(const GemmMmaParams& p) {
    extern __shared__ __align__(128) uint8_t dynamic[];
    __shared__ uint32_t starts[MAX_EXPERTS + 1];
    wait_for_predecessor();
    let_next_begin();
    Tiles<BM, BN> tiles;
    tiles.init(p.shape, starts);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp / 4, wn = warp % 4;
    const uint32_t steps = (p.shape.k + BK - 1) / BK, base = shared_address(dynamic);
    const bool paired = p.epilogue.store == PAIRED_HALF;
    for (uint32_t index = blockIdx.x; index < tiles.count; index += gridDim.x) {
        Loader<Half> loader(p, tiles.at(p.shape, starts, index));
        float acc[4][4][4] = {};
#pragma unroll
        for (uint32_t s = 0; s < STAGES - 1; s++) {
            if (s < steps) loader.stage(base + s * STAGE_BYTES, s);
            cp_async_commit();
        }
        for (uint32_t step = 0; step < steps; step++) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();
            uint32_t ahead = step + STAGES - 1;
            if (ahead < steps) loader.stage(base + ahead % STAGES * STAGE_BYTES, ahead);
            cp_async_commit();
            multiply<Half>(base + step % STAGES * STAGE_BYTES, wm, wn, acc);
        }
        const Tile& t = loader.tile;
#pragma unroll
        for (int m = 0; m < 4; m++)
            finish<Half>(p.epilogue, t, p.shape.first_expert, paired ? p.shape.n / 2 : p.shape.n,
                         t.row + wm * 64 + m * 16 + lane / 4, acc[m], [&](int j) {
                             uint32_t half = paired ? 0 : j / 2 * 64;
                             return (paired ? t.column / 2 : t.column) + half + wn * 16 + j % 2 * 8 + lane % 4 * 2;
                         });
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) gemm_mma_bf16(PARAMS(GemmMmaParams)) { gemm_mma<bf16>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) gemm_mma_f16(PARAMS(GemmMmaParams)) { gemm_mma<f16>(p); }
