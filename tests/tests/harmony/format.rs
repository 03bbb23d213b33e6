//! Which tokenizers speak Harmony, and where an answer ends.

use inferno_runtime::chat::harmony::Harmony;
use inferno_runtime::tokenizer::{GgufVocab, TokenType, Tokenizer};
use inferno_tests::harmony::{CONTROL, small, spelling, tokenizer_json};

fn gguf(control: TokenType, left_out: &str) -> Tokenizer {
    let mut tokens: Vec<String> = (0..=255).map(|byte| spelling(byte).to_string()).collect();
    let mut token_types = vec![TokenType::Normal; 256];
    for token in CONTROL.into_iter().filter(|token| *token != left_out) {
        tokens.push(token.into());
        token_types.push(control);
    }
    Tokenizer::from_gguf(&GgufVocab {
        model: "gpt2".into(),
        pre: Some("gpt-4o".into()),
        tokens,
        token_types,
        eos: vec![258],
        ..GgufVocab::default()
    })
    .unwrap()
}

#[test]
fn tokenizer_json_and_gguf_are_told_by_their_markers() {
    let (_, harmony) = small();
    assert_eq!((harmony.start, harmony.ret, harmony.call), (261, 258, 264));
    assert_eq!(
        Harmony::detect(&gguf(TokenType::Control, "")),
        Some(harmony)
    );
    for marker in [
        "<|start|>",
        "<|channel|>",
        "<|message|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|constrain|>",
    ] {
        assert_eq!(
            Harmony::detect(&gguf(TokenType::Control, marker)),
            None,
            "{marker}"
        );
        let json = tokenizer_json().replace(marker, "<|other|>");
        let tokenizer = Tokenizer::from_json_bytes(json.as_bytes()).unwrap();
        assert_eq!(Harmony::detect(&tokenizer), None, "{marker}");
    }
}

#[test]
fn ordinary_tokens_spelled_like_markers_are_none() {
    assert_eq!(Harmony::detect(&gguf(TokenType::Normal, "")), None);
}

#[test]
fn stop_tokens() {
    let (_, harmony) = small();
    // Nothing is named: end of text, return, call.
    assert_eq!(harmony.stops(&[]), [257, 258, 264]);
    // As in gpt-oss's generation_config.json.
    assert_eq!(harmony.stops(&[258, 257, 264]), [258, 257, 264]);
    // As in files that know only one.
    assert_eq!(harmony.stops(&[258]), [258, 264]);
    // `<|end|>` is no stop token, whoever says so.
    assert_eq!(harmony.stops(&[262]), [257, 258, 264]);
}
