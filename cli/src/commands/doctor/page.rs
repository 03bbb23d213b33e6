//! The verdict for people.

use inferno_runtime::engine::MemoryNeed;

use super::facts::{Backend, Facts, Fit, ModelState};
use super::finding::{Finding, Level};
use crate::printer::bytes;

/// Findings line by line, each with what to do, then the table of models.
pub(super) fn page(facts: &Facts, findings: &[Finding]) -> String {
    let mut text = format!(
        "inferno {} ({}), {} architectures\n\n",
        facts.program.version,
        backends(facts),
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

/// `cpu, cuda 80 86 89 90a 80-ptx`
fn backends(facts: &Facts) -> String {
    let one = |backend: &Backend| {
        let words: Vec<&str> = [backend.name]
            .into_iter()
            .chain(backend.archs.iter().copied())
            .collect();
        words.join(" ")
    };
    let all: Vec<String> = facts.program.backends.iter().map(one).collect();
    all.join(", ")
}

/// `name  4096 tokens: 1.2 GB, 32768 tokens: 3.4 GB (too much)`, then the same on the GPU.
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
    let available = facts.memory.as_ref().map(|memory| memory.available);
    let mut rows: Vec<(String, String)> = Vec::new();
    for (name, fit) in sound {
        rows.push((name.to_string(), needs(&fit.needs, available)));
        if let Some(gpu) = &fit.gpu {
            let on_gpu = format!("  on {} ({})", gpu.device, gpu.dtype);
            rows.push((on_gpu, needs(&gpu.needs, Some(gpu.free))));
        }
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::from("\nmemory by length of context\n");
    for (name, needs) in rows {
        text.push_str(&format!("  {name:<width$}  {needs}\n"));
    }
    text
}

fn needs(needs: &[MemoryNeed], available: Option<u64>) -> String {
    let one = |need: &MemoryNeed| {
        let verdict = match available {
            Some(available) if need.total() > available => " (too much)",
            _ => "",
        };
        format!("{} tokens: {}{verdict}", need.context, bytes(need.total()))
    };
    let all: Vec<String> = needs.iter().map(one).collect();
    all.join(", ")
}
