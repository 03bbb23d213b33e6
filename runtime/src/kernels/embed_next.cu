// The first kernel of a decode step: which token comes, and its row of the embedding. A block a token.
//
// The token is the greatest logit of the step before, if that left one, else the host's. This kernel alone writes the step's
// state, and lets the next begin only when it is written: later kernels may read positions before they wait.
#include "quant.cuh"

struct EmbedNextParams {
    const void* table;    // [vocab][width], or null where `planes` are used
    Planes planes;
    unsigned long long* best;  // [tokens] logit_key of the step before, 0 for none, or null; cleared
    uint32_t* tokens;     // [tokens]: the host's; what was taken
    uint32_t* positions;  // [tokens]: of the host's token; one more where the token is the device's
    float* out;           // [tokens][width]
    uint32_t width, vocab;
    float scale;
    uint32_t unused;
};

// One value out of a row's planes.
__device__ __forceinline__ uint32_t nibble(const uint8_t* quants, size_t row, unsigned units, unsigned i) {
    const uint32_t w = __ldg(reinterpret_cast<const uint32_t*>(quants) + (row * units + i / 32) * 4 + i % 32 / 8);
    return w >> (4 * (i % 8)) & 15;
}

__device__ __forceinline__ float half_at(const uint8_t* plane, size_t index) {
    return half_bits(__ldg(reinterpret_cast<const uint16_t*>(plane) + index));
}

struct EmbedF32 {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        return __ldg(static_cast<const float*>(p.table) + row * p.width + i);
    }
};
struct EmbedBf16 {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        return __bfloat162float(__ldg(static_cast<const __nv_bfloat16*>(p.table) + row * p.width + i));
    }
};
struct EmbedF16 {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        return __half2float(__ldg(static_cast<const __half*>(p.table) + row * p.width + i));
    }
};
struct EmbedQ4_0 {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        const unsigned units = p.width / 32;
        return (static_cast<float>(nibble(p.planes.quants, row, units, i)) - 8.0f) * half_at(p.planes.scales, row * units + i / 32);
    }
};
struct EmbedQ8_0 {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        const unsigned units = p.width / 32, j = i % 8;
        const unsigned byte = j < 2 ? j : j < 4 ? j + 2 : j < 6 ? j - 2 : j;
        const uint8_t q = __ldg(p.planes.quants + row * p.width + (i - j) + byte);
        return (static_cast<float>(q) - 128.0f) * half_at(p.planes.scales, row * units + i / 32);
    }
};
struct EmbedQ4K {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        const unsigned units = p.width / 32, j = i / 32 % 8;
        const uint32_t* super = reinterpret_cast<const uint32_t*>(p.planes.supers) + (row * units + i / 32 - j) / 8 * 4;
        const uint32_t d = __ldg(super);
        const uint32_t low = __ldg(super + 1 + 12 * j / 32), high = __ldg(super + 1 + min(12 * j / 32 + 1, 2u));
        const uint32_t field = __funnelshift_r(low, high, 12 * j % 32);
        return half_bits(d & 0xffff) * static_cast<float>(field & 63) * static_cast<float>(nibble(p.planes.quants, row, units, i)) -
               half_bits(d >> 16) * static_cast<float>(field >> 6 & 63);
    }
};
struct EmbedQ6K {
    static __device__ float at(const EmbedNextParams& p, size_t row, unsigned i) {
        const unsigned units = p.width / 32, q = i % 32 / 8, j = i % 8;
        const uint32_t high = __ldg(reinterpret_cast<const uint32_t*>(p.planes.high) + (row * units + i / 32) * 2 + q / 2);
        const int k = j % 4;
        const int even = k == 0 ? 4 : k == 1 ? 8 : k == 2 ? 6 : 10, odd = k == 0 ? 12 : k == 1 ? 0 : k == 2 ? 14 : 2;
        const uint32_t upper = high >> ((q % 2 ? odd : even) + j / 4 * 16) & 3;
        const float value = static_cast<float>(nibble(p.planes.quants, row, units, i) | upper << 4) - 32.0f;
        const float scale = static_cast<float>(static_cast<int8_t>(__ldg(p.planes.scales + row * units * 2 + i / 16)));
        return half_at(p.planes.supers, row * (units / 8) + i / 256) * scale * value;
    }
};

template <class E>
__device__ __forceinline__ void embed_next(const EmbedNextParams& p) {
    const unsigned slot = blockIdx.x;
    wait_for_predecessor();
    const unsigned long long key = p.best ? __ldcg(p.best + slot) : 0;
    const uint32_t asked = key ? ~static_cast<uint32_t>(key) : __ldcg(p.tokens + slot);
    const uint32_t token = min(asked, p.vocab - 1);
    __syncthreads();
    if (threadIdx.x == 0 && key) {
        p.best[slot] = 0;
        p.tokens[slot] = token;
        p.positions[slot] += 1;
    }
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
        p.out[static_cast<size_t>(slot) * p.width + i] = E::at(p, token, i) * p.scale;
    }
    __threadfence();
    __syncthreads();
    let_next_begin();
}

#define EMBED_NEXT(name, E) \
    extern "C" __global__ void __launch_bounds__(1024) embed_next_##name(PARAMS(EmbedNextParams)) { embed_next<E>(p); }

EMBED_NEXT(f32, EmbedF32)
EMBED_NEXT(bf16, EmbedBf16)
EMBED_NEXT(f16, EmbedF16)
EMBED_NEXT(q4_0, EmbedQ4_0)
EMBED_NEXT(q8_0, EmbedQ8_0)
EMBED_NEXT(q4k, EmbedQ4K)
EMBED_NEXT(q6k, EmbedQ6K)
