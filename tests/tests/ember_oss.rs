//! The embedded gpt-oss, end to end: it loads MXFP4, routes, attends past its window and YaRN's original length, samples.
//!
//! `fixtures/ember-oss/expected.safetensors` is transformers' own computation with the weights of the very file
//! (`tools/embedded-models/export_gpt_oss.py --expected`), for held-out text as long as the context.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors};
use inferno_runtime::cpu::Precision;
use inferno_runtime::device::DeviceChoice;
use inferno_runtime::engine::{Completion, Engine, EngineOptions, Event, FinishReason};
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::nn::{KvCache, KvCacheOptions, Run, Step, Want, load_model, select};
use inferno_runtime::sampling::SamplingParams;
use inferno_runtime::weights::{Checkpoint, StoredDtype, WeightDtype};
use inferno_tests::golden::{LONG_TOLERANCE, relative_error};

const CONTEXT: usize = 1024;
const VOCAB: usize = 3328;

/// Nats a token on held-out text, of the tokens that the model was to learn: a uniform guess has 8.1.
const LARGEST_LOSS: f64 = 1.5;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/assets/ember-oss.gguf")
}

struct Expected {
    tokens: Vec<u32>,
    learned: Vec<bool>,
    losses: Vec<f32>,
    /// Of the last positions.
    logits: Vec<f32>,
}

impl Expected {
    fn read() -> Self {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ember-oss/expected.safetensors");
        let tensors = safetensors::load(file, &Device::Cpu).unwrap();
        let floats = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        let integers = |name: &str| -> Vec<i64> {
            tensors[name]
                .to_dtype(DType::I64)
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        Self {
            tokens: integers("input_ids").iter().map(|id| *id as u32).collect(),
            learned: integers("learned").iter().map(|on| *on != 0).collect(),
            losses: floats(&tensors["losses"]),
            logits: floats(&tensors["logits"]),
        }
    }
}

/// All logits of a text, fed in calls of `size` tokens.
fn logits(tokens: &[u32], size: usize, precision: Precision) -> Vec<f32> {
    let checkpoint = Checkpoint::open(&path()).unwrap();
    let architecture = select(ARCHITECTURES, checkpoint.config()).unwrap();
    let (model, plan) = load_model(architecture, &checkpoint, precision).unwrap();
    let mut cache = KvCache::new(
        &plan.kv,
        KvCacheOptions {
            max_tokens: CONTEXT,
        },
    )
    .unwrap();
    let sequence = cache.open(CONTEXT).unwrap();
    let calls = tokens.chunks(size).flat_map(|tokens| {
        let run = Run {
            sequence,
            tokens,
            logits: Want::All,
        };
        let mut step = Step::new(&mut cache, &[run]).unwrap();
        model.forward(&mut step).unwrap().to_vec().unwrap()
    });
    calls.collect()
}

/// −log p of each token given those before it.
fn losses(logits: &[f32], tokens: &[u32]) -> Vec<f32> {
    let each = logits.chunks_exact(VOCAB).zip(&tokens[1..]);
    each.map(|(row, next)| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - largest).exp()).sum();
        (sum.ln() - f64::from(row[*next as usize] - largest)) as f32
    })
    .collect()
}

#[test]
fn its_weights_are_stored_as_gpt_oss_is() {
    let checkpoint = Checkpoint::open(&path()).unwrap();
    let architecture = select(ARCHITECTURES, checkpoint.config()).unwrap();
    assert_eq!(architecture.name, "gpt_oss");
    let dtype = |name: &str| checkpoint.tensor(name).unwrap().dtype.clone();
    for part in ["gate", "up", "down"] {
        let name = format!("blk.7.ffn_{part}_exps.weight");
        assert_eq!(
            dtype(&name),
            StoredDtype::Weight(WeightDtype::Mxfp4),
            "{name}"
        );
    }
    assert_eq!(
        dtype("output.weight"),
        StoredDtype::Weight(WeightDtype::Q8_0)
    );
    assert_eq!(
        dtype("blk.0.attn_sinks.weight"),
        StoredDtype::Weight(WeightDtype::F32)
    );
    assert!(
        checkpoint.total_bytes() < 5_500_000,
        "{}",
        checkpoint.total_bytes()
    );
}

#[test]
fn its_numbers_are_those_of_transformers() {
    let expected = Expected::read();
    assert_eq!(expected.tokens.len(), CONTEXT);
    for size in [CONTEXT, 100] {
        let logits = logits(&expected.tokens, size, Precision::Exact);
        let last = &logits[logits.len() - expected.logits.len()..];
        let error = relative_error(last, &expected.logits);
        assert!(error < LONG_TOLERANCE, "calls of {size}: {error:.1e}");
        let ours = losses(&logits, &expected.tokens);
        let off = ours
            .iter()
            .zip(&expected.losses)
            .map(|(a, b)| (a - b).abs());
        let worst = off.fold(0.0, f32::max);
        assert!(
            worst < 2e-3,
            "calls of {size}: a loss is {worst:.1e} nats off"
        );
    }
}

#[test]
fn it_predicts_english_that_it_has_not_seen() {
    let expected = Expected::read();
    let logits = logits(&expected.tokens, 512, Precision::Fast);
    let ours = losses(&logits, &expected.tokens);
    // A token's loss belongs to the position before it.
    let learned = ours.iter().zip(&expected.learned).filter(|(_, on)| **on);
    let learned: Vec<f64> = learned.map(|(loss, _)| f64::from(*loss)).collect();
    let mean = learned.iter().sum::<f64>() / learned.len() as f64;
    assert!(
        learned.len() > 200 && mean < LARGEST_LOSS,
        "{mean:.3} nats a token"
    );
}

/// What it writes to a request, as it writes it: markers included, greedily.
fn answer(effort: &str, instructions: Option<&str>, request: &str) -> (Completion, String) {
    let options = EngineOptions {
        context: Some(CONTEXT),
        precision: Precision::Fast,
        device: DeviceChoice::Cpu,
        ..EngineOptions::default()
    };
    let mut engine = Engine::open(&path(), &options).unwrap();
    let developer = instructions.map_or(String::new(), |text| {
        format!("<|start|>developer<|message|># Instructions\n\n{text}<|end|>")
    });
    let prompt = format!(
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n\
         Current date: 2026-11-24\n\nReasoning: {effort}\n\n# Valid channels: analysis, commentary, final. Channel must be \
         included for every message.<|end|>{developer}<|start|>user<|message|>{request}<|end|><|start|>assistant"
    );
    let prompt = engine.tokenizer().encode_markup(&prompt).unwrap();
    let params = SamplingParams {
        max_tokens: Some(400),
        ..SamplingParams::greedy()
    };
    let mut go_on = |_: Event| ControlFlow::Continue(());
    let completion = engine.generate(&prompt, &params, &mut go_on).unwrap();
    let text = engine.tokenizer().decode(&completion.tokens, false);
    (completion, text)
}

#[test]
fn it_thinks_answers_in_english_and_ends() {
    let (completion, text) = answer("medium", None, "Tell me a story about a brave fox.");
    assert_eq!(completion.finish_reason, FinishReason::Stop, "{text}");
    let rest = text.strip_prefix("<|channel|>analysis<|message|>");
    let (analysis, rest) = rest
        .and_then(|rest| rest.split_once("<|end|>"))
        .expect(&text);
    assert!(analysis.contains("story about a brave fox"), "{analysis}");
    let story = rest
        .strip_prefix("<|start|>assistant<|channel|>final<|message|>")
        .expect(&text);
    let words: Vec<&str> = story.split_whitespace().collect();
    assert!(story.contains("fox") && words.len() > 30, "{story}");
    assert!(
        story.ends_with(['.', '!', '"']) && !story.contains("<|"),
        "{story}"
    );
    let mut distinct = words.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(
        10 * distinct.len() > 4 * words.len(),
        "it repeats itself: {story}"
    );
}

#[test]
fn low_effort_answers_at_once() {
    let (completion, text) = answer("low", None, "What is a garden?");
    assert_eq!(completion.finish_reason, FinishReason::Stop, "{text}");
    let answer = text
        .strip_prefix("<|channel|>final<|message|>")
        .expect(&text);
    assert!(answer.to_lowercase().contains("garden"), "{answer}");
}

#[test]
fn the_developer_is_heard() {
    let instruction = r#"Begin every answer with "Of course!""#;
    let (_, text) = answer("medium", Some(instruction), "What is a garden?");
    assert!(text.contains("final<|message|>Of course! "), "{text}");
    let (_, text) = answer("medium", None, "What is a garden?");
    assert!(!text.contains("Of course!"), "{text}");
}
