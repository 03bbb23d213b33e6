//! The inner loops of attention, over one block of the cache at a time.

use crate::cpu;
use crate::kv_cache::BLOCK_SIZE;
use crate::nn::simd::{fma, simd};

/// Query rows of one key/value head, and what is known of their result so far (the online softmax).
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) dim: usize,
    pub(super) v_dim: usize,
    /// `[rows, dim]`, scaled
    pub(super) q: Vec<f32>,
    /// `[rows, BLOCK_SIZE]`: scores, then their exponentials
    pub(super) scores: Vec<f32>,
    /// Largest score of each row so far.
    pub(super) max: Vec<f32>,
    /// Sum of exponentials of each row, relative to `max`.
    pub(super) sum: Vec<f32>,
    /// `[rows, v_dim]`, relative to `max`
    pub(super) out: Vec<f32>,
}

impl Rows {
    pub(super) fn new(q: Vec<f32>, rows: usize, dim: usize, v_dim: usize) -> Self {
        Self {
            dim,
            v_dim,
            q,
            scores: vec![0.0; rows * BLOCK_SIZE],
            max: vec![f32::NEG_INFINITY; rows],
            sum: vec![0.0; rows],
            out: vec![0.0; rows * v_dim],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.max.len()
    }

    /// `scores = q · keys`, keys `[dim, BLOCK_SIZE]`.
    pub(super) fn score(&mut self, keys: &[f32]) {
        score(&self.q, keys, &mut self.scores, self.dim);
    }

    /// Turns a row's scores into exponentials; only keys `first..end` of the block are seen.
    pub(super) fn soften(&mut self, row: usize, first: usize, end: usize) {
        let scores = &mut self.scores[row * BLOCK_SIZE..][..BLOCK_SIZE];
        scores[..first].fill(0.0);
        scores[end..].fill(0.0);
        let Some(seen) = scores.get_mut(first..end).filter(|seen| !seen.is_empty()) else {
            return;
        };
        let max = seen
            .iter()
            .fold(self.max[row], |max, &z| if z > max { z } else { max });
        if max == f32::NEG_INFINITY {
            // Scores of nothing but -∞ or NaN: show the NaN instead of hiding it.
            if seen.iter().any(|z| z.is_nan()) {
                self.sum[row] = f32::NAN;
            }
            return seen.fill(0.0);
        }
        let out = &mut self.out[row * self.v_dim..][..self.v_dim];
        self.sum[row] = rescale(max - self.max[row], self.sum[row], out);
        self.max[row] = max;
        self.sum[row] += cpu::exp_minus(seen, max);
    }

    /// `out += exponentials · values`, values `[BLOCK_SIZE, v_dim]` of which the first `keys` are seen.
    pub(super) fn accumulate(&mut self, values: &[f32], keys: usize) {
        accumulate(
            &self.scores,
            &values[..keys * self.v_dim],
            &mut self.out,
            self.v_dim,
        );
    }

    /// Adds a sink to a row's sum.
    pub(super) fn sink(&mut self, row: usize, sink: f32) {
        let max = if sink > self.max[row] {
            sink
        } else {
            self.max[row]
        };
        let out = &mut self.out[row * self.v_dim..][..self.v_dim];
        self.sum[row] = rescale(max - self.max[row], self.sum[row], out) + (sink - max).exp();
        self.max[row] = max;
    }

    /// Writes a row's result.
    pub(super) fn finish(&self, row: usize, out: &mut [f32]) {
        let factor = 1.0 / self.sum[row];
        for (out, x) in out.iter_mut().zip(&self.out[row * self.v_dim..]) {
            *out = x * factor;
        }
    }
}

/// Makes a sum and a result relative to a maximum that is `rise` higher; gives the sum.
fn rescale(rise: f32, sum: f32, out: &mut [f32]) -> f32 {
    if rise == 0.0 {
        return sum;
    }
    let factor = (-rise).exp();
    cpu::scale(out, factor);
    sum * factor
}

simd! {
    fn score<FUSED, ROWS = 4 / 2 / 1>(q: &[f32], keys: &[f32], scores: &mut [f32], dim: usize) {
        let (keys, _) = keys.as_chunks::<BLOCK_SIZE>();
        let mut q = q.chunks_exact(ROWS * dim);
        let mut out = scores.chunks_exact_mut(ROWS * BLOCK_SIZE);
        for (q, out) in q.by_ref().zip(out.by_ref()) {
            score_rows::<FUSED, ROWS>(q, keys, out, dim);
        }
        let out = out.into_remainder().chunks_exact_mut(BLOCK_SIZE);
        for (q, out) in q.remainder().chunks_exact(dim).zip(out) {
            score_rows::<FUSED, 1>(q, keys, out, dim);
        }
    }
}

/// Several rows at once, so that each key is loaded once for all of them. A row's arithmetic does not depend on that.
#[inline(always)]
fn score_rows<const FUSED: bool, const ROWS: usize>(
    q: &[f32],
    keys: &[[f32; BLOCK_SIZE]],
    out: &mut [f32],
    dim: usize,
) {
    // Slices of one known length let the compiler drop the bounds checks.
    let q: [&[f32]; ROWS] = std::array::from_fn(|row| &q[row * dim..][..dim]);
    let keys = &keys[..dim];
    let mut sums = [[0.0; BLOCK_SIZE]; ROWS];
    for (d, keys) in keys.iter().enumerate() {
        for (row, sums) in sums.iter_mut().enumerate() {
            let q = q[row][d];
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = fma::<FUSED>(q, *key, *sum);
            }
        }
    }
    for (out, sums) in out.chunks_exact_mut(BLOCK_SIZE).zip(&sums) {
        out.copy_from_slice(sums);
    }
}

simd! {
    fn accumulate<FUSED, ROWS = 4 / 2 / 1>(weights: &[f32], values: &[f32], out: &mut [f32], v_dim: usize) {
        let mut weights = weights.chunks_exact(ROWS * BLOCK_SIZE);
        let mut out = out.chunks_exact_mut(ROWS * v_dim);
        for (weights, out) in weights.by_ref().zip(out.by_ref()) {
            accumulate_rows::<FUSED, ROWS>(weights, values, out, v_dim);
        }
        let out = out.into_remainder().chunks_exact_mut(v_dim);
        for (weights, out) in weights.remainder().chunks_exact(BLOCK_SIZE).zip(out) {
            accumulate_rows::<FUSED, 1>(weights, values, out, v_dim);
        }
    }
}

#[inline(always)]
fn accumulate_rows<const FUSED: bool, const ROWS: usize>(
    weights: &[f32],
    values: &[f32],
    out: &mut [f32],
    v_dim: usize,
) {
    let mut column = 0;
    while column + 32 <= v_dim {
        accumulate_columns::<FUSED, ROWS, 32>(weights, values, out, v_dim, column);
        column += 32;
    }
    while column + 8 <= v_dim {
        accumulate_columns::<FUSED, ROWS, 8>(weights, values, out, v_dim, column);
        column += 8;
    }
    while column < v_dim {
        accumulate_columns::<FUSED, ROWS, 1>(weights, values, out, v_dim, column);
        column += 1;
    }
}

#[inline(always)]
fn accumulate_columns<const FUSED: bool, const ROWS: usize, const WIDTH: usize>(
    weights: &[f32],
    values: &[f32],
    out: &mut [f32],
    v_dim: usize,
    column: usize,
) {
    let mut sums = [[0.0; WIDTH]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&out[row * v_dim + column..][..WIDTH]);
    }
    let (weights, _) = weights.as_chunks::<BLOCK_SIZE>();
    let weights: [&[f32; BLOCK_SIZE]; ROWS] = std::array::from_fn(|row| &weights[row]);
    for (key, values) in (0..BLOCK_SIZE).zip(values.chunks_exact(v_dim)) {
        let values = &values[column..column + WIDTH];
        for (row, sums) in sums.iter_mut().enumerate() {
            let weight = weights[row][key];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = fma::<FUSED>(weight, *value, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        out[row * v_dim + column..][..WIDTH].copy_from_slice(sums);
    }
}
