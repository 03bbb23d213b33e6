//! CPU kernels. PLACEHOLDER: the cpu branch replaces this file.
#![allow(missing_docs, unused_variables)]
use crate::weights::{CheckpointError, Matrix};

/// How far activations may be rounded for speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    Exact,
    Fast,
}

pub fn parallel(tasks: usize, f: impl Fn(usize) + Sync) {
    (0..tasks).for_each(f);
}

#[derive(Debug)]
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

impl PackedMatrix {
    pub fn new(matrix: Matrix, precision: Precision) -> Result<Self, CheckpointError> {
        Ok(Self {
            rows: matrix.rows(),
            cols: matrix.cols(),
            values: matrix.to_f32()?,
        })
    }
    pub fn rows(&self) -> usize {
        self.rows
    }
    pub fn cols(&self) -> usize {
        self.cols
    }
    pub fn bytes(&self) -> usize {
        self.values.len() * 4
    }
    pub fn matmul(&self, x: &[f32], tokens: usize, out: &mut [f32]) {
        for t in 0..tokens {
            for r in 0..self.rows {
                out[t * self.rows + r] = dot(
                    &self.values[r * self.cols..(r + 1) * self.cols],
                    &x[t * self.cols..(t + 1) * self.cols],
                );
            }
        }
    }
}

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}
