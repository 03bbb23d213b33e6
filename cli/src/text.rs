//! Text that somebody gives: arguments, files, standard input. It is judged before a model is loaded.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use inferno_runtime::prompt;

use crate::printer::Printer;

/// Text of one source: far more than any context holds, far less than memory.
const MAX_BYTES: u64 = 64 << 20;

/// Standard input that stays silent for so long is worth a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands between the parts of a prompt.
const SEPARATOR: &str = "\n\n";

/// A prompt from its parts: the argument, then the files, then standard input where a `-` does not put it first.
/// `None` when there are no parts at all.
pub(crate) fn assemble(
    argument: Option<&OsStr>,
    files: &[PathBuf],
    printer: &Printer,
) -> anyhow::Result<Option<String>> {
    let mut parts: Vec<String> = Vec::new();
    match argument {
        Some(argument) if argument == "-" => parts.push(required_stdin(printer)?),
        Some(argument) => parts.push(checked(argument.as_encoded_bytes(), "the prompt")?.into()),
        None => {}
    }
    for path in files {
        parts.push(file(path)?);
    }
    if argument.is_none_or(|argument| argument != "-") && stdin_is_data() {
        match stdin(printer)? {
            // Nothing but standard input could have been meant.
            text if parts.is_empty() => parts.push(non_empty(text)?),
            text if text.is_empty() => {}
            text => parts.push(text),
        }
    }
    if !parts.is_empty() && parts.iter().all(String::is_empty) {
        bail!("the prompt is empty\nhint: inferno run 'Tell me a story.'");
    }
    Ok((!parts.is_empty()).then(|| parts.join(SEPARATOR)))
}

/// All of standard input; empty is a mistake.
pub(crate) fn required_stdin(printer: &Printer) -> anyhow::Result<String> {
    non_empty(stdin(printer)?)
}

fn non_empty(text: String) -> anyhow::Result<String> {
    if text.is_empty() {
        bail!("standard input is empty\nhint: echo 'Tell me a story.' | inferno run -");
    }
    Ok(text)
}

/// Whether standard input is a pipe, a file or a socket that somebody gave: no terminal, not /dev/null, not closed.
#[cfg(unix)]
fn stdin_is_data() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let Ok(copy) = io::stdin().as_fd().try_clone_to_owned() else {
        return false;
    };
    File::from(copy).metadata().is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_fifo() || kind.is_file() || kind.is_socket()
    })
}

#[cfg(not(unix))]
fn stdin_is_data() -> bool {
    !io::stdin().is_terminal()
}

fn stdin(printer: &Printer) -> anyhow::Result<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes);
        // Nobody waits any more when the program is already over.
        let _ = send.send(result.map(|_| bytes));
    });
    let bytes = match receive.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            printer.talk(if io::stdin().is_terminal() {
                "Reading standard input until its end (Ctrl-D)."
            } else {
                "Waiting for the end of standard input (`< /dev/null` leaves it out)."
            });
            receive.recv()?
        }
        result => result?,
    };
    text(
        bytes.context("cannot read standard input")?,
        "standard input",
    )
}

fn file(path: &Path) -> anyhow::Result<String> {
    let what = path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {what}"))?;
    text(bytes, &what)
}

/// Text without the newline that ends it.
fn text(bytes: Vec<u8>, what: &str) -> anyhow::Result<String> {
    if bytes.len() as u64 > MAX_BYTES {
        bail!(
            "{what} is longer than {} MiB; no model reads that much\nhint: give a part of it",
            MAX_BYTES >> 20
        );
    }
    let text = checked(&bytes, what)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_string())
}

/// UTF-8 without NUL, maybe empty.
fn checked<'a>(bytes: &'a [u8], what: &str) -> anyhow::Result<&'a str> {
    match prompt::text_from_utf8(bytes) {
        Err(prompt::PromptError::Empty) => Ok(""),
        result => result.with_context(|| format!("{what} is no text that a model can read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_goes() {
        for (given, kept) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("\na", "\na"),
            ("", ""),
        ] {
            assert_eq!(
                text(given.into(), "it").ok().as_deref(),
                Some(kept),
                "{given:?}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named_with_their_place() {
        let message = |bytes: &[u8]| format!("{:#}", text(bytes.into(), "notes.txt").unwrap_err());
        assert!(message(b"ab\xff").contains("notes.txt") && message(b"ab\xff").contains("byte 2"));
        assert!(message(b"a\0b").contains("NUL") && message(b"a\0b").contains("byte 1"));
    }
}
