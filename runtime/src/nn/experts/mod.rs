//! A layer's experts.

mod source;
#[cfg(test)]
mod tests;

use super::error::shape;
use super::parallel::for_rows;
use super::{Activations, Apply, Glu, Linear, Name, Routes, Rows, Step, act};
use crate::weights::Weights;
use crate::{Result, cpu};
use source::{Projection, Source};

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

/// What stacked experts are when the spec names no storage.
const PLAIN: Storage = Storage {
    weight: "{P}.weight",
    bias: Some("{P}.bias"),
    transposed: false,
    transposed_only: None,
    flat: false,
    mxfp4: None,
};

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
pub struct Experts {
    experts: Place,
    act: Glu,
    inter: usize,
    hidden: usize,
}

/// Where they are.
#[derive(Clone, Debug)]
enum Place {
    Host(Vec<Expert>),
    #[cfg(feature = "cuda")]
    Device(std::sync::Arc<crate::cuda::DeviceExperts>),
}

/// One expert.
#[derive(Clone, Debug)]
struct Expert {
    /// `[2 * inter, hidden]`: gate, then up
    gate_up: Linear,
    /// `[hidden, inter]`
    down: Linear,
}

impl Experts {
    /// Reads them.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(w: &mut Weights, options: ExpertsOptions) -> Result<Self> {
        let ExpertsOptions {
            names,
            storage,
            count,
            inter,
            hidden,
            act,
            bias,
        } = options;
        let w = &w.of_experts(count);
        let source = Source {
            w,
            storage: storage.unwrap_or(PLAIN),
            count,
            bias,
        };
        let (gate_up, down) = source.all(names, [inter, hidden])?;
        #[cfg(feature = "cuda")]
        if let Some(loader) = w.loader() {
            let (gate_up, gate_up_bias) = source::on_device(loader, gate_up)?;
            let (down, down_bias) = source::on_device(loader, down)?;
            let device = crate::cuda::DeviceExperts {
                gate_up,
                gate_up_bias,
                down,
                down_bias,
                count,
                inter,
                hidden,
                act,
            };
            let experts = Place::Device(std::sync::Arc::new(device));
            return Ok(Self {
                experts,
                act,
                inter,
                hidden,
            });
        }
        let expert = |(gate_up, down): (Projection, Projection)| -> Result<Expert> {
            let gate_up = gate_up.linear(w, [2 * inter, hidden])?;
            Ok(Expert {
                gate_up,
                down: down.linear(w, [hidden, inter])?,
            })
        };
        let experts = gate_up
            .into_iter()
            .zip(down)
            .map(expert)
            .collect::<Result<_>>()?;
        Ok(Self {
            experts: Place::Host(experts),
            act,
            inter,
            hidden,
        })
    }

    /// `[tokens, hidden]` → `[tokens, hidden]`
    ///
    /// # Errors
    /// If the width of `x` is another, or the routes are those of other tokens.
    pub fn forward(&self, x: &Activations, routes: &Routes, _step: &Step) -> Result<Activations> {
        let Self { hidden, inter, .. } = *self;
        x.check_width("an expert", hidden)?;
        if routes.tokens() != x.tokens() {
            return shape(format!(
                "routes of {} tokens cannot lead {}",
                routes.tokens(),
                x.tokens()
            ));
        }
        let (experts, choices) = match &self.experts {
            #[cfg(feature = "cuda")]
            Place::Device(experts) => return record(x, routes, experts),
            Place::Host(experts) => (experts, routes.by_expert(experts.len())?),
        };
        let rows = x.values();
        let mut out = vec![0.0; rows.len()];
        let (mut input, mut gate_up, mut inner, mut output) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // Experts in order: the sum of a token does not depend on which others take the same experts.
        for (expert, tokens) in experts.iter().zip(choices) {
            if tokens.is_empty() {
                continue;
            }
            input.clear();
            for (token, weight) in &tokens {
                let start = input.len();
                input.extend_from_slice(&rows[token * hidden..][..hidden]);
                if routes.apply == Apply::Input {
                    cpu::scale(&mut input[start..], *weight);
                }
            }
            gate_up.resize(tokens.len() * 2 * inter, 0.0);
            expert.gate_up.project(&input, tokens.len(), &mut gate_up)?;
            inner.resize(tokens.len() * inter, 0.0);
            for_rows(&mut inner, inter, |first, inner| {
                act::join(
                    self.act,
                    &gate_up[first * 2 * inter..][..2 * inner.len()],
                    inner,
                    inter,
                );
            });
            output.resize(tokens.len() * hidden, 0.0);
            expert.down.project(&inner, tokens.len(), &mut output)?;
            for ((token, weight), output) in tokens.iter().zip(output.chunks_exact(hidden)) {
                let weight = if routes.apply == Apply::Input {
                    1.0
                } else {
                    *weight
                };
                cpu::axpy(weight, output, &mut out[token * hidden..][..hidden]);
            }
        }
        Activations::new(out, x.tokens(), hidden)
    }
}

#[cfg(feature = "cuda")]
fn record(
    x: &Activations,
    routes: &Routes,
    experts: &std::sync::Arc<crate::cuda::DeviceExperts>,
) -> Result<Activations> {
    let (Some(x), Some(choices)) = (x.recorded(), routes.recorded()) else {
        return shape("experts on a GPU cannot run on the CPU");
    };
    Ok(x.experts(choices, experts, routes.apply)?.into())
}
