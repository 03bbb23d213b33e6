// Activation functions, as nn/act.rs has them.
#pragma once
#include <stdint.h>

enum : uint32_t { SILU, GELU, GELU_TANH, RELU, RELU2, SIGMOID, SOFTPLUS, IDENTITY };

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float softplus(float x) { return x > 0.0f ? x + log1pf(expf(-x)) : log1pf(expf(x)); }

__device__ __forceinline__ float act(uint32_t kind, float x) {
    switch (kind) {
        case SILU: return x * sigmoid(x);
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
        case GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        // Comparisons instead of fmaxf, so that NaN stays NaN.
        case RELU: return x < 0.0f ? 0.0f : x;
        case RELU2: return x < 0.0f ? 0.0f : x * x;
        case SIGMOID: return sigmoid(x);
        case SOFTPLUS: return softplus(x);
        default: return x;
    }
}

// How gate and up are joined: act(gate) * up, or gpt-oss's clamped form.
struct Glu {
    uint32_t clamped;
    uint32_t act;
    float alpha, limit, up_shift;
};

__device__ __forceinline__ float glu(const Glu& how, float gate, float up) {
    if (!how.clamped) return act(how.act, gate) * up;
    gate = gate > how.limit ? how.limit : gate;
    up = up > how.limit ? how.limit : up;
    up = up < -how.limit ? -how.limit : up;
    return (up + how.up_shift) * gate * sigmoid(how.alpha * gate);
}
