//! All printing: standard output is data, standard error is talk. A reader that goes away (a broken pipe) is no error.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// Where a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    talk_colours: bool,
}

impl Printer {
    /// Colours only where a person reads them, and not when NO_COLOR says so.
    pub(crate) fn new() -> Self {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            talk_colours: allowed && io::stderr().is_terminal(),
        }
    }

    /// Writes data to standard output at once.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a line of data.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.data(&format!("{text}\n"))
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&self, value: &impl serde::Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value).map_err(io::Error::other)?)
    }

    /// Talks to the person: a line on standard error.
    pub(crate) fn talk(&self, text: &str) {
        self.write_talk(&format!("{text}\n"));
    }

    /// Talk that steps back: dimmed where there are colours.
    pub(crate) fn aside(&self, text: &str) {
        self.write_talk(&format!("{}\n", self.paint("2", text)));
    }

    /// Talk without an end of line.
    pub(crate) fn talk_piece(&self, text: &str) {
        self.write_talk(text);
    }

    /// Talk that steps back, without an end of line.
    pub(crate) fn aside_piece(&self, text: &str) {
        self.write_talk(&self.paint("2", text));
    }

    /// A warning.
    pub(crate) fn warning(&self, text: &str) {
        self.write_talk(&format!("{} {text}\n", self.paint("1;33", "warning:")));
    }

    /// Asks the person at the terminal a question that `y` or `yes` answers; anything else is no.
    pub(crate) fn ask(&self, question: &str) -> io::Result<bool> {
        self.write_talk(&format!("{question} [y/N] "));
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// An error with what lies behind it.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let mut text = format!("{} {error}", self.paint("1;31", "error:"));
        for cause in error.chain().skip(1) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        self.write_talk(&format!("{text}\n"));
    }

    /// A bar for so many bytes on a terminal; elsewhere nothing shows.
    pub(crate) fn bar(&self, total: u64) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{wide_bar} {percent}% of {decimal_total_bytes}");
        ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// Whether talk may have colours.
    pub(crate) fn colours(&self) -> bool {
        self.talk_colours
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.talk_colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// Talk that nobody can hear is no reason to fail.
    fn write_talk(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Bytes for people: `98.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// A count for people: `134.5 M`.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1} k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", number as f64 / 1e6),
        _ => format!("{:.2} B", number as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count};

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(98_246_000), "98.2 MB");
        assert_eq!(bytes(13_761_264_768), "13.8 GB");
        assert_eq!(count(134_515_008), "134.5 M");
        assert_eq!(count(20_914_757_184), "20.91 B");
        assert_eq!(count(512), "512");
    }
}
