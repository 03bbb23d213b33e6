// Gate and up joined into halves, for activations that the products' epilogue does not know.
#include "activation.cuh"
#include "half.cuh"

constexpr int THREADS = 256;

struct GluPrefillParams {
    const float* gate;   // [tokens, stride], up `up` elements further
    void* out;           // half [tokens, inter]
    uint64_t up;
    uint32_t tokens, inter, stride, step; // `step` elements from one gate to the next
    GluParams glu;
};

template <class Half> __device__ void glu_prefill(const GluPrefillParams& p) {
    wait_for_predecessor();
    let_next_begin();
    const size_t count = (size_t)p.tokens * p.inter;
    for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
        const float* gate = p.gate + i / p.inter * p.stride + i % p.inter * p.step;
        float g = __ldcg(gate), u = __ldcg(gate + p.up), y;
        switch (p.glu.act) {
            case SILU: y = glu<SILU>(p.glu, g, u); break;
            case GELU: y = glu<GELU>(p.glu, g, u); break;
            case GELU_TANH: y = glu<GELU_TANH>(p.glu, g, u); break;
            case RELU: y = glu<RELU>(p.glu, g, u); break;
            case RELU2: y = glu<RELU2>(p.glu, g, u); break;
            case SIGMOID: y = glu<SIGMOID>(p.glu, g, u); break;
            case SOFTPLUS: y = glu<SOFTPLUS>(p.glu, g, u); break;
            case CLAMPED: y = glu<CLAMPED>(p.glu, g, u); break;
            default: y = glu<IDENTITY>(p.glu, g, u);
        }
        ((Half*)p.out)[i] = HalfTraits<Half>::from(y);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) glu_prefill_bf16(PARAMS(GluPrefillParams)) { glu_prefill<bf16>(p); }
extern "C" __global__ void __launch_bounds__(THREADS) glu_prefill_f16(PARAMS(GluPrefillParams)) { glu_prefill<f16>(p); }
