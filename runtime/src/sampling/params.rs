//! Options of sampling and their ranges.

use super::SamplingError;

/// Most stop strings of one request.
pub const MAX_STOPS: usize = 64;
/// Longest stop string in bytes.
pub const MAX_STOP_BYTES: usize = 1024;
/// Most alternatives that `logprobs` may ask for.
pub const MAX_LOGPROBS: usize = 64;
/// Most entries of `logit_bias`.
pub const MAX_LOGIT_BIASES: usize = 1024;

/// Below this a temperature means greedy: dividing by it would overflow, and the result could not differ.
const GREEDY_BELOW: f32 = 1e-5;

/// How to choose the next token. The default samples from the model's own distribution, unfiltered.
///
/// Values outside their range are refused by [`SamplingParams::validate`], never silently replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits: 0 to 100. 0 (and anything below 0.00001) takes the most likely token.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens, ties to the lower id. 0 and -1 mean off; more than the vocabulary keeps all.
    pub top_k: i64,
    /// Keeps the most likely tokens until they hold this share of the probability: 0 to 1. 1 is off, 0 is greedy.
    pub top_p: f32,
    /// Keeps tokens at least this likely relative to the most likely one: 0 to 1. 0 is off.
    pub min_p: f32,
    /// Divides positive logits, multiplies negative ones, of tokens that prompt or answer contain
    /// ([CTRL](https://arxiv.org/abs/1909.05858)): above 0, to 100. 1 is off.
    pub repetition_penalty: f32,
    /// How many of the last tokens the repetition penalty looks at; `None` is all of them.
    pub repeat_window: Option<usize>,
    /// Subtracted from the logit of each token that the answer contains: -2 to 2.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token once per occurrence in the answer: -2 to 2.
    pub frequency_penalty: f32,
    /// Same seed, same logits, same tokens. `None` draws a fresh one.
    pub seed: Option<u64>,
    /// The answer ends before the first of these: at most 64 of at most 1 KiB, none empty.
    pub stop: Vec<String>,
    /// Most tokens of the answer, at least 1; `None` goes on until the context is full.
    pub max_tokens: Option<usize>,
    /// Reports the log-probability of the chosen token and of this many most likely ones: 0 to 64.
    pub logprobs: Option<usize>,
    /// Added to the logits of single tokens: at most 1024 entries of -100 to 100. Several for one token add up.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repeat_window: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            stop: Vec::new(),
            max_tokens: None,
            logprobs: None,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Whether these options leave nothing to chance.
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW || self.top_p == 0.0 || self.top_k == 1
    }

    /// Whether the next token is the one with the largest logit, and nothing else of the logits is needed.
    pub fn takes_largest(&self) -> bool {
        self.is_greedy()
            && self.logit_bias.is_empty()
            && self.repetition_penalty == 1.0
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0
            && self.logprobs.is_none()
    }

    /// Refuses the first option outside its range.
    ///
    /// # Errors
    /// [`SamplingError::OutOfRange`] names the option, its value and its range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        within(
            "temperature",
            self.temperature,
            0.0,
            100.0,
            "a number from 0 (greedy) to 100",
        )?;
        within(
            "top_p",
            self.top_p,
            0.0,
            1.0,
            "a number from 0 (greedy) to 1 (off)",
        )?;
        within("min_p", self.min_p, 0.0, 1.0, "a number from 0 (off) to 1")?;
        within(
            "presence_penalty",
            self.presence_penalty,
            -2.0,
            2.0,
            "a number from -2 to 2 (0 is off)",
        )?;
        within(
            "frequency_penalty",
            self.frequency_penalty,
            -2.0,
            2.0,
            "a number from -2 to 2 (0 is off)",
        )?;
        within(
            "repetition_penalty",
            self.repetition_penalty,
            1e-3,
            100.0,
            "a number from 0.001 to 100 (1 is off)",
        )?;
        check(
            self.top_k >= -1,
            "top_k",
            &self.top_k,
            "-1 or 0 (off) or a number of tokens",
        )?;
        check(
            self.repeat_window != Some(0),
            "repeat_window",
            &0,
            "at least 1 token (leave it out for all)",
        )?;
        check(self.max_tokens != Some(0), "max_tokens", &0, "at least 1")?;
        let logprobs = self.logprobs.unwrap_or(0);
        check(
            logprobs <= MAX_LOGPROBS,
            "logprobs",
            &logprobs,
            "at most 64",
        )?;
        self.validate_lists()
    }

    fn validate_lists(&self) -> Result<(), SamplingError> {
        let stops = self.stop.len();
        check(
            stops <= MAX_STOPS,
            "stop",
            &format_args!("a list of {stops} strings"),
            "at most 64 strings",
        )?;
        for stop in &self.stop {
            let bytes = stop.len();
            let value = format_args!("a string of {bytes} bytes");
            check(
                (1..=MAX_STOP_BYTES).contains(&bytes),
                "stop",
                &value,
                "strings of 1 to 1024 bytes",
            )?;
        }
        let biases = self.logit_bias.len();
        let value = format_args!("a list of {biases} entries");
        check(
            biases <= MAX_LOGIT_BIASES,
            "logit_bias",
            &value,
            "at most 1024 entries",
        )?;
        for &(_, bias) in &self.logit_bias {
            within(
                "logit_bias",
                bias,
                -100.0,
                100.0,
                "numbers from -100 to 100",
            )?;
        }
        Ok(())
    }
}

/// Refuses NaN too, which no comparison holds for.
fn within(
    option: &'static str,
    value: f32,
    low: f32,
    high: f32,
    range: &'static str,
) -> Result<(), SamplingError> {
    check((low..=high).contains(&value), option, &value, range)
}

fn check(
    ok: bool,
    option: &'static str,
    value: &dyn std::fmt::Display,
    range: &'static str,
) -> Result<(), SamplingError> {
    if ok {
        Ok(())
    } else {
        Err(SamplingError::OutOfRange {
            option,
            value: value.to_string(),
            range,
        })
    }
}
