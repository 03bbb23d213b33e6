//! Prompt in, answer out: prefill in chunks, decode token by token, stop where the model or the caller says so.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::output::Output;
use super::{Engine, Held};
use crate::Result;
use crate::chat::Message;
use crate::nn::{Logits, Run, Want, forward, next_token};
use crate::prompt::PromptError;
use crate::sampling::{Sampled, Sampler, SamplingParams};

/// What happens while an answer is made. The callback ends it with [`ControlFlow::Break`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// So many of the prompt's tokens are done.
    Prefill {
        /// Tokens done, those found in the cache included.
        done: usize,
        /// Tokens in all.
        total: usize,
    },
    /// A token was chosen. Its text may come later, when its characters are complete.
    Token(&'a Sampled),
    /// Text of the answer: whole characters, stop strings left out.
    Text(&'a str),
    /// Models with channels: a message begins. Its header is complete, its content comes with the next events.
    Message(&'a Message),
    /// Models with channels: more of the reasoning.
    Reasoning(&'a str),
    /// Models with channels: more of what is said to the person beside calls of tools.
    Commentary(&'a str),
    /// Models with channels: more of the arguments for the tool that the message is for.
    Arguments(&'a str),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended it, or a stop string was met.
    Stop,
    /// The model calls a tool ([`Completion::call`]) and waits for the result.
    Call,
    /// `max_tokens` were written.
    Length,
    /// The context is full.
    Context,
    /// The callback asked to stop.
    Cancelled,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timings {
    /// From the call to the first token.
    pub first_token: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Completion {
    /// Its text; of models with channels, that of the final one.
    pub text: String,
    /// The reasoning before it, of models with channels.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// All of it as messages, to be appended to the conversation: one, or of models with channels one for each that was
    /// written.
    pub messages: Vec<Message>,
    /// The model broke its format. Nothing is lost, but text may be in the wrong channel.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub irregular: bool,
    /// Its tokens, the stop token left out.
    pub tokens: Vec<u32>,
    /// The stop token, if one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_token: Option<u32>,
    /// Log probabilities of the tokens, when asked for.
    pub logprobs: Vec<Sampled>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were still in the cache.
    pub cached_tokens: usize,
    /// Where the time went.
    pub timings: Timings,
}

impl Completion {
    /// The call of a tool that ended the answer: its recipient and, as content, the arguments.
    pub fn call(&self) -> Option<&Message> {
        self.messages
            .last()
            .filter(|_| self.finish_reason == FinishReason::Call)
    }

    /// Decoded tokens per second (the first token belongs to the prefill).
    pub fn decode_rate(&self) -> Option<f64> {
        let seconds = self.timings.decode.as_secs_f64();
        (self.tokens.len() > 1 && seconds > 0.0).then(|| (self.tokens.len() - 1) as f64 / seconds)
    }

    /// For who asks where the time goes.
    fn log(&self) {
        tracing::info!(
            prompt = self.prompt_tokens,
            cached = self.cached_tokens,
            first_token = self.timings.first_token.as_secs_f32(),
            prefill_rate = self.prefill_rate() as f32,
            tokens = self.tokens.len(),
            decode_rate = self.decode_rate().unwrap_or_default() as f32,
            end = ?self.finish_reason,
            "answered"
        );
    }

    /// Prompt tokens computed per second.
    pub fn prefill_rate(&self) -> f64 {
        (self.prompt_tokens - self.cached_tokens) as f64
            / self.timings.first_token.as_secs_f64().max(1e-9)
    }
}

impl Engine {
    /// Answers a prompt. Keys and values of a beginning shared with the last call are reused.
    ///
    /// # Errors
    /// When the prompt is empty or longer than the context, a parameter is out of range, or a forward pass fails. The
    /// engine stays usable.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        params: &SamplingParams,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Completion> {
        let result = self.answer(prompt, params, on_event);
        match &result {
            Ok(answer) => answer.log(),
            // Half a step may be in the cache: begin afresh next time.
            Err(_) => self.forget(),
        }
        result
    }

    /// Drops the cached conversation.
    pub fn forget(&mut self) {
        if let Some(held) = self.held.take() {
            self.cache.close(held.sequence);
        }
    }

    fn answer(
        &mut self,
        prompt: &[u32],
        params: &SamplingParams,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Completion> {
        let begin = Instant::now();
        params.validate()?;
        crate::prompt::room(prompt, self.vocab, self.context, None)?;
        let cached = self.reuse(prompt)?;
        let mut answer = Completion {
            text: String::new(),
            reasoning: String::new(),
            messages: Vec::new(),
            irregular: false,
            tokens: Vec::new(),
            stop_token: None,
            logprobs: Vec::new(),
            finish_reason: FinishReason::Cancelled,
            prompt_tokens: prompt.len(),
            cached_tokens: cached,
            timings: Timings::default(),
        };
        // The tokenizer is lent to the output, the model runs meanwhile: so both leave `self` apart.
        let tokenizer = Arc::clone(&self.tokenizer);
        let mut output = Output::after(self.harmony, &tokenizer, prompt, &params.stop);
        let Some(logits) = self.prefill(prompt, cached, on_event)? else {
            output.finish(&mut answer, on_event);
            return Ok(answer);
        };
        let mut sampler = Sampler::new(params.clone(), logits.vocab())?;
        sampler.observe_prompt(prompt);
        let largest = params.takes_largest();
        let mut sampled = if largest {
            Sampled::plain(logits.argmax()?)
        } else {
            logits.sample(&mut sampler, &mut self.sampling)?
        };
        // What a device has given out it cannot use again.
        drop(logits);
        let limit = params.max_tokens.unwrap_or(usize::MAX);
        let mut first = None;
        answer.finish_reason = loop {
            let now = *first.get_or_insert_with(Instant::now);
            answer.timings = Timings {
                first_token: now - begin,
                decode: now.elapsed(),
            };
            if tokenizer.eos().contains(&sampled.token) {
                answer.stop_token = Some(sampled.token);
                break FinishReason::Stop;
            }
            answer.tokens.push(sampled.token);
            let token = sampled.token;
            if let Some(reason) = output.take(sampled, params, &mut answer, on_event) {
                break reason;
            }
            if answer.tokens.len() >= limit {
                break FinishReason::Length;
            }
            if self.cached_tokens() >= self.context {
                break FinishReason::Context;
            }
            sampled = if largest {
                Sampled::plain(self.advance_greedily(token)?)
            } else {
                let logits = self.run(&[token], Want::Last)?;
                logits.sample(&mut sampler, &mut self.sampling)?
            };
        };
        output.finish(&mut answer, on_event);
        Ok(answer)
    }

    /// Keeps the longest beginning of `prompt` that is in the cache (never all of it: the last token's logits are
    /// needed) and gives its length.
    fn reuse(&mut self, prompt: &[u32]) -> Result<usize> {
        if let Some(held) = &mut self.held {
            let same = held
                .tokens
                .iter()
                .zip(prompt)
                .take_while(|(a, b)| a == b)
                .count()
                .min(prompt.len() - 1);
            // A window layer may have dropped what going back would need; then the prompt is computed again.
            if held.capacity == self.context
                && same > 0
                && self.cache.truncate(held.sequence, same).is_ok()
            {
                held.tokens.truncate(same);
                return Ok(same);
            }
        }
        self.forget();
        let sequence = self.cache.open(self.context)?;
        self.held = Some(Held {
            sequence,
            tokens: Vec::new(),
            capacity: self.context,
        });
        Ok(0)
    }

    /// Runs the prompt from `done` on; `None` when the callback cancels.
    fn prefill(
        &mut self,
        prompt: &[u32],
        mut done: usize,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Logits>> {
        loop {
            if on_event(Event::Prefill {
                done,
                total: prompt.len(),
            })
            .is_break()
            {
                return Ok(None);
            }
            let end = prompt.len().min(done + self.prefill_chunk);
            let last = end == prompt.len();
            let begin = Instant::now();
            let logits = self.run(
                &prompt[done..end],
                if last { Want::Last } else { Want::None },
            )?;
            let seconds = begin.elapsed().as_secs_f32();
            tracing::debug!(from = done, to = end, of = prompt.len(), seconds, "prefill");
            done = end;
            if last {
                return Ok(Some(logits));
            }
        }
    }

    /// Runs one more token of the held sequence and gives the most likely next one.
    fn advance_greedily(&mut self, token: u32) -> Result<u32> {
        let Some(held) = &mut self.held else {
            return Err(PromptError::Empty.into());
        };
        let next = next_token(&*self.model, &mut self.cache, held.sequence, &[token])?;
        held.tokens.push(token);
        Ok(next)
    }

    /// Runs more tokens of the held sequence.
    pub(super) fn run(&mut self, tokens: &[u32], logits: Want) -> Result<Logits> {
        let Some(held) = &mut self.held else {
            return Err(PromptError::Empty.into());
        };
        let run = Run {
            sequence: held.sequence,
            tokens,
            logits,
        };
        let logits = forward(&*self.model, &mut self.cache, &[run])?;
        held.tokens.extend_from_slice(tokens);
        Ok(logits)
    }
}
