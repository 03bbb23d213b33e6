//! How well a model predicts a text.

use candle_core::{D, Tensor};
use candle_nn::ops::log_softmax;
use serde::Serialize;

use super::{Engine, Held};
use crate::nn::{Run, Want, forward};
use crate::prompt::PromptError;
use crate::{Error, Result};

/// Perplexity of a text.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Perplexity {
    /// exp of the mean negative log likelihood.
    pub perplexity: f64,
    /// Mean negative log likelihood, nats per token.
    pub nats_per_token: f64,
    /// Standard error of that mean.
    pub standard_error: f64,
    /// Tokens that counted.
    pub scored_tokens: usize,
    /// Windows.
    pub windows: usize,
}

impl Engine {
    /// Perplexity over consecutive windows of `window` tokens, as llama.cpp's `perplexity` does it: each window starts
    /// afresh, with the beginning-of-text token in place of its first one if the tokenizer has it added, and the second
    /// half of the window counts. A rest shorter than a window is left out.
    ///
    /// # Errors
    /// When the text is shorter than one window, or the window longer than the context.
    pub fn perplexity(
        &mut self,
        tokens: &[u32],
        window: usize,
        on_window: &mut dyn FnMut(usize, f64),
    ) -> Result<Perplexity> {
        if window > self.context {
            return Err(PromptError::TooLong {
                tokens: window,
                context: self.context,
            }
            .into());
        }
        if tokens.len() < window {
            return Err(Error::TextTooShort {
                tokens: tokens.len(),
                window,
            });
        }
        self.forget();
        let (mut sum, mut squares, mut count, mut windows) = (0.0, 0.0, 0, 0);
        for ids in tokens.chunks_exact(window) {
            let mut ids = ids.to_vec();
            if let (true, Some(bos)) = (self.tokenizer.adds_bos(), self.tokenizer.bos()) {
                ids[0] = bos;
            }
            for nll in self.score_window(&ids)? {
                sum += nll;
                squares += nll * nll;
                count += 1;
            }
            windows += 1;
            on_window(windows, (sum / f64::from(count)).exp());
        }
        let mean = sum / f64::from(count);
        let variance = (squares / f64::from(count) - mean * mean).max(0.0);
        Ok(Perplexity {
            perplexity: mean.exp(),
            nats_per_token: mean,
            standard_error: (variance / f64::from(count.max(2) - 1)).sqrt(),
            scored_tokens: count as usize,
            windows,
        })
    }

    /// Negative log likelihood of each token in the second half of a window.
    fn score_window(&mut self, ids: &[u32]) -> Result<Vec<f64>> {
        let sequence = self.cache.open(ids.len())?;
        self.held = Some(Held {
            sequence,
            tokens: Vec::new(),
            capacity: ids.len(),
        });
        let first = ids.len() / 2;
        let run = Run {
            sequence,
            tokens: ids,
            logits: Want::LastN(ids.len() - first),
        };
        let logits = forward(&*self.model, &mut self.cache, &[run])?;
        self.forget();
        // Row r predicts the token after position first + r; the last row predicts a token outside of the window.
        let targets = &ids[first + 1..];
        let rows = logits.tensor()?.narrow(0, 0, targets.len())?;
        let index = Tensor::from_slice(targets, (targets.len(), 1), rows.device())?;
        let likelihoods = log_softmax(&rows, D::Minus1)?.gather(&index, 1)?;
        let likelihoods: Vec<f32> = likelihoods.flatten_all()?.to_vec1()?;
        Ok(likelihoods.into_iter().map(|log| -f64::from(log)).collect())
    }
}
