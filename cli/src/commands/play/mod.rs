//! `inferno play`: a conversation in the terminal, or one answer through a pipe.

mod input;
mod session;
mod slash;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use inferno_runtime::cpu::Precision;
use inferno_runtime::hub;

use self::input::{Editor, Input};
use self::session::Session;
use crate::args::PlayArgs;
use crate::model::{self, EMBEDDED, EMBEDDED_MODELS};
use crate::printer::Printer;

/// A message from a pipe: far more than any context holds, far less than memory.
const MAX_PIPED_BYTES: u64 = 64 << 20;

pub(crate) fn run(args: &PlayArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let interactive = io::stdin().is_terminal();
    let name = match &args.model.model {
        Some(name) => name.clone(),
        None if interactive => pick(printer)?,
        None => EMBEDDED.to_string(),
    };
    // A person may wait for the first key stroke; a pipe's text is read before the model is, so that a bad one fails fast.
    let piped = if interactive {
        None
    } else {
        Some(read_pipe()?)
    };
    let engine = model::load(&name, &args.model, Precision::Fast, printer)?;
    if let Some(embedded) = model::embedded(&name) {
        printer.aside(embedded.about);
    }
    let mut session = Session::new(name, engine, args, *printer)?;
    match piped {
        Some(text) => session.answer_once(text),
        None => converse(&mut session, printer),
    }
}

fn read_pipe() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_PIPED_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("cannot read standard input")?;
    if bytes.len() as u64 > MAX_PIPED_BYTES {
        bail!(
            "standard input is longer than {} MiB; no model reads that much",
            MAX_PIPED_BYTES >> 20
        );
    }
    let text = String::from_utf8(bytes).context("standard input is not UTF-8 text")?;
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |text| {
            text.strip_suffix('\r').unwrap_or(text)
        })
        .to_string();
    if text.is_empty() {
        bail!("standard input is empty\nhint: echo 'Tell me a story.' | inferno play");
    }
    Ok(text)
}

/// Lets a person choose among the models here; with nothing but the embedded ones, the first of these it is.
fn pick(printer: &Printer) -> anyhow::Result<String> {
    let installed = hub::installed();
    if installed.is_empty() {
        return Ok(EMBEDDED.to_string());
    }
    let inside = EMBEDDED_MODELS.iter().map(|model| {
        (
            format!("{} (inside this program)", model.name),
            model.name.to_string(),
        )
    });
    let outside = installed
        .iter()
        .map(|model| (model.name.clone(), model.path.display().to_string()));
    let choices: Vec<(String, String)> = inside.chain(outside).collect();
    printer.talk("Which model?");
    for (index, (shown, _)) in choices.iter().enumerate() {
        printer.talk(&format!("  {index}  {shown}"));
    }
    loop {
        io::stderr().write_all(b"number [0]: ")?;
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            bail!("no model was chosen");
        }
        let number = match line.trim() {
            "" => Some(0),
            text => text.parse::<usize>().ok(),
        };
        match number.and_then(|number| choices.get(number)) {
            Some((_, name)) => return Ok(name.clone()),
            None => printer.talk(&format!(
                "please type a number from 0 to {}",
                choices.len() - 1
            )),
        }
    }
}

/// Reads, answers, and obeys `/commands` until the person leaves.
fn converse(session: &mut Session, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut editor = Editor::new()?;
    printer.talk("Type a message, or /help.");
    loop {
        match editor.read()? {
            Input::End => return Ok(ExitCode::SUCCESS),
            Input::Interrupted => printer.aside("(Ctrl-D or /exit leaves)"),
            Input::Text(text) if text.trim().is_empty() => {}
            Input::Text(text) if text.starts_with('/') => {
                if session.obey(&text)?.is_break() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Input::Text(text) => session.say(text)?,
        }
    }
}
