//! `inferno completions <shell>`: the script that completes commands and flags.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::printer::Printer;

pub(crate) fn run(args: &CompletionsArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "inferno", &mut script);
    printer.data(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
