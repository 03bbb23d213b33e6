//! `inferno doctor`: what this machine is, what is wrong with it, and what to do.
//!
//! Facts are gathered first ([`gather`]), then judged by a pure function ([`judge`]), then printed.

mod facts;
mod finding;
mod gather;
mod judge;
mod page;

use std::process::ExitCode;

use serde::Serialize;

use self::facts::{Cuda, Facts};
use self::finding::{Finding, Level};
use crate::args::DoctorArgs;
use crate::printer::Printer;

#[derive(Serialize)]
struct Report<'a> {
    verdict: Level,
    findings: &'a [Finding],
    facts: &'a Facts,
}

pub(crate) fn run(args: &DoctorArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let facts = gather::facts(args.deep, printer)?;
    let findings = judge::judge(&facts);
    let verdict = findings
        .iter()
        .map(|finding| finding.level)
        .max()
        .unwrap_or(Level::Ok);
    if args.json {
        printer.json(&Report {
            verdict,
            findings: &findings,
            facts: &facts,
        })?;
    } else {
        printer.data(&page::page(&facts, &findings))?;
    }
    let code = match verdict {
        Level::Ok | Level::Note => 0,
        Level::Warning => 1,
        Level::Error => 2,
    };
    // A thread that is stuck in the driver may hold a lock that the driver's own cleaning up at exit waits for.
    if facts.cuda.as_ref().is_some_and(Cuda::is_stuck) {
        signal_hook::low_level::exit(code.into());
    }
    Ok(ExitCode::from(code))
}
