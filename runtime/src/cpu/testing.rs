//! Random weights and the product in double precision, for the tests of all kernels.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::self_test;
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

pub(crate) fn matrix(dtype: WeightDtype, rows: usize, cols: usize, rng: &mut StdRng) -> Matrix {
    self_test::matrix(dtype, rows, cols, rng).unwrap()
}

pub(crate) fn reference(matrix: &Matrix, x: &[f32], tokens: usize) -> Vec<(f64, f64)> {
    self_test::reference(matrix, x, tokens).unwrap()
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
