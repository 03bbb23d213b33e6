//! Norms of queries and keys.

use super::{Heads, Name, Norm, NormOptions};
use crate::Result;
use crate::weights::Weights;

/// What one norm of queries or keys runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each head, one weight `[head_dim]` for all of them.
    Head,
    /// Each head, a weight for each.
    PerHead,
    /// All heads at once.
    Whole,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct QkNormOptions {
    /// What one norm runs over.
    pub scope: Scope,
    /// Weight of the queries' norm; `{h}` in it: one tensor for each head. None: no weight.
    pub q: Option<Name>,
    /// Weight of the keys' norm.
    pub k: Option<Name>,
    /// How they normalize.
    pub norm: NormOptions,
}

/// Norms of queries and keys.
#[derive(Clone, Debug)]
pub struct QkNorm {
    q: HeadNorms,
    k: HeadNorms,
}

/// The norms of the heads of q or of k.
#[derive(Clone, Debug)]
enum HeadNorms {
    /// The same for each head, or one for all heads together, by the width.
    Same { norm: Norm, width: usize },
    /// One for each head.
    Each(Vec<Norm>),
}

impl QkNorm {
    /// Reads the weights.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(w: &mut Weights, options: QkNormOptions, heads: Heads) -> Result<Self> {
        let QkNormOptions { scope, q, k, norm } = options;
        Ok(Self {
            q: HeadNorms::load(w, scope, q, norm, heads.q, heads.dim)?,
            k: HeadNorms::load(w, scope, k, norm, heads.kv, heads.dim)?,
        })
    }

    /// Normalizes a token's queries and keys.
    pub(super) fn apply(&self, q: &mut [f32], k: &mut [f32], dim: usize) {
        self.q.apply(q, dim);
        self.k.apply(k, dim);
    }
}

impl HeadNorms {
    fn load(
        w: &Weights,
        scope: Scope,
        name: Option<Name>,
        options: NormOptions,
        heads: usize,
        dim: usize,
    ) -> Result<Self> {
        let width = if scope == Scope::Whole {
            heads * dim
        } else {
            dim
        };
        let Some(name) = name.filter(|name| !name.in_format(w.format()).is_empty()) else {
            return Ok(Self::Same {
                norm: Norm::unweighted(&options),
                width,
            });
        };
        let full = w.full_name(name)?;
        if full.contains("{h}") {
            let load = |head: usize| {
                let weight = full.replace("{h}", &head.to_string()) + ".weight";
                let weight = w.named_vector(weight, &[&[dim]], name.at)?;
                Ok(Norm::from_parts(&options, weight, None))
            };
            return (0..heads).map(load).collect::<Result<_>>().map(Self::Each);
        }
        let shape: &[usize] = if scope == Scope::PerHead {
            &[heads, dim]
        } else {
            &[width]
        };
        let weight = w.numbers(format!("{full}.weight"), shape, name.at)?;
        let bias = if options.bias {
            Some(w.numbers(format!("{full}.bias"), shape, name.at)?)
        } else {
            None
        };
        if scope != Scope::PerHead {
            return Ok(Self::Same {
                norm: Norm::from_parts(&options, weight, bias),
                width,
            });
        }
        let norms = weight.chunks_exact(dim).enumerate().map(|(head, weight)| {
            let bias = bias.as_ref().map(|bias| bias[head * dim..][..dim].to_vec());
            Norm::from_parts(&options, weight.to_vec(), bias)
        });
        Ok(Self::Each(norms.collect()))
    }

    fn apply(&self, x: &mut [f32], dim: usize) {
        match self {
            Self::Same { norm, width } => norm.rows(x, *width),
            Self::Each(norms) => {
                x.chunks_exact_mut(dim)
                    .zip(norms)
                    .for_each(|(head, norm)| norm.rows(head, dim));
            }
        }
    }
}
