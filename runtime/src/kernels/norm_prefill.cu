// Norms of rows for prefill's products: f32 in, halves out. Also a mere conversion.
#include "half.cuh"

constexpr int THREADS = 256;

struct NormPrefillParams {
    const float* x;      // [tokens, x_stride]
    void* out;           // half [tokens, out_stride]; columns from `width` on become zeros
    const float* weight; // [width] or null
    const float* bias;   // [width] or null
    uint32_t width, x_stride, out_stride;
    uint32_t kind;       // 0: the root mean square, 1: mean and standard deviation, 2: none, a conversion only
    float eps;
};

// One block a row, which is read two or three times: from the second on out of the L1 or L2 cache.
template <class Half> __device__ void norm_prefill(const NormPrefillParams& p) {
    const float* x = p.x + (size_t)blockIdx.x * p.x_stride;
    Half* out = (Half*)p.out + (size_t)blockIdx.x * p.out_stride;
    wait_for_predecessor();
    let_next_begin();
    float mean = 0.0f, factor = 1.0f;
    if (p.kind == 1) {
        float sum = 0.0f;
        for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) sum += __ldcg(x + i);
        mean = block_sum(sum) / p.width;
    }
    if (p.kind != 2) {
        float squares = 0.0f;
        if (p.width % 4 == 0 && p.x_stride % 4 == 0) {
            for (uint32_t i = threadIdx.x; i < p.width / 4; i += THREADS) {
                float4 v = __ldcg((const float4*)x + i);
                v.x -= mean, v.y -= mean, v.z -= mean, v.w -= mean;
                squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
            }
        } else {
            for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) {
                float v = __ldcg(x + i) - mean;
                squares += v * v;
            }
        }
        factor = rsqrtf(block_sum(squares) / p.width + p.eps);
    }
    auto value = [&](uint32_t i, float v) {
        v = (v - mean) * factor;
        if (p.weight != nullptr) v *= __ldg(p.weight + i);
        return p.bias != nullptr ? v + __ldg(p.bias + i) : v;
    };
    if (p.width % 4 == 0 && p.x_stride % 4 == 0 && p.out_stride % 4 == 0) {
        for (uint32_t i = threadIdx.x; i < p.out_stride / 4; i += THREADS) {
            uint2 pair = make_uint2(0, 0);
            if (4 * i < p.width) {
                float4 v = __ldcg((const float4*)x + i);
                pair.x = HalfTraits<Half>::pack(value(4 * i, v.x), value(4 * i + 1, v.y));
                pair.y = HalfTraits<Half>::pack(value(4 * i + 2, v.z), value(4 * i + 3, v.w));
            }
            *((uint2*)out + i) = pair;
        }
        return;
    }
    for (uint32_t i = threadIdx.x; i < p.out_stride; i += THREADS)
        out[i] = HalfTraits<Half>::from(i < p.width ? value(i, __ldcg(x + i)) : 0.0f);
}

extern "C" __global__ void __launch_bounds__(THREADS) norm_prefill_bf16(PARAMS(NormPrefillParams)) { norm_prefill<bf16>(p); }
extern "C" __global__ void __launch_bounds__(THREADS) norm_prefill_f16(PARAMS(NormPrefillParams)) { norm_prefill<f16>(p); }
