//! Rotary position embeddings.

use std::sync::Arc;

use crate::Result;
use crate::weights::Weights;

/// Which dimensions rotate together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairs {
    /// (j, j + d/2)
    #[default]
    Half,
    /// (2j, 2j + 1)
    Adjacent,
}

/// Where the scaling of frequencies comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scaling {
    /// None.
    #[default]
    None,
    /// The config file.
    Config,
    /// The spec's own parameters ([`RopeOptions::scaling_gaps`]).
    Fixed,
}

/// A literal parameter of a scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Param {
    /// A number.
    Number(f64),
    /// A bool.
    Bool(bool),
    /// A word.
    Word(&'static str),
    /// A list of numbers.
    Numbers(&'static [f64]),
}

/// Tensors `[d/2]` of the file that divide the frequencies, if present. Names without root and prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreqFactors {
    /// One for all lengths.
    One(&'static str),
    /// One for sequences within the original context, one for longer ones.
    ShortLong(&'static str, &'static str),
}

/// How to rotate.
#[derive(Debug)]
pub struct RopeOptions {
    head_dim: usize,
    theta: Result<f64>,
}

impl RopeOptions {
    /// Rotation of heads of this width with this base. Results are taken unevaluated, because settings of the config file
    /// may make them unneeded.
    #[must_use]
    pub fn new(head_dim: usize, theta: Result<f64>) -> Self {
        Self { head_dim, theta }
    }

    /// Share of the head that rotates.
    #[must_use]
    pub fn partial(self, share: Result<f64>) -> Self {
        let _ = share;
        self
    }

    /// Number of leading dimensions that rotate; wins over [`partial`](Self::partial).
    #[must_use]
    pub fn dim(self, dim: f64) -> Self {
        let _ = dim;
        self
    }

    /// Which dimensions rotate together.
    #[must_use]
    pub fn pairs(self, pairs: Pairs) -> Self {
        let _ = pairs;
        self
    }

    /// Rotates by minus the angle.
    #[must_use]
    pub fn reverse(self) -> Self {
        self
    }

    /// Where the scaling comes from.
    #[must_use]
    pub fn scaling(self, scaling: Scaling) -> Self {
        let _ = scaling;
        self
    }

    /// The scaling when the config file is asked and has none.
    #[must_use]
    pub fn scaling_default(self, params: &[(&'static str, Param)]) -> Self {
        let _ = params;
        self
    }

    /// Parameters used when the scaling lacks them.
    #[must_use]
    pub fn scaling_gaps(self, params: &[(&'static str, Param)]) -> Self {
        let _ = params;
        self
    }

    /// The layer's entry of `layer_types`, which chooses among nested `rope_parameters`.
    #[must_use]
    pub fn layer_type(self, layer_type: Result<Arc<str>>) -> Self {
        let _ = layer_type;
        self
    }

    /// The config field `max_positions`.
    #[must_use]
    pub fn max_positions(self, positions: Result<f64>) -> Self {
        let _ = positions;
        self
    }

    /// Tensors that divide the frequencies, where the format has any.
    #[must_use]
    pub fn freq_factors(self, factors: impl Into<Option<FreqFactors>>) -> Self {
        let _ = factors;
        self
    }

    /// The frequencies.
    ///
    /// # Errors
    /// If a setting that is needed is missing or out of range.
    pub fn load(self, w: &mut Weights) -> Result<Rope> {
        let _ = (w, self.head_dim, self.theta?);
        Ok(Rope {})
    }
}

/// A rotation by position.
#[derive(Clone, Debug)]
pub struct Rope {}
