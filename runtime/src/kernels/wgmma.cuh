// wgmma of sm_90a: d[64 x N] += a[64 x 16] b[16 x N], both operands in shared memory. A warpgroup (128 threads) works together;
// warp w of it holds rows 16 w.. of d, each thread of a warp as mma.sync has it (mma.cuh), 8 columns a group.
#pragma once
#include "half.cuh"

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the compiler from moving accumulators while a product that it cannot see works on them.
template <int GROUPS> __device__ __forceinline__ void wgmma_pin(float (&d)[GROUPS][4]) {
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
        asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
}

// Rows of 64 halves (128 bytes), 8 rows to a 1,024-byte atom whose 16-byte chunks are swizzled: chunk c of row r lies at
// c ^ (r % 8). This is what TMA's SWIZZLE_128B writes. 16 columns further is 32 bytes: descriptor + 2.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) {
    constexpr uint64_t ATOM = 1024 >> 4, SWIZZLE_128B = 1;
    return (uint64_t)((address & 0x3FFFF) >> 4) | 1ull << 16 | ATOM << 32 | SWIZZLE_128B << 62;
}

template <class Half, int N> struct Wgmma;

#define ROW(d) "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define INFERNO_WGMMA(HALF, TYPE) \
    template <> struct Wgmma<HALF, 64> { \
        static __device__ __forceinline__ void run(float (&d)[8][4], uint64_t a, uint64_t b, uint32_t add) { \
            asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0;" \
                         "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " {" \
                         "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
                         "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, " \
                         "%32, %33, p, 1, 1, 0, 0; }" \
                         : ROW(d[0]), ROW(d[1]), ROW(d[2]), ROW(d[3]), ROW(d[4]), ROW(d[5]), ROW(d[6]), ROW(d[7]) \
                         : "l"(a), "l"(b), "r"(add)); \
        } \
    }; \
    template <> struct Wgmma<HALF, 128> { \
        static __device__ __forceinline__ void run(float (&d)[16][4], uint64_t a, uint64_t b, uint32_t add) { \
            asm volatile("{ .reg .pred p; setp.ne.b32 p, %66, 0;" \
                         "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " {" \
                         "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
                         "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                         "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
                         "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
                         "%64, %65, p, 1, 1, 0, 0; }" \
                         : ROW(d[0]), ROW(d[1]), ROW(d[2]), ROW(d[3]), ROW(d[4]), ROW(d[5]), ROW(d[6]), ROW(d[7]), \
                           ROW(d[8]), ROW(d[9]), ROW(d[10]), ROW(d[11]), ROW(d[12]), ROW(d[13]), ROW(d[14]), ROW(d[15]) \
                         : "l"(a), "l"(b), "r"(add)); \
        } \
    }; \
    template <> struct Wgmma<HALF, 192> { \
        static __device__ __forceinline__ void run(float (&d)[24][4], uint64_t a, uint64_t b, uint32_t add) { \
            asm volatile("{ .reg .pred p; setp.ne.b32 p, %98, 0;" \
                         "wgmma.mma_async.sync.aligned.m64n192k16.f32." TYPE "." TYPE " {" \
                         "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
                         "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                         "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
                         "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
                         "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
                         "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}, " \
                         "%96, %97, p, 1, 1, 0, 0; }" \
                         : ROW(d[0]), ROW(d[1]), ROW(d[2]), ROW(d[3]), ROW(d[4]), ROW(d[5]), ROW(d[6]), ROW(d[7]), \
                           ROW(d[8]), ROW(d[9]), ROW(d[10]), ROW(d[11]), ROW(d[12]), ROW(d[13]), ROW(d[14]), ROW(d[15]), \
                           ROW(d[16]), ROW(d[17]), ROW(d[18]), ROW(d[19]), ROW(d[20]), ROW(d[21]), ROW(d[22]), ROW(d[23]) \
                         : "l"(a), "l"(b), "r"(add)); \
        } \
    }; \
    template <> struct Wgmma<HALF, 256> { \
        static __device__ __forceinline__ void run(float (&d)[32][4], uint64_t a, uint64_t b, uint32_t add) { \
            asm volatile("{ .reg .pred p; setp.ne.b32 p, %130, 0;" \
                         "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " {" \
                         "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
                         "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                         "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
                         "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
                         "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
                         "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
                         "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
                         "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, " \
                         "%128, %129, p, 1, 1, 0, 0; }" \
                         : ROW(d[0]), ROW(d[1]), ROW(d[2]), ROW(d[3]), ROW(d[4]), ROW(d[5]), ROW(d[6]), ROW(d[7]), \
                           ROW(d[8]), ROW(d[9]), ROW(d[10]), ROW(d[11]), ROW(d[12]), ROW(d[13]), ROW(d[14]), ROW(d[15]), \
                           ROW(d[16]), ROW(d[17]), ROW(d[18]), ROW(d[19]), ROW(d[20]), ROW(d[21]), ROW(d[22]), ROW(d[23]), \
                           ROW(d[24]), ROW(d[25]), ROW(d[26]), ROW(d[27]), ROW(d[28]), ROW(d[29]), ROW(d[30]), ROW(d[31]) \
                         : "l"(a), "l"(b), "r"(add)); \
        } \
    };

INFERNO_WGMMA(bf16, "bf16")
INFERNO_WGMMA(f16, "f16")
#undef INFERNO_WGMMA
#undef ROW
