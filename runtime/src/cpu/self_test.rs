//! Products of every storage type on this very machine, against plain Rust in double precision.

use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{Level, PackedMatrix, Precision};
use crate::Result;
use crate::weights::{CheckpointError, Matrix, WeightDtype};

/// Rows that fill no tile, and columns of four of the longest blocks.
const SHAPE: (usize, usize) = (37, 1024);
/// A memory-bound product, and one of several tiles.
const TOKENS: [usize; 2] = [1, 7];
/// f32 sums of numbers that the kernels' own rounding keeps exact, relative to the magnitude of the terms.
const TOLERANCE: f64 = 1e-6;

/// How well the products of one storage type agree.
#[derive(Clone, Debug, Serialize)]
pub struct KernelCheck {
    /// Storage type of the weights.
    pub dtype: &'static str,
    /// On the CPU whether activations were rounded to bytes (`exact`, `fast`); on a GPU the kernel: `plain`, `decode`, `prompt`.
    pub precision: &'static str,
    /// Largest error relative to the sum of the terms' magnitudes; infinite when a result is not finite.
    pub worst: f64,
    /// Whether that is within what f32 sums allow.
    pub sound: bool,
}

/// Runs every kernel of the machine's best [`Level`] on fresh weights. Takes some milliseconds.
///
/// # Errors
/// If a matrix is refused, which would be a mistake of this function.
pub fn self_test() -> Result<Vec<KernelCheck>> {
    let mut rng = ChaCha8Rng::seed_from_u64(Level::best() as u64);
    let mut checks = Vec::new();
    for dtype in WeightDtype::ALL {
        let matrix = matrix(dtype, SHAPE.0, SHAPE.1, &mut rng)?;
        for (precision, name) in [(Precision::Exact, "exact"), (Precision::Fast, "fast")] {
            let packed = PackedMatrix::new(matrix.clone(), precision)?;
            let mut worst = 0.0_f64;
            for tokens in TOKENS {
                let x = byte_activations(tokens * SHAPE.1, &mut rng);
                // Poisoned, so that a result that is never written cannot pass.
                let mut out = vec![f32::NAN; tokens * SHAPE.0];
                packed.matmul(&x, tokens, &mut out)?;
                worst = worst.max(worst_error(&out, &reference(&matrix, &x, tokens)?));
            }
            checks.push(KernelCheck {
                dtype: dtype.name(),
                precision: name,
                worst,
                sound: worst <= TOLERANCE,
            });
        }
    }
    Ok(checks)
}

pub(crate) fn worst_error(got: &[f32], want: &[(f64, f64)]) -> f64 {
    let error = |(got, (want, magnitude)): (&f32, &(f64, f64))| {
        let error = (f64::from(*got) - want).abs() / magnitude.max(f64::MIN_POSITIVE);
        if error.is_nan() { f64::INFINITY } else { error }
    };
    got.iter().zip(want).map(error).fold(0.0, f64::max)
}

/// A matrix of random blocks with scales near 0.01, for checks and measurements; the same for the same seed.
///
/// # Errors
/// If a row is no whole number of blocks.
pub fn random_matrix(
    dtype: WeightDtype,
    rows: usize,
    cols: usize,
    seed: u64,
) -> Result<Matrix, CheckpointError> {
    matrix(dtype, rows, cols, &mut ChaCha8Rng::seed_from_u64(seed))
}

/// The same, of a generator's next numbers.
pub(crate) fn matrix(
    dtype: WeightDtype,
    rows: usize,
    cols: usize,
    rng: &mut impl Rng,
) -> Result<Matrix, CheckpointError> {
    let blocks = rows * cols / dtype.block_len();
    let mut data = Vec::with_capacity(blocks * dtype.block_bytes());
    for _ in 0..blocks {
        let start = data.len();
        data.extend((0..dtype.block_bytes()).map(|_| rng.random::<u8>()));
        let block = &mut data[start..];
        let value: f32 = rng.random_range(-0.02..0.02);
        match dtype {
            WeightDtype::F32 => block.copy_from_slice(&value.to_le_bytes()),
            WeightDtype::BF16 => block.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes()),
            WeightDtype::Mxfp4 => block[0] = rng.random_range(115..122),
            _ => {
                for &at in halves(dtype) {
                    let value = f16::from_f32(rng.random_range(-0.02..0.02));
                    block[at..at + 2].copy_from_slice(&value.to_le_bytes());
                }
            }
        }
    }
    Matrix::new(rows, cols, dtype, data.into())
}

/// Where a block has f16 numbers.
fn halves(dtype: WeightDtype) -> &'static [usize] {
    match dtype {
        WeightDtype::F16 | WeightDtype::Q4_0 | WeightDtype::Q5_0 | WeightDtype::Q8_0 => &[0],
        WeightDtype::Q4_1 | WeightDtype::Q5_1 | WeightDtype::Q4K | WeightDtype::Q5K => &[0, 2],
        WeightDtype::Q2K => &[80, 82],
        WeightDtype::Q3K => &[108],
        WeightDtype::Q6K => &[208],
        WeightDtype::F32 | WeightDtype::BF16 | WeightDtype::Mxfp4 => &[],
    }
}

/// Activations that bytes hold exactly: whole multiples, up to 127, of a power of two for each 32.
pub(crate) fn byte_activations(count: usize, rng: &mut impl Rng) -> Vec<f32> {
    let mut x = Vec::with_capacity(count);
    while x.len() < count {
        let scale = 2_f32.powi(rng.random_range(-6..2));
        let largest = rng.random_range(0..32);
        for i in 0..32 {
            let byte: i8 = rng.random_range(-127..=127);
            let value = if i == largest {
                -127.0
            } else {
                f32::from(byte)
            };
            x.push(scale * value);
        }
    }
    x
}

/// `[tokens, rows]` of (product, sum of the magnitudes of its terms).
pub(crate) fn reference(
    matrix: &Matrix,
    x: &[f32],
    tokens: usize,
) -> Result<Vec<(f64, f64)>, CheckpointError> {
    let weights = matrix.to_f32()?;
    let cols = matrix.cols();
    let mut out = Vec::new();
    for token in 0..tokens {
        let x = &x[token * cols..(token + 1) * cols];
        for row in 0..matrix.rows() {
            let w = &weights[row * cols..(row + 1) * cols];
            let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
            out.push((terms().sum(), terms().map(f64::abs).sum()));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_type_is_sound_here() {
        let checks = self_test().unwrap();
        assert_eq!(checks.len(), 2 * WeightDtype::ALL.len());
        for check in checks {
            assert!(check.sound, "{check:?}");
        }
    }

    #[test]
    fn a_wrong_result_is_noticed() {
        let want = [(1.0, 2.0), (0.5, 1.0)];
        assert!(worst_error(&[1.0, 0.5], &want) <= TOLERANCE);
        assert!(worst_error(&[1.0, 0.501], &want) > TOLERANCE);
        assert!(worst_error(&[f32::NAN, 0.5], &want).is_infinite());
    }
}
