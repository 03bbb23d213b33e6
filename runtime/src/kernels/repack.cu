// From the bytes of a file to planes that decode kernels read 16 bytes at a time: the same values, the same size. A thread a
// unit of 32 values (or a super-block of 256). Layouts: docs/cuda-decode.md; twins: repack.rs.
#include "quant.cuh"

struct RepackParams {
    const uint8_t* blocks;  // as in the file
    const uint8_t* scales;  // of MXFP4 in safetensors, else null
    uint8_t *quants, *high, *small, *supers;  // planes; `small` are the scales
    unsigned long long count;  // units or super-blocks
    uint32_t halves;        // MXFP4: byte j holds values j and j + 16 instead of 2j and 2j + 1
    uint32_t unused;
};

#define FOR_EACH(i) \
    for (unsigned long long i = blockIdx.x * static_cast<unsigned long long>(blockDim.x) + threadIdx.x; i < p.count; i += static_cast<unsigned long long>(gridDim.x) * blockDim.x)

__device__ __forceinline__ void copy_2(uint8_t* to, const uint8_t* from) {
    to[0] = from[0];
    to[1] = from[1];
}

// Value j of a block whose byte i holds values i and i + 16.
__device__ __forceinline__ uint32_t nibble_of_halves(const uint8_t* bytes, int j) {
    return j < 16 ? bytes[j] & 15 : bytes[j - 16] >> 4;
}

// {f16 d; 16 bytes}
extern "C" __global__ void repack_q4_0(PARAMS(RepackParams)) {
    wait_for_predecessor();
    FOR_EACH(unit) {
        const uint8_t* block = p.blocks + unit * 18;
        uint32_t* to = reinterpret_cast<uint32_t*>(p.quants) + unit * 4;
        for (int q = 0; q < 4; q++) {
            uint32_t w = 0;
            for (int j = 0; j < 8; j++) w |= nibble_of_halves(block + 2, 8 * q + j) << (4 * j);
            to[q] = w;
        }
        copy_2(p.small + unit * 2, block);
    }
}

// {f16 d; 32 signed bytes}
extern "C" __global__ void repack_q8_0(PARAMS(RepackParams)) {
    wait_for_predecessor();
    FOR_EACH(unit) {
        const uint8_t* block = p.blocks + unit * 34;
        uint32_t* to = reinterpret_cast<uint32_t*>(p.quants) + unit * 8;
        for (int w = 0; w < 8; w++) {
            const uint8_t* from = block + 2 + w / 2 * 8 + w % 2 * 2;
            to[w] = (from[0] | from[1] << 8 | from[4] << 16 | static_cast<uint32_t>(from[5]) << 24) ^ 0x80808080u;
        }
        copy_2(p.small + unit * 2, block);
    }
}

// {f16 d, f16 dmin; 12 bytes of 6-bit scales and minima; 128 bytes}: of each 64 values, the low nibbles of 32 bytes, then the high.
extern "C" __global__ void repack_q4k(PARAMS(RepackParams)) {
    wait_for_predecessor();
    FOR_EACH(block_index) {
        const uint8_t* block = p.blocks + block_index * 144;
        const uint8_t* packed = block + 4;
        uint32_t super[4] = {static_cast<uint32_t>(block[0] | block[1] << 8 | block[2] << 16) | static_cast<uint32_t>(block[3]) << 24, 0, 0, 0};
        for (int j = 0; j < 8; j++) {
            const uint32_t scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
            const uint32_t min = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
            const unsigned long long field = static_cast<unsigned long long>(scale | min << 6) << (12 * j % 32);
            super[1 + 12 * j / 32] |= static_cast<uint32_t>(field);
            if (12 * j % 32 > 20) super[2 + 12 * j / 32] |= static_cast<uint32_t>(field >> 32);
        }
        reinterpret_cast<uint4*>(p.supers)[block_index] = make_uint4(super[0], super[1], super[2], super[3]);
        uint32_t* to = reinterpret_cast<uint32_t*>(p.quants) + block_index * 32;
        for (int w = 0; w < 32; w++) {
            const uint8_t* from = block + 16 + w / 8 * 32 + w % 4 * 8;
            const int shift = w / 4 % 2 * 4;
            uint32_t packed_word = 0;
            for (int j = 0; j < 8; j++) packed_word |= static_cast<uint32_t>(from[j] >> shift & 15) << (4 * j);
            to[w] = packed_word;
        }
    }
}

// {128 bytes of low nibbles; 64 of upper pairs of bits; 16 signed scales; f16 d}: of each 128 values, value 32 s + l has its
// nibble in byte l + 32 (s % 2), low half for s < 2, and its upper bits in byte l at bit 2 s.
extern "C" __global__ void repack_q6k(PARAMS(RepackParams)) {
    wait_for_predecessor();
    FOR_EACH(block_index) {
        const uint8_t* block = p.blocks + block_index * 210;
        for (int unit = 0; unit < 8; unit++) {
            const int half = unit / 4, s = unit % 4;
            const uint8_t *low = block + half * 64 + s % 2 * 32, *high = block + 128 + half * 32;
            uint32_t lows[4] = {}, highs[2] = {};
            for (int j = 0; j < 32; j++) {
                const int q = j / 8, k = j % 4;
                lows[q] |= static_cast<uint32_t>(low[j] >> (s / 2 * 4) & 15) << (4 * (j % 8));
                const int even = k == 0 ? 4 : k == 1 ? 8 : k == 2 ? 6 : 10, odd = k == 0 ? 12 : k == 1 ? 0 : k == 2 ? 14 : 2;
                highs[q / 2] |= static_cast<uint32_t>(high[j] >> (2 * s) & 3) << ((q % 2 ? odd : even) + j % 8 / 4 * 16);
            }
            const unsigned long long at = block_index * 8 + unit;
            reinterpret_cast<uint4*>(p.quants)[at] = make_uint4(lows[0], lows[1], lows[2], lows[3]);
            reinterpret_cast<uint2*>(p.high)[at] = make_uint2(highs[0], highs[1]);
        }
        for (int j = 0; j < 16; j++) p.small[block_index * 16 + j] = block[192 + j];
        copy_2(p.supers + block_index * 2, block + 208);
    }
}

// Safetensors: 16 bytes, the scale elsewhere. GGUF: {scale; 16 bytes}.
extern "C" __global__ void repack_mxfp4(PARAMS(RepackParams)) {
    wait_for_predecessor();
    FOR_EACH(unit) {
        const uint8_t* block = p.scales ? p.blocks + unit * 16 : p.blocks + unit * 17 + 1;
        uint32_t* to = reinterpret_cast<uint32_t*>(p.quants) + unit * 4;
        for (int q = 0; q < 4; q++) {
            uint32_t w = 0;
            for (int j = 0; j < 8; j++) {
                const int i = 8 * q + j, k = j % 4;
                const uint32_t v = p.halves ? nibble_of_halves(block, i) : block[i / 2] >> (i % 2 * 4) & 15;
                const int sign = k == 0 ? 15 : k == 1 ? 12 : k == 2 ? 14 : 13;
                w |= (v >> 3 << sign | (v & 7) << (9 - 3 * k)) << (j / 4 * 16);
            }
            to[q] = w;
        }
        p.small[unit] = p.scales ? p.scales[unit] : p.blocks[unit * 17];
    }
}
