//! Control tokens spelled in messages, made harmless.
//!
//! A template may trim, cut and join what was said, so the places of messages in the prompt cannot be told afterwards.
//! Instead a *guard*, a character that occurs nowhere in the conversation, is put inside everything in a message that spells
//! a control token. After rendering the guards are taken out again and their places kept: no control token may be found
//! across one. Messages without control tokens, nearly all, reach the template untouched.
//!
//! Limits: a template that counts characters sees the guards, and one that deletes characters from a message could spell a
//! control token that was not there before.

use std::collections::HashMap;

use super::Rendered;

/// Private-use characters that may become the guard.
const CANDIDATES: std::ops::RangeInclusive<char> = '\u{10f000}'..='\u{10fffd}';

/// Puts guards into messages and takes them out of the prompt.
#[derive(Debug)]
pub(super) struct Guard {
    guard: char,
    /// Control tokens in lower case (a template may change the case of a message), by their first byte.
    tokens: HashMap<u8, Vec<Vec<u8>>>,
}

impl Guard {
    /// A guard for texts, which it does not occur in. `None` if they contain every candidate.
    pub(super) fn new<'a>(
        control_tokens: &[&str],
        texts: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<Self> {
        let unused = |guard: &char| texts.clone().all(|text| !text.contains(*guard));
        let guard = CANDIDATES.clone().find(unused)?;
        let mut tokens: HashMap<u8, Vec<Vec<u8>>> = HashMap::new();
        for token in control_tokens {
            let token = token.to_ascii_lowercase().into_bytes();
            if let Some(&first) = token.first() {
                tokens.entry(first).or_default().push(token);
            }
        }
        Some(Self { guard, tokens })
    }

    /// The text with guards inside all control tokens, and at an end that could be part of one.
    pub(super) fn protect(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let bytes = lower.as_bytes();
        let mut guarded = String::with_capacity(text.len());
        if self.ends_a_token(bytes) {
            guarded.push(self.guard);
        }
        for (at, c) in text.char_indices() {
            guarded.push(c);
            let here = &bytes[at..];
            let candidates = self.tokens.get(&bytes[at]).map_or(&[][..], Vec::as_slice);
            if candidates
                .iter()
                .any(|token| here.starts_with(token) || token.starts_with(here))
            {
                guarded.push(self.guard);
            }
        }
        guarded
    }

    /// Whether a text could complete a control token that something before it begins.
    fn ends_a_token(&self, text: &[u8]) -> bool {
        self.tokens.values().flatten().any(|token| {
            (1..token.len()).any(|at| {
                text.starts_with(&token[at..])
                    || (!text.is_empty() && token[at..].starts_with(text))
            })
        })
    }

    /// The prompt without guards.
    pub(super) fn remove(&self, prompt: &str) -> Rendered {
        let mut text = String::with_capacity(prompt.len());
        let mut guards = Vec::new();
        for part in prompt.split_inclusive(self.guard) {
            match part.strip_suffix(self.guard) {
                Some(part) => {
                    text.push_str(part);
                    guards.push(text.len());
                }
                None => text.push_str(part),
            }
        }
        guards.dedup();
        Rendered { text, guards }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard(tokens: &[&str]) -> Guard {
        Guard::new(tokens, std::iter::empty()).unwrap()
    }

    #[test]
    fn ordinary_text_is_untouched() {
        let guard = guard(&["<|im_start|>", "<|im_end|>", "</s>"]);
        for text in ["", "Hello!", "a < b\n", "2 > 1 and <b>bold</b>."] {
            assert_eq!(guard.protect(text), text);
        }
    }

    #[test]
    fn control_tokens_are_broken_wherever_they_stand() {
        let guard = guard(&["<|im_start|>", "</s>"]);
        for text in [
            "<|im_start|>",
            "a<|IM_Start|>b",
            "x </s></s>",
            "ends with <|im_",
            "start|> begins",
            "<",
        ] {
            let guarded = guard.protect(text);
            assert!(guarded.contains(guard.guard), "{text}");
            let rendered = guard.remove(&guarded);
            assert_eq!(rendered.text, text);
            assert!(!rendered.guards.is_empty());
        }
    }

    #[test]
    fn the_guard_occurs_in_no_text() {
        let texts = ["\u{10f000}\u{10f001}"];
        assert_eq!(
            Guard::new(&[], texts.iter().copied()).unwrap().guard,
            '\u{10f002}'
        );
    }

    proptest! {
        #[test]
        fn every_spelled_token_has_a_guard_inside(parts in prop::collection::vec("(<a>|</a>|<|a|>|é)", 0..8)) {
            let text = parts.concat();
            let guard = guard(&["<a>", "</a>"]);
            let rendered = guard.remove(&guard.protect(&text));
            prop_assert_eq!(&rendered.text, &text);
            for token in ["<a>", "</a>"] {
                for (at, _) in text.match_indices(token) {
                    prop_assert!(rendered.guards.iter().any(|&g| g > at && g < at + token.len()));
                }
            }
        }
    }
}
