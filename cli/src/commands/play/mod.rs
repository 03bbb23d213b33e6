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
use crate::model::{self, EMBEDDED};
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
