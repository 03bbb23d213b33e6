//! Rotating queries and keys.

use std::sync::Arc;

use super::{Frequencies, Pairs, Rope};
use crate::nn::step::BatchRun;

/// Cosines and sines of a step's tokens.
#[derive(Debug)]
pub(crate) struct Angles {
    frequencies: Arc<Frequencies>,
    /// Pairs of each token.
    pairs: usize,
    /// `[tokens, pairs]`
    cos: Vec<f32>,
    /// `[tokens, pairs]`
    sin: Vec<f32>,
}

impl Angles {
    /// Some scalings depend on the length that a sequence was opened for.
    pub(crate) fn new(rope: &Rope, runs: &[BatchRun]) -> Self {
        let frequencies = Arc::clone(&rope.frequencies);
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        let (attention, direction) = (frequencies.attention(), frequencies.direction());
        let mut pairs = 0;
        for run in runs {
            let of_length = frequencies.for_length(run.opened);
            pairs = of_length.len();
            for position in run.positions() {
                // f32 throughout, as the models were trained.
                let angles = of_length
                    .iter()
                    .map(|frequency| position as f32 * frequency);
                for angle in angles {
                    cos.push(angle.cos() * attention);
                    sin.push(angle.sin() * attention * direction);
                }
            }
        }
        Self {
            frequencies,
            pairs,
            cos,
            sin,
        }
    }

    /// Whether these are the rotations by a rope.
    pub(crate) fn are_of(&self, rope: &Rope) -> bool {
        Arc::ptr_eq(&self.frequencies, &rope.frequencies)
    }

    /// Rotates all heads of a token.
    pub(crate) fn rotate(&self, rope: &Rope, token: usize, row: &mut [f32], head_dim: usize) {
        let cos = &self.cos[token * self.pairs..][..self.pairs];
        let sin = &self.sin[token * self.pairs..][..self.pairs];
        for head in row.chunks_exact_mut(head_dim) {
            let head = &mut head[..2 * self.pairs];
            match rope.pairs {
                Pairs::Half => {
                    let (a, b) = head.split_at_mut(self.pairs);
                    a.iter_mut()
                        .zip(b)
                        .zip(cos.iter().zip(sin))
                        .for_each(|((a, b), angle)| turn(a, b, angle));
                }
                Pairs::Adjacent => {
                    let (pairs, _) = head.as_chunks_mut::<2>();
                    pairs
                        .iter_mut()
                        .zip(cos.iter().zip(sin))
                        .for_each(|([a, b], angle)| turn(a, b, angle));
                }
            }
        }
    }
}

#[inline(always)]
fn turn(a: &mut f32, b: &mut f32, (cos, sin): (&f32, &f32)) {
    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
}
