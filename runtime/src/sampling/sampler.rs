//! One sequence's sampler: options, random numbers, and which tokens came before.

use std::collections::{HashMap, VecDeque};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::select::{self, Candidate, Weights};
use super::{SamplingError, SamplingParams};

/// A chosen token.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log-probability, when `logprobs` asks for it. Like all log-probabilities here it is the model's own:
    /// before penalties, temperature and filters.
    pub logprob: Option<f32>,
    /// The most likely tokens with their log-probabilities, likeliest first, as many as `logprobs` asks for.
    pub top_logprobs: Vec<(u32, f32)>,
}

impl Sampled {
    /// A token of which nothing else was asked.
    pub(crate) fn plain(token: u32) -> Self {
        Self {
            token,
            logprob: None,
            top_logprobs: Vec::new(),
        }
    }
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    pub(super) params: SamplingParams,
    pub(super) vocab: usize,
    seed: u64,
    pub(super) rng: ChaCha8Rng,
    /// Tokens of prompt and answer that the repetition penalty sees, oldest first.
    recent: VecDeque<u32>,
    /// The same with how often each occurs.
    pub(super) seen: HashMap<u32, u32>,
    /// How often each token occurs in the answer.
    pub(super) answered: HashMap<u32, u32>,
    // Buffers kept from step to step.
    scores: Vec<f32>,
    pub(super) candidates: Vec<Candidate>,
    weights: Weights,
}

impl Sampler {
    /// A sampler for a model of `vocab` tokens.
    ///
    /// # Errors
    /// What [`SamplingParams::validate`] refuses, and biases for tokens that do not exist.
    pub fn new(params: SamplingParams, vocab: usize) -> Result<Self, SamplingError> {
        params.validate()?;
        if vocab == 0 {
            return Err(SamplingError::EmptyVocabulary);
        }
        if let Some(&(token, _)) = params
            .logit_bias
            .iter()
            .find(|(token, _)| *token as usize >= vocab)
        {
            return Err(SamplingError::BiasOutsideVocabulary { token, vocab });
        }
        let seed = params.seed.unwrap_or_else(rand::random);
        Ok(Self {
            params,
            vocab,
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            recent: VecDeque::new(),
            seen: HashMap::new(),
            answered: HashMap::new(),
            scores: Vec::new(),
            candidates: Vec::new(),
            weights: Weights::default(),
        })
    }

    /// The seed in use: give it to [`SamplingParams::seed`] to get the same answer again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The options in use.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Tells the repetition penalty about the prompt. Presence and frequency penalties look at the answer alone.
    pub fn observe_prompt(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&token| self.remember(token));
    }

    /// Chooses the next token from `logits` `[vocab]` and remembers it.
    ///
    /// # Errors
    /// Logits of the wrong length, with NaN or +inf, or all -inf. Nothing is remembered then.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Sampled, SamplingError> {
        if logits.len() != self.vocab {
            return Err(SamplingError::WrongLength {
                logits: logits.len(),
                vocab: self.vocab,
            });
        }
        let raw_max = select::checked_max(logits)?;
        let token = if self.changes_logits() {
            let mut scores = std::mem::take(&mut self.scores);
            self.penalise(logits, &mut scores);
            let token = select::checked_max(&scores).map(|max| self.choose(&scores, max));
            self.scores = scores;
            token?
        } else {
            self.choose(logits, raw_max)
        };
        let (logprob, top_logprobs) = self.logprobs(logits, raw_max, token);
        self.chosen(token);
        Ok(Sampled {
            token,
            logprob,
            top_logprobs,
        })
    }

    /// Remembers the token that was chosen.
    pub(super) fn chosen(&mut self, token: u32) {
        self.remember(token);
        *self.answered.entry(token).or_default() += 1;
    }

    fn remember(&mut self, token: u32) {
        if self.params.repetition_penalty == 1.0 {
            return;
        }
        *self.seen.entry(token).or_default() += 1;
        let Some(window) = self.params.repeat_window else {
            return;
        };
        self.recent.push_back(token);
        if self.recent.len() > window
            && let Some(old) = self.recent.pop_front()
            && let Some(count) = self.seen.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.seen.remove(&old);
            }
        }
    }

    pub(super) fn changes_logits(&self) -> bool {
        let params = &self.params;
        !params.logit_bias.is_empty()
            || (params.repetition_penalty != 1.0 && !self.seen.is_empty())
            || ((params.presence_penalty != 0.0 || params.frequency_penalty != 0.0)
                && !self.answered.is_empty())
    }

    /// Bias and penalties.
    fn penalise(&self, logits: &[f32], scores: &mut Vec<f32>) {
        scores.clear();
        scores.extend_from_slice(logits);
        let params = &self.params;
        for &(token, bias) in &params.logit_bias {
            scores[token as usize] += bias;
        }
        // A token outside the vocabulary (a prompt of another model) has no logit to change.
        if params.repetition_penalty != 1.0 {
            for &token in self.seen.keys() {
                if let Some(score) = scores.get_mut(token as usize) {
                    let factor = params.repetition_penalty;
                    // Finite stays finite: a masked token keeps -inf, a huge one must not become +inf.
                    let penalised = if *score < 0.0 {
                        *score * factor
                    } else {
                        *score / factor
                    };
                    *score = penalised.min(f32::MAX);
                }
            }
        }
        for (&token, &count) in &self.answered {
            if let Some(score) = scores.get_mut(token as usize) {
                *score -= params.frequency_penalty * count as f32 + params.presence_penalty;
            }
        }
    }

    /// Temperature, filters, and the draw.
    fn choose(&mut self, scores: &[f32], max: f32) -> u32 {
        let params = &self.params;
        if params.is_greedy() {
            return select::argmax(scores, max);
        }
        let scale = 1.0 / params.temperature;
        let kept = &mut self.candidates;
        let k = usize::try_from(params.top_k).unwrap_or(0);
        if k > 0 && k < scores.len() {
            select::top_k(scores, k, max, scale, kept);
            if params.top_p < 1.0 {
                select::keep_share_of_all(kept, params.top_p);
            }
        } else if params.top_p < 1.0 {
            self.weights.fill(scores, max, scale);
            self.weights.nucleus(scores, params.top_p, kept);
        } else if params.min_p > 0.0 {
            select::min_p(scores, max, scale, params.min_p, kept);
        } else {
            self.weights.fill(scores, max, scale);
            return self.weights.draw(self.rng.random());
        }
        // Weights are relative to the most likely token, whose own is 1, so min-p compares them as they are.
        kept.retain(|candidate| candidate.weight >= params.min_p);
        select::draw(kept, self.rng.random())
    }

    fn logprobs(&mut self, logits: &[f32], max: f32, token: u32) -> (Option<f32>, Vec<(u32, f32)>) {
        let Some(count) = self.params.logprobs else {
            return (None, Vec::new());
        };
        self.weights.fill(logits, max, 1.0);
        let log_total = self.weights.total().ln() as f32;
        let logprob = |score: f32| score - max - log_total;
        let mut top = Vec::new();
        if count > 0 {
            select::top_k(
                logits,
                count.min(logits.len()),
                max,
                1.0,
                &mut self.candidates,
            );
            top.extend(
                self.candidates
                    .iter()
                    .map(|candidate| (candidate.token, logprob(candidate.score))),
            );
        }
        (Some(logprob(logits[token as usize])), top)
    }
}
