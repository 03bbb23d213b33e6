//! `inferno play`: a conversation in the terminal, or one answer through a pipe.

mod input;
mod obey;
mod session;
mod show;
mod slash;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use inferno_runtime::cpu::Precision;
use inferno_runtime::hub;

use self::input::{Editor, Input};
use self::session::Session;
use crate::args::PlayArgs;
use crate::model::{self, EMBEDDED};
use crate::printer::Printer;

/// A message from a pipe: far more than any context holds, far less than memory.
const MAX_PIPED_BYTES: u64 = 64 << 20;

pub(crate) fn run(args: &PlayArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let interactive = io::stdin().is_terminal();
    if !interactive && args.tools.is_some() && !args.json {
        bail!(
            "--tools through a pipe needs --json: a call of a tool is no text\nhint: add --json, or type into the terminal"
        );
    }
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
    if name == EMBEDDED {
        printer.aside(ABOUT_EMBEDDED);
    }
    let mut session = Session::new(name, engine, args, *printer)?;
    match piped {
        Some(text) => session.answer_once(text),
        None => converse(&mut session, printer),
    }
}

/// What the model inside this program is, and how to get a real one.
const ABOUT_EMBEDDED: &str = "ember is a toy: a 4-million-parameter Llama inside this program, good for short stories and small talk, \
not for facts.\nFor a real model name one: inferno play --model <folder | file.gguf | owner/name of the Hugging Face cache>";

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

/// Lets a person choose among the installed models; without any, the embedded one it is.
fn pick(printer: &Printer) -> anyhow::Result<String> {
    let installed = hub::installed();
    if installed.is_empty() {
        return Ok(EMBEDDED.to_string());
    }
    printer.talk("Which model?");
    printer.talk(&format!("  0  {EMBEDDED} (inside this program)"));
    for (index, model) in installed.iter().enumerate() {
        printer.talk(&format!("  {}  {}", index + 1, model.name));
    }
    loop {
        io::stderr().write_all(b"number [0]: ")?;
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            bail!("no model was chosen");
        }
        match line.trim() {
            "" | "0" => return Ok(EMBEDDED.to_string()),
            text => match text
                .parse::<usize>()
                .ok()
                .and_then(|number| installed.get(number.wrapping_sub(1)))
            {
                Some(model) => return Ok(model.path.display().to_string()),
                None => printer.talk(&format!(
                    "please type a number from 0 to {}",
                    installed.len()
                )),
            },
        }
    }
}

/// Reads, answers, and obeys `/commands` until the person leaves.
fn converse(session: &mut Session, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut editor = Editor::new()?;
    printer.talk("Type a message, or /help.");
    loop {
        let prompt = match session.expects() {
            Some(tool) => format!("{tool} → "),
            None => "> ".to_string(),
        };
        match editor.read(&prompt)? {
            Input::End => return Ok(ExitCode::SUCCESS),
            Input::Interrupted if session.drop_call() => printer.aside("(the call is taken back)"),
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
