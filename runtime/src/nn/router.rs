//! Choice of experts.

use super::error::setting;
use super::{Activations, Name, NnError, Step};
use crate::Result;
use crate::weights::Weights;

/// What makes weights of logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// Softmax.
    #[default]
    Softmax,
    /// 1 / (1 + e⁻ᶻ)
    Sigmoid,
    /// √ln(1 + eᶻ)
    SqrtSoftplus,
}

impl Score {
    /// The function that config files call so.
    ///
    /// # Errors
    /// If nothing is called so.
    pub fn named(word: &str) -> Result<Self> {
        Ok(match word {
            "softmax" => Self::Softmax,
            "sigmoid" => Self::Sigmoid,
            "sqrtsoftplus" => Self::SqrtSoftplus,
            _ => {
                return Err(NnError::UnknownWord {
                    what: "router score",
                    word: word.into(),
                    known: "softmax, sigmoid, sqrtsoftplus".into(),
                }
                .into());
            }
        })
    }
}

/// Which experts are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// All, before choosing.
    #[default]
    All,
    /// The chosen ones.
    Selected,
}

/// What makes a group of experts good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Its best expert.
    Max,
    /// The sum of its two best.
    Top2Sum,
}

/// Choice limited to the best groups of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups.
    pub count: usize,
    /// How many are kept.
    pub keep: usize,
    /// What makes a group good.
    pub rank: Rank,
}

/// What a weight multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Apply {
    /// The expert's output.
    #[default]
    Output,
    /// Its input.
    Input,
}

/// How experts are chosen and weighted.
#[derive(Clone, Copy, Debug)]
pub struct RouterOptions {
    /// Number of experts.
    pub experts: usize,
    /// Experts per token.
    pub top: usize,
    /// What makes weights of logits.
    pub score: Score,
    /// Which experts are scored.
    pub over: Over,
    /// Whether the projection has a bias.
    pub bias: bool,
    /// Added to the scores for choosing only: a whole tensor name.
    pub select_bias: Option<Name>,
    /// Cap of the logits; 0 is off.
    pub softcap: Option<f64>,
    /// Choice limited to groups.
    pub groups: Option<Groups>,
    /// Divide the weights by their sum.
    pub renorm: bool,
    /// Added to that sum.
    pub renorm_eps: f64,
    /// Factor of the weights, after that.
    pub scale: f64,
    /// What a weight multiplies.
    pub apply: Apply,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            experts: 1,
            top: 1,
            score: Score::default(),
            over: Over::default(),
            bias: false,
            select_bias: None,
            softcap: None,
            groups: None,
            renorm: false,
            renorm_eps: 0.0,
            scale: 1.0,
            apply: Apply::default(),
        }
    }
}

/// Chooses experts for each token.
#[derive(Clone, Debug)]
pub struct Router {}

/// The experts of each token and their weights.
#[derive(Clone, Debug)]
pub struct Routes {}

impl Router {
    /// Projection `[experts, hidden]`.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the options contradict each other.
    pub fn load(
        w: &mut Weights,
        name: Name,
        options: RouterOptions,
        hidden: usize,
    ) -> Result<Self> {
        let _ = (w, name, options, hidden);
        Ok(Self {})
    }

    /// `[tokens, hidden]` → the experts of each token
    ///
    /// # Errors
    /// If the width of `x` is another.
    pub fn forward(&self, x: &Activations, step: &Step) -> Result<Routes> {
        let _ = (x, step);
        setting("unfinished")
    }
}
