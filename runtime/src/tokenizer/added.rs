//! Added tokens: strings that are found in a text before anything else is done with it.
//!
//! The `tokenizers` crate finds them everywhere in a text or leaves out all special ones. Here it depends on the place: a
//! chat template's own markers count, the same characters in a user's message do not. Otherwise the matching is the one of
//! `tokenizers`: leftmost, then longest, first on the raw text, then on the normalized one.

use std::collections::{HashMap, HashSet};

use tokenizers::tokenizer::normalizer::Range;
use tokenizers::{NormalizedString, Normalizer, Token};

use super::{Markup, TokenizerError};

/// Longest added token in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

#[derive(Debug)]
struct Added {
    id: u32,
    control: bool,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

/// Strings to be found in a text.
#[derive(Debug, Default)]
struct Patterns {
    tokens: HashMap<String, Added>,
    /// Lengths of the tokens by their first byte, longest first.
    lengths: HashMap<u8, Vec<usize>>,
}

/// All added tokens of a tokenizer.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    raw: Patterns,
    normalized: Patterns,
}

/// A control token is one that the file calls special, and one that looks like a marker even if the file forgets to say so.
fn is_control(token: &tokenizers::AddedToken) -> bool {
    let content = token.content.as_str();
    let bracketed = |open: &str, close: &str| content.starts_with(open) && content.ends_with(close);
    token.special || bracketed("<|", "|>") || bracketed("<｜", "｜>")
}

impl AddedTokens {
    pub(super) fn new(
        inner: &tokenizers::Tokenizer,
    ) -> Result<(Self, HashSet<u32>), TokenizerError> {
        let mut added = Self::default();
        let mut control = HashSet::new();
        for (id, token) in inner.get_added_tokens_decoder() {
            if token.content.len() > MAX_TOKEN_BYTES {
                let reason = format!("the added token {id} is {} bytes long", token.content.len());
                return Err(TokenizerError::Malformed {
                    file: "tokenizer.json",
                    reason,
                });
            }
            if is_control(&token) {
                control.insert(id);
            }
            let entry = Added {
                id,
                control: is_control(&token),
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
            };
            if !token.normalized {
                added.raw.insert(token.content, entry);
                continue;
            }
            let mut content = NormalizedString::from(token.content);
            if let Some(normalizer) = inner.get_normalizer() {
                normalizer
                    .normalize(&mut content)
                    .map_err(|error| TokenizerError::Encode(error.to_string()))?;
            }
            added.normalized.insert(content.get().to_string(), entry);
        }
        Ok((added, control))
    }

    pub(super) fn control_tokens(&self) -> Vec<&str> {
        let tokens = self.raw.tokens.iter().chain(&self.normalized.tokens);
        tokens
            .filter(|(_, added)| added.control)
            .map(|(content, _)| content.as_str())
            .collect()
    }

    /// Cuts raw text at the added tokens in it.
    pub(super) fn split_raw(&self, text: NormalizedString, markup: Markup) -> Vec<Piece> {
        self.raw.split(text, markup)
    }

    /// Cuts normalized text at the added tokens in it.
    pub(super) fn split_normalized(&self, text: NormalizedString, markup: Markup) -> Vec<Piece> {
        self.normalized.split(text, markup)
    }
}

/// A part of a text, with its token if it is an added one.
type Piece = (NormalizedString, Option<Vec<Token>>);

impl Patterns {
    fn insert(&mut self, content: String, token: Added) {
        let Some(&first) = content.as_bytes().first() else {
            return;
        };
        let lengths = self.lengths.entry(first).or_default();
        if let Err(place) = lengths.binary_search_by(|length| content.len().cmp(length)) {
            lengths.insert(place, content.len());
        }
        self.tokens.insert(content, token);
    }

    fn split(&self, text: NormalizedString, markup: Markup) -> Vec<Piece> {
        if self.tokens.is_empty() {
            return vec![(text, None)];
        }
        let mut pieces = Vec::new();
        let mut done = 0;
        let mut at = 0;
        let whole = text.get();
        let mut push = |range: std::ops::Range<usize>, id: Option<u32>| {
            if let Some(piece) = text.slice(Range::Normalized(range)) {
                let token = id.map(|id| {
                    vec![Token::new(
                        id,
                        piece.get().to_string(),
                        (0, piece.get().len()),
                    )]
                });
                pieces.push((piece, token));
            }
        };
        while at < whole.len() {
            let Some((length, token)) = self.longest_at(&text, at, markup) else {
                at += 1;
                continue;
            };
            let (mut start, mut end) = (at, at + length);
            if token.lstrip {
                start = done.max(whole[..start].trim_end().len());
            }
            if token.rstrip {
                end = whole.len() - whole[end..].trim_start().len();
            }
            if done < start {
                push(done..start, None);
            }
            push(start..end, Some(token.id));
            (done, at) = (end, end);
        }
        if done < whole.len() {
            push(done..whole.len(), None);
        }
        pieces
    }

    /// The longest token at a byte position that may stand there.
    fn longest_at(
        &self,
        text: &NormalizedString,
        at: usize,
        markup: Markup,
    ) -> Option<(usize, &Added)> {
        let whole = text.get();
        let lengths = self.lengths.get(whole.as_bytes().get(at)?)?;
        lengths.iter().find_map(|&length| {
            let token = self.tokens.get(whole.get(at..at + length)?)?;
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let inside_word = whole[..at].ends_with(word) || whole[at + length..].starts_with(word);
            let fits = !(token.single_word && inside_word);
            (fits && (!token.control || is_meant(text, at..at + length, markup)))
                .then_some((length, token))
        })
    }
}

/// Whether a control token at this place of the normalized text is meant as one.
fn is_meant(text: &NormalizedString, place: std::ops::Range<usize>, markup: Markup) -> bool {
    let Markup::Unless(guards) = markup else {
        return false;
    };
    let Some(original) = text.convert_offsets(Range::Normalized(place)) else {
        return false;
    };
    let start = text.offsets_original().0;
    let next = guards.partition_point(|&guard| guard <= start + original.start);
    guards
        .get(next)
        .is_none_or(|&guard| guard >= start + original.end)
}
