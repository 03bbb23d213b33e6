//! Prefill and decode of every generated model on the CPU: random weights of a small true shape (`configs/<name>.json`).
#![allow(clippy::unwrap_used)]

use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inferno_runtime::config::ConfigFile;
use inferno_runtime::cpu::Precision;
use inferno_runtime::kv_cache::{KvCache, KvCacheOptions};
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::nn::{Architecture, Model, Run, Step, Want};

const PROMPT: usize = 128;
const CONTEXT: usize = 512;

/// One forward pass over `tokens` in a sequence that already holds `held` tokens.
fn pass(
    criterion: &mut Criterion,
    name: &str,
    model: &dyn Model,
    cache: &mut KvCache,
    held: usize,
    tokens: usize,
) {
    let ids: Vec<u32> = (0..held.max(tokens) as u32)
        .map(|i| i * 37 % 1000)
        .collect();
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(tokens as u64))
        .sample_size(10);
    group.bench_function(
        BenchmarkId::new(if held > 0 { "decode" } else { "prefill" }, tokens),
        |bencher| {
            bencher.iter_custom(|rounds| {
                let mut time = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    let fresh = cache.open(CONTEXT).unwrap();
                    let mut step = |ids: &[u32]| {
                        let run = Run {
                            sequence: fresh,
                            tokens: ids,
                            logits: Want::Last,
                        };
                        model
                            .forward(&mut Step::new(cache, &[run]).unwrap())
                            .unwrap()
                    };
                    if held > 0 {
                        step(&ids[..held]);
                    }
                    let begin = std::time::Instant::now();
                    step(&ids[..tokens]);
                    time += begin.elapsed();
                    cache.close(fresh);
                }
                time
            });
        },
    );
    group.finish();
}

fn forward(criterion: &mut Criterion) {
    for architecture in ARCHITECTURES {
        let Some((model, mut cache)) = model(architecture) else {
            continue;
        };
        pass(criterion, architecture.name, &*model, &mut cache, 0, PROMPT);
        pass(criterion, architecture.name, &*model, &mut cache, 16, 1);
    }
}

/// The model of `configs/<name>.json`; an architecture without one is left out.
fn model(architecture: &Architecture) -> Option<(Box<dyn Model>, KvCache)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("configs")
        .join(format!("{}.json", architecture.name));
    let config =
        ConfigFile::from_json(architecture.name, &std::fs::read_to_string(path).ok()?).unwrap();
    let (model, plan) = architecture.random(&config, 1, Precision::Fast).unwrap();
    Some((
        model,
        KvCache::new(
            &plan.kv,
            KvCacheOptions {
                max_tokens: 2 * CONTEXT,
            },
        )
        .unwrap(),
    ))
}

criterion_group!(benches, forward);
criterion_main!(benches);
