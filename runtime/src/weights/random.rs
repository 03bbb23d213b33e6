//! Weights out of nothing, for tests and benchmarks.

use std::sync::{Mutex, PoisonError};

use super::{StoredDtype, StoredTensor, WeightDtype};
use crate::cpu;

/// What each number adds to the state.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Elements that one task makes.
const TASK: usize = 1 << 18;

/// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
struct Generator(u64);

impl Generator {
    /// The same for the same seed and name.
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, hash))
    }

    /// The generator after so many numbers.
    fn after(&self, numbers: usize) -> Self {
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

/// Bytes of a random tensor.
pub(super) fn bytes_of(shape: &[usize], packed: bool) -> usize {
    let each = match shape.len() {
        _ if packed => 1,
        0 | 1 => size_of::<f32>(),
        _ => size_of::<half::bf16>(),
    };
    shape
        .iter()
        .fold(each, |product, dim| product.saturating_mul(*dim))
}

/// `count` elements of `N` bytes, made by all cores; `None` if there is no memory for them.
fn fill<const N: usize>(
    generator: &Generator,
    count: usize,
    element: impl Fn(&mut Generator) -> [u8; N] + Sync,
) -> Option<Vec<u8>> {
    let mut data: Vec<[u8; N]> = Vec::new();
    data.try_reserve_exact(count).ok()?;
    data.resize(count, [0; N]);
    let chunks: Vec<_> = data.chunks_mut(TASK).map(Mutex::new).collect();
    cpu::parallel(chunks.len(), |task| {
        let mut generator = generator.after(task * TASK);
        // Each chunk is locked once: the lock only proves that nobody else writes there.
        let mut chunk = chunks[task].lock().unwrap_or_else(PoisonError::into_inner);
        chunk
            .iter_mut()
            .for_each(|bytes| *bytes = element(&mut generator));
    });
    Some(data.into_flattened())
}

/// A tensor of numbers: vectors around 1 for `.weight` (norms) and around 0 else, in f32; matrices in bf16, scaled so that
/// activations neither grow nor shrink. `None` if there is no memory for it.
pub(super) fn numbers(seed: u64, name: &str, shape: &[usize]) -> Option<StoredTensor> {
    let generator = Generator::new(seed, name);
    let count = shape
        .iter()
        .try_fold(1_usize, |count, dim| count.checked_mul(*dim))?;
    let (dtype, data) = if let [.., _, cols] = *shape {
        let scale = 1.0 / (cols as f32).sqrt();
        let element = |generator: &mut Generator| {
            half::bf16::from_f32(generator.normal() * scale).to_le_bytes()
        };
        (WeightDtype::BF16, fill(&generator, count, element)?)
    } else {
        let mean = if name.ends_with(".weight") { 1.0 } else { 0.0 };
        let element = |generator: &mut Generator| (mean + 0.1 * generator.normal()).to_le_bytes();
        (WeightDtype::F32, fill(&generator, count, element)?)
    };
    Some(StoredTensor {
        shape: shape.to_vec(),
        dtype: StoredDtype::Weight(dtype),
        data: data.into(),
    })
}

/// A tensor of packed MXFP4 nibbles, or (without `nibbles`) of the scales that make them weights.
pub(super) fn bytes(seed: u64, name: &str, shape: &[usize], nibbles: bool) -> Option<StoredTensor> {
    let generator = Generator::new(seed, name);
    let count = shape
        .iter()
        .try_fold(1_usize, |count, dim| count.checked_mul(*dim))?;
    // An MXFP4 number has a root mean square of about 3.
    let inputs = shape.last().map_or(1.0, |blocks| 32.0 * *blocks as f32);
    let scale = (127.0 - (3.0 * inputs.sqrt()).log2().round()) as u8;
    let data = if nibbles {
        fill(&generator, count, |generator| {
            [(generator.next() >> 56) as u8]
        })?
    } else {
        fill(&generator, count, |_| [scale])?
    };
    let dtype = StoredDtype::Raw(::safetensors::Dtype::U8);
    Some(StoredTensor {
        shape: shape.to_vec(),
        dtype,
        data: data.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normal_and_the_same_each_time() {
        let make = |seed, name| numbers(seed, name, &[64, 256]).unwrap();
        let values = make(1, "a").into_matrix().unwrap().to_f32().unwrap();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        assert!(
            mean.abs() < 0.002 && (square * 256.0 - 1.0).abs() < 0.05,
            "{mean} {square}"
        );
        assert_eq!(make(1, "a").data[..], make(1, "a").data[..]);
        assert_ne!(make(1, "a").data[..], make(2, "a").data[..]);
        assert_ne!(make(1, "a").data[..], make(1, "b").data[..]);
    }

    #[test]
    fn as_many_bytes_as_were_planned() {
        for shape in [&[7][..], &[3, 8], &[2, 3, 8]] {
            let made = numbers(1, "a", shape).unwrap();
            assert_eq!(made.data.len(), bytes_of(shape, false), "{shape:?}");
        }
        for nibbles in [true, false] {
            let made = bytes(1, "a", &[3, 5, 7], nibbles).unwrap();
            assert_eq!(made.data.len(), bytes_of(&[3, 5, 7], true));
        }
    }

    #[test]
    fn more_than_memory_is_refused() {
        assert!(numbers(1, "a", &[usize::MAX, 2]).is_none());
        assert!(numbers(1, "a", &[1 << 31, 1 << 31]).is_none());
    }
}
