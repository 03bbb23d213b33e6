//! Rotary position embeddings.

mod angles;
mod frequencies;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use angles::Angles;
pub(crate) use frequencies::Frequencies;

use super::error::setting;
use crate::Result;
use crate::weights::Weights;
use frequencies::Divisors;
use settings::Settings;

/// Widest head that rotates; a wider one is a damaged config file, for which no list of frequencies shall be made.
const MAX_HEAD_DIM: usize = 1 << 16;

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
///
/// Values are taken as results, not yet judged, because settings of the config file may make them unneeded.
#[derive(Debug)]
pub struct RopeOptions {
    head_dim: usize,
    theta: Result<f64>,
    partial: Result<f64>,
    dim: Option<f64>,
    pairs: Pairs,
    reverse: bool,
    scaling: Scaling,
    scaling_default: Vec<(&'static str, Param)>,
    scaling_gaps: Vec<(&'static str, Param)>,
    layer_type: Option<Result<Arc<str>>>,
    max_positions: Option<Result<f64>>,
    freq_factors: Option<FreqFactors>,
}

impl RopeOptions {
    /// Rotation of heads of this width with this base.
    #[must_use]
    pub fn new(head_dim: usize, theta: Result<f64>) -> Self {
        Self {
            head_dim,
            theta,
            partial: Ok(1.0),
            dim: None,
            pairs: Pairs::default(),
            reverse: false,
            scaling: Scaling::default(),
            scaling_default: Vec::new(),
            scaling_gaps: Vec::new(),
            layer_type: None,
            max_positions: None,
            freq_factors: None,
        }
    }

    /// Share of the head that rotates.
    #[must_use]
    pub fn partial(self, share: Result<f64>) -> Self {
        Self {
            partial: share,
            ..self
        }
    }

    /// Number of leading dimensions that rotate; wins over [`partial`](Self::partial).
    #[must_use]
    pub fn dim(self, dim: f64) -> Self {
        Self {
            dim: Some(dim),
            ..self
        }
    }

    /// Which dimensions rotate together.
    #[must_use]
    pub fn pairs(self, pairs: Pairs) -> Self {
        Self { pairs, ..self }
    }

    /// Rotates by minus the angle.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self {
            reverse: true,
            ..self
        }
    }

    /// Where the scaling comes from.
    #[must_use]
    pub fn scaling(self, scaling: Scaling) -> Self {
        Self { scaling, ..self }
    }

    /// The scaling when the config file is asked and has none.
    #[must_use]
    pub fn scaling_default(self, params: &[(&'static str, Param)]) -> Self {
        Self {
            scaling_default: params.to_vec(),
            ..self
        }
    }

    /// Parameters used when the scaling lacks them.
    #[must_use]
    pub fn scaling_gaps(self, params: &[(&'static str, Param)]) -> Self {
        Self {
            scaling_gaps: params.to_vec(),
            ..self
        }
    }

    /// The layer's entry of `layer_types`, which chooses among nested `rope_parameters`.
    #[must_use]
    pub fn layer_type(self, layer_type: Result<Arc<str>>) -> Self {
        Self {
            layer_type: Some(layer_type),
            ..self
        }
    }

    /// The config field `max_positions`.
    #[must_use]
    pub fn max_positions(self, positions: Result<f64>) -> Self {
        Self {
            max_positions: Some(positions),
            ..self
        }
    }

    /// Tensors that divide the frequencies, where the format has any.
    #[must_use]
    pub fn freq_factors(self, factors: impl Into<Option<FreqFactors>>) -> Self {
        Self {
            freq_factors: factors.into(),
            ..self
        }
    }

    /// The frequencies.
    ///
    /// # Errors
    /// If a setting that is needed is missing or out of range.
    pub fn load(mut self, w: &mut Weights) -> Result<Rope> {
        let (layout, head_dim) = (self.pairs, self.head_dim);
        let dim = self.rotated(w)?;
        let pairs = dim.div_ceil(2);
        let divisors = match self.freq_factors {
            None => Divisors::None,
            Some(FreqFactors::One(name)) => w
                .optional_vector(name, pairs)?
                .map_or(Divisors::None, Divisors::One),
            Some(FreqFactors::ShortLong(short, long)) => {
                match (
                    w.optional_vector(short, pairs)?,
                    w.optional_vector(long, pairs)?,
                ) {
                    (Some(short), Some(long)) => Divisors::ShortLong {
                        original: 0.0,
                        short,
                        long,
                    },
                    _ => Divisors::None,
                }
            }
        };
        let settings = Settings::find(&mut self, w.config())?;
        let frequencies = settings.frequencies(dim, head_dim, divisors)?;
        Ok(Rope {
            frequencies: w.share_frequencies(frequencies),
            pairs: layout,
        })
    }

    /// Number of leading dimensions that rotate.
    fn rotated(&mut self, w: &Weights) -> Result<usize> {
        let stored = w.config().top_level().float("rope.dimension_count");
        let dim = match (self.dim, stored) {
            (Some(dim), _) => dim,
            (None, Ok(Some(dim))) if w.is_gguf() => dim,
            _ => self.head_dim as f64 * std::mem::replace(&mut self.partial, Ok(1.0))?,
        };
        let dim = dim.trunc();
        // An odd number rotates one dimension more: there is a frequency for each pair begun.
        if self.head_dim <= MAX_HEAD_DIM
            && dim >= 0.0
            && 2.0 * (dim / 2.0).ceil() <= self.head_dim as f64
        {
            Ok(dim as usize)
        } else {
            setting(format!(
                "cannot rotate {dim} dimensions of heads of {}",
                self.head_dim
            ))
        }
    }
}

/// A rotation by position.
#[derive(Clone, Debug)]
pub struct Rope {
    frequencies: Arc<Frequencies>,
    pairs: Pairs,
}

#[cfg(feature = "cuda")]
impl Rope {
    /// The rotation on a GPU.
    pub(super) fn on(&self) -> crate::cuda::TapeOp {
        crate::cuda::TapeOp::Rope {
            frequencies: Arc::clone(&self.frequencies),
            adjacent: self.pairs == Pairs::Adjacent,
        }
    }
}
