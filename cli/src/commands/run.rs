//! `inferno run`: one prompt, one answer.

use std::process::ExitCode;

use anyhow::bail;
use clap::CommandFactory;
use clap::error::ErrorKind;
use inferno_runtime::cpu::Precision;

use super::play::Session;
use crate::args::{AnswerArgs, Cli, ModelArgs, RunArgs};
use crate::model::{self, EMBEDDED};
use crate::printer::Printer;
use crate::text;

pub(crate) fn run(args: &RunArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    match text::assemble(args.prompt.as_deref(), &args.file, printer)? {
        Some(text) => answer(text, &args.model, &args.answer, printer),
        None => nothing_to_answer().exit(),
    }
}

/// A mistake of usage, told in the words and with the exit code of all others.
fn nothing_to_answer() -> clap::Error {
    const MESSAGE: &str = "there is nothing to answer\nhint: inferno run 'Tell me a story.', or inferno play for a conversation";
    let mut cli = Cli::command();
    cli.build();
    let run = cli.find_subcommand_mut("run").map(std::mem::take);
    run.unwrap_or(cli)
        .error(ErrorKind::MissingRequiredArgument, MESSAGE)
}

/// One answer to one text. The text was read before the model is, so that a bad one fails fast.
pub(crate) fn answer(
    text: String,
    model: &ModelArgs,
    args: &AnswerArgs,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if args.tools.is_some() && !args.json {
        bail!(
            "--tools needs --json here: a call of a tool is no text\nhint: add --json, or hold a conversation: inferno play"
        );
    }
    let name = model.model.clone().unwrap_or_else(|| EMBEDDED.to_string());
    let engine = model::load(&name, model, Precision::Fast, printer)?;
    Session::new(name, engine, args, *printer)?.answer_once(text)
}
