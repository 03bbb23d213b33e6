//! Choice of experts.

use std::cmp::Ordering;

use super::act::softplus;
use super::error::setting;
use super::{Activations, Linear, Name, NnError, Step, Vector};
use crate::weights::Weights;
use crate::{Result, cpu};

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

/// Chooses experts for each token: a small projection, then scores, a choice and weights.
#[derive(Clone, Debug)]
pub struct Router {
    /// `[experts, hidden]`
    projection: Linear,
    /// `[experts]`
    select_bias: Option<Vector>,
    options: RouterOptions,
}

/// The experts of each token and their weights.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Experts per token.
    top: usize,
    choices: Choices,
    pub(super) apply: Apply,
}

/// `[tokens, top]`: expert and weight
#[derive(Clone, Debug)]
enum Choices {
    Host(Vec<(usize, f32)>),
    #[cfg(feature = "cuda")]
    Device(crate::cuda::Value),
}

impl Routes {
    #[cfg(test)]
    pub(super) fn new(top: usize, choices: Vec<(usize, f32)>, apply: Apply) -> Self {
        Self {
            top,
            choices: Choices::Host(choices),
            apply,
        }
    }

    pub(super) fn tokens(&self) -> usize {
        match &self.choices {
            Choices::Host(choices) => choices.len() / self.top,
            #[cfg(feature = "cuda")]
            Choices::Device(choices) => choices.tokens(),
        }
    }

    /// Their place on the tape of a GPU; `None` on the CPU.
    #[cfg(feature = "cuda")]
    pub(super) fn recorded(&self) -> Option<&crate::cuda::Value> {
        match &self.choices {
            Choices::Host(_) => None,
            Choices::Device(choices) => Some(choices),
        }
    }

    /// For each expert the tokens that take it, in order, with their weights.
    ///
    /// # Errors
    /// If they were chosen on a GPU.
    pub(super) fn by_expert(&self, experts: usize) -> Result<Vec<Vec<(usize, f32)>>> {
        #[cfg_attr(
            not(feature = "cuda"),
            expect(
                clippy::infallible_destructuring_match,
                reason = "there is a second place with a GPU"
            )
        )]
        let choices = match &self.choices {
            Choices::Host(choices) => choices,
            #[cfg(feature = "cuda")]
            Choices::Device(_) => {
                return super::error::shape("a choice on a GPU cannot lead experts of the CPU");
            }
        };
        let mut tokens = vec![Vec::new(); experts];
        for (index, &(expert, weight)) in choices.iter().enumerate() {
            if let Some(tokens) = tokens.get_mut(expert) {
                tokens.push((index / self.top, weight));
            }
        }
        Ok(tokens)
    }
}

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
        let RouterOptions {
            experts,
            top,
            groups,
            ..
        } = options;
        if top == 0 || top > experts {
            return setting(format!("cannot choose {top} of {experts} experts"));
        }
        if let Some(Groups { count, keep, .. }) = groups
            && (count == 0 || experts % count != 0 || keep == 0 || keep > count)
        {
            return setting(format!(
                "cannot keep {keep} of {count} groups of {experts} experts"
            ));
        }
        w.chooses(top);
        let projection = Linear::stacked(w, &[(name, experts)], hidden, options.bias, false)?;
        let select_bias = match options.select_bias {
            Some(name) => {
                Some(w.named_vector(w.full_name(name)?, &[&[experts], &[1, experts]], name.at)?)
            }
            None => None,
        };
        Ok(Self {
            projection,
            select_bias: select_bias.map(Into::into),
            options,
        })
    }

    /// `[tokens, hidden]` → the experts of each token
    ///
    /// # Errors
    /// If the width of `x` is another.
    pub fn forward(&self, x: &Activations, step: &Step) -> Result<Routes> {
        let logits = self.projection.forward(x, step)?;
        let RouterOptions {
            experts,
            top,
            apply,
            ..
        } = self.options;
        #[cfg(feature = "cuda")]
        if let Some(logits) = logits.recorded() {
            let bias = self
                .select_bias
                .as_ref()
                .map(|bias| bias.on(&logits.gpu()))
                .transpose()?;
            let choices = Choices::Device(logits.route(self.options, bias));
            return Ok(Routes {
                top,
                choices,
                apply,
            });
        }
        let mut choices = Vec::with_capacity(x.tokens() * top);
        for logits in logits.values().chunks_exact(experts) {
            self.choose(logits.to_vec(), &mut choices);
        }
        Ok(Routes {
            top,
            choices: Choices::Host(choices),
            apply,
        })
    }

    /// One token's choices out of its logits.
    fn choose(&self, mut scores: Vec<f32>, choices: &mut Vec<(usize, f32)>) {
        let RouterOptions {
            top,
            score,
            over,
            softcap,
            groups,
            renorm,
            renorm_eps,
            scale,
            ..
        } = self.options;
        if let Some(cap) = softcap.filter(|cap| *cap != 0.0) {
            let cap = cap as f32;
            scores.iter_mut().for_each(|z| *z = cap * (*z / cap).tanh());
        }
        if over == Over::All {
            score.apply(&mut scores);
        }
        let mut worth = scores.clone();
        if let Some(bias) = &self.select_bias {
            cpu::add(&mut worth, bias);
        }
        if let Some(groups) = groups {
            discard(&mut worth, groups);
        }
        let chosen = largest(&worth, top);
        let mut weights: Vec<f32> = chosen.iter().map(|expert| scores[*expert]).collect();
        if over == Over::Selected {
            score.apply(&mut weights);
        }
        if renorm {
            let sum = weights.iter().sum::<f32>() + renorm_eps as f32;
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        cpu::scale(&mut weights, scale as f32);
        choices.extend(chosen.into_iter().zip(weights));
    }
}

impl Score {
    fn apply(self, z: &mut [f32]) {
        match self {
            Self::Softmax => {
                let sum = cpu::exp_minus(z, cpu::max(z));
                cpu::scale(z, 1.0 / sum);
            }
            Self::Sigmoid => cpu::sigmoid(z),
            Self::SqrtSoftplus => z.iter_mut().for_each(|z| *z = softplus(*z).sqrt()),
        }
    }
}

/// Makes experts outside the best groups worth nothing.
fn discard(worth: &mut [f32], Groups { count, keep, rank }: Groups) {
    let size = worth.len() / count;
    let ranks: Vec<f32> = worth
        .chunks_exact(size)
        .map(|group| match rank {
            Rank::Max => cpu::max(group),
            Rank::Top2Sum => largest(group, size.min(2))
                .into_iter()
                .map(|expert| group[expert])
                .sum(),
        })
        .collect();
    let kept = largest(&ranks, keep);
    for (index, group) in worth.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&index) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Indices of the `count` largest values, largest first; of equals the lower index first. What is no number comes last.
fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..values.len()).collect();
    let key = |index: &usize| {
        if values[*index].is_nan() {
            f32::NEG_INFINITY
        } else {
            values[*index]
        }
    };
    // A stable sort keeps equals in order; -0 and 0 are equals.
    indices.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    indices.truncate(count);
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(options: RouterOptions, select_bias: Option<Vec<f32>>) -> Router {
        Router {
            projection: Linear::empty(),
            select_bias: select_bias.map(Into::into),
            options,
        }
    }

    fn choose(
        options: RouterOptions,
        select_bias: Option<&[f32]>,
        logits: &[f32],
    ) -> Vec<(usize, f32)> {
        let options = RouterOptions {
            experts: logits.len(),
            ..options
        };
        let mut choices = Vec::new();
        router(options, select_bias.map(<[f32]>::to_vec)).choose(logits.to_vec(), &mut choices);
        choices
    }

    fn assert_choices(choices: &[(usize, f32)], expected: &[(usize, f64)]) {
        assert_eq!(choices.len(), expected.len(), "{choices:?}");
        for ((expert, weight), (expected, exact)) in choices.iter().zip(expected) {
            assert_eq!(expert, expected, "{choices:?}");
            assert!((f64::from(*weight) - exact).abs() < 1e-6, "{choices:?}");
        }
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    const LOGITS: [f32; 6] = [1.0, -1.0, 2.0, 0.5, 2.0, -3.0];

    #[test]
    fn softmax_over_all_differs_from_over_selected() {
        let options = RouterOptions {
            top: 2,
            ..RouterOptions::default()
        };
        let sum: f64 = LOGITS.iter().map(|z| f64::from(*z).exp()).sum();
        let weight = 2.0_f64.exp() / sum;
        assert_choices(&choose(options, None, &LOGITS), &[(2, weight), (4, weight)]);
        let selected = RouterOptions {
            over: Over::Selected,
            ..options
        };
        assert_choices(&choose(selected, None, &LOGITS), &[(2, 0.5), (4, 0.5)]);
        let renormed = RouterOptions {
            renorm: true,
            scale: 3.0,
            ..options
        };
        assert_choices(&choose(renormed, None, &LOGITS), &[(2, 1.5), (4, 1.5)]);
    }

    #[test]
    fn the_selection_bias_never_reaches_the_weights() {
        let options = RouterOptions {
            top: 2,
            score: Score::Sigmoid,
            renorm: true,
            renorm_eps: 0.25,
            ..RouterOptions::default()
        };
        let choices = choose(options, Some(&[0.0, 0.0, 0.0, 0.0, 0.0, 9.0]), &LOGITS);
        let sum = sigmoid(-3.0) + sigmoid(2.0) + 0.25;
        assert_choices(
            &choices,
            &[(5, sigmoid(-3.0) / sum), (2, sigmoid(2.0) / sum)],
        );
    }

    #[test]
    fn groups_discard_whole_runs_of_experts() {
        let groups = |rank| {
            Some(Groups {
                count: 3,
                keep: 1,
                rank,
            })
        };
        let options = RouterOptions {
            top: 2,
            score: Score::Sigmoid,
            ..RouterOptions::default()
        };
        let logits = [3.0, -5.0, 2.0, 1.9, 2.5, -1.0];
        let choices = choose(
            RouterOptions {
                groups: groups(Rank::Max),
                ..options
            },
            None,
            &logits,
        );
        assert_choices(&choices, &[(0, sigmoid(3.0)), (1, sigmoid(-5.0))]);
        let choices = choose(
            RouterOptions {
                groups: groups(Rank::Top2Sum),
                ..options
            },
            None,
            &logits,
        );
        assert_choices(&choices, &[(2, sigmoid(2.0)), (3, sigmoid(1.9))]);
    }

    #[test]
    fn logits_are_capped_before_everything_else() {
        let options = RouterOptions {
            top: 1,
            score: Score::SqrtSoftplus,
            over: Over::Selected,
            softcap: Some(1.5),
            ..RouterOptions::default()
        };
        let z = 1.5 * (2.0_f64 / 1.5).tanh();
        assert_choices(
            &choose(options, None, &LOGITS),
            &[(2, z.exp().ln_1p().sqrt())],
        );
        let off = RouterOptions {
            softcap: Some(0.0),
            ..options
        };
        assert_choices(
            &choose(off, None, &LOGITS),
            &[(2, 2.0_f64.exp().ln_1p().sqrt())],
        );
    }

    #[test]
    fn what_is_no_number_is_chosen_last() {
        assert_eq!(largest(&[f32::NAN, 1.0, -0.0, 0.0], 3), [1, 2, 3]);
        let choices = choose(
            RouterOptions {
                top: 1,
                ..RouterOptions::default()
            },
            None,
            &[f32::NAN; 3],
        );
        assert_eq!(choices[0].0, 0);
    }
}
