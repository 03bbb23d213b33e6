//! For tests of Harmony: a small tokenizer that has its markers, and the file that OpenAI's `openai-harmony` needs.

use std::path::PathBuf;
use std::sync::OnceLock;

use inferno_runtime::chat::harmony::Harmony;
use inferno_runtime::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::real;

/// Control tokens of the small tokenizer, ids from 256 on.
pub const CONTROL: [&str; 10] = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
    "<|reserved|>",
];

/// Ids of the small tokenizer: the bytes and [`CONTROL`].
pub const VOCAB: usize = 256 + CONTROL.len();

/// GPT-2's spelling of a byte.
#[must_use]
pub fn spelling(byte: u8) -> char {
    let plain = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if plain(&byte) {
        return char::from(byte);
    }
    // The other 68 bytes are the characters from U+0100 on, in order.
    let rank = (0..byte).filter(|byte| !plain(byte)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or_default()
}

/// A tokenizer.json with one token for each byte (its id is the byte) and [`CONTROL`].
#[must_use]
pub fn tokenizer_json() -> String {
    let mut vocab: Map<String, Value> = (0..=255)
        .map(|byte| (spelling(byte).to_string(), json!(byte)))
        .collect();
    let mut added = Vec::new();
    for (id, content) in (256..).zip(CONTROL) {
        vocab.insert(content.into(), json!(id));
        added.push(json!({
            "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        }));
    }
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    json!({
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
    .to_string()
}

/// The small tokenizer and its markers.
///
/// # Panics
/// If it is none.
#[must_use]
#[expect(clippy::unwrap_used, reason = "for tests")]
pub fn small() -> (&'static Tokenizer, Harmony) {
    static SMALL: OnceLock<Tokenizer> = OnceLock::new();
    let tokenizer =
        SMALL.get_or_init(|| Tokenizer::from_json_bytes(tokenizer_json().as_bytes()).unwrap());
    (tokenizer, Harmony::detect(tokenizer).unwrap())
}

/// The ids of a text in which the control tokens' spellings stand for them.
///
/// # Panics
/// If the tokenizer fails.
#[must_use]
#[expect(clippy::unwrap_used, reason = "for tests")]
pub fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_markup(text).unwrap()
}

/// gpt-oss's tokenizer, and the folder with its vocabulary as `openai-harmony` reads it; `None`, with a loud line, where
/// the package cannot be had. The vocabulary is the same, written differently: base64 of the bytes instead of GPT-2's
/// spelling. `openai-harmony` knows its hash and refuses any other.
#[must_use]
pub fn gpt_oss() -> Option<(Tokenizer, PathBuf)> {
    let path = real::file(real::GPT_OSS_TOKENIZER)?;
    let json = std::fs::read(&path).ok()?;
    let tokenizer = Tokenizer::from_json_bytes(&json).ok()?;
    let folder = path.parent()?.to_path_buf();
    let file = folder.join("o200k_base.tiktoken");
    if !file.is_file() {
        let part = folder.join(format!("o200k_base.{}.part", std::process::id()));
        std::fs::write(&part, tiktoken(&json)?).ok()?;
        std::fs::rename(&part, &file).ok()?;
    }
    Some((tokenizer, folder))
}

fn tiktoken(tokenizer_json: &[u8]) -> Option<String> {
    let file: Value = serde_json::from_slice(tokenizer_json).ok()?;
    let bytes: std::collections::HashMap<char, u8> =
        (0..=255).map(|byte| (spelling(byte), byte)).collect();
    let mut tokens: Vec<(u64, Vec<u8>)> = Vec::new();
    for (token, id) in file["model"]["vocab"].as_object()? {
        let spelled: Option<Vec<u8>> = token.chars().map(|c| bytes.get(&c).copied()).collect();
        tokens.push((id.as_u64()?, spelled?));
    }
    tokens.sort_unstable();
    let line = |(id, token): &(u64, Vec<u8>)| format!("{} {id}\n", base64(token));
    Some(tokens.iter().map(line).collect())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            out.push(if digit <= chunk.len() {
                char::from(DIGITS[value as usize])
            } else {
                '='
            });
        }
    }
    out
}
