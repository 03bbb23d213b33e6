//! Words of an expression.

use std::ops::Range;

use super::ParseError;

/// Longer expressions are refused: nobody writes them, and a limit keeps recursion and time small.
const MAX_TOKENS: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Str(String),
    Name(String),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Two-character signs first: the longest match wins.
const SIGNS: [&str; 23] = [
    "+=", "*=", "==", "!=", "<=", ">=", "&&", "||", "-", "+", "*", "/", "%", "<", ">", "!", "(",
    ")", "[", "]", "{", "}", ",",
];

/// Splits a text into tokens with their byte ranges; the last one is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<(Token, Range<usize>)>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if tokens.len() >= MAX_TOKENS {
            let message = format!("an expression of more than {MAX_TOKENS} words");
            return Err(ParseError::new(at..text.len(), message).help("split it with `let`"));
        }
        let (token, len) = match first {
            '0'..='9' => number(text, at)?,
            '"' => string(text, at)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let len = word_len(&text[at..]);
                (Token::Name(text[at..at + len].to_string()), len)
            }
            _ => sign(text, at, first)?,
        };
        tokens.push((token, at..at + len));
        at += len;
    }
    tokens.push((Token::End, text.len()..text.len()));
    Ok(tokens)
}

fn word_len(text: &str) -> usize {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    end.unwrap_or(text.len())
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

/// `digits [ "." [digits] ] [ "e" ["-"] digits ]`
fn number(text: &str, at: usize) -> Result<(Token, usize), ParseError> {
    let rest = &text[at..];
    let mut len = digits(rest);
    if rest[len..].starts_with('.') {
        len += 1;
        len += digits(&rest[len..]);
    }
    let exponent = rest[len..].strip_prefix('e').map(|power| {
        let sign = usize::from(power.starts_with('-'));
        (1 + sign, digits(&power[sign..]))
    });
    if let Some((before, power @ 1..)) = exponent {
        len += before + power;
    }
    let tail = word_len(&rest[len..]);
    if tail > 0 {
        let error = ParseError::new(
            at..at + len + tail,
            format!("`{}` is no number", &rest[..len + tail]),
        );
        return Err(error.help("numbers are written 12, 0.5 or 1e-5"));
    }
    // A trailing dot is the language's, but not of every number parser.
    let value = rest[..len].replace(".e", ".0e");
    match value.trim_end_matches('.').parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((Token::Number(value), len)),
        _ => Err(ParseError::new(at..at + len, "this number is too large")),
    }
}

fn string(text: &str, at: usize) -> Result<(Token, usize), ParseError> {
    match text[at + 1..].find('"') {
        Some(len) => Ok((Token::Str(text[at + 1..at + 1 + len].to_string()), len + 2)),
        None => Err(ParseError::new(
            at..text.len(),
            "this string has no closing `\"`",
        )),
    }
}

fn sign(text: &str, at: usize, first: char) -> Result<(Token, usize), ParseError> {
    let rest = &text[at..];
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    if first == '=' {
        return Ok((Token::Sign("="), 1));
    }
    let error = ParseError::new(at..at + first.len_utf8(), format!("unexpected `{first}`"));
    Err(match first {
        '.' => error.help("numbers start with a digit (0.5), and there are no methods or fields"),
        '\'' => {
            error.help("strings are written with double quotes; quote the TOML value with '...'")
        }
        '&' | '|' => error.help(format!("write `{first}{first}`")),
        _ => error,
    })
}
