//! `tokenizer.json` → [`Tokenizer`], and the checks that every tokenizer passes.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokenizers::{PreTokenizedString, PreTokenizer};

use super::added::AddedTokens;
use super::decode::Decoding;
use super::{MAX_FILE_BYTES, Tokenizer, TokenizerConfig, TokenizerError};

/// The parts of `tokenizer.json` that are checked against what the `tokenizers` crate makes of it.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<DeclaredToken>,
    #[serde(default)]
    post_processor: Option<PostProcessor>,
}

#[derive(Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

/// What a tokenizer puts around a text: only the tokens in front matter here.
#[derive(Deserialize)]
struct PostProcessor {
    #[serde(default)]
    single: Vec<HashMap<String, serde_json::Value>>,
    #[serde(default)]
    processors: Vec<PostProcessor>,
}

impl PostProcessor {
    /// The special token in front of a text.
    fn first_token(&self) -> Option<String> {
        let own = self
            .single
            .first()
            .and_then(|step| step.get("SpecialToken")?.get("id")?.as_str());
        own.map(str::to_string)
            .or_else(|| self.processors.iter().find_map(Self::first_token))
    }
}

fn malformed(reason: impl ToString) -> TokenizerError {
    TokenizerError::Malformed {
        file: "tokenizer.json",
        reason: reason.to_string(),
    }
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// A file that is too large or malformed, declares ids that its vocabulary contradicts, or has patterns that take
    /// forever.
    pub fn from_json_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        if json.len() > MAX_FILE_BYTES {
            return Err(TokenizerError::FileTooLarge { bytes: json.len() });
        }
        let file: File = serde_json::from_slice(json).map_err(malformed)?;
        // The crate panics on some inconsistent vocabularies; that must not end the process.
        let inner = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(json)))
            .map_err(|_| malformed("vocabulary and merges contradict each other"))?
            .map_err(malformed)?;
        for token in &file.added_tokens {
            let actual = inner.token_to_id(&token.content);
            if actual != Some(token.id) {
                let actual = actual.map_or("none".to_string(), |id| id.to_string());
                return Err(TokenizerError::WrongId {
                    token: token.content.clone(),
                    declared: token.id,
                    actual,
                });
            }
        }
        let mut tokenizer = Self::checked(inner)?;
        if let Some(first) = file.post_processor.and_then(|post| post.first_token()) {
            tokenizer.bos = tokenizer.token_id(&first);
            tokenizer.add_bos = tokenizer.bos.is_some();
        }
        Ok(tokenizer)
    }

    /// Adds what `tokenizer_config.json` says. Tokens that the tokenizer does not have are left out.
    pub fn with_config(mut self, config: &TokenizerConfig) -> Self {
        let id = |token: &Option<String>| token.as_deref().and_then(|token| self.token_id(token));
        let (bos, eos, pad) = (
            id(&config.bos_token),
            id(&config.eos_token),
            id(&config.pad_token),
        );
        self.bos = bos.or(self.bos);
        self.pad = pad.or(self.pad);
        self.add_eos(eos);
        self.add_bos = config.add_bos_token.unwrap_or(self.add_bos) && self.bos.is_some();
        self
    }

    /// Adds tokens that end an answer, for example those of `generation_config.json`.
    pub fn add_eos(&mut self, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            if !self.eos.contains(&id) {
                self.eos.push(id);
            }
        }
    }

    /// Replaces the tokens that end an answer.
    pub(crate) fn set_eos(&mut self, ids: Vec<u32>) {
        self.eos = ids;
    }

    /// What every tokenizer goes through, wherever it comes from.
    pub(super) fn checked(mut inner: tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        // Truncation and padding of a training setup must not touch a prompt.
        inner.with_truncation(None).map_err(malformed)?;
        inner.with_padding(None);
        probe_patterns(&inner)?;
        let decoding = Decoding::new(&inner)?;
        let (added, control) = AddedTokens::new(&inner)?;
        let last = inner
            .get_vocab(true)
            .into_iter()
            .map(|(token, id)| (id, token))
            .max();
        let last = last.ok_or_else(|| malformed("the vocabulary is empty"))?;
        Ok(Self {
            inner,
            added,
            control,
            decoding,
            bos: None,
            eos: Vec::new(),
            pad: None,
            add_bos: false,
            last,
        })
    }
}

/// Longest time for [`PROBE_BYTES`] of text: a sane pattern needs well under a millisecond.
const PROBE_TIME: Duration = Duration::from_millis(400);
const PROBE_BYTES: usize = 2048;

/// Splits texts that make bad patterns backtrack, of growing length, and refuses a tokenizer that gets slow: nothing can
/// interrupt the pattern once a user's text is in it.
fn probe_patterns(inner: &tokenizers::Tokenizer) -> Result<(), TokenizerError> {
    let Some(pre_tokenizer) = inner.get_pre_tokenizer() else {
        return Ok(());
    };
    let mut bytes = 64;
    while bytes <= PROBE_BYTES {
        for unit in ["a", " ", "1", "!", "\n", "aA1 ", "ab", "xé\u{4e2d}"] {
            let start = Instant::now();
            let mut text = PreTokenizedString::from(unit.repeat(bytes / unit.len()));
            let split = catch_unwind(AssertUnwindSafe(|| pre_tokenizer.pre_tokenize(&mut text)));
            split
                .map_err(|_| malformed("a pattern cannot be matched"))?
                .map_err(malformed)?;
            if start.elapsed() > PROBE_TIME {
                return Err(TokenizerError::SlowPattern {
                    millis: start.elapsed().as_millis(),
                    bytes,
                });
            }
        }
        bytes *= 2;
    }
    Ok(())
}
