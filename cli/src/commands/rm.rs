//! `inferno rm <model>`: removes a model from the cache.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::bail;
use inferno_runtime::hub::{self, HubError, Removal};

use crate::args::RmArgs;
use crate::printer::{Printer, bytes};

pub(crate) fn run(args: &RmArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let cache = hub::cache_folder().ok_or(HubError::NoCache)?;
    let removal = Removal::plan(&args.model, &cache)?;
    if !args.yes && !agreed(&removal, printer)? {
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
fn agreed(removal: &Removal, printer: &Printer) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!(
            "removing {} frees {}, and there is nobody to ask\nhint: `--yes` does not ask",
            removal.name,
            bytes(removal.bytes)
        );
    }
    let question = format!("Remove {} ({})?", removal.name, bytes(removal.bytes));
    Ok(printer.ask(&question)?)
}
