//! The tokenizer in the metadata of a GGUF file.

use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::{AddedToken, DecoderWrapper};

use super::{Tokenizer, TokenizerError, pre};

/// Longest SentencePiece token that merges are made for; longer ones are matched by nothing but added tokens.
const MAX_MERGED_BYTES: usize = 512;

/// `tokenizer.ggml.token_type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// 1: text.
    Normal,
    /// 2: stands for what the vocabulary cannot spell.
    Unknown,
    /// 3: control token.
    Control,
    /// 4: text that is always one token.
    UserDefined,
    /// 5: never used.
    Unused,
    /// 6: one byte, `<0x0A>`.
    Byte,
}

impl TokenType {
    /// The type of its number in the file; unknown numbers count as ordinary text, as in llama.cpp.
    pub fn from_number(number: i64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// The `tokenizer.ggml.*` entries of a GGUF file.
#[derive(Debug, Clone, Default)]
pub struct GgufVocab {
    /// `model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// `pre`: the rule that cuts text into words; for `gpt2` only.
    pub pre: Option<String>,
    /// `tokens`, by id.
    pub tokens: Vec<String>,
    /// `scores`, by id; for `llama` only.
    pub scores: Vec<f32>,
    /// `token_type`, by id; empty means all normal.
    pub token_types: Vec<TokenType>,
    /// `merges`: two tokens with a space between them; for `gpt2` only.
    pub merges: Vec<String>,
    /// `bos_token_id`
    pub bos: Option<u32>,
    /// `eos_token_id`, `eot_token_id`, `eom_token_id`: whichever are there.
    pub eos: Vec<u32>,
    /// `unknown_token_id`
    pub unknown: Option<u32>,
    /// `padding_token_id`
    pub pad: Option<u32>,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_space_prefix`
    pub add_space_prefix: Option<bool>,
}

fn malformed(reason: impl ToString) -> TokenizerError {
    TokenizerError::Malformed {
        file: "tokenizer metadata of the GGUF file",
        reason: reason.to_string(),
    }
}

fn failed(error: tokenizers::Error) -> TokenizerError {
    malformed(error)
}

impl Tokenizer {
    /// Builds the tokenizer that GGUF metadata describe.
    ///
    /// # Errors
    /// An unknown `model` or `pre`; lists of different lengths, duplicate tokens, merges of tokens that do not exist, ids
    /// outside the vocabulary.
    pub fn from_gguf(vocab: &GgufVocab) -> Result<Self, TokenizerError> {
        vocab.check()?;
        let (inner, add_bos) = match vocab.model.as_str() {
            "gpt2" => vocab.byte_level()?,
            "llama" => (vocab.sentence_piece()?, true),
            other => {
                return Err(TokenizerError::Unsupported {
                    what: "tokenizer.ggml.model",
                    name: other.to_string(),
                    known: "gpt2, llama".into(),
                });
            }
        };
        let mut tokenizer = Self::checked(vocab.with_added_tokens(inner)?)?;
        tokenizer.bos = vocab.bos;
        tokenizer.pad = vocab.pad;
        tokenizer.add_eos(vocab.eos.iter().copied());
        tokenizer.add_bos = vocab.add_bos.unwrap_or(add_bos) && vocab.bos.is_some();
        Ok(tokenizer)
    }
}

impl GgufVocab {
    fn check(&self) -> Result<(), TokenizerError> {
        let tokens = self.tokens.len();
        let lists = [
            ("scores", self.scores.len()),
            ("token_type", self.token_types.len()),
        ];
        for (name, length) in lists {
            if length != 0 && length != tokens {
                return Err(malformed(format!(
                    "{tokens} tokens, but {length} entries in {name}"
                )));
            }
        }
        if self.model == "llama" && self.scores.len() != tokens {
            return Err(malformed("scores are missing"));
        }
        if self.scores.iter().any(|score| score.is_nan()) {
            return Err(malformed("a score is NaN"));
        }
        let ids = [self.bos, self.unknown, self.pad]
            .into_iter()
            .flatten()
            .chain(self.eos.iter().copied());
        for id in ids {
            if id as usize >= tokens {
                return Err(malformed(format!(
                    "special token {id} of a vocabulary of {tokens} tokens"
                )));
            }
        }
        Ok(())
    }

    fn token_type(&self, id: usize) -> TokenType {
        self.token_types
            .get(id)
            .copied()
            .unwrap_or(TokenType::Normal)
    }

    fn ids(&self) -> Result<HashMap<String, u32>, TokenizerError> {
        let mut ids = HashMap::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate() {
            let id = u32::try_from(id).map_err(|_| malformed("more than 2^32 tokens"))?;
            if let Some(earlier) = ids.insert(token.clone(), id) {
                return Err(malformed(format!(
                    "tokens {earlier} and {id} are both {token:?}"
                )));
            }
        }
        Ok(ids)
    }

    /// GPT-2's byte-level BPE, and whether it begins texts with bos.
    fn byte_level(&self) -> Result<(tokenizers::Tokenizer, bool), TokenizerError> {
        let rule = pre::named(self.pre.as_deref().unwrap_or("default"))?;
        let ids = self.ids()?;
        let mut merges = Vec::with_capacity(self.merges.len());
        for merge in &self.merges {
            // A token may contain a space of its own only at its very beginning.
            let pair = merge
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == ' ')
                .map(|(at, _)| (&merge[..at], &merge[at + 1..]));
            let known = pair.filter(|(a, b)| {
                ids.contains_key(*a) && ids.contains_key(*b) && ids.contains_key(&format!("{a}{b}"))
            });
            let (a, b) = known.ok_or_else(|| {
                malformed(format!(
                    "the merge {merge:?} is not one of two known tokens"
                ))
            })?;
            merges.push((a.to_string(), b.to_string()));
        }
        let builder = BPE::builder()
            .vocab_and_merges(ids.into_iter().collect::<Vocab>(), merges)
            .ignore_merges(rule.ignore_merges);
        let mut inner = tokenizers::Tokenizer::new(builder.build().map_err(failed)?);
        inner.with_normalizer(rule.normalizer).map_err(failed)?;
        inner.with_pre_tokenizer(Some(rule.pre_tokenizer));
        inner.with_decoder(Some(ByteLevel::default()));
        Ok((inner, rule.add_bos))
    }

    /// SentencePiece's BPE with byte fallback. The file has scores instead of merges: the merge with the best score first.
    fn sentence_piece(&self) -> Result<tokenizers::Tokenizer, TokenizerError> {
        let ids = self.ids()?;
        let unknown = self.unknown.map(|id| id as usize).or_else(|| {
            (0..self.tokens.len()).find(|&id| self.token_type(id) == TokenType::Unknown)
        });
        let merges = self.merges_of_scores(&ids);
        let mut builder = BPE::builder()
            .vocab_and_merges(ids.into_iter().collect::<Vocab>(), merges)
            .byte_fallback(true)
            .fuse_unk(true);
        if let Some(token) = unknown.and_then(|id| self.tokens.get(id)) {
            builder = builder.unk_token(token.clone());
        }
        let prefix = self.add_space_prefix.unwrap_or(true);
        let mut inner = tokenizers::Tokenizer::new(builder.build().map_err(failed)?);
        let mut normalizers: Vec<NormalizerWrapper> =
            vec![Replace::new(" ", "▁").map_err(failed)?.into()];
        if prefix {
            normalizers.insert(0, Prepend::new("▁".into()).into());
        }
        inner
            .with_normalizer(Some(Normalizers::new(normalizers)))
            .map_err(failed)?;
        let mut decoders: Vec<DecoderWrapper> = vec![
            tokenizers::normalizers::Replace::new("▁", " ")
                .map_err(failed)?
                .into(),
            ByteFallback::new().into(),
            Fuse::new().into(),
        ];
        if prefix {
            decoders.push(Strip::new(' ', 1, 0).into());
        }
        inner.with_decoder(Some(Sequence::new(decoders)));
        Ok(inner)
    }

    /// Every way to make a text token of two others, by the score of the result; then as transformers orders them when it
    /// converts such a vocabulary.
    fn merges_of_scores(&self, ids: &HashMap<String, u32>) -> Vec<(String, String)> {
        let is_text = |id: usize| {
            matches!(
                self.token_type(id),
                TokenType::Normal | TokenType::UserDefined
            )
        };
        let part = |text: &str| ids.get(text).copied().filter(|&id| is_text(id as usize));
        let mut merges = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if self.token_type(id) != TokenType::Normal || token.len() > MAX_MERGED_BYTES {
                continue;
            }
            let mut splits = Vec::new();
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(a), Some(b)) = (part(left), part(right)) {
                    splits.push((a, b, left, right));
                }
            }
            splits.sort_unstable();
            merges.extend(
                splits
                    .into_iter()
                    .map(|(_, _, left, right)| (self.scores[id], left, right)),
            );
        }
        let chars = |text: &str| text.chars().count();
        merges.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| chars(b.1).cmp(&chars(a.1)))
                .then_with(|| chars(b.2).cmp(&chars(a.2)))
        });
        merges
            .into_iter()
            .map(|(_, left, right)| (left.to_string(), right.to_string()))
            .collect()
    }

    fn with_added_tokens(
        &self,
        mut inner: tokenizers::Tokenizer,
    ) -> Result<tokenizers::Tokenizer, TokenizerError> {
        let mut added = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            let special = match self.token_type(id) {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined => false,
                TokenType::Normal | TokenType::Unused | TokenType::Byte => continue,
            };
            added.push(AddedToken::from(token.clone(), special).normalized(false));
        }
        inner.add_tokens(added).map_err(failed)?;
        Ok(inner)
    }
}
