//! What a model's `generation_config.json` recommends.

use serde_json::{Map, Value};

use super::{SamplingError, SamplingParams};

/// Recommendations of a model's authors, each absent when the file does not give it.
///
/// A recommendation outside its range is dropped with a line in [`warnings`](Self::warnings): a model with a careless file
/// still runs. Only a file that is no JSON object is an error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// `do_sample`: false means greedy, whatever else the file says.
    pub do_sample: Option<bool>,
    /// `temperature`
    pub temperature: Option<f32>,
    /// `top_k`
    pub top_k: Option<i64>,
    /// `top_p`
    pub top_p: Option<f32>,
    /// `min_p`
    pub min_p: Option<f32>,
    /// `repetition_penalty`
    pub repetition_penalty: Option<f32>,
    /// `max_new_tokens`
    pub max_tokens: Option<usize>,
    /// `eos_token_id`, a number or a list: tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// `bos_token_id`
    pub bos_token_id: Option<u32>,
    /// `pad_token_id`
    pub pad_token_id: Option<u32>,
    /// What was dropped, and why: one sentence each.
    pub warnings: Vec<String>,
}

impl GenerationDefaults {
    /// Reads the text of a `generation_config.json`.
    ///
    /// # Errors
    /// [`SamplingError::GenerationConfig`] when it is no JSON object.
    pub fn from_json(json: &[u8]) -> Result<Self, SamplingError> {
        let file: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|error| SamplingError::GenerationConfig(error.to_string()))?;
        let mut defaults = Self::default();
        let mut fields = Fields {
            file: &file,
            warnings: Vec::new(),
        };
        defaults.do_sample = fields.get("do_sample", Value::as_bool, |_, _| {});
        defaults.temperature = fields.float("temperature", |p, v| p.temperature = v);
        defaults.top_p = fields.float("top_p", |p, v| p.top_p = v);
        defaults.min_p = fields.float("min_p", |p, v| p.min_p = v);
        defaults.repetition_penalty =
            fields.float("repetition_penalty", |p, v| p.repetition_penalty = v);
        defaults.top_k = fields.get("top_k", Value::as_i64, |p, v| p.top_k = *v);
        defaults.max_tokens =
            fields.get("max_new_tokens", as_usize, |p, v| p.max_tokens = Some(*v));
        defaults.eos_token_ids = fields
            .get("eos_token_id", as_ids, |_, _| {})
            .unwrap_or_default();
        defaults.bos_token_id = fields.get("bos_token_id", as_id, |_, _| {});
        defaults.pad_token_id = fields.get("pad_token_id", as_id, |_, _| {});
        defaults.warnings = fields.warnings;
        Ok(defaults)
    }

    /// Overwrites what the file gives and leaves the rest.
    pub fn apply(&self, params: &mut SamplingParams) {
        fn set<T: Copy>(target: &mut T, value: Option<T>) {
            *target = value.unwrap_or(*target);
        }
        set(&mut params.temperature, self.temperature);
        set(&mut params.top_k, self.top_k);
        set(&mut params.top_p, self.top_p);
        set(&mut params.min_p, self.min_p);
        set(&mut params.repetition_penalty, self.repetition_penalty);
        params.max_tokens = self.max_tokens.or(params.max_tokens);
        if self.do_sample == Some(false) {
            params.temperature = 0.0;
        }
    }
}

struct Fields<'a> {
    file: &'a Map<String, Value>,
    warnings: Vec<String>,
}

impl Fields<'_> {
    /// The field `key` if it is there, of the right type, and valid once `set` has put it into default params.
    fn get<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Value) -> Option<T>,
        set: impl Fn(&mut SamplingParams, &T),
    ) -> Option<T> {
        let value = self.file.get(key).filter(|value| !value.is_null())?;
        let Some(read) = read(value) else {
            self.warnings.push(format!(
                "generation_config.json: `{key}` = {value} is ignored: not of the expected type"
            ));
            return None;
        };
        let mut params = SamplingParams::default();
        set(&mut params, &read);
        match params.validate() {
            Ok(()) => Some(read),
            Err(error) => {
                self.warnings.push(format!(
                    "generation_config.json: `{key}` is ignored: {error}"
                ));
                None
            }
        }
    }

    fn float(&mut self, key: &str, set: impl Fn(&mut SamplingParams, f32)) -> Option<f32> {
        self.get(
            key,
            |value| value.as_f64().map(|value| value as f32),
            |params, value| set(params, *value),
        )
    }
}

fn as_usize(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|value| usize::try_from(value).ok())
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|value| u32::try_from(value).ok())
}

fn as_ids(value: &Value) -> Option<Vec<u32>> {
    match value {
        Value::Array(ids) => ids.iter().map(as_id).collect(),
        id => as_id(id).map(|id| vec![id]),
    }
}
