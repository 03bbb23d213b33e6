//! Random weights and the product in double precision, for the tests of all kernels.

use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::weights::{Matrix, WeightDtype};

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Activations with a few outliers, as real ones have.
pub(crate) fn activations(count: usize, rng: &mut StdRng) -> Vec<f32> {
    (0..count)
        .map(|i| {
            let value: f32 = rng.random_range(-1.0..1.0);
            if i % 61 == 7 { value * 20.0 } else { value }
        })
        .collect()
}

/// A matrix of random blocks with scales near 0.01.
pub(crate) fn matrix(dtype: WeightDtype, rows: usize, cols: usize, rng: &mut StdRng) -> Matrix {
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
    Matrix::new(rows, cols, dtype, data.into()).unwrap()
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

/// `[tokens, rows]` of (product, sum of the magnitudes of its terms).
pub(crate) fn reference(matrix: &Matrix, x: &[f32], tokens: usize) -> Vec<(f64, f64)> {
    let weights = matrix.to_f32().unwrap();
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
    out
}

/// Fails unless every result is within `tolerance` × the magnitude of its terms.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[(f64, f64)], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, (want, magnitude))) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        // `!(<=)`, so that a NaN fails.
        assert!(
            error <= tolerance * magnitude,
            "{what}: result {i} is {got}, not {want}: {error:e} off, magnitude {magnitude}"
        );
    }
}
