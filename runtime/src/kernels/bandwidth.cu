// How fast memory can be read: nothing is done with the numbers.
#include "common.cuh"

struct BandwidthParams {
    const uint4* data;
    uint32_t* out;   // written only if the numbers are what they never are
    uint64_t count;  // of data, a multiple of 8 * 256 * blocks
};

extern "C" __global__ void __launch_bounds__(256) read_all(PARAMS(BandwidthParams)) {
    wait_for_predecessor();
    uint32_t sum = 0;
    const uint64_t stride = uint64_t(gridDim.x) * 256;
    for (uint64_t i = blockIdx.x * uint64_t(256) + threadIdx.x; i < p.count; i += 8 * stride) {
        uint4 x[8];
#pragma unroll
        for (int k = 0; k < 8; k++) x[k] = __ldcs(p.data + i + k * stride);
#pragma unroll
        for (int k = 0; k < 8; k++) sum += x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
    }
    if (sum == 0x9e3779b9u) *p.out = sum;
}
