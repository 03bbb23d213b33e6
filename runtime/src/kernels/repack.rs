//! From the bytes of a file to the planes that decode kernels read (`repack.cu`). The same values in the same number of
//! bytes; docs/cuda-decode.md has the layouts.

use bytemuck::NoUninit;

use super::matrix::MAX_PLANES;
use super::{DevicePtr, Launch};
use crate::weights::WeightDtype;

const THREADS: u32 = 256;
const MOST_BLOCKS: u64 = 4096;

/// Where a type's blocks come from and go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repack {
    pub(crate) dtype: WeightDtype,
    /// Blocks as in the file.
    pub(crate) blocks: DevicePtr,
    /// Scales of MXFP4 as safetensors have it: then the blocks are nibbles alone, elements 2j and 2j + 1 in byte j. Else null.
    pub(crate) scales: DevicePtr,
    /// Planes ([`planes`](super::matrix::planes)), each at the place of the first block.
    pub(crate) planes: [DevicePtr; MAX_PLANES],
    pub(crate) count: u64,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    blocks: DevicePtr,
    scales: DevicePtr,
    quants: DevicePtr,
    high: DevicePtr,
    small: DevicePtr,
    supers: DevicePtr,
    count: u64,
    halves: u32,
    unused: u32,
}

impl Repack {
    /// The launch, or `None` where the type stays as it is.
    pub(crate) fn launch(&self) -> Option<Launch> {
        let [first, second, third, fourth] = self.planes;
        let none = DevicePtr::NULL;
        let (kernel, high, small, supers) = match self.dtype {
            WeightDtype::Q4_0 => ("repack_q4_0", none, second, none),
            WeightDtype::Q8_0 => ("repack_q8_0", none, second, none),
            WeightDtype::Q4K => ("repack_q4k", none, none, second),
            WeightDtype::Q6K => ("repack_q6k", second, third, fourth),
            WeightDtype::Mxfp4 => ("repack_mxfp4", none, second, none),
            _ => return None,
        };
        let params = Params {
            blocks: self.blocks,
            scales: self.scales,
            quants: first,
            high,
            small,
            supers,
            count: self.count,
            halves: u32::from(self.scales.is_null()),
            unused: 0,
        };
        let grid = self.count.div_ceil(u64::from(THREADS)).min(MOST_BLOCKS) as u32;
        Some(Launch::new(kernel, [grid, 1, 1], THREADS, &params))
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::matrix;
    use super::super::testing::{Gpu, random};
    use super::*;

    const PACKED: [WeightDtype; 5] = [
        WeightDtype::Q4_0,
        WeightDtype::Q8_0,
        WeightDtype::Q4K,
        WeightDtype::Q6K,
        WeightDtype::Mxfp4,
    ];

    /// Value j of 32, whose byte i holds values i and i + 16.
    fn nibble_of_halves(bytes: &[u8], j: usize) -> u32 {
        u32::from(if j < 16 {
            bytes[j] & 15
        } else {
            bytes[j - 16] >> 4
        })
    }

    /// Four words of eight nibbles, low bits first.
    fn words(nibble: impl Fn(usize) -> u32) -> Vec<u8> {
        let word = |q: usize| (0..8).fold(0, |word, j| word | nibble(8 * q + j) << (4 * j));
        (0..4).flat_map(|q| word(q).to_le_bytes()).collect()
    }

    /// Where the upper two bits of value j of a unit lie in its two words: word and bit.
    fn upper_place(j: usize) -> (usize, usize) {
        let bit = [[4, 8, 6, 10], [12, 0, 14, 2]][j / 8 % 2][j % 4];
        (j / 16, bit + j % 8 / 4 * 16)
    }

    fn scale_and_min(packed: &[u8], j: usize) -> (u32, u32) {
        let byte = |i: usize| u32::from(packed[i]);
        if j < 4 {
            (byte(j) & 63, byte(j + 4) & 63)
        } else {
            (
                byte(j + 4) & 15 | (byte(j - 4) >> 6) << 4,
                byte(j + 4) >> 4 | (byte(j) >> 6) << 4,
            )
        }
    }

    /// The twin: a block's share of each plane.
    fn repacked(dtype: WeightDtype, block: &[u8]) -> Vec<Vec<u8>> {
        match dtype {
            WeightDtype::Q4_0 => vec![
                words(|j| nibble_of_halves(&block[2..], j)),
                block[..2].to_vec(),
            ],
            WeightDtype::Q8_0 => {
                let order = [0, 1, 4, 5, 2, 3, 6, 7];
                let byte = |i: usize| block[2 + i / 8 * 8 + order[i % 8]] ^ 0x80;
                vec![(0..32).map(byte).collect(), block[..2].to_vec()]
            }
            WeightDtype::Q4K => {
                let mut fields = 0_u128;
                for j in 0..8 {
                    let (scale, min) = scale_and_min(&block[4..16], j);
                    fields |= u128::from(scale | min << 6) << (12 * j);
                }
                let quants = (0..8).flat_map(|unit| {
                    let bytes = &block[16 + unit / 2 * 32..][..32];
                    words(|j| u32::from(bytes[j] >> (unit % 2 * 4) & 15))
                });
                let supers = block[..4]
                    .iter()
                    .copied()
                    .chain(fields.to_le_bytes().into_iter().take(12));
                vec![quants.collect(), supers.collect()]
            }
            WeightDtype::Q6K => {
                let (mut low, mut high) = (Vec::new(), Vec::new());
                for unit in 0..8 {
                    let (half, s) = (unit / 4, unit % 4);
                    let nibbles = &block[half * 64 + s % 2 * 32..][..32];
                    low.extend(words(|j| u32::from(nibbles[j] >> (s / 2 * 4) & 15)));
                    let upper = &block[128 + half * 32..][..32];
                    let mut words = [0_u32; 2];
                    for (j, byte) in upper.iter().enumerate() {
                        let (word, bit) = upper_place(j);
                        words[word] |= u32::from(byte >> (2 * s) & 3) << bit;
                    }
                    high.extend(words.into_iter().flat_map(u32::to_le_bytes));
                }
                vec![low, high, block[192..208].to_vec(), block[208..].to_vec()]
            }
            _ => {
                let mut quants = [0_u32; 4];
                for j in 0..32 {
                    let value = nibble_of_halves(&block[1..], j);
                    let k = j % 4;
                    let bits = (value >> 3) << [15, 12, 14, 13][k] | (value & 7) << (9 - 3 * k);
                    quants[j / 8] |= bits << (j % 8 / 4 * 16);
                }
                vec![
                    quants.into_iter().flat_map(u32::to_le_bytes).collect(),
                    block[..1].to_vec(),
                ]
            }
        }
    }

    /// What the kernels make of a block's planes.
    fn values(dtype: WeightDtype, planes: &[Vec<u8>]) -> Vec<f32> {
        let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        let word = |plane: &[u8], i: usize| {
            u32::from_le_bytes([
                plane[4 * i],
                plane[4 * i + 1],
                plane[4 * i + 2],
                plane[4 * i + 3],
            ])
        };
        let nibble = |j: usize| word(&planes[0], j / 8) >> (4 * (j % 8)) & 15;
        let value = |j: usize| match dtype {
            WeightDtype::Q4_0 => (nibble(j) as f32 - 8.0) * half(&planes[1]),
            WeightDtype::Q8_0 => {
                let place = [0, 1, 4, 5, 2, 3, 6, 7][j % 8];
                (f32::from(planes[0][j / 8 * 8 + place]) - 128.0) * half(&planes[1])
            }
            WeightDtype::Q4K => {
                let fields = planes[1][4..]
                    .iter()
                    .rev()
                    .fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
                let field = (fields >> (12 * (j / 32))) as u32;
                let (scale, min) = ((field & 63) as f32, (field >> 6 & 63) as f32);
                half(&planes[1]) * scale * nibble(j) as f32 - half(&planes[1][2..]) * min
            }
            WeightDtype::Q6K => {
                let (at, bit) = upper_place(j % 32);
                let upper = word(&planes[1], j / 32 * 2 + at) >> bit & 3;
                let scale = f32::from(planes[2][j / 16] as i8);
                half(&planes[3]) * scale * ((nibble(j) | upper << 4) as f32 - 32.0)
            }
            _ => {
                let half = word(&planes[0], j / 8) >> (j % 8 / 4 * 16);
                let k = j % 4;
                let magnitude =
                    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][(half >> (9 - 3 * k) & 7) as usize];
                let sign = if half >> [15, 12, 14, 13][k] & 1 == 1 {
                    -1.0
                } else {
                    1.0
                };
                sign * magnitude * (f32::from(planes[1][0]) - 127.0).exp2()
            }
        };
        (0..dtype.block_len()).map(value).collect()
    }

    /// Blocks of any bytes but for the scales, which are made ordinary numbers.
    fn blocks(dtype: WeightDtype, count: usize) -> Vec<u8> {
        let numbers = random(dtype.block_bytes() as u64, count * dtype.block_bytes());
        let mut bytes: Vec<u8> = numbers.iter().map(|x| (x * 1e6) as i32 as u8).collect();
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            let halves: &[usize] = match dtype {
                WeightDtype::Q4K => &[0, 2],
                WeightDtype::Q6K => &[208],
                WeightDtype::Mxfp4 => &[],
                _ => &[0],
            };
            for at in halves {
                block[at + 1] &= 0x3f;
            }
        }
        bytes
    }

    #[test]
    fn planes_hold_the_values_of_the_file() {
        for dtype in PACKED {
            for block in blocks(dtype, 9).chunks_exact(dtype.block_bytes()) {
                let planes = repacked(dtype, block);
                let sizes: Vec<usize> = planes.iter().map(Vec::len).collect();
                assert_eq!(sizes, matrix::planes(dtype), "{dtype}");
                assert_eq!(sizes.iter().sum::<usize>(), block.len());
                let mut expected = vec![0.0; dtype.block_len()];
                dtype.dequantize(block, &mut expected).unwrap();
                for (found, expected) in values(dtype, &planes).iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() <= 1e-6 * expected.abs(),
                        "{dtype}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_kernels_repack_as_their_twins() {
        let Some(gpu) = Gpu::get() else { return };
        for dtype in PACKED {
            for count in [1, 33, 1000] {
                let file = blocks(dtype, count);
                let blocks = gpu.upload(&file);
                let sizes = matrix::planes(dtype);
                let buffers: Vec<_> = sizes
                    .iter()
                    .map(|bytes| gpu.poisoned_bytes(bytes * count))
                    .collect();
                let mut planes = [DevicePtr::NULL; MAX_PLANES];
                planes
                    .iter_mut()
                    .zip(&buffers)
                    .for_each(|(plane, buffer)| *plane = buffer.ptr());
                let repack = Repack {
                    dtype,
                    blocks: blocks.ptr(),
                    scales: DevicePtr::NULL,
                    planes,
                    count: count as u64,
                };
                gpu.run(&[repack.launch().unwrap()]);
                for (k, buffer) in buffers.iter().enumerate() {
                    let expected: Vec<u8> = file
                        .chunks_exact(dtype.block_bytes())
                        .flat_map(|block| repacked(dtype, block).swap_remove(k))
                        .collect();
                    assert_eq!(gpu.download::<u8>(buffer), expected, "{dtype}, plane {k}");
                }
            }
        }
    }

    #[test]
    fn nibbles_and_scales_that_lie_apart_are_repacked_as_joined_ones() {
        let Some(gpu) = Gpu::get() else { return };
        let count = 777;
        let nibbles: Vec<u8> = (0..count * 16).map(|i| (i * 37 + i / 11) as u8).collect();
        let scales: Vec<u8> = (0..count).map(|i| (i * 5) as u8).collect();
        let joined = crate::weights::joined_mxfp4(&nibbles, &scales);
        let (nibbles, scales) = (gpu.upload(&nibbles), gpu.upload(&scales));
        let planes = [16, 1].map(|bytes| gpu.poisoned_bytes(bytes * count));
        let none = DevicePtr::NULL;
        let repack = Repack {
            dtype: WeightDtype::Mxfp4,
            blocks: nibbles.ptr(),
            scales: scales.ptr(),
            planes: [planes[0].ptr(), planes[1].ptr(), none, none],
            count: count as u64,
        };
        gpu.run(&[repack.launch().unwrap()]);
        for (k, plane) in planes.iter().enumerate() {
            let blocks = joined.chunks_exact(17);
            let expected: Vec<u8> = blocks
                .flat_map(|block| repacked(WeightDtype::Mxfp4, block).swap_remove(k))
                .collect();
            assert!(gpu.download::<u8>(plane) == expected, "plane {k}");
        }
    }
}
