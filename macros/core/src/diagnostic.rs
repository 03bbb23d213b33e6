//! Mistakes in specs, as data: one type, and a renderer for the macro and one for the terminal.

use std::fmt::Write;

use crate::source::{At, Span, SpecSet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The spec is refused.
    Error,
    /// The spec works, but probably not as meant.
    Warning,
}

/// One mistake in a spec: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` if it concerns no line.
    pub place: Option<Place>,
    /// What to do next.
    pub help: Option<String>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// Where a mistake is, with what is needed to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path as messages print it: `model-spec/llama.toml`.
    pub path: String,
    /// Line, column and length.
    pub at: At,
    /// Text of the line.
    pub line: String,
    /// What is said beside the carets.
    pub label: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            help: None,
            notes: Vec::new(),
        }
    }

    /// An error at a place.
    pub(crate) fn at(set: &SpecSet, span: Span, message: impl Into<String>) -> Self {
        let place = Place {
            path: set.path(span.file),
            at: set.at(span),
            line: set.line(span).to_string(),
            label: None,
        };
        Self {
            place: Some(place),
            ..Self::error(message)
        }
    }

    /// Adds what to do next.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what is said beside the carets.
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        if let Some(place) = &mut self.place {
            place.label = Some(label.into());
        }
        self
    }

    /// Adds a note.
    pub(crate) fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// The text for `compile_error!`: rustc puts `error: ` before it.
    pub fn render_plain(&self) -> String {
        self.render(&Style::PLAIN)
    }

    /// The same with `error: ` and ANSI colours.
    pub fn render_terminal(&self) -> String {
        let (colour, word) = match self.severity {
            Severity::Error => ("\x1b[1;31m", "error"),
            Severity::Warning => ("\x1b[1;33m", "warning"),
        };
        let style = Style {
            mark: colour,
            ..Style::ANSI
        };
        format!("{colour}{word}\x1b[0m: {}", self.render(&style))
    }

    fn render(&self, style: &Style) -> String {
        let Style {
            frame,
            mark,
            bold,
            reset,
        } = style;
        let mut out = format!("{bold}{}{reset}", self.message);
        let number = self.place.as_ref().map(|place| place.at.line.to_string());
        let gutter = " ".repeat(number.as_ref().map_or(0, String::len));
        if let (Some(place), Some(number)) = (&self.place, number) {
            let At {
                line, column, len, ..
            } = &place.at;
            let carets = "^".repeat((*len).max(1));
            let label = place.label.as_ref().map(|label| format!(" {label}"));
            let label = label.unwrap_or_default();
            // Tabs stay tabs, so that the carets stand below the text however wide a tab is.
            let before = place.line.chars().take(column.saturating_sub(1));
            let before: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
            let text = &place.line;
            let _ = write!(
                out,
                "\n{gutter}{frame}-->{reset} {}:{line}:{column}",
                place.path
            );
            let _ = write!(out, "\n{gutter} {frame}|{reset}");
            let _ = write!(out, "\n{frame}{number} |{reset} {text}");
            let _ = write!(
                out,
                "\n{gutter} {frame}|{reset} {before}{mark}{carets}{label}{reset}"
            );
        }
        let help = self.help.iter().map(|help| ("help", help));
        let notes = self.notes.iter().map(|note| ("note", note));
        for (word, text) in help.chain(notes) {
            let _ = write!(
                out,
                "\n{gutter} {frame}={reset} {bold}{word}{reset}: {text}"
            );
        }
        out
    }
}

struct Style {
    frame: &'static str,
    mark: &'static str,
    bold: &'static str,
    reset: &'static str,
}

impl Style {
    const PLAIN: Self = Self {
        frame: "",
        mark: "",
        bold: "",
        reset: "",
    };
    const ANSI: Self = Self {
        frame: "\x1b[1;34m",
        mark: "",
        bold: "\x1b[1m",
        reset: "\x1b[0m",
    };
}

/// `` `a`, `b` or `c` ``
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_string(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The known word that somebody who wrote `word` probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Distance is quadratic in the length, and nobody misspells by a thousand characters.
    let short = |text: &&str| text.len() <= 100;
    let word = Some(word).filter(short)?;
    let lower = word.to_lowercase();
    let scored = known.into_iter().filter(short).map(|candidate| {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        (distance, candidate)
    });
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    let limit = (word.chars().count().max(best.chars().count()) / 3).max(1);
    (distance <= limit).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostic {
        let text = "spec = 1\n\n[layers]\nprefx = [\"model.layers.{i}.\"]\n";
        let set = SpecSet::new([("bad", text)]);
        let start = text.find("prefx").expect("there");
        let span = Span {
            file: set.find("bad").expect("given"),
            start,
            end: start + 5,
        };
        let mut diagnostic = Diagnostic::at(&set, span, "unknown key `prefx` in [layers]");
        diagnostic
            .label("not a key")
            .help("did you mean `prefix`?")
            .note("a note");
        diagnostic
    }

    #[test]
    fn plain_text_has_place_line_and_carets() {
        insta::assert_snapshot!(sample().render_plain(), @r#"
        unknown key `prefx` in [layers]
         --> model-spec/bad.toml:4:1
          |
        4 | prefx = ["model.layers.{i}."]
          | ^^^^^ not a key
          = help: did you mean `prefix`?
          = note: a note
        "#);
    }

    #[test]
    fn terminal_text_is_the_same_without_its_colours() {
        let text = sample().render_terminal();
        let mut plain = String::new();
        let mut parts = text.split("\x1b[");
        plain.push_str(parts.next().unwrap_or(""));
        for part in parts {
            plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
        }
        assert_ne!(text, plain);
        assert_eq!(plain, format!("error: {}", sample().render_plain()));
    }

    #[test]
    fn nearest_word_is_near() {
        assert_eq!(nearest("prefx", ["steps", "prefix", "let"]), Some("prefix"));
        assert_eq!(nearest("kv_head", ["heads", "kv_heads"]), Some("kv_heads"));
        assert_eq!(nearest("zzzz", ["heads", "kv_heads"]), None);
    }
}
