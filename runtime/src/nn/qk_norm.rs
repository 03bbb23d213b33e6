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
    /// One for each head; on a GPU all weights lie in one vector.
    Each {
        norms: Vec<Norm>,
        #[cfg(feature = "cuda")]
        joined: Norm,
    },
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

    /// The norms with their weights on a GPU.
    #[cfg(feature = "cuda")]
    pub(super) fn on(
        &self,
        gpu: &std::sync::Arc<crate::cuda::Gpu>,
        dim: usize,
    ) -> Result<crate::cuda::TapeOp> {
        Ok(crate::cuda::TapeOp::Norm(
            self.q.on(gpu, dim)?,
            self.k.on(gpu, dim)?,
        ))
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
            let norms: Vec<Norm> = (0..heads).map(load).collect::<Result<_>>()?;
            return Ok(Self::each(&options, norms));
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
        Ok(Self::each(&options, norms.collect()))
    }

    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "for GPUs"))]
    fn each(options: &NormOptions, norms: Vec<Norm>) -> Self {
        Self::Each {
            #[cfg(feature = "cuda")]
            joined: Norm::joined(options, &norms),
            norms,
        }
    }

    #[cfg(feature = "cuda")]
    fn on(
        &self,
        gpu: &std::sync::Arc<crate::cuda::Gpu>,
        dim: usize,
    ) -> Result<crate::cuda::TapeHeadNorm> {
        let (norm, width, step) = match self {
            Self::Same { norm, width } => (norm, *width, 0),
            Self::Each { joined, .. } => (joined, dim, dim),
        };
        Ok(crate::cuda::TapeHeadNorm {
            norm: norm.on(gpu)?,
            width,
            step,
        })
    }

    fn apply(&self, x: &mut [f32], dim: usize) {
        match self {
            Self::Same { norm, width } => norm.rows(x, *width),
            Self::Each { norms, .. } => {
                x.chunks_exact_mut(dim)
                    .zip(norms)
                    .for_each(|(head, norm)| norm.rows(head, dim));
            }
        }
    }
}
