// Activation functions and the two ways a gated MLP joins gate and up; the numbers are those of kernels/activation.rs.
#pragma once
#include <stdint.h>

enum Act : uint32_t { SILU, GELU, GELU_TANH, RELU, RELU2, SIGMOID, SOFTPLUS, IDENTITY, CLAMPED };

// gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit): (u + up_shift) g sigmoid(alpha g).
struct GluParams {
    uint32_t act;
    float alpha, limit, up_shift;
};

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

template <uint32_t ACT> __device__ __forceinline__ float activate(float x) {
    if (ACT == SILU) return x * sigmoid(x);
    if (ACT == GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    // tanh(y) = 2 sigmoid(2 y) - 1
    if (ACT == GELU_TANH) return x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x));
    if (ACT == RELU) return x < 0.0f ? 0.0f : x;
    if (ACT == RELU2) return x < 0.0f ? 0.0f : x * x;
    if (ACT == SIGMOID) return sigmoid(x);
    if (ACT == SOFTPLUS) return x > 0.0f ? x + log1pf(expf(-x)) : log1pf(expf(x));
    return x;
}

template <uint32_t ACT> __device__ __forceinline__ float glu(const GluParams& p, float gate, float up) {
    if (ACT == CLAMPED) {
        // Comparisons instead of fminf, so that NaN stays NaN.
        gate = gate > p.limit ? p.limit : gate;
        up = up > p.limit ? p.limit : up < -p.limit ? -p.limit : up;
        return (up + p.up_shift) * gate * sigmoid(p.alpha * gate);
    }
    return activate<ACT>(gate) * up;
}
