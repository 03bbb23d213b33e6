//! `inferno expand <architecture>`: the code a spec becomes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use inferno_macros_core::source::SpecSet;

use super::spec;
use crate::args::ExpandArgs;
use crate::printer::Printer;

pub(crate) fn run(args: &ExpandArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let (set, stem) = if args.architecture.ends_with(".toml") {
        spec::read(Path::new(&args.architecture))?
    } else {
        let specs = inferno_runtime::models::SPECS;
        if !specs
            .iter()
            .any(|(name, _)| *name == args.architecture && !name.starts_with('_'))
        {
            bail!(
                "no architecture `{}`\nhint: the known ones are {}",
                args.architecture,
                known().join(", ")
            );
        }
        (
            SpecSet::new(
                specs
                    .iter()
                    .map(|(name, text)| (name.to_string(), text.to_string())),
            ),
            args.architecture.clone(),
        )
    };
    let architecture = inferno_macros_core::check_one(&set, &stem).map_err(|diagnostics| {
        let all: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render_plain())
            .collect();
        anyhow!("{} does not expand:\n{}", args.architecture, all.join("\n"))
    })?;
    printer.data(&inferno_macros_core::pretty(
        inferno_macros_core::expand_one(&architecture),
    )?)?;
    Ok(ExitCode::SUCCESS)
}

fn known() -> Vec<&'static str> {
    inferno_runtime::models::ARCHITECTURES
        .iter()
        .map(|architecture| architecture.name)
        .collect()
}
