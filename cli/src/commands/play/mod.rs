//! `inferno play`: a conversation in the terminal, or one answer through a pipe.

mod input;
mod obey;
mod reply;
mod session;
mod show;
mod slash;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::bail;
use inferno_runtime::cpu::Precision;
use inferno_runtime::hub;

pub(super) use self::session::Session;

use self::input::{Editor, Input};
use super::run;
use crate::args::PlayArgs;
use crate::model::{self, EMBEDDED, EMBEDDED_MODELS};
use crate::printer::Printer;
use crate::text;

pub(crate) fn run(args: &PlayArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    if !io::stdin().is_terminal() {
        return run::answer(
            text::required_stdin(printer)?,
            &args.model,
            &args.answer,
            printer,
        );
    }
    let name = match &args.model.model {
        Some(name) => name.clone(),
        None => pick(printer)?,
    };
    let engine = model::load(&name, &args.model, Precision::Fast, printer)?;
    let mut session = Session::new(name, engine, &args.answer, *printer)?;
    session.catch_interrupts()?;
    converse(&mut session, printer)
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
