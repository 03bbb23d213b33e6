//! Norms.

use super::error::setting;
use super::{Activations, Name, Step};
use crate::Result;
use crate::weights::Weights;

/// What a norm divides by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormKind {
    /// The root of the mean square.
    #[default]
    Rms,
    /// The standard deviation, after the mean is subtracted.
    Layer,
}

/// How a norm normalizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormOptions {
    /// What it divides by.
    pub kind: NormKind,
    /// Added to the mean square.
    pub eps: f64,
    /// Added to the weight.
    pub shift: f64,
    /// Whether a `.bias` is added.
    pub bias: bool,
}

/// A norm over the last dimension.
#[derive(Clone, Debug)]
pub struct Norm {
    options: NormOptions,
}

impl Norm {
    /// Weight (and bias) `[width]`.
    ///
    /// # Errors
    /// If the tensors cannot be read.
    pub fn load(w: &mut Weights, name: Name, width: usize, options: &NormOptions) -> Result<Self> {
        let _ = (w, name, width);
        Ok(Self { options: *options })
    }

    /// A norm without a tensor.
    #[must_use]
    pub fn unweighted(options: &NormOptions) -> Self {
        Self { options: *options }
    }

    /// `[tokens, width]` → `[tokens, width]`
    ///
    /// # Errors
    /// If the width is another.
    pub fn forward(&self, x: &Activations, step: &Step) -> Result<Activations> {
        let _ = (x, step, self.options);
        setting("unfinished")
    }
}
