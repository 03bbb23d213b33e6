//! The frequencies of a rotation.

use crate::Result;
use crate::nn::error::setting;

/// What frequencies are divided by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Divisors {
    None,
    One(Vec<f32>),
    /// One set for sequences of up to `original` tokens, one for longer ones.
    ShortLong {
        original: f64,
        short: Vec<f32>,
        long: Vec<f32>,
    },
}

/// Base frequencies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Base {
    /// For all lengths.
    Fixed(Vec<f32>),
    /// The base grows when the sequence is longer than the positions trained.
    Dynamic {
        theta: f64,
        factor: f64,
        positions: f64,
        dim: usize,
    },
}

/// Frequencies of the pairs of a head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frequencies {
    base: Base,
    divisors: Divisors,
    attention: f32,
    reverse: bool,
}

/// θ^(-2j/d), rounded as PyTorch rounds it in f32: a position multiplies the rounding.
pub(super) fn powers(theta: f64, dim: usize, count: usize) -> Vec<f32> {
    let theta = f64::from(theta as f32);
    let exponent = |j: usize| f64::from((2 * j) as f32 / dim as f32);
    (0..count)
        .map(|j| 1.0 / theta.powf(exponent(j)) as f32)
        .collect()
}

impl Frequencies {
    pub(super) fn new(
        base: Base,
        divisors: Divisors,
        attention: f64,
        reverse: bool,
    ) -> Result<Self> {
        let new = Self {
            base,
            divisors,
            attention: attention as f32,
            reverse,
        };
        let lengths = [1, usize::MAX >> 11];
        let finite = lengths
            .iter()
            .all(|length| new.for_length(*length).iter().all(|f| f.is_finite()));
        if finite && attention.is_finite() {
            Ok(new)
        } else {
            setting("the rope settings of the config file give frequencies that are no numbers")
        }
    }

    /// Factor of cosines and sines.
    pub(crate) fn attention(&self) -> f32 {
        self.attention
    }

    /// 1, or -1 to rotate backwards.
    pub(crate) fn direction(&self) -> f32 {
        if self.reverse { -1.0 } else { 1.0 }
    }

    /// Frequencies for a sequence of this length.
    pub(crate) fn for_length(&self, length: usize) -> Vec<f32> {
        let mut frequencies = match &self.base {
            Base::Fixed(frequencies) => frequencies.clone(),
            Base::Dynamic {
                theta,
                factor,
                positions,
                dim,
            } => {
                let stretch = factor * (length as f64).max(*positions) / positions - factor + 1.0;
                let power = *dim as f64 / (*dim as f64 - 2.0);
                powers(theta * stretch.powf(power), *dim, dim.div_ceil(2))
            }
        };
        let divisors = match &self.divisors {
            Divisors::None => return frequencies,
            Divisors::One(divisors) => divisors,
            Divisors::ShortLong {
                original,
                short,
                long,
            } => {
                if length as f64 > *original {
                    long
                } else {
                    short
                }
            }
        };
        frequencies
            .iter_mut()
            .zip(divisors)
            .for_each(|(f, divisor)| *f /= divisor);
        frequencies
    }
}
