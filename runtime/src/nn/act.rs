//! Activation functions.

use super::NnError;
use crate::Result;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// x · σ(x)
    Silu,
    /// x/2 · (1 + erf(x/√2))
    Gelu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715x³)))
    GeluTanh,
    /// max(x, 0)
    Relu,
    /// max(x, 0)²
    Relu2,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// ln(1 + eˣ)
    Softplus,
    /// x
    Identity,
}

impl Act {
    /// The function that config files call so.
    ///
    /// # Errors
    /// If nothing is called so.
    pub fn named(word: &str) -> Result<Self> {
        Ok(match word {
            "silu" | "swish" => Self::Silu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_tanh" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            "relu2" => Self::Relu2,
            "sigmoid" => Self::Sigmoid,
            "softplus" => Self::Softplus,
            "identity" => Self::Identity,
            _ => {
                return Err(NnError::UnknownWord {
                    what: "activation",
                    word: word.into(),
                    known: "silu, swish, gelu, gelu_new, gelu_tanh, gelu_pytorch_tanh, gelu_fast, relu, relu2, sigmoid, \
                            softplus, identity"
                        .into(),
                }
                .into());
            }
        })
    }
}

/// How a gated MLP joins gate and up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Glu {
    /// act(gate) · up
    Act(Act),
    /// gpt-oss: g = min(gate, limit), u = clamp(up, ±limit): (u + `up_shift`) · g · σ(alpha · g)
    Clamped {
        /// alpha
        alpha: f64,
        /// limit
        limit: f64,
        /// Added to up.
        up_shift: f64,
    },
}

impl From<Act> for Glu {
    fn from(act: Act) -> Self {
        Self::Act(act)
    }
}
