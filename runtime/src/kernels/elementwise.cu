// Element by element, and copies of rows and columns.
#include "common.cuh"
#include "act.cuh"

struct JoinParams {
    const float* a;
    const float* b;
    float* out;  // may be a or b
    uint64_t count;
    float sign;  // of b
    uint32_t unused;
};

#define GRID_STRIDE(i, count) \
    for (uint64_t i = blockIdx.x * uint64_t(blockDim.x) + threadIdx.x; i < (count); i += uint64_t(gridDim.x) * blockDim.x)

extern "C" __global__ void join_f32(PARAMS(JoinParams)) {
    wait_for_predecessor();
    let_next_begin();
    GRID_STRIDE(i, p.count) p.out[i] = p.a[i] + p.sign * p.b[i];
}

struct MapParams {
    const float* x;
    float* out;  // may be x
    uint64_t count;
    float factor;   // before the function
    float softcap;  // 0: off; after the factor
    uint32_t act;
    uint32_t unused;
};

extern "C" __global__ void map_f32(PARAMS(MapParams)) {
    wait_for_predecessor();
    let_next_begin();
    GRID_STRIDE(i, p.count) {
        float x = p.x[i] * p.factor;
        if (p.softcap != 0.0f) x = p.softcap * tanhf(x / p.softcap);
        p.out[i] = act(p.act, x);
    }
}

struct GateParams {
    const float* x;
    const float* gate;
    float* out;
    uint64_t count;
    uint32_t each;  // elements of a gate
    uint32_t act;
};

extern "C" __global__ void gate_f32(PARAMS(GateParams)) {
    wait_for_predecessor();
    let_next_begin();
    GRID_STRIDE(i, p.count) p.out[i] = p.x[i] * act(p.act, p.gate[i / p.each]);
}

struct GluParams {
    const float* gate_up;  // [rows][2 * inter]
    float* out;            // [rows][inter]
    uint64_t count;        // of out
    uint32_t inter;
    Glu glu;
};

extern "C" __global__ void glu_f32(PARAMS(GluParams)) {
    wait_for_predecessor();
    let_next_begin();
    GRID_STRIDE(i, p.count) {
        const uint64_t row = i / p.inter;
        const float* pair = p.gate_up + row * 2 * p.inter + i % p.inter;
        p.out[i] = glu(p.glu, pair[0], pair[p.inter]);
    }
}

struct PickParams {
    const float* x;        // [_][stride]
    const uint32_t* rows;  // [rows], or none: as they are
    float* out;            // [rows][width]
    uint64_t count;        // of out
    uint32_t stride, start, width;
    uint32_t unused;
};

extern "C" __global__ void pick_f32(PARAMS(PickParams)) {
    wait_for_predecessor();
    let_next_begin();
    GRID_STRIDE(i, p.count) {
        const uint64_t row = i / p.width;
        const uint64_t from = p.rows ? p.rows[row] : row;
        p.out[i] = p.x[from * p.stride + p.start + i % p.width];
    }
}
