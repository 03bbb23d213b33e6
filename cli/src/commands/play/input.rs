//! Reading a person's messages: line editing, history, messages of several lines.

use std::path::PathBuf;

use rustyline::DefaultEditor;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;

/// What came from the keyboard.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    /// A message or a `/command`.
    Text(String),
    /// Ctrl-C at the prompt: nothing is sent.
    Interrupted,
    /// Ctrl-D, or the terminal went away.
    End,
}

/// The line editor of a conversation.
pub(super) struct Editor {
    lines: DefaultEditor,
    history: Option<PathBuf>,
}

impl Editor {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut lines = DefaultEditor::new()?;
        lines.set_max_history_size(1000)?;
        let history = history_file();
        if let Some(file) = &history {
            // A first run has no history, and a damaged one is not worth a word.
            let _ = lines.load_history(file);
        }
        Ok(Self { lines, history })
    }

    /// Reads one message.
    pub(super) fn read(&mut self, prompt: &str) -> anyhow::Result<Input> {
        let mut message = Message::default();
        loop {
            let prompt = if message.is_empty() { prompt } else { "… " };
            match self.lines.readline(prompt) {
                Ok(line) => {
                    if let Some(text) = message.push(&line) {
                        self.remember(&text);
                        return Ok(Input::Text(text));
                    }
                }
                Err(ReadlineError::Interrupted) => return Ok(Input::Interrupted),
                Err(ReadlineError::Eof) => return Ok(Input::End),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let _ = self.lines.add_history_entry(text);
        if let Some(file) = &self.history {
            // Losing history is no reason to interrupt a conversation.
            let _ = file.parent().map(std::fs::create_dir_all);
            let _ = self.lines.save_history(file);
        }
    }
}

/// `$XDG_STATE_HOME/inferno/history`, or under the home directory; none without either.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?;
    Some(state.join("inferno/history"))
}

/// Puts lines together: `"""` begins and ends a block, a trailing `\` goes on.
#[derive(Debug, Default)]
pub(super) struct Message {
    lines: Vec<String>,
    block: bool,
}

impl Message {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.block
    }

    /// Takes a line; gives the message when it is complete.
    fn push(&mut self, line: &str) -> Option<String> {
        if self.block {
            let Some(before) = line.trim_end().strip_suffix("\"\"\"") else {
                self.lines.push(line.to_string());
                return None;
            };
            if !before.is_empty() {
                self.lines.push(before.to_string());
            }
            return Some(self.take());
        }
        if self.lines.is_empty()
            && let Some(first) = line.trim_start().strip_prefix("\"\"\"")
        {
            if let Some(whole) = first.trim_end().strip_suffix("\"\"\"") {
                return Some(whole.to_string());
            }
            self.block = true;
            if !first.is_empty() {
                self.lines.push(first.to_string());
            }
            return None;
        }
        if let Some(before) = line.strip_suffix('\\') {
            self.lines.push(before.to_string());
            return None;
        }
        self.lines.push(line.to_string());
        Some(self.take())
    }

    fn take(&mut self) -> String {
        self.block = false;
        std::mem::take(&mut self.lines).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    fn messages(lines: &[&str]) -> Vec<String> {
        let mut message = Message::default();
        lines.iter().filter_map(|line| message.push(line)).collect()
    }

    #[test]
    fn a_line_is_a_message() {
        assert_eq!(messages(&["hello", "there"]), ["hello", "there"]);
    }

    #[test]
    fn a_backslash_goes_on() {
        assert_eq!(
            messages(&["one\\", "two\\", "three", "next"]),
            ["one\ntwo\nthree", "next"]
        );
    }

    #[test]
    fn quotes_hold_a_block_together() {
        assert_eq!(
            messages(&["\"\"\"one", "two\\", "\"\"\"", "next"]),
            ["one\ntwo\\", "next"]
        );
        assert_eq!(messages(&["\"\"\"", "a", "b\"\"\""]), ["a\nb"]);
        assert_eq!(messages(&["\"\"\"all of it\"\"\""]), ["all of it"]);
    }
}
