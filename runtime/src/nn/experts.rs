//! A layer's experts.

use super::error::setting;
use super::{Activations, Glu, Name, Routes, Rows, Step};
use crate::Result;
use crate::weights::Weights;

/// Names of the experts' projections. With `{e}`: one projection for each expert; else all of them stacked.
#[derive(Clone, Debug)]
pub enum ExpertNames {
    /// Gate, up and down.
    Split {
        /// `[inter, hidden]`
        gate: Name,
        /// `[inter, hidden]`
        up: Name,
        /// `[hidden, inter]`
        down: Name,
    },
    /// Gate and up in one matrix.
    Fused {
        /// `[2 * inter, hidden]`
        gate_up: Name,
        /// Its row layout.
        rows: Rows,
        /// `[hidden, inter]`
        down: Name,
    },
}

/// `[storage.<name>]` of a spec: how stacked projections are spelt. `{P}` is the projection's full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// `plain.weight`
    pub weight: &'static str,
    /// `plain.bias`
    pub bias: Option<&'static str>,
    /// Stored `[experts, in, out]`.
    pub transposed: bool,
    /// Stored so only for projections whose name ends in this.
    pub transposed_only: Option<&'static str>,
    /// Stored `[experts * out, in]`.
    pub flat: bool,
    /// The packed spelling, taken when its `blocks` are in the file.
    pub mxfp4: Option<Mxfp4Storage>,
}

/// `storage.<name>.mxfp4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mxfp4Storage {
    /// u8 `[experts, out, in/32, 16]`
    pub blocks: &'static str,
    /// u8 `[experts, out, in/32]`
    pub scales: &'static str,
    /// `[experts, out]`
    pub bias: Option<&'static str>,
}

/// A layer's experts.
#[derive(Clone, Debug)]
pub struct ExpertsOptions {
    /// Where they are.
    pub names: ExpertNames,
    /// How stacked ones are spelt; none is `{P}.weight` `[experts, out, in]` and `{P}.bias`.
    pub storage: Option<Storage>,
    /// How many.
    pub count: usize,
    /// Width of one.
    pub inter: usize,
    /// Width of input and output.
    pub hidden: usize,
    /// How gate and up are joined.
    pub act: Glu,
    /// Whether the projections have biases.
    pub bias: bool,
}

/// Gated MLPs of which each token passes a few.
#[derive(Clone, Debug)]
pub struct Experts {}

impl Experts {
    /// Reads them.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(w: &mut Weights, options: ExpertsOptions) -> Result<Self> {
        let _ = (w, options);
        Ok(Self {})
    }

    /// `[tokens, hidden]` → `[tokens, hidden]`
    ///
    /// # Errors
    /// If the width of `x` is another.
    pub fn forward(&self, x: &Activations, routes: &Routes, step: &Step) -> Result<Activations> {
        let _ = (x, routes, step);
        setting("unfinished")
    }
}
