//! The verdict for people.

use super::facts::{Facts, Fit, Memory, ModelState};
use super::finding::{Finding, Level};
use crate::printer::bytes;

/// Findings line by line, each with what to do, then the table of models.
pub(super) fn page(facts: &Facts, findings: &[Finding]) -> String {
    let mut text = format!(
        "inferno {} ({}), {} architectures\n\n",
        facts.program.version,
        facts.program.backends.join(", "),
        facts.program.architectures
    );
    for finding in findings {
        text.push_str(&format!(
            "{:<8} {:<8} {}\n",
            finding.level.word(),
            finding.topic,
            finding.what
        ));
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("{:<17} hint: {hint}\n", ""));
        }
    }
    text.push_str(&models(facts));
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    let plural =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    text.push_str(&format!(
        "\n{}, {}\n",
        plural(count(Level::Error), "error"),
        plural(count(Level::Warning), "warning")
    ));
    text
}

/// `name  architecture  weights  4096: 1.2 GB  32768: 3.4 GB (too much)`
fn models(facts: &Facts) -> String {
    let sound: Vec<(&str, &Fit)> = facts
        .models
        .iter()
        .flat_map(|models| &models.models)
        .filter_map(|model| match &model.state {
            ModelState::Sound(fit) => Some((model.name.as_str(), fit)),
            _ => None,
        })
        .collect();
    if sound.is_empty() {
        return String::new();
    }
    let width = sound.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::from("\nmemory by length of context\n");
    for (name, fit) in sound {
        let needs: Vec<String> = fit
            .needs
            .iter()
            .map(|need| {
                let verdict = verdict(need.total(), facts.memory.as_ref());
                format!("{} tokens: {}{verdict}", need.context, bytes(need.total()))
            })
            .collect();
        text.push_str(&format!("  {name:<width$}  {}\n", needs.join(", ")));
    }
    text
}

fn verdict(bytes: u64, memory: Option<&Memory>) -> &'static str {
    match memory {
        Some(memory) if bytes > memory.available => " (too much)",
        _ => "",
    }
}
