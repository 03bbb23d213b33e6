//! Maximum, softmax weights, the k largest, the nucleus: without sorting a whole vocabulary.
//!
//! A vocabulary has up to 260,000 tokens and a sampler runs once per token, so each function makes one or two passes that
//! the compiler can vectorise, and sorts only the few candidates that can matter.

use super::SamplingError;

/// Logits are summed and searched in blocks of this many.
pub(super) const BLOCK: usize = 64;

/// A token that is still in the running.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) score: f32,
    /// Unnormalised probability: 1 for the most likely token.
    pub(super) weight: f32,
}

/// Likeliest first, ties to the lower id: the order in which every filter keeps.
fn by_rank(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.token.cmp(&b.token))
}

/// The largest logit.
///
/// # Errors
/// NaN or +inf anywhere, or nothing but -inf.
pub(super) fn checked_max(logits: &[f32]) -> Result<f32, SamplingError> {
    let mut max = f32::NEG_INFINITY;
    let mut broken = false;
    for &logit in logits {
        max = if logit > max { logit } else { max };
        broken |= logit.is_nan();
    }
    if broken || max == f32::INFINITY {
        let bad = logits
            .iter()
            .enumerate()
            .find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
        let (token, value) = bad.map_or((0, f32::NAN), |(token, value)| (token, *value));
        return Err(SamplingError::NotANumber { token, value });
    }
    if max == f32::NEG_INFINITY {
        Err(SamplingError::NothingLeft)
    } else {
        Ok(max)
    }
}

/// The first token with the largest logit.
pub(super) fn argmax(logits: &[f32], max: f32) -> u32 {
    logits.iter().position(|&logit| logit == max).unwrap_or(0) as u32
}

/// e^x for x ≤ 0 to 2 units in the last place, 0 below -87. A form that vectorises on every CPU, unlike [`f32::exp`].
#[inline]
fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let clamped = x.max(-87.0);
    let n = clamped * std::f32::consts::LOG2_E + MAGIC;
    let exponent = (n.to_bits() << 23).wrapping_add(1.0f32.to_bits());
    let n = n - MAGIC;
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_66;
    let p = p * r + 0.5;
    let e = (p * (r * r) + r + 1.0) * f32::from_bits(exponent);
    if x < -87.0 { 0.0 } else { e }
}

/// Softmax weights relative to the largest logit, with their sums per block so that drawing need not walk all of them.
#[derive(Debug, Default)]
pub(super) struct Weights {
    weights: Vec<f32>,
    blocks: Vec<f32>,
    total: f64,
}

impl Weights {
    /// e^((logit - max) * scale) of every token.
    pub(super) fn fill(&mut self, logits: &[f32], max: f32, scale: f32) {
        self.weights.resize(logits.len(), 0.0);
        self.blocks.clear();
        for (logits, weights) in logits.chunks(BLOCK).zip(self.weights.chunks_mut(BLOCK)) {
            let mut lanes = [0.0f32; 8];
            for (logits, weights) in logits.chunks(8).zip(weights.chunks_mut(8)) {
                for ((&logit, weight), lane) in logits.iter().zip(weights).zip(&mut lanes) {
                    *weight = exp((logit - max) * scale);
                    *lane += *weight;
                }
            }
            self.blocks.push(lanes.iter().sum());
        }
        self.total = self.blocks.iter().map(|&block| f64::from(block)).sum();
    }

    /// The sums of blocks.
    #[cfg(test)]
    pub(super) fn sums(&self) -> &[f32] {
        &self.blocks
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// The token at `point`, 0 ≤ point < 1, of the cumulative distribution.
    pub(super) fn draw(&self, point: f64) -> u32 {
        let mut left = point * self.total;
        let mut last = 0;
        for (block, &sum) in self.blocks.iter().enumerate() {
            let sum = f64::from(sum);
            if left >= sum {
                left -= sum;
                continue;
            }
            for (i, &weight) in self
                .weights
                .iter()
                .enumerate()
                .skip(block * BLOCK)
                .take(BLOCK)
            {
                if weight > 0.0 {
                    last = i;
                    left -= f64::from(weight);
                    if left < 0.0 {
                        return i as u32;
                    }
                }
            }
            left = 0.0; // rounding: the block's sum promised more than its weights hold
        }
        if self.weights.get(last).is_some_and(|&weight| weight > 0.0) {
            return last as u32;
        }
        self.weights
            .iter()
            .rposition(|&weight| weight > 0.0)
            .unwrap_or(0) as u32
    }

    /// The smallest set of likeliest tokens that holds `share` of the probability, likeliest first, at least one.
    pub(super) fn nucleus(&self, logits: &[f32], share: f32, out: &mut Vec<Candidate>) {
        let target = f64::from(share) * self.total;
        let all = || {
            let pairs = logits.iter().zip(&self.weights).enumerate();
            pairs.map(|(token, (&score, &weight))| Candidate {
                token: token as u32,
                score,
                weight,
            })
        };
        nucleus(all, target, f32::NEG_INFINITY, out);
    }
}

/// The smallest set of the likeliest of `all` (in the order of their ids) whose weights reach `target`. `unlisted`: tokens
/// that are not among them have weights of at most this; `false` if one of those could belong to it.
pub(super) fn nucleus<I: Iterator<Item = Candidate>>(
    all: impl Fn() -> I,
    target: f64,
    unlisted: f32,
    out: &mut Vec<Candidate>,
) -> bool {
    // Lower the bar until what is above it holds enough; usually the first or second round does.
    let mut bar = 1e-2;
    loop {
        if unlisted >= bar {
            return false;
        }
        out.clear();
        let mut mass = 0.0;
        for candidate in all() {
            if candidate.weight >= bar && candidate.weight > 0.0 {
                mass += f64::from(candidate.weight);
                out.push(candidate);
            }
        }
        if mass >= target || bar == 0.0 {
            break;
        }
        bar = if bar < 1e-12 { 0.0 } else { bar * 1e-2 };
    }
    out.sort_unstable_by(by_rank);
    keep_share(out, target);
    true
}

/// Cuts a list that is likeliest first behind the token with which the weights reach `target`.
pub(super) fn keep_share(candidates: &mut Vec<Candidate>, target: f64) {
    let mut sum = 0.0;
    let reached = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.weight);
        sum >= target
    });
    candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
}

/// [`keep_share`] of what is left.
pub(super) fn keep_share_of_all(candidates: &mut Vec<Candidate>, share: f32) {
    let weights = candidates
        .iter()
        .map(|candidate| f64::from(candidate.weight));
    let total: f64 = weights.sum();
    keep_share(candidates, f64::from(share) * total);
}

/// e^((score - max) * scale)
pub(super) fn weight(score: f32, max: f32, scale: f32) -> f32 {
    exp((score - max) * scale)
}

/// The `k` likeliest, likeliest first.
pub(super) fn rank(out: &mut Vec<Candidate>, k: usize) {
    if k < out.len() {
        out.select_nth_unstable_by(k - 1, by_rank);
        out.truncate(k);
    }
    out.sort_unstable_by(by_rank);
}

/// The `k` largest logits, likeliest first, ties to the lower id. -inf never counts.
pub(super) fn top_k(logits: &[f32], k: usize, max: f32, scale: f32, out: &mut Vec<Candidate>) {
    let bar = bar_of_top_k(logits, k);
    out.clear();
    for (token, &score) in logits.iter().enumerate() {
        if score >= bar && score > f32::NEG_INFINITY {
            out.push(Candidate {
                token: token as u32,
                score,
                weight: 0.0,
            });
        }
    }
    rank(out, k);
    for candidate in out {
        candidate.weight = weight(candidate.score, max, scale);
    }
}

/// A lower bound of the k-th largest logit: the k-th largest among the maxima of all blocks, since each stands for a
/// different logit. What lies below need not be sorted.
fn bar_of_top_k(logits: &[f32], k: usize) -> f32 {
    let maximum = |block: &[f32]| {
        block
            .iter()
            .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    };
    let mut maxima: Vec<f32> = logits.chunks(BLOCK).map(maximum).collect();
    if k > maxima.len() {
        return f32::NEG_INFINITY;
    }
    *maxima
        .select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a))
        .1
}

/// Tokens at least `share` times as likely as the most likely one, in the order of their ids.
pub(super) fn min_p(logits: &[f32], max: f32, scale: f32, share: f32, out: &mut Vec<Candidate>) {
    min_p_of((0..).zip(logits.iter().copied()), max, scale, share, out);
}

/// The score below which none is likely enough. The slack covers the exponential's rounding.
pub(super) fn bar_of_min_p(max: f32, scale: f32, share: f32) -> f32 {
    max + (share.ln() - 1e-3) / scale
}

/// [`min_p`] of tokens and scores.
pub(super) fn min_p_of(
    scores: impl Iterator<Item = (u32, f32)>,
    max: f32,
    scale: f32,
    share: f32,
    out: &mut Vec<Candidate>,
) {
    // Compared as logits first: the exponential is computed for survivors only.
    let bar = bar_of_min_p(max, scale, share);
    out.clear();
    for (token, score) in scores {
        if score >= bar && score > f32::NEG_INFINITY {
            let weight = weight(score, max, scale);
            if weight >= share || score == max {
                out.push(Candidate {
                    token,
                    score,
                    weight,
                });
            }
        }
    }
}

/// The candidate at `point`, 0 ≤ point < 1, of the cumulative distribution.
pub(super) fn draw(candidates: &[Candidate], point: f64) -> u32 {
    let total: f64 = candidates
        .iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum();
    let mut left = point * total;
    let mut last = 0;
    for candidate in candidates.iter().filter(|candidate| candidate.weight > 0.0) {
        last = candidate.token;
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            break;
        }
    }
    last
}
