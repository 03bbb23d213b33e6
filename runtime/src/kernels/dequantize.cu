// Rows of a matrix of any type as bf16 or f16, for the matrix products of prefill. A thread makes 8 numbers of a row.
#include "half.cuh"
#include "matrix.cuh"

struct DequantizeParams {
    Matrix matrix;
    void* out; // half [rows, out_stride]; columns beyond the matrix's become zeros
    uint64_t first_row;
    uint32_t rows, out_stride; // out_stride % 8 == 0
};

constexpr int THREADS = 256;

template <class Half, uint32_t DTYPE> __device__ void dequantize(const DequantizeParams& p) {
    wait_for_predecessor(); // the product before may still read what is written here
    let_next_begin();
    const uint32_t chunks = p.out_stride / 8, cols = p.matrix.cols;
    const size_t count = (size_t)p.rows * chunks;
    for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
        const size_t row = p.first_row + i / chunks;
        const uint32_t c = uint32_t(i % chunks);
        float y[8];
        if (cols % 8 == 0 && c * 8 < cols) {
            numbers8<DTYPE>(p.matrix, row, c, y);
        } else {
#pragma unroll
            for (int k = 0; k < 8; k++) y[k] = c * 8 + k < cols ? number<DTYPE>(p.matrix, row, c * 8 + k) : 0.0f;
        }
        ((uint4*)p.out)[i] = make_uint4(HalfTraits<Half>::pack(y[0], y[1]), HalfTraits<Half>::pack(y[2], y[3]),
                                        HalfTraits<Half>::pack(y[4], y[5]), HalfTraits<Half>::pack(y[6], y[7]));
    }
}

#define KERNELS(NAME, DTYPE)                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS) dequantize_##NAME##_bf16(PARAMS(DequantizeParams)) { \
        dequantize<bf16, DTYPE>(p);                                                                       \
    }                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS) dequantize_##NAME##_f16(PARAMS(DequantizeParams)) { \
        dequantize<f16, DTYPE>(p);                                                                        \
    }
FOR_EACH_DTYPE(KERNELS)
#undef KERNELS
