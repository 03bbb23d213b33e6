//! `inferno bench`: how fast a model is here, as a table or JSON.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use inferno_runtime::config::ConfigFile;
use inferno_runtime::cpu::{self, Precision};
use inferno_runtime::device::Backend;
use inferno_runtime::engine::{EngineOptions, MemoryNeed, device};
use inferno_runtime::kv_cache::{KvCache, KvCacheOptions, SequenceId};
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::nn::{Model, load_model, next_token, select};
use inferno_runtime::weights::{Plan, Random, Source};
use serde::Serialize;

use crate::args::BenchArgs;
use crate::gpu_memory::{Seen, Watch, Whose};
use crate::model;
use crate::printer::{Printer, bytes, count};

#[derive(Serialize)]
struct Results {
    architecture: &'static str,
    parameters: u64,
    weight_bytes: u64,
    /// `CPU`, or the GPU's name and the type.
    device: String,
    threads: usize,
    /// Estimate of what weights, cache and workspace take.
    estimated_bytes: u64,
    load_seconds: f64,
    prompt_tokens: usize,
    /// From a cold cache to the first token.
    first_token_seconds: f64,
    prefill_tokens_per_second: f64,
    answer_tokens: usize,
    decode_tokens_per_second: f64,
    /// Milliseconds a token: median, 90th and 99th percentile.
    decode_ms: [f64; 3],
    /// Most memory the process has had; `None` where the system does not tell.
    peak_memory_bytes: Option<u64>,
    /// Most memory of the GPU that the program has allocated; `None` on the CPU.
    peak_gpu_memory_bytes: Option<u64>,
    /// Most memory of the GPU in use as its driver counts it, after loading and after each round; `None` where it does not.
    driver_gpu_memory: Option<Seen>,
    /// Bytes of weights that a decoded token reads: of experts those chosen, of an embedding a row.
    token_weight_bytes: u64,
    /// Bytes of keys and values that a decoded token reads, of the one in the middle of the answer.
    token_cache_bytes: u64,
    /// What decoding reads a second.
    read_gb_per_second: f64,
    /// What memory gives: measured on the GPU, or as the command line says; `None` on the CPU when it does not.
    bandwidth: Option<Bandwidth>,
}

/// What memory gives at most.
#[derive(Clone, Copy, Serialize)]
struct Bandwidth {
    gb_per_second: f64,
    /// By a kernel that reads and does nothing else; else it is what the command line says.
    measured: bool,
    /// The time that reading takes at this bandwidth, of the time that decoding took.
    share_of_floor: f64,
}

pub(crate) fn run(args: &BenchArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let (prompt, answer) = (args.prompt as usize, args.decode as usize);
    let (model, plan, backend) = open(args, prompt + answer)?;
    let mut cache = KvCache::new(
        &plan.kv,
        KvCacheOptions {
            max_tokens: prompt + answer,
        },
    )?;
    cache.place(&backend)?;
    backend.synchronize()?;
    let load = begin.elapsed();
    let mut watch = backend.bus_id()?.and_then(Watch::of);
    let mut seen = watch.as_mut().and_then(Watch::look);
    let mut best: Option<(Duration, Vec<Duration>)> = None;
    for round in 1..=args.rounds {
        let sequence = cache.open(prompt + answer)?;
        let measured = once(
            &*model,
            &mut cache,
            sequence,
            (prompt, backend.prefill_chunk()),
            answer,
        )?;
        cache.close(sequence);
        seen = watch.as_mut().and_then(Watch::look);
        printer.aside(&format!(
            "round {round}/{}: first token after {:.3} s, decode {:.1} tokens/s",
            args.rounds,
            measured.0.as_secs_f64(),
            rate(&measured.1)
        ));
        if best
            .as_ref()
            .is_none_or(|best| total(&measured.1) < total(&best.1))
        {
            best = Some(measured);
        }
    }
    let Some((first, steps)) = best else {
        bail!("no round was run")
    };
    let mut results = results(&plan, &backend, load, prompt, first, steps);
    results.driver_gpu_memory = seen;
    // Last, for it needs memory of its own.
    let given = args.bandwidth.map(|gb| (gb, false));
    let measured = || backend.bandwidth().map(|bytes| Some((bytes? / 1e9, true)));
    results.bandwidth = match given {
        Some(given) => Some(given),
        None => measured()?,
    }
    .map(|(gb_per_second, measured)| Bandwidth {
        gb_per_second,
        measured,
        share_of_floor: results.read_gb_per_second / gb_per_second,
    });
    if args.json {
        printer.json(&results)?;
    } else {
        printer.data(&table(&results))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(args: &BenchArgs, tokens: usize) -> anyhow::Result<(Box<dyn Model>, Plan, Backend)> {
    let precision = if args.exact {
        Precision::Exact
    } else {
        Precision::Fast
    };
    let options = EngineOptions {
        context: None,
        precision,
        device: args.device.device,
        dtype: args.device.dtype,
        memory_limit: args.device.memory_limit,
    };
    if let Some(path) = &args.random {
        let weights = Random {
            seed: args.seed,
            quant: args.quant,
        };
        return random(path, weights, &options, tokens);
    }
    let checkpoint = model::checkpoint(args.model.as_deref().unwrap_or(model::EMBEDDED))?;
    let architecture = select(ARCHITECTURES, checkpoint.config())?;
    let plan = architecture.plan(checkpoint.config(), Source::Checkpoint(&checkpoint))?;
    let backend = device::choose(&plan, tokens, &options)?;
    let (model, plan) = load_model(architecture, &checkpoint, backend.clone())?;
    Ok((model, plan, backend))
}

/// Random weights of the true shape that a config.json asks for: speed without a download.
fn random(
    path: &Path,
    weights: Random,
    options: &EngineOptions,
    tokens: usize,
) -> anyhow::Result<(Box<dyn Model>, Plan, Backend)> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = ConfigFile::from_json(path.display().to_string(), &text)?;
    let architecture = select(ARCHITECTURES, &config)?;
    let plan = architecture.plan(&config, Source::Random(weights))?;
    let backend = device::choose(&plan, tokens, options)?;
    let (model, plan) = architecture.random(&config, weights, backend.clone())?;
    Ok((model, plan, backend))
}

/// Prefill in chunks, then token by token: the time to the first token, and that of each further one.
fn once(
    model: &dyn Model,
    cache: &mut KvCache,
    sequence: SequenceId,
    (prompt, chunk): (usize, usize),
    answer: usize,
) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let begin = Instant::now();
    // Small ids exist in every vocabulary.
    let ids: Vec<u32> = (0..prompt as u32).map(|i| i * 7 % 31).collect();
    let mut next = 0;
    for tokens in ids.chunks(chunk) {
        next = step(model, cache, sequence, tokens)?;
    }
    let first = begin.elapsed();
    let mut steps = Vec::with_capacity(answer);
    for _ in 1..answer {
        let begin = Instant::now();
        next = step(model, cache, sequence, &[next])?;
        steps.push(begin.elapsed());
    }
    Ok((first, steps))
}

/// One forward pass and the greedy choice.
fn step(
    model: &dyn Model,
    cache: &mut KvCache,
    sequence: SequenceId,
    tokens: &[u32],
) -> anyhow::Result<u32> {
    Ok(next_token(model, cache, sequence, tokens)?)
}

fn total(steps: &[Duration]) -> Duration {
    steps.iter().sum()
}

fn rate(steps: &[Duration]) -> f64 {
    steps.len() as f64 / total(steps).as_secs_f64().max(1e-9)
}

fn results(
    plan: &Plan,
    backend: &Backend,
    load: Duration,
    prompt: usize,
    first: Duration,
    mut steps: Vec<Duration>,
) -> Results {
    let decode = rate(&steps);
    steps.sort();
    let percentile = |share: f64| {
        let index = ((steps.len() as f64 - 1.0) * share).round().max(0.0) as usize;
        steps
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let answer = steps.len() + 1;
    let token_weight_bytes = plan.token_bytes();
    let token_cache_bytes = plan.token_kv_bytes(prompt + answer / 2, backend.cache_number_bytes());
    Results {
        architecture: plan.architecture,
        parameters: plan.parameters(),
        weight_bytes: plan.weight_bytes(),
        device: backend.to_string(),
        threads: cpu::threads(),
        estimated_bytes: MemoryNeed::of(plan, prompt + steps.len() + 1, backend.into()).total(),
        load_seconds: load.as_secs_f64(),
        prompt_tokens: prompt,
        first_token_seconds: first.as_secs_f64(),
        prefill_tokens_per_second: prompt as f64 / first.as_secs_f64().max(1e-9),
        answer_tokens: steps.len() + 1,
        decode_tokens_per_second: decode,
        decode_ms: [0.5, 0.9, 0.99].map(percentile),
        peak_memory_bytes: peak_memory(),
        peak_gpu_memory_bytes: backend.peak_memory(),
        driver_gpu_memory: None,
        token_weight_bytes,
        token_cache_bytes,
        read_gb_per_second: (token_weight_bytes + token_cache_bytes) as f64 * decode / 1e9,
        bandwidth: None,
    }
}

/// `VmHWM` of Linux: the most physical memory the process has had, mapped weights included.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn table(results: &Results) -> String {
    let [median, p90, p99] = results.decode_ms;
    format!(
        "architecture  {}\nparameters    {}\nweights       {}\ndevice        {}\nthreads       {}\nload          {:.2} s ({:.2} GB/s)\n\
         prefill       {:.1} tokens/s ({} tokens, first token after {:.3} s)\n\
         decode        {:.1} tokens/s ({} tokens; ms a token: median {median:.2}, p90 {p90:.2}, p99 {p99:.2})\n\
         reads         {} of weights and {} of cache a token: {:.1} GB/s while decoding\n{}peak memory   {}\n{}",
        results.architecture,
        count(results.parameters),
        bytes(results.weight_bytes),
        results.device,
        results.threads,
        results.load_seconds,
        results.weight_bytes as f64 / results.load_seconds.max(1e-9) / 1e9,
        results.prefill_tokens_per_second,
        results.prompt_tokens,
        results.first_token_seconds,
        results.decode_tokens_per_second,
        results.answer_tokens,
        bytes(results.token_weight_bytes),
        bytes(results.token_cache_bytes),
        results.read_gb_per_second,
        floor(results),
        results.peak_memory_bytes.map_or("unknown".into(), bytes),
        gpu_memory(results),
    )
}

fn floor(results: &Results) -> String {
    let Some(bandwidth) = results.bandwidth else {
        return String::new();
    };
    let source = if bandwidth.measured {
        "measured"
    } else {
        "given"
    };
    format!(
        "floor         {:.1} % of the tokens/s that {:.1} GB/s of memory ({source}) would allow\n",
        bandwidth.share_of_floor * 100.0,
        bandwidth.gb_per_second,
    )
}

fn gpu_memory(results: &Results) -> String {
    let Some(peak) = results.peak_gpu_memory_bytes else {
        return String::new();
    };
    let driver = results.driver_gpu_memory.map(|seen| {
        let whose = match seen.of {
            Whose::Process => "of this process",
            Whose::All => "of all programs",
        };
        format!("; {} {whose} as the driver counts", bytes(seen.bytes))
    });
    format!(
        "GPU memory    {} at most{}; estimate {}\n",
        bytes(peak),
        driver.unwrap_or_default(),
        bytes(results.estimated_bytes)
    )
}
