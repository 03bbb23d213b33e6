//! `inferno man`: manual pages.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Cli, ManArgs};
use crate::printer::Printer;

pub(crate) fn run(args: &ManArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        printer.data(&String::from_utf8(page)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
    printer.talk(&format!(
        "Manual pages are in {}; man -l {}/inferno.1 shows the first.",
        folder.display(),
        folder.display()
    ));
    Ok(ExitCode::SUCCESS)
}
