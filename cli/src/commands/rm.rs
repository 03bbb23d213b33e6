//! `inferno rm <model>`: removes a model from the cache.

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use inferno_runtime::hub::{self, HubError, Removal};

use crate::args::RmArgs;
use crate::printer::{Printer, bytes};

pub(crate) fn run(args: &RmArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let cache = hub::cache_folder().ok_or(HubError::NoCache)?;
    let removal = Removal::plan(&args.model, &cache)?;
    if !args.yes && !agreed(&removal)? {
        printer.talk("Nothing was removed.");
        return Ok(ExitCode::FAILURE);
    }
    let removed = removal.run()?;
    if args.json {
        printer.json(&removed)?;
    } else {
        let free = bytes(removed.bytes);
        printer.talk(&format!("{} is removed; {free} are free", removed.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks a person; a script must have said so before.
fn agreed(removal: &Removal) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!(
            "removing {} frees {}, and there is nobody to ask\nhint: `--yes` does not ask",
            removal.name,
            bytes(removal.bytes)
        );
    }
    let mut out = io::stderr().lock();
    write!(
        out,
        "Remove {} ({})? [y/N] ",
        removal.name,
        bytes(removal.bytes)
    )?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
