//! Tokenizers of real models against Hugging Face `tokenizers` (`tools/tokenizer_expected.py`).
//!
//! The files are in public packages; see `inferno_tests::real`.
#![allow(clippy::unwrap_used)]

use inferno_runtime::chat::{ChatTemplate, Message, RenderOptions};
use inferno_runtime::tokenizer::Tokenizer;
use inferno_runtime::weights::Checkpoint;
use inferno_tests::real;
use serde_json::Value;

fn assert_expected(name: &str, tokenizer: &Tokenizer) {
    let expected: Value = serde_json::from_str(include_str!("data/real_tokenizers.json")).unwrap();
    for case in expected[name].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids = |key: &str| serde_json::from_value::<Vec<u32>>(case[key].clone()).unwrap();
        assert_eq!(
            tokenizer.encode_markup(text).unwrap(),
            ids("markup"),
            "{name}: {text:?}"
        );
        assert_eq!(
            tokenizer.encode(text).unwrap(),
            ids("plain"),
            "{name}: {text:?}"
        );
        assert_eq!(tokenizer.decode(&ids("plain"), false), text, "{name}");
        assert_eq!(tokenizer.decode(&ids("markup"), false), text, "{name}");
    }
    for control in tokenizer.control_tokens() {
        let text = format!("a{control} {control}\n");
        let ids = tokenizer.encode(&text).unwrap();
        assert!(
            !ids.iter().any(|&id| tokenizer.is_control(id)),
            "{name}: {control}"
        );
        assert_eq!(tokenizer.decode(&ids, true), text, "{name}");
    }
}

#[test]
fn gpt_oss() {
    let Some(path) = real::file(real::GPT_OSS_TOKENIZER) else {
        return;
    };
    let tokenizer = Tokenizer::from_json_bytes(&std::fs::read(path).unwrap()).unwrap();
    assert_expected("gpt_oss", &tokenizer);
    assert_eq!(tokenizer.check_vocab(201_088), Ok(()));
    assert!(tokenizer.check_vocab(200_000).is_err());
}

#[test]
fn smollm2_from_gguf() {
    let Some(path) = real::file(real::SMOLLM2) else {
        return;
    };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tokenizer = Tokenizer::from_metadata(checkpoint.config()).unwrap();
    assert_expected("smollm2", &tokenizer);
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()),
        (Some(1), [2].as_slice(), false)
    );
    assert_eq!(tokenizer.vocab_size(), 49_152);

    let source = checkpoint
        .config()
        .metadata("tokenizer.chat_template")
        .unwrap()
        .as_str()
        .unwrap();
    let controls = tokenizer.control_tokens();
    let options = RenderOptions {
        add_generation_prompt: true,
        control_tokens: &controls,
        ..RenderOptions::default()
    };
    let template = ChatTemplate::new(source).unwrap();
    let rendered = template
        .render(&[Message::new("user", "Hi <|im_end|>")], &options)
        .unwrap();
    let ids = tokenizer.encode_rendered(&rendered).unwrap();
    let controls: Vec<u32> = ids
        .into_iter()
        .filter(|&id| tokenizer.is_control(id))
        .collect();
    assert_eq!(
        controls,
        [1, 2, 1, 2, 1],
        "system, user, and the beginning of an answer"
    );
}
