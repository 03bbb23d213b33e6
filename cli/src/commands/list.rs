//! `inferno list`: the models on this machine, and the architectures this program knows.

use std::process::ExitCode;

use inferno_runtime::engine::{DEFAULT_CONTEXT, Report};
use inferno_runtime::hub::{self, InstallState, Installed};
use inferno_runtime::machine::{self, Memory};
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::weights::Checkpoint;
use serde::Serialize;

use crate::args::ListArgs;
use crate::model::{self, EMBEDDED_MODELS};
use crate::printer::{Printer, bytes};

#[derive(Serialize)]
struct Listing {
    models: Vec<Model>,
    architectures: Vec<Architecture>,
    /// Bytes of memory of this machine.
    memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Bytes on the disk.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    loads: Option<Loads>,
    /// Why it does not load.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// A download did not end, or files were removed.
    incomplete: bool,
}

/// What a model is that loads.
#[derive(Serialize)]
struct Loads {
    architecture: &'static str,
    parameters: u64,
    /// The storage type that most bytes of the weights have.
    quantization: String,
    /// Weights, cache and workspace at `context`.
    memory_bytes: u64,
    context: usize,
    /// Whether this machine's memory holds them; `None`: it does not say how much it has.
    fits: Option<bool>,
}

#[derive(Serialize)]
struct Architecture {
    name: &'static str,
    hf: &'static [&'static str],
    gguf: &'static [&'static str],
}

pub(crate) fn run(args: &ListArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let memory = machine::memory();
    let mut models: Vec<Model> = EMBEDDED_MODELS
        .iter()
        .map(|model| embedded(model.name, memory))
        .collect();
    models.extend(hub::installed().iter().map(|one| installed(one, memory)));
    let known = |one: &inferno_runtime::nn::Architecture| Architecture {
        name: one.name,
        hf: one.hf,
        gguf: one.gguf,
    };
    let listing = Listing {
        models,
        architectures: ARCHITECTURES.iter().map(known).collect(),
        memory_bytes: memory.map(|memory| memory.total),
    };
    if args.json {
        printer.json(&listing)?;
    } else {
        printer.data(&table(&listing))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn embedded(name: &str, memory: Option<Memory>) -> Model {
    let checkpoint = model::checkpoint(name);
    let bytes = checkpoint.as_ref().map_or(0, Checkpoint::total_bytes);
    let loads = checkpoint.and_then(|checkpoint| loads(&checkpoint, memory));
    with(name.into(), None, bytes, loads)
}

fn installed(model: &Installed, memory: Option<Memory>) -> Model {
    let path = Some(model.path.display().to_string());
    match &model.state {
        InstallState::Complete => {
            let loads = Checkpoint::open(&model.path)
                .map_err(anyhow::Error::from)
                .and_then(|checkpoint| loads(&checkpoint, memory));
            with(model.name.clone(), path, model.bytes, loads)
        }
        InstallState::Incomplete {
            missing,
            partial_bytes,
        } => {
            let missing = match missing.len() {
                0 => String::new(),
                1 => format!(", {} is missing", missing[0]),
                many => format!(", {many} files are missing"),
            };
            let all = bytes(model.bytes + partial_bytes);
            Model {
                name: model.name.clone(),
                path,
                bytes: model.bytes + partial_bytes,
                loads: None,
                problem: Some(format!(
                    "incomplete ({all} here{missing}): `inferno download {}` goes on",
                    model.name
                )),
                incomplete: true,
            }
        }
    }
}

fn with(name: String, path: Option<String>, bytes: u64, loads: anyhow::Result<Loads>) -> Model {
    let (loads, problem) = match loads {
        Ok(loads) => (Some(loads), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Model {
        name,
        path,
        bytes,
        loads,
        problem,
        incomplete: false,
    }
}

/// From the headers alone, at the context that `inferno play` opens it with.
fn loads(checkpoint: &Checkpoint, memory: Option<Memory>) -> anyhow::Result<Loads> {
    let mut report = Report::of(checkpoint, None)?;
    if report.memory.context > DEFAULT_CONTEXT {
        report = Report::of(checkpoint, Some(DEFAULT_CONTEXT))?;
    }
    if let [first, ..] = &report.problems[..] {
        anyhow::bail!("{first}");
    }
    let memory_bytes = report.memory.total();
    Ok(Loads {
        architecture: report.architecture,
        parameters: report.parameters,
        quantization: quantization(&report),
        memory_bytes,
        context: report.memory.context,
        fits: memory.map(|memory| memory_bytes <= memory.total),
    })
}

fn quantization(report: &Report) -> String {
    let mut by_dtype: Vec<(&str, u64)> = Vec::new();
    for tensor in &report.tensors {
        let Some(dtype) = tensor.dtype.as_deref() else {
            continue;
        };
        match by_dtype.iter_mut().find(|(known, _)| *known == dtype) {
            Some((_, sum)) => *sum += tensor.bytes,
            None => by_dtype.push((dtype, tensor.bytes)),
        }
    }
    let most = by_dtype.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.map_or_else(String::new, |(dtype, _)| dtype.into())
}

fn table(listing: &Listing) -> String {
    let mut text = String::from("models\n");
    let width = listing
        .models
        .iter()
        .map(|model| model.name.len())
        .max()
        .unwrap_or(0);
    for model in &listing.models {
        let size = bytes(model.bytes);
        let what = match (&model.loads, &model.problem) {
            (Some(loads), _) => format!(
                "{:<10} {:<6} {}",
                loads.architecture,
                loads.quantization,
                fit(loads, listing.memory_bytes)
            ),
            (None, Some(problem)) => {
                let reason = problem.lines().next().unwrap_or_default();
                if model.incomplete {
                    reason.to_string()
                } else {
                    format!("does not load: {reason}")
                }
            }
            (None, None) => String::new(),
        };
        text.push_str(&format!("  {:<width$}  {size:>9}  {what}\n", model.name));
    }
    text.push_str("\narchitectures\n");
    for architecture in &listing.architectures {
        let names: Vec<&str> = architecture
            .hf
            .iter()
            .chain(architecture.gguf)
            .copied()
            .collect();
        text.push_str(&format!(
            "  {:<12} {}\n",
            architecture.name,
            names.join(", ")
        ));
    }
    text
}

/// `fits: 108.5 MB at 2048 tokens`
fn fit(loads: &Loads, memory: Option<u64>) -> String {
    let need = format!("{} at {} tokens", bytes(loads.memory_bytes), loads.context);
    match (loads.fits, memory) {
        (Some(true), _) => format!("fits: {need}"),
        (Some(false), Some(memory)) => {
            format!("does not fit: {need}, of {} memory", bytes(memory))
        }
        _ => format!("needs {need}"),
    }
}
