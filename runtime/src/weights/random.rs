//! Weights out of nothing, for tests and benchmarks.
//!
//! Every byte is a function of the seed, the tensor's name and the byte's place, so that a GPU (`kernels/random.cu`) and the
//! cores of the CPU make the same ones in any order.

use std::sync::{Mutex, PoisonError};

use super::{StoredDtype, WeightDtype};
use crate::cpu;

/// What each number adds to the state.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Elements (or bytes) that one task makes; a multiple of a number's 8 bytes.
const TASK: usize = 1 << 18;

/// Most bytes of a block that are not random.
pub(crate) const MAX_FIXED: usize = 20;

/// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
#[derive(Clone, Copy)]
struct Generator(u64);

impl Generator {
    /// The same for the same seed and name.
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, hash))
    }

    /// The generator after so many numbers.
    fn after(self, numbers: usize) -> Self {
        Self(self.0.wrapping_add((numbers as u64).wrapping_mul(STEP)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal, variance 1: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f32 / 65536.0 - 2.0) * 1.732_050_8
    }
}

/// How a random tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Vectors in f32, matrices in this type.
    Numbers(WeightDtype),
    /// MXFP4 nibbles, two in a byte.
    Nibbles,
    /// The scales that make nibbles weights.
    Scales,
}

impl Form {
    fn dtype(self, shape: &[usize]) -> StoredDtype {
        match self {
            Self::Numbers(dtype) if shape.len() > 1 => StoredDtype::Weight(dtype),
            Self::Numbers(_) => StoredDtype::Weight(WeightDtype::F32),
            Self::Nibbles | Self::Scales => StoredDtype::Raw(::safetensors::Dtype::U8),
        }
    }
}

/// How a random tensor of this shape is stored, and in how many bytes: more than there are if they cannot be counted.
pub(super) fn stored(shape: &[usize], form: Form) -> (StoredDtype, usize) {
    let dtype = form.dtype(shape);
    let (outer, cols) = shape
        .split_last()
        .map_or((&[][..], 1), |(cols, outer)| (outer, *cols));
    let row = match &dtype {
        StoredDtype::Weight(dtype) => dtype.row_bytes(cols).unwrap_or(usize::MAX),
        _ => cols,
    };
    let bytes = outer
        .iter()
        .fold(row, |product, dim| product.saturating_mul(*dim));
    (dtype, bytes)
}

/// What the bytes of a random tensor are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Filler {
    /// Of the generator, before the first number.
    pub(crate) state: u64,
    pub(crate) values: Values,
}

/// What is made of the generator's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Values {
    /// An f32 of each: `mean + scale * normal`.
    F32 { mean: f32, scale: f32 },
    /// A bf16 of each: `scale * normal`.
    Bf16 { scale: f32 },
    /// Eight bytes of each.
    Bytes(Pattern),
}

/// Bytes of a block that are the same in all blocks, so that the others are weights of a sensible size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Bytes of a block.
    pub(crate) block: usize,
    /// The first fixed one.
    pub(crate) at: usize,
    /// How many are fixed.
    pub(crate) len: usize,
    pub(crate) fixed: [u8; MAX_FIXED],
}

impl Pattern {
    fn new(block: usize, at: usize, bytes: &[u8]) -> Self {
        let mut fixed = [0; MAX_FIXED];
        fixed
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        let len = bytes.len().min(MAX_FIXED);
        Self {
            block,
            at,
            len,
            fixed,
        }
    }

    /// Random numbers in blocks of a type, scaled so that a row of `cols` of them has length 1; `None` for types that
    /// nothing random is made in.
    fn of(dtype: WeightDtype, cols: usize) -> Option<Self> {
        let root = (cols as f32).sqrt();
        let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
        // The root mean square of the quants, which are uniform, and for types with minima their mean.
        let scale = |rms: f32| half(1.0 / (rms * root));
        let pair = |rms: f32, minimum: f32| {
            let [d, m] = [1.0 / (rms * root), minimum / (rms * root)].map(half);
            [d[0], d[1], m[0], m[1]]
        };
        // Eight scales and eight minima of 8, each of six bits.
        let with_scales = |pair: [u8; 4]| {
            let mut bytes = [0x08; 16];
            bytes[..4].copy_from_slice(&pair);
            bytes[12..].fill(0x88);
            bytes
        };
        let block = dtype.block_bytes();
        Some(match dtype {
            WeightDtype::Q8_0 => Self::new(block, 0, &scale(73.9)),
            WeightDtype::Q5_0 => Self::new(block, 0, &scale(9.25)),
            WeightDtype::Q5_1 => Self::new(block, 0, &pair(9.23, -15.5)),
            WeightDtype::Q4K => Self::new(block, 0, &with_scales(pair(8.0 * 4.61, 7.5))),
            WeightDtype::Q5K => Self::new(block, 0, &with_scales(pair(8.0 * 9.23, 15.5))),
            WeightDtype::Q6K => {
                let mut bytes = [2; 18];
                bytes[16..].copy_from_slice(&scale(2.0 * 18.5));
                Self::new(block, 192, &bytes)
            }
            _ => return None,
        })
    }
}

/// The filler of a tensor: vectors around 1 for `.weight` (norms) and around 0 else; matrices scaled so that activations
/// neither grow nor shrink. `None` for a type that nothing random is made in.
pub(crate) fn filler(seed: u64, name: &str, shape: &[usize], form: Form) -> Option<Filler> {
    let cols = shape.last().copied().unwrap_or(1);
    let scale = 1.0 / (cols as f32).sqrt();
    let values = match form {
        Form::Numbers(_) if shape.len() < 2 => Values::F32 {
            mean: if name.ends_with(".weight") { 1.0 } else { 0.0 },
            scale: 0.1,
        },
        Form::Numbers(WeightDtype::F32) => Values::F32 { mean: 0.0, scale },
        Form::Numbers(WeightDtype::BF16) => Values::Bf16 { scale },
        Form::Numbers(dtype) => Values::Bytes(Pattern::of(dtype, cols)?),
        Form::Nibbles => Values::Bytes(Pattern::new(1, 0, &[])),
        Form::Scales => {
            // An MXFP4 number has a root mean square of about 3, a block of them 32 numbers.
            let inputs = 32.0 * cols as f32;
            let scale = (127.0 - (3.0 * inputs.sqrt()).log2().round()) as u8;
            Values::Bytes(Pattern::new(1, 0, &[scale]))
        }
    };
    Some(Filler {
        state: Generator::new(seed, name).0,
        values,
    })
}

impl Filler {
    /// The first `bytes` bytes, made by all cores; `None` if there is no memory for them.
    pub(crate) fn make(&self, bytes: usize) -> Option<Vec<u8>> {
        let generator = Generator(self.state);
        match self.values {
            Values::F32 { mean, scale } => elements(bytes, |at, out: &mut [[u8; 4]]| {
                let mut generator = generator.after(at);
                out.iter_mut()
                    .for_each(|out| *out = (mean + scale * generator.normal()).to_le_bytes());
            }),
            Values::Bf16 { scale } => elements(bytes, |at, out: &mut [[u8; 2]]| {
                let mut generator = generator.after(at);
                out.iter_mut().for_each(|out| {
                    *out = half::bf16::from_f32(generator.normal() * scale).to_le_bytes();
                });
            }),
            Values::Bytes(pattern) => elements(bytes, |at, out: &mut [[u8; 1]]| {
                let mut generator = generator.after(at / 8);
                for word in out.chunks_mut(8) {
                    word.iter_mut()
                        .zip(generator.next().to_le_bytes())
                        .for_each(|(out, byte)| out[0] = byte);
                }
                pattern.write(at, out);
            }),
        }
    }
}

impl Pattern {
    /// Writes the fixed bytes of blocks over `out`, whose first byte is the tensor's byte `at`.
    fn write(&self, at: usize, out: &mut [[u8; 1]]) {
        if self.len == 0 {
            return;
        }
        for block in at / self.block..(at + out.len()).div_ceil(self.block) {
            for (i, byte) in self.fixed.iter().take(self.len).enumerate() {
                let place = (block * self.block + self.at + i).checked_sub(at);
                if let Some(out) = place.and_then(|place| out.get_mut(place)) {
                    out[0] = *byte;
                }
            }
        }
    }
}

/// Elements of `N` bytes: `fill(first, elements)` makes some of them.
fn elements<const N: usize>(
    bytes: usize,
    fill: impl Fn(usize, &mut [[u8; N]]) + Sync,
) -> Option<Vec<u8>> {
    let mut data: Vec<[u8; N]> = Vec::new();
    let count = bytes / N;
    data.try_reserve_exact(count).ok()?;
    data.resize(count, [0; N]);
    let chunks: Vec<_> = data.chunks_mut(TASK).map(Mutex::new).collect();
    cpu::parallel(chunks.len(), |task| {
        // Each chunk is locked once: the lock only proves that nobody else writes there.
        let mut chunk = chunks[task].lock().unwrap_or_else(PoisonError::into_inner);
        fill(task * TASK, &mut chunk);
    });
    Some(data.into_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Matrix;

    fn make(seed: u64, name: &str, shape: &[usize], form: Form) -> Option<Vec<u8>> {
        filler(seed, name, shape, form)?.make(stored(shape, form).1)
    }

    #[test]
    fn numbers_of_every_type_are_scaled_and_the_same_each_time() {
        for dtype in [
            WeightDtype::F32,
            WeightDtype::BF16,
            WeightDtype::Q8_0,
            WeightDtype::Q5_0,
            WeightDtype::Q5_1,
            WeightDtype::Q4K,
            WeightDtype::Q5K,
            WeightDtype::Q6K,
        ] {
            let make = |seed, name| make(seed, name, &[64, 256], Form::Numbers(dtype)).unwrap();
            let matrix = Matrix::new(64, 256, dtype, make(1, "a").into()).unwrap();
            let values = matrix.to_f32().unwrap();
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
            // Some types have no number for 0: theirs are half a step beside it.
            assert!(
                mean.abs() < 0.005 && (square * 256.0 - 1.0).abs() < 0.05,
                "{dtype}: {mean} {square}"
            );
            assert_eq!(make(1, "a"), make(1, "a"));
            assert_ne!(make(1, "a"), make(2, "a"));
            assert_ne!(make(1, "a"), make(1, "b"));
        }
    }

    #[test]
    fn each_byte_is_a_function_of_its_place() {
        // More than one task of every element size, and blocks that lie across the bounds of tasks.
        let bytes = 3 * TASK + 16;
        for form in [Form::Numbers(WeightDtype::Q6K), Form::Nibbles] {
            let filler = filler(7, "a", &[1, 256], form).unwrap();
            let made = filler.make(bytes).unwrap();
            let Values::Bytes(pattern) = filler.values else {
                panic!("{form:?} is made of bytes")
            };
            let generator = Generator(filler.state);
            for at in (0..bytes).step_by(1009).chain(TASK - 300..TASK + 300) {
                let within = at % pattern.block;
                let expected = match within.checked_sub(pattern.at) {
                    Some(i) if i < pattern.len => pattern.fixed[i],
                    _ => generator.after(at / 8).next().to_le_bytes()[at % 8],
                };
                assert_eq!(made[at], expected, "{form:?}, byte {at}");
            }
        }
    }

    #[test]
    fn as_many_bytes_as_were_planned() {
        for shape in [&[7][..], &[3, 8], &[2, 3, 8]] {
            let form = Form::Numbers(WeightDtype::BF16);
            let (dtype, bytes) = stored(shape, form);
            let each = if shape.len() == 1 { 4 } else { 2 };
            assert_eq!(bytes, each * shape.iter().product::<usize>());
            assert_eq!(dtype.weight().unwrap().block_bytes(), each);
            assert_eq!(make(1, "a", shape, form).unwrap().len(), bytes);
        }
        for form in [Form::Nibbles, Form::Scales] {
            assert_eq!(make(1, "a", &[3, 5, 7], form).unwrap().len(), 105);
        }
        let (_, bytes) = stored(&[3, 5, 512], Form::Numbers(WeightDtype::Q4K));
        assert_eq!(bytes, 15 * 2 * 144);
    }

    #[test]
    fn more_than_memory_is_refused() {
        let form = Form::Numbers(WeightDtype::BF16);
        assert!(make(1, "a", &[usize::MAX, 2], form).is_none());
        assert!(make(1, "a", &[1 << 31, 1 << 31], form).is_none());
    }
}
