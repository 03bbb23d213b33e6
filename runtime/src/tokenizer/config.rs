//! `tokenizer_config.json`: which tokens begin and end a text.

use serde_json::{Map, Value};

use super::TokenizerError;

/// What `tokenizer_config.json` says about a tokenizer. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// `bos_token`, a string or an object with `content`.
    pub bos_token: Option<String>,
    /// `eos_token`
    pub eos_token: Option<String>,
    /// `pad_token`
    pub pad_token: Option<String>,
    /// `add_bos_token`: whether a raw prompt starts with `bos_token`.
    pub add_bos_token: Option<bool>,
}

impl TokenizerConfig {
    /// Reads the text of a `tokenizer_config.json`. Its chat template is read by
    /// [`ChatTemplate::from_tokenizer_config`](crate::chat::ChatTemplate::from_tokenizer_config).
    ///
    /// # Errors
    /// [`TokenizerError::Malformed`] when it is no JSON object.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let file: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| TokenizerError::Malformed {
                file: "tokenizer_config.json",
                reason: error.to_string(),
            })?;
        let token = |key: &str| {
            let value = file.get(key)?;
            let content = value.get("content").unwrap_or(value);
            content.as_str().map(str::to_string)
        };
        Ok(Self {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            pad_token: token("pad_token"),
            add_bos_token: file.get("add_bos_token").and_then(Value::as_bool),
        })
    }
}
