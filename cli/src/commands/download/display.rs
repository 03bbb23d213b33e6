//! How a download looks: a bar in a terminal, plain lines elsewhere, events for programs.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use inferno_runtime::hub::Event;

use crate::printer::{Printer, bytes};

/// Shows what a download tells.
pub(crate) struct Display {
    printer: Printer,
    form: Form,
}

enum Form {
    Events,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

impl Display {
    pub(crate) fn new(printer: &Printer, events: bool) -> Self {
        let form = if events {
            Form::Events
        } else if io::stderr().is_terminal() {
            // It appears with the first byte.
            Form::Bar(ProgressBar::hidden())
        } else {
            Form::Lines(Mutex::new(Lines::default()))
        };
        Self {
            printer: *printer,
            form,
        }
    }

    pub(crate) fn show(&self, event: &Event) {
        match &self.form {
            // A reader that went away has seen enough; the download goes on.
            Form::Events => drop(self.printer.json(event)),
            Form::Bar(bar) => self.on_bar(bar, event),
            Form::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(line) = lines.next(event) {
                    self.printer.talk(&line);
                }
            }
        }
    }

    /// Removes what should not stay.
    pub(crate) fn end(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }

    fn on_bar(&self, bar: &ProgressBar, event: &Event) {
        match event {
            Event::Progress { done, total } => {
                if bar.is_hidden() {
                    bar.set_style(style());
                    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                    bar.set_length(*total);
                    // What was here before is no speed.
                    bar.set_position(*done);
                    bar.reset_eta();
                }
                bar.set_position(*done);
            }
            _ => {
                if let Some(line) = line(event) {
                    bar.suspend(|| self.printer.talk(&line));
                }
            }
        }
    }
}

fn style() -> ProgressStyle {
    const TEMPLATE: &str =
        "{wide_bar} {percent}% of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Progress in lines: when a tenth more is here, or ten seconds have passed.
#[derive(Default)]
struct Lines {
    tenth: u64,
    last: Option<Instant>,
}

impl Lines {
    fn next(&mut self, event: &Event) -> Option<String> {
        const PAUSE: Duration = Duration::from_secs(10);
        let Event::Progress { done, total } = event else {
            return line(event);
        };
        let tenth = done.saturating_mul(10) / (*total).max(1);
        let due = tenth > self.tenth || self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if !due {
            return None;
        }
        self.tenth = tenth;
        self.last = Some(Instant::now());
        let percent = done.saturating_mul(100) / (*total).max(1);
        Some(format!(
            "{percent:>3}%  {} of {}",
            bytes(*done),
            bytes(*total)
        ))
    }
}

/// An event as a line for people; `None`: nothing worth one.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Planned {
            model,
            architecture,
            files,
            bytes: all,
            here,
            ..
        } => {
            let what = architecture
                .as_ref()
                .map(|name| format!("{name}, "))
                .unwrap_or_default();
            let plural = if *files == 1 { "" } else { "s" };
            let here = match here {
                0 => String::new(),
                here if here == all => ", all of it here".into(),
                here => format!(", of which {} are here", bytes(*here)),
            };
            format!("{model}: {what}{files} file{plural}, {}{here}", bytes(*all))
        }
        Event::Waiting { file, bytes: has } => {
            format!(
                "{file}: another process fetches it ({} so far); waiting",
                bytes(*has)
            )
        }
        Event::Retrying {
            what,
            attempt,
            seconds,
            reason,
        } => format!("{what}: {reason}; try {attempt} in {seconds} s"),
        Event::Restarted { file, reason } => format!("{file}: from the start again: {reason}"),
        Event::Complete { model, fetched, .. } if *fetched == 0 => format!("{model} is here"),
        Event::Complete { model, fetched, .. } => {
            format!(
                "{model} is complete and verified; {} fetched",
                bytes(*fetched)
            )
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_by_tenths() {
        let mut lines = Lines::default();
        let told: Vec<String> = (0..=1000)
            .filter_map(|done| lines.next(&Event::Progress { done, total: 1000 }))
            .collect();
        assert_eq!(told.len(), 11);
        assert_eq!(told[0], "  0%  0 B of 1.0 kB");
        assert_eq!(told[10], "100%  1.0 kB of 1.0 kB");
    }
}
