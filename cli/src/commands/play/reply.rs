//! An answer as `--json` prints it.

use inferno_runtime::chat::Message;
use inferno_runtime::engine::{Completion, FinishReason};
use inferno_runtime::sampling::Sampled;
use serde::Serialize;

use super::Session;

#[derive(Serialize)]
pub(super) struct Reply<'a> {
    model: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    /// All that was written, message by message: one, or of models with channels one for each.
    messages: &'a [Message],
    /// The model broke its format.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    irregular: bool,
    tokens: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_token: Option<u32>,
    finish_reason: FinishReason,
    usage: Usage,
    timings: Timings,
    /// When they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [Sampled]>,
    /// Of models whose answers have markup: what they really wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    /// Of these, tokens whose keys and values were still there from the message before.
    cached_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

#[derive(Serialize)]
struct Timings {
    load_seconds: f64,
    first_token_seconds: f64,
    /// From the first token to the last.
    decode_seconds: f64,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: Option<f64>,
}

impl<'a> Reply<'a> {
    pub(super) fn new(
        session: &'a Session,
        completion: &'a Completion,
        raw: Option<&'a str>,
    ) -> Self {
        Self {
            model: &session.model,
            text: &completion.text,
            reasoning: &completion.reasoning,
            messages: &completion.messages,
            irregular: completion.irregular,
            tokens: &completion.tokens,
            stop_token: completion.stop_token,
            finish_reason: completion.finish_reason,
            usage: Usage {
                prompt_tokens: completion.prompt_tokens,
                cached_tokens: completion.cached_tokens,
                completion_tokens: completion.tokens.len(),
                total_tokens: completion.prompt_tokens + completion.tokens.len(),
            },
            timings: Timings {
                load_seconds: session.engine.summary().load_time.as_secs_f64(),
                first_token_seconds: completion.timings.first_token.as_secs_f64(),
                decode_seconds: completion.timings.decode.as_secs_f64(),
                prefill_tokens_per_second: completion.prefill_rate(),
                decode_tokens_per_second: completion.decode_rate(),
            },
            logprobs: session
                .params
                .logprobs
                .map(|_| completion.logprobs.as_slice()),
            raw,
        }
    }
}
