//! `inferno list`: the models on this machine, and the architectures this program knows.

use std::process::ExitCode;

use inferno_runtime::hub;
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::nn::select;
use inferno_runtime::weights::Checkpoint;
use serde::Serialize;

use crate::args::ListArgs;
use crate::model::{self, EMBEDDED_MODELS};
use crate::printer::{Printer, bytes};

#[derive(Serialize)]
struct Listing {
    models: Vec<Model>,
    architectures: Vec<Architecture>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    bytes: u64,
    /// The architecture, or why there is none.
    architecture: Result<&'static str, String>,
}

#[derive(Serialize)]
struct Architecture {
    name: &'static str,
    hf: &'static [&'static str],
    gguf: &'static [&'static str],
}

pub(crate) fn run(args: &ListArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let embedded = EMBEDDED_MODELS.iter().map(|model| model.name);
    let mut models: Vec<Model> = embedded
        .map(|name| describe(name.into(), None, model::checkpoint(name)))
        .collect();
    for installed in hub::installed() {
        let checkpoint = Checkpoint::open(&installed.path).map_err(anyhow::Error::from);
        models.push(describe(
            installed.name,
            Some(installed.path.display().to_string()),
            checkpoint,
        ));
    }
    let known = |one: &inferno_runtime::nn::Architecture| Architecture {
        name: one.name,
        hf: one.hf,
        gguf: one.gguf,
    };
    let listing = Listing {
        models,
        architectures: ARCHITECTURES.iter().map(known).collect(),
    };
    if args.json {
        printer.json(&listing)?;
    } else {
        printer.data(&table(&listing))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(name: String, path: Option<String>, checkpoint: anyhow::Result<Checkpoint>) -> Model {
    match checkpoint {
        Ok(checkpoint) => Model {
            name,
            path,
            bytes: checkpoint.total_bytes(),
            architecture: select(ARCHITECTURES, checkpoint.config())
                .map(|architecture| architecture.name)
                .map_err(|error| error.to_string()),
        },
        Err(error) => Model {
            name,
            path,
            bytes: 0,
            architecture: Err(error.to_string()),
        },
    }
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
        let what = match &model.architecture {
            Ok(architecture) => format!("{:>9}  {architecture}", bytes(model.bytes)),
            Err(reason) => format!(
                "does not load: {}",
                reason.lines().next().unwrap_or_default()
            ),
        };
        text.push_str(&format!("  {:<width$}  {what}\n", model.name));
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
