//! `inferno spec check <file.toml>`: every mistake in a spec, with the macro's own messages.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use inferno_macros_core::source::SpecSet;

use crate::args::SpecCheckArgs;
use crate::printer::Printer;

pub(crate) fn check(args: &SpecCheckArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let (set, stem) = read(&args.file)?;
    match inferno_macros_core::check_one(&set, &stem) {
        Ok(architecture) => {
            printer.line(&format!(
                "{}: ok, {}",
                args.file.display(),
                describe(&architecture)
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(diagnostics) => {
            for diagnostic in &diagnostics {
                let text = if printer.colours() {
                    diagnostic.render_terminal()
                } else {
                    diagnostic.render_plain()
                };
                printer.talk(&text);
            }
            let plural = if diagnostics.len() == 1 { "" } else { "s" };
            bail!(
                "{} has {} mistake{plural}",
                args.file.display(),
                diagnostics.len()
            )
        }
    }
}

/// The specs inside this program, those beside `file`, and `file`; with its stem.
pub(crate) fn read(file: &Path) -> anyhow::Result<(SpecSet, String)> {
    let stem = match (
        file.file_stem().and_then(|stem| stem.to_str()),
        file.extension(),
    ) {
        (Some(stem), Some(extension)) if extension == "toml" => stem.to_string(),
        _ => bail!(
            "{} is no spec: a spec is a file <name>.toml",
            file.display()
        ),
    };
    let text = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut specs: Vec<(String, String)> = inferno_runtime::models::SPECS
        .iter()
        .map(|(name, text)| (name.to_string(), text.to_string()))
        .collect();
    let mut put = |name: String, text: String| {
        specs.retain(|(known, _)| *known != name);
        specs.push((name, text));
    };
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let beside = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        if let (true, Some(name)) = (beside, path.file_stem().and_then(|name| name.to_str())) {
            // A neighbour that cannot be read matters only if the spec extends it, and then its absence is reported.
            if let Ok(text) = text(&path) {
                put(name.to_string(), text);
            }
        }
    }
    put(stem.clone(), text(file)?);
    Ok((SpecSet::new(specs), stem))
}

fn describe(architecture: &inferno_macros_core::ir::Architecture) -> String {
    let names: Vec<&str> = architecture
        .hf_names
        .iter()
        .chain(&architecture.gguf_names)
        .map(String::as_str)
        .collect();
    format!(
        "serves {}",
        if names.is_empty() {
            "no checkpoint by name".to_string()
        } else {
            names.join(", ")
        }
    )
}
