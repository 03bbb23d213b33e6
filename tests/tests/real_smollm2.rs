//! A real model, end to end: SmolLM2-135M-Instruct as GGUF Q4_1.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;

use inferno_runtime::chat::Message;
use inferno_runtime::cpu::Precision;
use inferno_runtime::device::DeviceChoice;
use inferno_runtime::engine::{Engine, EngineOptions, FinishReason};
use inferno_runtime::sampling::SamplingParams;
use inferno_tests::real;

/// llama.cpp's perplexity of the same file on this repository's LICENSE, windows of 512 tokens of which the second half
/// counts: `tools/llama_cpp_perplexity.mjs`, node-llama-cpp 3.22.1.
const LLAMA_CPP: f64 = 15.839_106_8;

fn engine(precision: Precision) -> Option<Engine> {
    let path = real::file(real::SMOLLM2)?;
    let options = EngineOptions {
        context: Some(1024),
        precision,
        device: DeviceChoice::Cpu,
        ..EngineOptions::default()
    };
    Some(Engine::open(&path, &options).unwrap())
}

#[test]
fn perplexity_is_that_of_llama_cpp() {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../LICENSE");
    let text = std::fs::read_to_string(text).unwrap();
    for precision in [Precision::Fast, Precision::Exact] {
        let Some(mut engine) = engine(precision) else {
            return;
        };
        let tokens = engine.encode(&text).unwrap();
        assert_eq!(tokens.len(), 2224, "llama.cpp cuts the text into as many");
        let ours = engine.perplexity(&tokens, 512, &mut |_, _| {}).unwrap();
        let off = ours.perplexity / LLAMA_CPP - 1.0;
        assert!(
            off.abs() < 0.005,
            "{precision:?}: {} is {off:.4} off",
            ours.perplexity
        );
    }
}

#[test]
fn a_conversation_makes_sense_and_reuses_its_beginning() {
    let Some(mut engine) = engine(Precision::Fast) else {
        return;
    };
    let params = SamplingParams {
        max_tokens: Some(64),
        ..SamplingParams::greedy()
    };
    let mut messages = vec![Message::new("user", "Name three colours.")];
    let prompt = engine.render(&messages).unwrap();
    let mut go_on = |_: inferno_runtime::engine::Event| ControlFlow::Continue(());
    let first = engine.generate(&prompt, &params, &mut go_on).unwrap();
    assert!(
        first.text.contains("Red") && first.text.contains("Blue"),
        "{}",
        first.text
    );
    assert_eq!(first.finish_reason, FinishReason::Length);
    messages.push(Message::new("assistant", &first.text));
    messages.push(Message::new(
        "user",
        "Which of them is the colour of the sky?",
    ));
    let prompt = engine.render(&messages).unwrap();
    let second = engine.generate(&prompt, &params, &mut go_on).unwrap();
    assert!(second.cached_tokens > 30, "{}", second.cached_tokens);
    // What was computed in pieces is what is computed at once.
    engine.forget();
    let afresh = engine.generate(&prompt, &params, &mut go_on).unwrap();
    assert_eq!(afresh.cached_tokens, 0);
    assert_eq!(afresh.tokens, second.tokens);
}
