// The matrix product of prefill on sm_90a: wgmma fed by a ring of shared-memory stages.
//
// A block has two warpgroups that multiply, 64 rows of the tile each, and others before them that fill the ring: for halves
// one, of which one thread asks the copy engine (TMA) for boxes of A and W; for MXFP4 two, which unpack W into the ring by
// turns.
// Blocks stay and take tile after tile, so the next tile's loads run while this one is written.
#include "gemm.cuh"
#include "hopper.cuh"
#include "mxfp4.cuh"
#include "wgmma.cuh"

struct GemmSm90Params {
    CUtensorMap a;   // [rows, k], boxes of 64 columns and 128 rows
    CUtensorMap w;   // [rows, k], boxes of 64 columns and as many rows as the tile has columns; half of them if paired
    CUtensorMap w2;  // the up rows of a paired product
    GemmShape shape;
    Epilogue epilogue;
};

struct GemmMxfp4Params {
    CUtensorMap a;
    // Planes (repack.cu) of the first row: quants [rows, k / 32, 16 bytes], scales [rows, k / 32]. The up rows begin at
    // `up` rows from there.
    const uint8_t* quants;
    const uint8_t* scales;
    uint32_t up, unused;
    GemmShape shape;
    Epilogue epilogue;
};

constexpr int BM = 128, BK = 64, CONSUMERS = 256;
constexpr int THREADS = 128 + CONSUMERS;
// Unpacking warpgroups: while one waits for its numbers the other computes.
constexpr int UNPACKERS = 2, MXFP4_THREADS = UNPACKERS * 128 + CONSUMERS;
constexpr uint32_t ROW_BYTES = BK * 2, A_BYTES = BM * ROW_BYTES;

template <int BN> struct Ring {
    static constexpr int STAGES = BN == 256 ? 4 : BN == 192 ? 5 : BN == 128 ? 6 : 8;
    static constexpr uint32_t BYTES = A_BYTES + BN * ROW_BYTES;
    uint32_t base, full, empty; // shared addresses
    uint32_t stage = 0, parity = 0;

    __device__ __forceinline__ uint32_t a() const { return base + stage * BYTES; }
    __device__ __forceinline__ uint32_t w() const { return a() + A_BYTES; }
    __device__ __forceinline__ void next() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
    __device__ __forceinline__ void wait_full() const { barrier_wait(full + stage * 8, parity); }
    __device__ __forceinline__ void wait_empty() const { barrier_wait(empty + stage * 8, parity ^ 1); }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int CONSUMER_WARPS = 8;

template <int BN> struct __align__(8) Fixed {
    uint64_t full[Ring<BN>::STAGES], empty[Ring<BN>::STAGES];
    uint32_t starts[MAX_EXPERTS + 1];
};

template <int BN>
__device__ __forceinline__ Ring<BN> make_ring(Fixed<BN>& fixed, uint32_t full_arrivals) {
    extern __shared__ uint8_t dynamic[];
    Ring<BN> ring;
    ring.base = (shared_address(dynamic) + 1023) & ~1023u;
    ring.full = shared_address(fixed.full);
    ring.empty = shared_address(fixed.empty);
    if (threadIdx.x == 0) {
        for (int s = 0; s < Ring<BN>::STAGES; s++) {
            barrier_init(ring.full + s * 8, full_arrivals);
            barrier_init(ring.empty + s * 8, CONSUMER_WARPS);
        }
        barrier_init_fence();
    }
    __syncthreads();
    return ring;
}

// A multiplying warpgroup's work.
template <class Half, int BN, int LOADERS>
__device__ __forceinline__ void consume(Ring<BN> ring, const Tiles<BM, BN>& tiles, const GemmShape& shape,
                                        const Epilogue& epilogue, const uint32_t* starts) {
    const uint32_t group = threadIdx.x / 128 - LOADERS, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    const uint32_t steps = (shape.k + BK - 1) / BK;
    const bool paired = epilogue.store == PAIRED_HALF;
    for (uint32_t index = blockIdx.x; index < tiles.count; index += gridDim.x) {
        float acc[BN / 8][4];
        wgmma_pin(acc);
        uint32_t previous = 0;
        for (uint32_t step = 0; step < steps; step++) {
            ring.wait_full();
            uint64_t a = wgmma_descriptor(ring.a() + group * 64 * ROW_BYTES), w = wgmma_descriptor(ring.w());
            wgmma_fence();
#pragma unroll
            for (int k = 0; k < BK / 16; k++) Wgmma<Half, BN>::run(acc, a + 2 * k, w + 2 * k, step + k > 0);
            wgmma_commit();
            // The step before has ended: its stage is free.
            wgmma_wait<1>();
            if (step > 0 && lane == 0) barrier_arrive(ring.empty + previous * 8);
            previous = ring.stage;
            ring.next();
        }
        wgmma_wait<0>();
        wgmma_pin(acc);
        if (lane == 0) barrier_arrive(ring.empty + previous * 8);
        Tile t = tiles.at(shape, starts, index);
        uint32_t row = t.row + group * 64 + warp * 16 + lane / 4;
        uint32_t tile_column = paired ? t.column / 2 : t.column;
        finish<Half>(epilogue, t, shape.first_expert, paired ? shape.n / 2 : shape.n, row, acc,
                     [&](int j) { return tile_column + j * 8 + lane % 4 * 2; });
    }
}

template <class Half, int BN> __device__ void gemm_sm90(const GemmSm90Params& p) {
    __shared__ Fixed<BN> fixed;
    const GemmShape& shape = p.shape;
    if (threadIdx.x == 0) {
        tma_prefetch_map(&p.a);
        tma_prefetch_map(&p.w);
    }
    Ring<BN> ring = make_ring<BN>(fixed, 1);
    wait_for_predecessor();
    let_next_begin();
    Tiles<BM, BN> tiles;
    tiles.init(shape, fixed.starts);
    if (threadIdx.x >= 128) {
        registers_take<BN == 256 ? 232 : 208>();
        consume<Half, BN, 1>(ring, tiles, shape, p.epilogue, fixed.starts);
        return;
    }
    registers_give<40>();
    if (threadIdx.x != 0) return;
    const uint32_t steps = (shape.k + BK - 1) / BK;
    const bool paired = p.epilogue.store == PAIRED_HALF;
    for (uint32_t index = blockIdx.x; index < tiles.count; index += gridDim.x) {
        Tile t = tiles.at(shape, fixed.starts, index);
        uint32_t row = t.expert * shape.expert_rows + (paired ? t.column / 2 : t.column);
        for (uint32_t step = 0; step < steps; step++) {
            ring.wait_empty();
            uint32_t full = ring.full + ring.stage * 8;
            barrier_expect(full, Ring<BN>::BYTES);
            tma_load(ring.a(), &p.a, step * BK, t.row, full);
            tma_load(ring.w(), &p.w, step * BK, row, full);
            if (paired) tma_load(ring.w() + BN / 2 * ROW_BYTES, &p.w2, step * BK, row, full);
            ring.next();
        }
    }
}

constexpr int MXFP4_BN = 128;

// Where an unpacking warpgroup is: a step of a tile. Two neighbouring threads have a row of the stage, a block of 32 values
// each; a thread has two rows, 64 apart.
struct Cursor {
    uint32_t index, step, steps;
    Tile tile;
    const uint8_t* quants[2];
    const uint8_t* scales[2];
    bool exists[2];

    __device__ __forceinline__ bool valid(const Tiles<BM, MXFP4_BN>& tiles) const { return index < tiles.count; }

    __device__ __forceinline__ static uint32_t row(int i) { return i * 64 + threadIdx.x % 128 / 2; }

    // Finds the tile and this thread's rows of W in it.
    __device__ __forceinline__ void enter(const GemmMxfp4Params& p, const Tiles<BM, MXFP4_BN>& tiles, const uint32_t* starts) {
        if (!valid(tiles)) return;
        tile = tiles.at(p.shape, starts, index);
        bool paired = p.epilogue.store == PAIRED_HALF;
        size_t expert = (size_t)(p.shape.first_expert + tile.expert) * p.shape.expert_rows;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            // Of a pair the first 64 rows are gate, the others up.
            uint32_t column = paired ? tile.column / 2 + row(i) % 64 : tile.column + row(i);
            exists[i] = column < (paired ? p.shape.n / 2 : p.shape.n);
            size_t at = expert + (paired && i == 1 ? p.up : 0) + column;
            quants[i] = p.quants + at * (p.shape.k / 2);
            scales[i] = p.scales + at * (p.shape.k / 32);
        }
    }

    __device__ __forceinline__ void next(const GemmMxfp4Params& p, const Tiles<BM, MXFP4_BN>& tiles, const uint32_t* starts) {
        if (++step < steps) return;
        step = 0;
        index += gridDim.x;
        enter(p, tiles, starts);
    }
};

// A thread's two blocks of a step.
struct Packed {
    uint4 quants[2];
    uint32_t scales[2];

    __device__ __forceinline__ void load(const Cursor& c, uint32_t blocks) {
        uint32_t block = c.step * 2 + threadIdx.x % 2;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            bool exists = c.exists[i] && block < blocks;
            quants[i] = exists ? __ldg((const uint4*)(c.quants[i] + block * 16)) : make_uint4(0, 0, 0, 0);
            scales[i] = exists ? __ldg(c.scales[i] + block) : 127;
        }
    }

    template <class Half> __device__ __forceinline__ void unpack(uint32_t stage) const {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            Mxfp4Scale<Half> scale(scales[i]);
            const uint32_t words[4] = {quants[i].x, quants[i].y, quants[i].z, quants[i].w}, row = Cursor::row(i);
#pragma unroll
            for (int q = 0; q < 4; q++) {
                uint4 v = mxfp4_word<Half>(words[q], scale);
                uint32_t chunk = (threadIdx.x % 2 * 4 + q) ^ (row % 8);
                asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(stage + row * ROW_BYTES + chunk * 16), "r"(v.x),
                             "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
            }
        }
    }
};

template <class Half> __device__ void gemm_mxfp4_sm90(const GemmMxfp4Params& p) {
    // Steps of a warpgroup whose blocks are on their way from memory to registers.
    constexpr int AHEAD = 3;
    __shared__ Fixed<MXFP4_BN> fixed;
    const GemmShape& shape = p.shape;
    Ring<MXFP4_BN> ring = make_ring<MXFP4_BN>(fixed, 1 + 4);
    wait_for_predecessor();
    let_next_begin();
    Tiles<BM, MXFP4_BN> tiles;
    tiles.init(shape, fixed.starts);
    if (threadIdx.x >= UNPACKERS * 128) {
        consume<Half, MXFP4_BN, UNPACKERS>(ring, tiles, shape, p.epilogue, fixed.starts);
        return;
    }
    const uint32_t blocks = shape.k / 32, turn = threadIdx.x / 128;
    Packed packed[AHEAD];
    Cursor load{blockIdx.x, 0, (shape.k + BK - 1) / BK}, use;
    auto skip = [&](Cursor& c, int steps) {
        for (int i = 0; i < steps; i++)
            if (c.valid(tiles)) c.next(p, tiles, fixed.starts);
    };
    load.enter(p, tiles, fixed.starts);
    skip(load, turn);
    for (int i = 0; i < turn; i++) ring.next();
    use = load;
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
        if (!load.valid(tiles)) break;
        packed[i].load(load, blocks);
        skip(load, UNPACKERS);
    }
    while (use.valid(tiles)) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (!use.valid(tiles)) break;
            ring.wait_empty();
            uint32_t full = ring.full + ring.stage * 8;
            if (threadIdx.x % 128 == 0) {
                barrier_expect(full, A_BYTES);
                tma_load(ring.a(), &p.a, use.step * BK, use.tile.row, full);
            }
            packed[i].unpack<Half>(ring.w());
            fence_async_proxy();
            __syncwarp();
            if (threadIdx.x % 32 == 0) barrier_arrive(full);
            for (int u = 0; u < UNPACKERS; u++) ring.next();
            skip(use, UNPACKERS);
            if (load.valid(tiles)) {
                packed[i].load(load, blocks);
                skip(load, UNPACKERS);
            }
        }
    }
}

#else
// Other architectures carry empty bodies: the planner takes gemm_mma.cu there.
template <class Half, int BN> __device__ void gemm_sm90(const GemmSm90Params&) {}
template <class Half> __device__ void gemm_mxfp4_sm90(const GemmMxfp4Params&) {}
#endif

#define KERNEL(HALF, BN)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) gemm_sm90_##HALF##_##BN(PARAMS(GemmSm90Params)) { \
        gemm_sm90<HALF, BN>(p);                                                                                            \
    }
KERNEL(bf16, 64)
KERNEL(bf16, 128)
KERNEL(bf16, 192)
KERNEL(bf16, 256)
KERNEL(f16, 64)
KERNEL(f16, 128)
KERNEL(f16, 192)
KERNEL(f16, 256)
#undef KERNEL

extern "C" __global__ void __launch_bounds__(MXFP4_THREADS, 1) gemm_mxfp4_sm90_bf16(PARAMS(GemmMxfp4Params)) {
    gemm_mxfp4_sm90<bf16>(p);
}
extern "C" __global__ void __launch_bounds__(MXFP4_THREADS, 1) gemm_mxfp4_sm90_f16(PARAMS(GemmMxfp4Params)) {
    gemm_mxfp4_sm90<f16>(p);
}
