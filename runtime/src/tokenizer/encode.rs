//! Text → ids.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Token,
};

use super::{MAX_TEXT_BYTES, Markup, Tokenizer, TokenizerError};
use crate::chat::Rendered;

/// How deep the search for another spelling of a control token goes.
const MAX_CUTS: usize = 32;

/// A control token that no cut keeps the vocabulary from spelling.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is always a control token")]
struct SpelledControl(String);

impl Tokenizer {
    /// Ids of ordinary text. Control tokens that it spells stay text, and nothing is added in front.
    ///
    /// # Errors
    /// Text longer than [`MAX_TEXT_BYTES`]; a tokenizer that fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, Markup::None)
    }

    /// Ids of a raw prompt: like [`Tokenizer::encode`], behind the token that begins a text if the model wants one.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids: Vec<u32> = self.bos.filter(|_| self.add_bos).into_iter().collect();
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// Ids of text in which control tokens count as such. Only for text that the caller vouches for.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_markup(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, Markup::Unless(&[]))
    }

    /// Ids of a rendered conversation: the template's markers count as control tokens, those inside messages do not.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(&rendered.text, Markup::Unless(&rendered.guards))
    }

    fn encode_with(&self, text: &str, markup: Markup) -> Result<Vec<u32>, TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::TextTooLong { bytes: text.len() });
        }
        // The crate panics on some damaged vocabularies; that must not end the process.
        let ids = catch_unwind(AssertUnwindSafe(|| self.run(text, markup)));
        ids.unwrap_or_else(|_| {
            Err(TokenizerError::Encode(
                "it panicked; the tokenizer file is damaged".into(),
            ))
        })
    }

    /// The steps of the `tokenizers` crate, with our own search for added tokens.
    fn run(&self, text: &str, markup: Markup) -> Result<Vec<u32>, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Encode(error.to_string());
        let mut parts = PreTokenizedString::from(text);
        parts
            .split(|_, part| Ok(self.added.split_raw(part, markup)))
            .map_err(failed)?;
        parts
            .split(|_, mut part| {
                if let Some(normalizer) = self.inner.get_normalizer() {
                    normalizer.normalize(&mut part)?;
                }
                Ok(self.added.split_normalized(part, markup))
            })
            .map_err(failed)?;
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut parts).map_err(failed)?;
        }
        parts
            .tokenize(|part: &NormalizedString| {
                let mut tokens = Vec::new();
                self.tokenize_word(part.get(), MAX_CUTS, &mut tokens)?;
                Ok(tokens)
            })
            .map_err(|error| match error.downcast::<SpelledControl>() {
                Ok(spelled) => TokenizerError::ControlToken(spelled.0),
                Err(error) => failed(error),
            })?;
        let parts = parts.get_splits(OffsetReferential::Original, OffsetType::None);
        Ok(parts
            .into_iter()
            .filter_map(|(_, _, tokens)| tokens.as_ref())
            .flatten()
            .map(|token| token.id)
            .collect())
    }

    /// Tokens of a word. Where the model's vocabulary itself spells a control token (Unigram, `ignore_merges`), the word is
    /// cut inside it, `cuts` times at most.
    fn tokenize_word(
        &self,
        mut word: &str,
        cuts: usize,
        out: &mut Vec<Token>,
    ) -> tokenizers::Result<()> {
        while !word.is_empty() {
            let tokens = self.inner.get_model().tokenize(word)?;
            // The unknown token may be special too, but it does not spell the text that it stands for.
            let control = tokens.iter().find(|token| {
                let text = word.get(token.offsets.0..token.offsets.1);
                self.control.contains(&token.id) && text == self.token(token.id).as_deref()
            });
            let Some(control) = control else {
                out.extend(tokens);
                return Ok(());
            };
            let (start, end) = control.offsets;
            let cut = start + word[start..end].chars().next().map_or(0, char::len_utf8);
            if cut == end || cuts == 0 {
                return Err(Box::new(SpelledControl(control.value.clone())));
            }
            self.tokenize_word(&word[..cut], cuts - 1, out)?;
            word = &word[cut..];
        }
        Ok(())
    }
}
