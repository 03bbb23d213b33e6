// Random weights: each number a function of its place. The twin, with the same bits, is weights/random.rs.
#include "common.cuh"

struct RandomParams {
    uint8_t* out;
    const uint32_t* order;  // null, or unit u of the result is unit order[u] of the tensor's bytes from `first` on
    uint64_t state;         // of the generator, before the tensor's first number
    uint64_t first;         // element (or byte) of the tensor
    uint64_t count;         // elements (or bytes) to make
    uint64_t unit;          // elements (or bytes) of a unit
    float mean, scale;      // of numbers
    uint32_t block;         // bytes of a block, of which
    uint32_t at, len;       // `len` from `at` on are
    uint8_t fixed[20];      // these
};

// splitmix64's number `index`.
__device__ __forceinline__ uint64_t number(uint64_t state, uint64_t index) {
    uint64_t z = state + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// Nearly normal, variance 1: the sum of four uniform numbers. No fused multiply-add: the twin has none.
__device__ __forceinline__ float normal(uint64_t bits) {
    const uint32_t low = uint32_t(bits), high = uint32_t(bits >> 32);
    const uint32_t sum = (low & 0xffff) + (low >> 16) + (high & 0xffff) + (high >> 16);
    return __fmul_rn(__fadd_rn(__fmul_rn(float(sum), 1.0f / 65536.0f), -2.0f), 1.7320508f);
}

__device__ __forceinline__ uint64_t place(const RandomParams& p, uint64_t i) {
    return p.first + (p.order ? p.order[i / p.unit] * p.unit + i % p.unit : i);
}

#define FOR_EACH(i) \
    for (uint64_t i = blockIdx.x * uint64_t(blockDim.x) + threadIdx.x; i < p.count; i += uint64_t(gridDim.x) * blockDim.x)

extern "C" __global__ void random_f32(PARAMS(RandomParams)) {
    wait_for_predecessor();
    FOR_EACH(i) {
        const float x = normal(number(p.state, place(p, i)));
        reinterpret_cast<float*>(p.out)[i] = __fadd_rn(p.mean, __fmul_rn(p.scale, x));
    }
}

extern "C" __global__ void random_bf16(PARAMS(RandomParams)) {
    wait_for_predecessor();
    FOR_EACH(i) {
        const float x = normal(number(p.state, place(p, i)));
        reinterpret_cast<__nv_bfloat16*>(p.out)[i] = __float2bfloat16_rn(__fmul_rn(x, p.scale));
    }
}

extern "C" __global__ void random_bytes(PARAMS(RandomParams)) {
    wait_for_predecessor();
    FOR_EACH(i) {
        const uint64_t k = place(p, i);
        const uint32_t fixed = uint32_t(k % p.block) - p.at;
        p.out[i] = fixed < p.len ? p.fixed[fixed] : uint8_t(number(p.state, k / 8) >> (8 * (k % 8)));
    }
}
