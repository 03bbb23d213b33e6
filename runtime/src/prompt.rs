//! Prompts that a model can take.

/// Why a prompt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// Nothing to go on from.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt leaves no room in the context.
    #[error(
        "the prompt has {tokens} tokens, but the context holds {context} and the answer needs at least one: shorten the \
         prompt or raise the context length"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The prompt is so long that it need not be tokenized to know it.
    #[error(
        "the prompt has {bytes} bytes, at least {least} tokens, but the context holds {context}: give a part of it, or a \
         model with a longer context"
    )]
    FarTooLong {
        /// Bytes of the prompt.
        bytes: usize,
        /// Tokens if each were the longest of the vocabulary.
        least: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The prompt fits, the answer asked for does not.
    #[error(
        "the prompt has {tokens} tokens and up to {max_tokens} more are asked for, but the context holds {context}: ask for \
         at most {} (max_tokens) or raise the context length", context - tokens
    )]
    NoRoom {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
        /// Tokens asked for.
        max_tokens: usize,
    },
    /// A token that the model does not have.
    #[error(
        "the prompt contains token {token} at position {position}, but the model has {vocab} tokens"
    )]
    UnknownToken {
        /// The token.
        token: u32,
        /// Where it is.
        position: usize,
        /// Tokens of the model.
        vocab: usize,
    },
    /// Bytes that are no text.
    #[error("the prompt is not valid UTF-8 at byte {at}")]
    NotUtf8 {
        /// Position of the first bad byte.
        at: usize,
    },
    /// A character that no text contains.
    #[error("the prompt contains a NUL character at byte {at}")]
    Nul {
        /// Its position.
        at: usize,
    },
}

/// Text from bytes that somebody sent.
///
/// # Errors
/// Bytes that are no UTF-8 (surrogates included), and what [`check_text`] refuses.
pub fn text_from_utf8(bytes: &[u8]) -> Result<&str, PromptError> {
    let text = std::str::from_utf8(bytes).map_err(|error| PromptError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    check_text(text)?;
    Ok(text)
}

/// Refuses text that is empty or contains NUL.
///
/// # Errors
/// [`PromptError::Empty`], [`PromptError::Nul`].
pub fn check_text(text: &str) -> Result<(), PromptError> {
    match text.find('\0') {
        Some(at) => Err(PromptError::Nul { at }),
        None if text.is_empty() => Err(PromptError::Empty),
        None => Ok(()),
    }
}

/// How many tokens may follow a prompt in a context of `context` tokens; at most `max_tokens` if that is given.
///
/// # Errors
/// A prompt that is empty, has ids outside the vocabulary, or does not fit together with the answer asked for. Nothing is
/// ever cut.
pub fn room(
    prompt: &[u32],
    vocab: usize,
    context: usize,
    max_tokens: Option<usize>,
) -> Result<usize, PromptError> {
    let tokens = prompt.len();
    if tokens == 0 {
        return Err(PromptError::Empty);
    }
    if let Some(position) = prompt.iter().position(|&token| token as usize >= vocab) {
        return Err(PromptError::UnknownToken {
            token: prompt[position],
            position,
            vocab,
        });
    }
    if tokens >= context {
        return Err(PromptError::TooLong { tokens, context });
    }
    match max_tokens {
        Some(max_tokens) if max_tokens > context - tokens => Err(PromptError::NoRoom {
            tokens,
            context,
            max_tokens,
        }),
        Some(max_tokens) => Ok(max_tokens),
        None => Ok(context - tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_context_leaves() {
        assert_eq!(room(&[1; 10], 2, 16, None), Ok(6));
        assert_eq!(room(&[1; 10], 2, 16, Some(6)), Ok(6));
        assert_eq!(room(&[1; 10], 2, 16, Some(2)), Ok(2));
    }

    #[test]
    fn refusals_give_the_numbers() {
        let message = |result: Result<usize, PromptError>| result.unwrap_err().to_string();
        let refused = message(room(&[1; 16], 2, 16, None));
        assert!(
            refused.starts_with("the prompt has 16 tokens, but the context holds 16"),
            "{refused}"
        );
        let refused = message(room(&[1; 10], 2, 16, Some(usize::MAX)));
        assert!(
            refused.contains("10 tokens and up to 18446744073709551615 more"),
            "{refused}"
        );
        assert!(
            refused.contains("holds 16: ask for at most 6 (max_tokens)"),
            "{refused}"
        );
        assert_eq!(room(&[], 2, 16, None), Err(PromptError::Empty));
        assert_eq!(
            room(&[0, 2], 2, 16, None),
            Err(PromptError::UnknownToken {
                token: 2,
                position: 1,
                vocab: 2
            })
        );
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(text_from_utf8(b"ok"), Ok("ok"));
        assert_eq!(
            text_from_utf8(b"a\xff"),
            Err(PromptError::NotUtf8 { at: 1 })
        );
        assert_eq!(
            text_from_utf8(b"\xed\xa0\x80"),
            Err(PromptError::NotUtf8 { at: 0 }),
            "a lone surrogate"
        );
        assert_eq!(text_from_utf8(b"a\0"), Err(PromptError::Nul { at: 1 }));
        assert_eq!(text_from_utf8(b""), Err(PromptError::Empty));
    }
}
