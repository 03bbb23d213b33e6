//! GGUF metadata → [`GgufVocab`].

use super::{GgufVocab, TokenType, Tokenizer, TokenizerError};
use crate::config::ConfigFile;
use crate::weights::{MetadataArray, MetadataValue};

const PREFIX: &str = "tokenizer.ggml.";

fn malformed(reason: String) -> TokenizerError {
    TokenizerError::Malformed {
        file: "tokenizer metadata of the GGUF file",
        reason,
    }
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of a GGUF file describe.
    ///
    /// # Errors
    /// Entries that are missing or of the wrong type; what [`Tokenizer::from_gguf`] refuses.
    pub fn from_metadata(file: &ConfigFile) -> Result<Self, TokenizerError> {
        Self::from_gguf(&GgufVocab::from_metadata(file)?)
    }
}

impl GgufVocab {
    /// Reads the `tokenizer.ggml.*` entries.
    ///
    /// # Errors
    /// [`TokenizerError::Malformed`] for entries that are missing or of the wrong type.
    pub fn from_metadata(file: &ConfigFile) -> Result<Self, TokenizerError> {
        let entries = Entries(file);
        let text = |key| entries.read(key, |value| value.as_str().map(str::to_string));
        let id = |key| entries.read(key, as_id);
        let flag = |key| entries.read(key, as_bool);
        let strings = |key| entries.array(key, MetadataArray::strings);
        let numbers = |key| entries.array(key, MetadataArray::numbers);
        let required = |key: &str| malformed(format!("`{PREFIX}{key}` is missing"));
        let mut eos = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            eos.extend(id(key)?.filter(|id| !eos.contains(id)));
        }
        let types = numbers("token_type")?.unwrap_or_default();
        let scores = numbers("scores")?.unwrap_or_default();
        Ok(Self {
            model: text("model")?.ok_or_else(|| required("model"))?,
            pre: text("pre")?,
            tokens: strings("tokens")?.ok_or_else(|| required("tokens"))?,
            scores: scores.into_iter().map(|score| score as f32).collect(),
            token_types: types
                .into_iter()
                .map(|kind| TokenType::from_number(kind as i64))
                .collect(),
            merges: strings("merges")?.unwrap_or_default(),
            bos: id("bos_token_id")?,
            eos,
            unknown: id("unknown_token_id")?,
            pad: id("padding_token_id")?,
            add_bos: flag("add_bos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
        })
    }
}

struct Entries<'a>(&'a ConfigFile);

impl Entries<'_> {
    /// An optional entry of the right type.
    fn read<T>(
        &self,
        key: &str,
        read: impl Fn(&MetadataValue) -> Option<T>,
    ) -> Result<Option<T>, TokenizerError> {
        let Some(value) = self.0.metadata(&format!("{PREFIX}{key}")) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| malformed(format!("`{PREFIX}{key}` has the wrong type")))
    }

    fn array<T>(
        &self,
        key: &str,
        read: impl Fn(&MetadataArray) -> Option<T>,
    ) -> Result<Option<T>, TokenizerError> {
        self.read(key, |value| match value {
            MetadataValue::Array(array) => read(array),
            _ => None,
        })
    }
}

fn as_id(value: &MetadataValue) -> Option<u32> {
    match value {
        MetadataValue::Integer(id) => u32::try_from(*id).ok(),
        _ => None,
    }
}

fn as_bool(value: &MetadataValue) -> Option<bool> {
    match value {
        MetadataValue::Bool(value) => Some(*value),
        _ => None,
    }
}
