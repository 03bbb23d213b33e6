//! Ids → text, at once or token by token.

use serde_json::Value;

use super::{Tokenizer, TokenizerError};

/// How the vocabulary spells bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's: each byte is a printable character.
    Bytes,
    /// SentencePiece's: `▁` is a space, `<0x0A>` a byte.
    Spaces,
    /// Whole words, with spaces between them.
    Words,
}

/// What a tokenizer's decoder does, read from its settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoding {
    pub(super) spelling: Spelling,
    /// The space in front of the first word is the tokenizer's, not the text's.
    pub(super) strip_start: bool,
}

impl Decoding {
    /// # Errors
    /// A decoder that no language model uses.
    pub(super) fn new(inner: &tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let Some(decoder) = inner.get_decoder() else {
            return Ok(Self {
                spelling: Spelling::Words,
                strip_start: false,
            });
        };
        let json = serde_json::to_value(decoder).map_err(|error| TokenizerError::Malformed {
            file: "tokenizer.json",
            reason: error.to_string(),
        })?;
        let mut decoding = Self {
            spelling: Spelling::Words,
            strip_start: false,
        };
        let single = [json.clone()];
        for step in json["decoders"]
            .as_array()
            .map_or(single.as_slice(), Vec::as_slice)
        {
            decoding.add(step)?;
        }
        Ok(decoding)
    }

    fn add(&mut self, step: &Value) -> Result<(), TokenizerError> {
        match step["type"].as_str().unwrap_or_default() {
            "ByteLevel" => self.spelling = Spelling::Bytes,
            "ByteFallback" | "Replace" => self.spelling = Spelling::Spaces,
            "Metaspace" => {
                self.spelling = Spelling::Spaces;
                self.strip_start = step["prepend_scheme"] != "never";
            }
            "Strip" => self.strip_start = step["start"].as_u64() != Some(0),
            "Fuse" => {}
            other => {
                return Err(TokenizerError::Unsupported {
                    what: "decoder",
                    name: other.to_string(),
                    known:
                        "ByteLevel, Metaspace and sequences of Replace, ByteFallback, Fuse, Strip"
                            .into(),
                });
            }
        }
        Ok(())
    }
}

/// The byte that a character stands for in GPT-2's spelling.
fn spelled_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        // The other 68 bytes, in order, are spelled with the characters from U+0100.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn fallback_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 {
        u8::from_str_radix(hex, 16).ok()
    } else {
        None
    }
}

impl Tokenizer {
    /// Text of ids. Bytes that are no UTF-8 become U+FFFD; ids that the tokenizer does not know give nothing.
    ///
    /// `skip_control` leaves control tokens out.
    pub fn decode(&self, ids: &[u32], skip_control: bool) -> String {
        let mut stream = self.stream(skip_control);
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        text
    }

    /// Decodes token by token. The pieces together are what [`Tokenizer::decode`] gives.
    pub fn stream(&self, skip_control: bool) -> DecodeStream<'_> {
        DecodeStream {
            tokenizer: self,
            skip_control,
            started: false,
            pending: Vec::new(),
        }
    }

    /// Appends the bytes of a token; `first` is whether it begins the text.
    fn spell(&self, id: u32, skip_control: bool, first: bool, out: &mut Vec<u8>) {
        if skip_control && self.is_control(id) {
            return;
        }
        if let Some(added) = self
            .inner
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .get(&id)
        {
            out.extend_from_slice(added.content.as_bytes());
            return;
        }
        let Some(token) = self.inner.id_to_token(id) else {
            return;
        };
        match self.decoding.spelling {
            Spelling::Bytes => match token.chars().map(spelled_byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => out.extend(bytes),
                None => out.extend_from_slice(token.as_bytes()),
            },
            Spelling::Spaces => match fallback_byte(&token) {
                Some(byte) => out.push(byte),
                None => {
                    let text = token.replace('▁', " ");
                    let strip = first && self.decoding.strip_start;
                    out.extend_from_slice(
                        if strip {
                            text.strip_prefix(' ').unwrap_or(&text)
                        } else {
                            &text
                        }
                        .as_bytes(),
                    );
                }
            },
            Spelling::Words => {
                if !first {
                    out.push(b' ');
                }
                out.extend_from_slice(token.as_bytes());
            }
        }
    }
}

/// Text of a growing sequence of tokens, in pieces of whole characters.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_control: bool,
    started: bool,
    /// The beginning of a character.
    pending: Vec<u8>,
}

impl DecodeStream<'_> {
    /// For text that goes on from other text: a space in front of the first word is kept.
    pub fn continuing(mut self) -> Self {
        self.started = true;
        self
    }

    /// Text that is certain now. A character whose last bytes are still to come is held back.
    pub fn push(&mut self, id: u32) -> String {
        let before = self.pending.len();
        self.tokenizer
            .spell(id, self.skip_control, !self.started, &mut self.pending);
        let skipped = self.skip_control && self.tokenizer.is_control(id);
        self.started |= !skipped
            && (self.pending.len() > before || self.tokenizer.inner.id_to_token(id).is_some());
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    if let Some(bad) = error.error_len() {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &rest[bad..];
                        continue;
                    }
                }
            }
            break;
        }
        self.pending = rest.to_vec();
        text
    }

    /// The end: a character that never became whole is U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}
