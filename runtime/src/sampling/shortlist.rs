//! Sampling from logits that are somewhere else: on a GPU, which finds the few that matter.
//!
//! The device gives a [`Shortlist`]: the most likely tokens, and the sums of softmax weights in blocks. What is chosen from
//! it is what [`Sampler::sample`] chooses from all logits, token by token and seed by seed: the same numbers go through the
//! same sums in the same order. Where a list leaves a filter open (a nucleus of more tokens than fit), or log-probabilities
//! are asked for, all logits are fetched and sampled from.

use std::collections::HashMap;

use rand::Rng;

use super::SamplingError;
use super::sampler::{Sampled, Sampler};
use super::select::{self, Candidate};
use crate::Result;

/// Most candidates of a list.
pub(crate) const MOST: usize = 1024;

/// Most tokens whose logits are changed; with more the host does it.
pub(crate) const MOST_EDITS: usize = 4096;

/// Scores of a sum.
pub(crate) const BLOCK: usize = select::BLOCK;

/// Bins of distances from the largest score, [`PER_LOGIT`] in a unit. Whole bins are taken.
pub(crate) const BINS: u32 = 2048;
#[cfg(test)]
const PER_LOGIT: f32 = 64.0;

/// Of an [`Edit`].
pub(super) const ADD: u32 = 1;
pub(super) const REPEATED: u32 = 2;
pub(super) const SUBTRACT: u32 = 4;

/// Blocks that are fetched when a draw falls where rounding has made a sum larger than its weights.
const MOST_BLOCKS: usize = 4;

/// What bias and penalties do to one logit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cuda", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub(crate) struct Edit {
    pub(crate) token: u32,
    pub(crate) flags: u32,
    pub(crate) add: f32,
    pub(crate) subtract: f32,
}

/// What a sampler wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Of weights: 1 / temperature.
    pub(crate) scale: f32,
    /// The repetition penalty.
    pub(crate) repetition: f32,
    /// One a token.
    pub(crate) edits: &'a [Edit],
    /// Candidates wanted; 0: none.
    pub(crate) keep: usize,
    /// Candidates there is room for.
    pub(crate) most: usize,
    /// Whether sums are wanted.
    pub(crate) sums: bool,
}

/// What it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shortlist {
    /// The largest score.
    pub(crate) max: f32,
    /// A logit is NaN or +inf.
    pub(crate) broken: bool,
    /// Tokens and scores, all scores above those of the tokens that are not listed.
    pub(crate) candidates: Vec<(u32, f32)>,
    /// No token is left out.
    pub(crate) complete: bool,
    /// Sums of weights in blocks.
    pub(crate) sums: Vec<f32>,
}

/// Logits of one row.
pub(crate) trait Source {
    /// How many there are.
    fn vocab(&self) -> usize;
    /// What is asked of them.
    fn shortlist(&mut self, request: &Request<'_>) -> Result<Shortlist>;
    /// The scores of a block, after the edits of the last request.
    fn block(&mut self, block: usize) -> Result<Vec<f32>>;
    /// All logits.
    fn all(&mut self) -> Result<Vec<f32>>;
}

impl Sampler {
    /// [`sample`](Self::sample) from logits that are not here: the same token for the same logits.
    pub(crate) fn sample_from(&mut self, source: &mut dyn Source) -> Result<Sampled> {
        if source.vocab() != self.vocab {
            return Err(SamplingError::WrongLength {
                logits: source.vocab(),
                vocab: self.vocab,
            }
            .into());
        }
        match self.choose_from(source)? {
            Some(token) => {
                self.chosen(token);
                Ok(Sampled::plain(token))
            }
            None => Ok(self.sample(&source.all()?)?),
        }
    }

    /// `None`: only all logits tell. No random number has been drawn then.
    fn choose_from(&mut self, source: &mut dyn Source) -> Result<Option<u32>> {
        let params = &self.params;
        let k = usize::try_from(params.top_k).unwrap_or(0);
        let k = Some(k).filter(|k| *k > 0 && *k < self.vocab);
        let Some(edits) = self.edits() else {
            return Ok(None);
        };
        if params.logprobs.is_some() || k.is_some_and(|k| k > MOST) {
            return Ok(None);
        }
        let (greedy, nucleus) = (params.is_greedy(), params.top_p < 1.0);
        let filtered = nucleus || params.min_p > 0.0;
        let scale = if greedy {
            1.0
        } else {
            1.0 / params.temperature
        };
        let keep = match k {
            _ if greedy => 1,
            Some(k) => k,
            None if filtered => MOST,
            None => 0,
        };
        let sums = !greedy && k.is_none() && (nucleus || !filtered);
        let mut list = source.shortlist(&Request {
            scale,
            repetition: params.repetition_penalty,
            edits: &edits,
            keep,
            most: MOST,
            sums,
        })?;
        if list.broken || !list.max.is_finite() {
            return Ok(None);
        }
        if !greedy && keep == 0 {
            return self.draw_from(source, &list, scale);
        }
        list.candidates
            .sort_unstable_by_key(|candidate| candidate.0);
        if greedy {
            let first = list.candidates.iter().find(|(_, score)| *score == list.max);
            return Ok(first.map(|(token, _)| *token));
        }
        let kept = &mut self.candidates;
        let decided = match k {
            Some(k) => top_k(&list, k, scale, kept),
            None if nucleus => top_p(&list, scale, params.top_p, kept),
            None => min_p(&list, scale, params.min_p, kept),
        };
        if !decided {
            return Ok(None);
        }
        if k.is_some() && nucleus {
            select::keep_share_of_all(kept, params.top_p);
        }
        kept.retain(|candidate| candidate.weight >= params.min_p);
        Ok(Some(select::draw(kept, self.rng.random())))
    }

    /// Draws from all tokens: the sums say in which block the point lies.
    fn draw_from(
        &mut self,
        source: &mut dyn Source,
        list: &Shortlist,
        scale: f32,
    ) -> Result<Option<u32>> {
        let before = self.rng.clone();
        let total: f64 = list.sums.iter().map(|sum| f64::from(*sum)).sum();
        let mut left = self.rng.random::<f64>() * total;
        let mut fetched = 0;
        for (block, sum) in list.sums.iter().enumerate() {
            let sum = f64::from(*sum);
            if left >= sum {
                left -= sum;
                continue;
            }
            fetched += 1;
            if fetched > MOST_BLOCKS {
                break;
            }
            for (i, score) in source.block(block)?.into_iter().enumerate() {
                let weight = select::weight(score, list.max, scale);
                if weight > 0.0 {
                    left -= f64::from(weight);
                    if left < 0.0 {
                        return Ok(Some((block * BLOCK + i) as u32));
                    }
                }
            }
            left = 0.0;
        }
        self.rng = before;
        Ok(None)
    }

    /// Bias and penalties as a list; `None` if it is too long or one token has several biases.
    fn edits(&self) -> Option<Vec<Edit>> {
        if !self.changes_logits() {
            return Some(Vec::new());
        }
        let params = &self.params;
        let mut edits: HashMap<u32, Edit> = HashMap::new();
        for &(token, bias) in &params.logit_bias {
            let edit = edits.entry(token).or_default();
            if edit.flags & ADD != 0 {
                return None;
            }
            edit.flags |= ADD;
            edit.add = bias;
        }
        if params.repetition_penalty != 1.0 {
            for token in self.seen.keys() {
                edits.entry(*token).or_default().flags |= REPEATED;
            }
        }
        for (token, count) in &self.answered {
            let edit = edits.entry(*token).or_default();
            edit.flags |= SUBTRACT;
            edit.subtract = params.frequency_penalty * *count as f32 + params.presence_penalty;
        }
        // A token outside the vocabulary has no logit to change.
        let inside = edits
            .into_iter()
            .filter(|(token, _)| (*token as usize) < self.vocab);
        let edits: Vec<Edit> = inside.map(|(token, edit)| Edit { token, ..edit }).collect();
        (edits.len() <= MOST_EDITS).then_some(edits)
    }
}

fn candidate(&(token, score): &(u32, f32), max: f32, scale: f32) -> Candidate {
    Candidate {
        token,
        score,
        weight: select::weight(score, max, scale),
    }
}

/// The `k` largest of a list, if it has them.
fn top_k(list: &Shortlist, k: usize, scale: f32, out: &mut Vec<Candidate>) -> bool {
    out.clear();
    let finite = list
        .candidates
        .iter()
        .filter(|(_, score)| *score > f32::NEG_INFINITY);
    out.extend(finite.map(|listed| candidate(listed, list.max, scale)));
    if out.len() < k && !list.complete {
        return false;
    }
    select::rank(out, k);
    true
}

/// The nucleus of a list, if it is all there: the search of [`select::Weights::nucleus`], bar by bar.
fn top_p(list: &Shortlist, scale: f32, share: f32, out: &mut Vec<Candidate>) -> bool {
    let total: f64 = list.sums.iter().map(|sum| f64::from(*sum)).sum();
    let target = f64::from(share) * total;
    let all: Vec<Candidate> = list
        .candidates
        .iter()
        .map(|listed| candidate(listed, list.max, scale))
        .collect();
    let lowest = all.iter().map(|candidate| candidate.weight);
    // What is not listed has a lower score, but the exponential is only nearly monotone.
    let unlisted = if list.complete {
        f32::NEG_INFINITY
    } else {
        lowest.fold(f32::INFINITY, f32::min) * 1.0001
    };
    select::nucleus(|| all.iter().copied(), target, unlisted, out)
}

/// Tokens of a list at least `share` times as likely as the most likely one, if they are all there.
fn min_p(list: &Shortlist, scale: f32, share: f32, out: &mut Vec<Candidate>) -> bool {
    let bar = select::bar_of_min_p(list.max, scale, share);
    if !list.complete && list.candidates.iter().all(|(_, score)| *score >= bar) {
        return false;
    }
    let listed = list
        .candidates
        .iter()
        .map(|(token, score)| (*token, *score));
    select::min_p_of(listed, list.max, scale, share, out);
    true
}

/// The twin of the kernels: logits of the host as a device would tell of them.
#[cfg(test)]
pub(crate) mod twin {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct Twin {
        pub(crate) logits: Vec<f32>,
        pub(crate) scores: Vec<f32>,
        /// How often all logits were fetched.
        pub(crate) fetched: usize,
    }

    impl Twin {
        pub(crate) fn new(logits: Vec<f32>) -> Self {
            let scores = Vec::new();
            Self {
                logits,
                scores,
                fetched: 0,
            }
        }
    }

    pub(crate) fn bin(max: f32, score: f32) -> u32 {
        let bin = (max - score) * PER_LOGIT;
        if bin < (BINS - 1) as f32 {
            bin as u32
        } else {
            BINS - 1
        }
    }

    fn edited(edit: &Edit, repetition: f32, score: f32) -> f32 {
        let mut score = score;
        if edit.flags & ADD != 0 {
            score += edit.add;
        }
        if edit.flags & REPEATED != 0 {
            let penalised = if score < 0.0 {
                score * repetition
            } else {
                score / repetition
            };
            score = penalised.min(f32::MAX);
        }
        if edit.flags & SUBTRACT != 0 {
            score -= edit.subtract;
        }
        score
    }

    impl Source for Twin {
        fn vocab(&self) -> usize {
            self.logits.len()
        }

        fn shortlist(&mut self, request: &Request<'_>) -> Result<Shortlist> {
            self.scores.clone_from(&self.logits);
            for edit in request.edits {
                let score = &mut self.scores[edit.token as usize];
                *score = edited(edit, request.repetition, *score);
            }
            let max = self
                .scores
                .iter()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
            let broken = |x: &f32| x.is_nan() || *x == f32::INFINITY;
            let mut list = Shortlist {
                max,
                broken: self.logits.iter().any(broken),
                ..Shortlist::default()
            };
            if request.sums {
                let mut weights = select::Weights::default();
                weights.fill(&self.scores, max, request.scale);
                list.sums = weights.sums().to_vec();
            }
            let mut counts = vec![0; BINS as usize];
            self.scores
                .iter()
                .for_each(|score| counts[bin(max, *score) as usize] += 1);
            let (mut taken, mut sum) = (0, 0);
            while taken < BINS && sum < request.keep {
                let with = sum + counts[taken as usize];
                if with > request.most {
                    break;
                }
                (taken, sum) = (taken + 1, with);
            }
            list.complete = taken == BINS;
            let scores = (0..).zip(self.scores.iter().copied());
            let listed = scores.filter(|(_, score)| bin(max, *score) < taken);
            list.candidates = listed.collect();
            Ok(list)
        }

        fn block(&mut self, block: usize) -> Result<Vec<f32>> {
            let blocks = self.scores.chunks(BLOCK);
            Ok(blocks.skip(block).take(1).flatten().copied().collect())
        }

        fn all(&mut self) -> Result<Vec<f32>> {
            self.fetched += 1;
            Ok(self.logits.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng};

    use super::super::SamplingParams;
    use super::twin::Twin;
    use super::*;

    /// Logits as models have them: most far below few.
    fn logits(seed: u64, vocab: usize, spread: f32) -> Vec<f32> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut one = || -> f32 { (0..4).map(|_| rng.random_range(-1.0_f32..1.0)).sum() };
        (0..vocab)
            .map(|_| (one() * spread * 8.0).round() / 8.0 + one() * 1e-3)
            .collect()
    }

    /// Runs both samplers side by side; gives how often all logits were needed.
    fn side_by_side(params: &SamplingParams, logits: &[Vec<f32>], prompt: &[u32]) -> usize {
        let vocab = logits[0].len();
        let params = SamplingParams {
            seed: Some(7),
            ..params.clone()
        };
        let mut whole = Sampler::new(params.clone(), vocab).unwrap();
        let mut short = Sampler::new(params.clone(), vocab).unwrap();
        whole.observe_prompt(prompt);
        short.observe_prompt(prompt);
        let mut fetched = 0;
        for (step, logits) in logits.iter().enumerate() {
            let mut twin = Twin::new(logits.clone());
            let expected = whole.sample(logits).unwrap();
            let found = short.sample_from(&mut twin).unwrap();
            assert_eq!(found, expected, "step {step} of {params:?}");
            fetched += twin.fetched;
        }
        fetched
    }

    #[test]
    fn usual_options_need_no_more_than_the_list() {
        let all: Vec<_> = (0..60).map(|seed| logits(seed, 5000, 6.0)).collect();
        let default = SamplingParams::default();
        let cases = [
            default.clone(),
            SamplingParams::greedy(),
            SamplingParams {
                top_k: 40,
                ..default.clone()
            },
            SamplingParams {
                top_k: 20,
                top_p: 0.8,
                temperature: 0.7,
                ..default.clone()
            },
            SamplingParams {
                top_p: 0.9,
                temperature: 0.6,
                ..default.clone()
            },
            SamplingParams {
                top_p: 0.5,
                min_p: 0.3,
                ..default.clone()
            },
            SamplingParams {
                min_p: 0.05,
                temperature: 1.5,
                ..default.clone()
            },
            SamplingParams {
                repetition_penalty: 1.3,
                top_k: 40,
                ..default.clone()
            },
            SamplingParams {
                temperature: 0.0,
                repetition_penalty: 0.5,
                ..default.clone()
            },
            SamplingParams {
                presence_penalty: 1.5,
                frequency_penalty: -0.7,
                logit_bias: vec![(3, 2.0), (4, -100.0)],
                top_p: 0.9,
                ..default
            },
        ];
        for params in cases {
            let fetched = side_by_side(&params, &all, &[1, 2, 3, 4999, 77_000]);
            assert_eq!(fetched, 0, "{params:?}");
        }
    }

    #[test]
    fn what_a_list_leaves_open_is_sampled_from_all() {
        let default = SamplingParams::default();
        let flat: Vec<_> = (0..5).map(|seed| logits(seed, 5000, 0.01)).collect();
        let peaked: Vec<_> = (0..5).map(|seed| logits(seed, 5000, 6.0)).collect();
        let cases = [
            (
                SamplingParams {
                    top_p: 0.9,
                    ..default.clone()
                },
                &flat,
            ),
            (
                SamplingParams {
                    min_p: 0.01,
                    ..default.clone()
                },
                &flat,
            ),
            (
                SamplingParams {
                    top_k: 2000,
                    ..default.clone()
                },
                &peaked,
            ),
            (
                SamplingParams {
                    logprobs: Some(2),
                    ..default.clone()
                },
                &peaked,
            ),
            (
                SamplingParams {
                    logit_bias: vec![(1, 2.0), (1, 1.0)],
                    ..default
                },
                &peaked,
            ),
        ];
        for (params, logits) in cases {
            let fetched = side_by_side(&params, logits, &[]);
            assert_eq!(fetched, logits.len(), "{params:?}");
        }
    }

    #[test]
    fn broken_logits_are_named_as_ever() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = logits(1, 200, 1.0);
            logits[9] = bad;
            // A penalty hides neither.
            let params = SamplingParams {
                repetition_penalty: 2.0,
                ..SamplingParams::default()
            };
            let mut sampler = Sampler::new(params, 200).unwrap();
            sampler.observe_prompt(&[9]);
            let error = sampler.sample_from(&mut Twin::new(logits)).unwrap_err();
            assert!(error.to_string().contains("token 9"), "{error}");
        }
        let mut sampler = Sampler::new(SamplingParams::default(), 3).unwrap();
        let nothing = Twin::new(vec![f32::NEG_INFINITY; 3]);
        assert!(sampler.sample_from(&mut { nothing }).is_err());
        assert!(sampler.sample_from(&mut Twin::new(vec![0.0; 4])).is_err());
    }

    proptest! {
        #[test]
        fn every_option_chooses_what_all_logits_choose(
            seed in 0_u64..1000,
            vocab in prop_oneof![1_usize..200, Just(1024), Just(1025), 1500_usize..3000],
            spread in prop_oneof![Just(0.0_f32), 0.01_f32..0.5, 1.0_f32..10.0],
            masked in 0_usize..4,
            temperature in prop_oneof![Just(0.0_f32), 0.1_f32..3.0],
            top_k in prop_oneof![Just(0_i64), 1_i64..60, 900_i64..1200],
            top_p in prop_oneof![Just(1.0_f32), Just(0.0), 0.05_f32..0.999],
            min_p in prop_oneof![Just(0.0_f32), 0.001_f32..1.0],
            repetition_penalty in prop_oneof![Just(1.0_f32), 0.5_f32..2.0],
            presence_penalty in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
            repeat_window in prop_oneof![Just(None), (1_usize..5).prop_map(Some)],
        ) {
            let mut all: Vec<_> = (0..4).map(|step| logits(seed * 4 + step, vocab, spread)).collect();
            for logits in &mut all {
                let tokens = masked * vocab / 4;
                logits[..tokens].fill(f32::NEG_INFINITY);
            }
            let params = SamplingParams {
                temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, repeat_window,
                ..SamplingParams::default()
            };
            side_by_side(&params, &all, &[0, 1, 5, 5]);
        }
    }
}
