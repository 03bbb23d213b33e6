// Norms of rows.
#include "common.cuh"

struct NormParams {
    const float* x;       // [rows][width]
    const float* weight;  // [width], or none
    const float* bias;    // [width], or none
    float* out;           // [rows][width]; may be x
    uint32_t width;
    uint32_t centred;     // 1: the mean is subtracted first
    float eps;
    uint32_t unused;
};

// A block a row.
extern "C" __global__ void norm_f32(PARAMS(NormParams)) {
    wait_for_predecessor();
    let_next_begin();
    const float* x = p.x + size_t(blockIdx.x) * p.width;
    float* out = p.out + size_t(blockIdx.x) * p.width;
    float mean = 0.0f;
    if (p.centred) {
        float sum = 0.0f;
        for (uint32_t i = threadIdx.x; i < p.width; i += blockDim.x) sum += x[i];
        mean = block_sum(sum) / float(p.width);
    }
    float squares = 0.0f;
    for (uint32_t i = threadIdx.x; i < p.width; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.0f / sqrtf(block_sum(squares) / float(p.width) + p.eps);
    for (uint32_t i = threadIdx.x; i < p.width; i += blockDim.x) {
        float y = (x[i] - mean) * factor;
        if (p.weight) y *= p.weight[i];
        if (p.bias) y += p.bias[i];
        out[i] = y;
    }
}
