//! The installed models: whole or not, and what memory they need.

use std::path::Path;

use inferno_runtime::device::ComputeDtype;
use inferno_runtime::engine::{DEFAULT_CONTEXT, MemoryNeed, MemoryOf};
use inferno_runtime::hub::{self, Cancel, Installed, Verification};
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::nn::select;
use inferno_runtime::weights::{Checkpoint, Source};

use super::system;
use crate::commands::doctor::facts::{Fit, GpuFit, Model, ModelState, Models};
use crate::printer::Printer;

/// Context lengths that people ask about, beside the model's own.
const ASKED: [usize; 2] = [4096, 32768];

/// Looks at every repository; reads headers and links. `gpu` is the number of the GPU to measure them by, and its free bytes.
pub(super) fn look(gpu: Option<(usize, u64)>) -> Models {
    let memory = system::memory().map_or(u64::MAX, |memory| memory.available);
    let repositories = hub::repositories();
    let state = |installed: &Installed| Model {
        name: installed.name.clone(),
        state: if installed.is_complete() {
            state(&installed.path, memory, gpu)
        } else {
            ModelState::Incomplete
        },
    };
    Models {
        models: repositories
            .iter()
            .flat_map(|repository| &repository.models)
            .map(state)
            .collect(),
        repositories: repositories.iter().map(hub::check_links).collect(),
        deep: false,
    }
}

/// Reads every byte of every repository and compares hashes.
pub(super) fn verify(printer: &Printer) -> anyhow::Result<Vec<Verification>> {
    let cancel = Cancel::default();
    let mut all = Vec::new();
    for repository in hub::repositories() {
        printer.aside(&format!("reading {}", repository.name));
        all.push(hub::verify(&repository, &|_, _| {}, &cancel)?);
    }
    Ok(all)
}

/// Reads headers only: sizes, links and every tensor's place are checked, the numbers are not.
fn state(path: &Path, memory: u64, gpu: Option<(usize, u64)>) -> ModelState {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return damaged([error]),
    };
    let config = checkpoint.config();
    let unknown = |error: inferno_runtime::Error| ModelState::Unknown {
        reason: first_line(&error),
    };
    let architecture = match select(ARCHITECTURES, config) {
        Ok(architecture) => architecture,
        Err(error) => return unknown(error),
    };
    let plan = match architecture.plan(config, Source::Checkpoint(&checkpoint)) {
        Ok(plan) => plan,
        Err(error) => return unknown(error),
    };
    if !plan.problems.is_empty() {
        return damaged(&plan.problems);
    }
    let full = match architecture.max_positions(config) {
        Ok(positions) => positions.unwrap_or(DEFAULT_CONTEXT),
        Err(error) => return unknown(error),
    };
    let needs = |of: MemoryOf| {
        let asked = ASKED.into_iter().filter(|length| *length < full);
        asked
            .chain([full])
            .map(|length| MemoryNeed::of(&plan, length, of))
            .collect()
    };
    let dtype = ComputeDtype::default();
    let on_gpu = MemoryOf::Gpu(dtype);
    ModelState::Sound(Fit {
        architecture: architecture.name,
        needs: needs(MemoryOf::Cpu),
        longest: MemoryNeed::longest_context(&plan, memory, full, MemoryOf::Cpu),
        gpu: gpu.map(|(index, free)| GpuFit {
            device: format!("cuda:{index}"),
            dtype: dtype.name(),
            free,
            needs: needs(on_gpu),
            longest: MemoryNeed::longest_context(&plan, free, full, on_gpu),
        }),
    })
}

fn damaged<T: ToString>(problems: impl IntoIterator<Item = T>) -> ModelState {
    const SHOWN: usize = 5;
    let all: Vec<String> = problems
        .into_iter()
        .map(|problem| first_line(&problem))
        .collect();
    let mut problems: Vec<String> = all.iter().take(SHOWN).cloned().collect();
    if all.len() > SHOWN {
        problems.push(format!("and {} more", all.len() - SHOWN));
    }
    ModelState::Damaged { problems }
}

fn first_line(text: &impl ToString) -> String {
    text.to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_string()
}
