//! The one-feature specs of `macros/core`: each runs on random weights, in both formats, and a prompt gives the same logits
//! in one call, in pieces and beside another sequence.

use std::collections::BTreeMap;

use inferno_runtime::config::ConfigFile;
use inferno_runtime::cpu::Precision;
use inferno_runtime::kv_cache::{KvCache, KvCacheOptions};
use inferno_runtime::nn::{Architecture, Format, Model, Run, Step, Want};
use inferno_runtime::weights::{MetadataValue, Plan};

/// The specs, expanded.
mod specs {
    #![deny(warnings)]
    #![allow(unreachable_pub)]
    inferno_macros::models!("../macros/core/tests/specs");
}

const PROMPT: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// Numbers that every spec can be run with: key in config.json, key in GGUF.
const SETTINGS: [(&str, &str, i32); 12] = [
    ("vocab_size", "vocab_size", 11),
    ("hidden_size", "embedding_length", 32),
    ("num_hidden_layers", "block_count", 3),
    ("num_attention_heads", "attention.head_count", 4),
    ("num_key_value_heads", "attention.head_count_kv", 2),
    ("intermediate_size", "feed_forward_length", 48),
    ("max_position_embeddings", "context_length", 64),
    ("sliding_window", "attention.sliding_window", 3),
    ("num_experts", "expert_count", 4),
    ("num_experts_per_tok", "expert_used_count", 2),
    ("moe_intermediate_size", "expert_feed_forward_length", 24),
    ("head_dim", "attention.key_length", 8),
];

fn config(architecture: &Architecture, format: Format) -> ConfigFile {
    match format {
        Format::Hf => {
            let settings = SETTINGS.map(|(key, _, value)| format!("\"{key}\": {value}"));
            let text = format!(
                "{{\"architectures\": [\"{}\"], {}}}",
                architecture.hf[0],
                settings.join(", ")
            );
            ConfigFile::from_json("config.json", &text).expect("a sound input")
        }
        Format::Gguf => {
            let name = architecture.gguf[0];
            let settings = SETTINGS.map(|(_, key, value)| {
                (
                    format!("{name}.{key}"),
                    MetadataValue::Integer(value.into()),
                )
            });
            let mut metadata = BTreeMap::from(settings);
            metadata.insert(
                "general.architecture".into(),
                MetadataValue::String(name.into()),
            );
            ConfigFile::from_metadata("model.gguf", metadata).expect("a sound input")
        }
    }
}

/// The logits of the prompt, fed in pieces of `size` tokens; with `two`, beside a sequence of other tokens.
fn logits(model: &dyn Model, plan: &Plan, size: usize, two: bool) -> Vec<f32> {
    let mut cache =
        KvCache::new(&plan.kv, KvCacheOptions { max_tokens: 1024 }).expect("a sound input");
    let sequence = cache.open(PROMPT.len()).expect("a sound input");
    let other = cache.open(PROMPT.len()).expect("a sound input");
    let mut all = Vec::new();
    for tokens in PROMPT.chunks(size) {
        let mut runs = vec![Run {
            sequence,
            tokens,
            logits: Want::All,
        }];
        if two {
            runs.push(Run {
                sequence: other,
                tokens: &[7, 8],
                logits: Want::None,
            });
        }
        let mut step = Step::new(&mut cache, &runs).expect("a sound input");
        all.extend(
            model
                .forward(&mut step)
                .expect("a sound input")
                .to_vec()
                .expect("a sound input"),
        );
    }
    all
}

fn assert_close(name: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{name}");
    let largest = a
        .iter()
        .fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
    let furthest = a
        .iter()
        .zip(b)
        .fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(
        furthest <= 1e-4 * largest,
        "{name}: {furthest} of {largest}"
    );
}

#[cfg(feature = "cuda")]
#[test]
fn every_feature_is_the_same_on_a_gpu() {
    use inferno_runtime::device::{Backend, ComputeDtype};
    let gpu = match inferno_runtime::cuda::Gpu::open(0, ComputeDtype::F32) {
        Ok(gpu) => Backend::Cuda(gpu),
        Err(error) => return inferno_tests::skipped(&format!("needs a GPU: {error}")),
    };
    let mut wrong = Vec::new();
    for architecture in specs::ARCHITECTURES {
        for format in [Format::Hf, Format::Gguf] {
            let config = config(architecture, format);
            let made = |backend: Backend| {
                let (model, plan) = architecture
                    .random(&config, 1, backend)
                    .map_err(|error| error.to_string())?;
                Ok::<_, String>(logits(&*model, &plan, PROMPT.len(), false))
            };
            let (cpu, gpu) = (made(Precision::Exact.into()), made(gpu.clone()));
            let close = |a: &[f32], b: &[f32]| {
                let largest = a
                    .iter()
                    .fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|(a, b)| (a - b).abs() <= 1e-4 * largest)
            };
            if !matches!((&cpu, &gpu), (Ok(cpu), Ok(gpu)) if close(cpu, gpu)) {
                wrong.push(format!(
                    "{} in {format:?}: {cpu:?} {gpu:?}",
                    architecture.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_feature_runs() {
    let mut wrong = Vec::new();
    for architecture in specs::ARCHITECTURES {
        for format in [Format::Hf, Format::Gguf] {
            let name = format!("{} in {format:?}", architecture.name);
            let config = config(architecture, format);
            let (model, plan) = match architecture.random(&config, 1, Precision::Exact) {
                Ok(made) => made,
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let whole = logits(&*model, &plan, PROMPT.len(), false);
            assert_eq!(whole.len(), PROMPT.len() * 11, "{name}");
            assert!(whole.iter().all(|value| value.is_finite()), "{name}");
            assert!(
                whole.iter().any(|value| value.abs() > 1e-6),
                "{name}: all is zero"
            );
            assert_close(&name, &whole, &logits(&*model, &plan, 1, false));
            assert_close(&name, &whole, &logits(&*model, &plan, 4, true));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
