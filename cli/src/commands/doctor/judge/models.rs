//! What the installed models come to.

use inferno_runtime::hub::Verification;

use crate::commands::doctor::facts::{Facts, Fit, GpuFit, Memory, Model, ModelState};
use crate::commands::doctor::finding::Finding;
use crate::printer::bytes;

/// A context that every conversation needs.
const SHORT_CONTEXT: usize = 4096;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Some(found) = &facts.models else {
        return vec![Finding::warning(
            "models",
            "looking through the installed models took too long",
            "is the cache on a network disk that does not answer? Put HF_HOME on a local one",
        )];
    };
    let mut findings: Vec<Finding> = found
        .repositories
        .iter()
        .flat_map(|repository| verified(repository, found.deep))
        .collect();
    findings.extend(
        found
            .models
            .iter()
            .filter_map(|one| model(one, facts.memory.as_ref())),
    );
    if found.models.is_empty() {
        findings.push(Finding::note(
            "models",
            "none installed; ember, the toy inside this program, is always there",
            "inferno download <owner/name>, or give the path of a model to --model",
        ));
    }
    findings
}

/// What links, or with `deep` hashes, say. A sound repository is worth a line only when every byte was read.
fn verified(repository: &Verification, deep: bool) -> Vec<Finding> {
    if deep && repository.findings.is_empty() {
        let what = format!(
            "{}: {} file{}, {}, every hash is right",
            repository.name,
            repository.files,
            if repository.files == 1 { "" } else { "s" },
            bytes(repository.bytes)
        );
        return vec![Finding::ok("models", what)];
    }
    repository
        .findings
        .iter()
        .map(|finding| {
            let what = format!("{}: {}: {}", repository.name, finding.file, finding.problem);
            Finding::error("models", what, finding.hint.clone())
        })
        .collect()
}

fn model(model: &Model, memory: Option<&Memory>) -> Option<Finding> {
    let name = &model.name;
    Some(match &model.state {
        // The repository's verification names the files.
        ModelState::Incomplete => return None,
        ModelState::Damaged { problems } => Finding::error(
            "models",
            format!("{name} does not load: {}", problems.join("; ")),
            format!("inferno verify {name} says whether its files are as they were published"),
        ),
        ModelState::Unknown { reason } => Finding::note(
            "models",
            format!("{name} cannot be used here: {reason}"),
            "another program may have put it there; inferno list shows the architectures known",
        ),
        ModelState::Sound(fit) => fits(name, fit, memory),
    })
}

fn fits(name: &str, fit: &Fit, memory: Option<&Memory>) -> Finding {
    let gpu = fit.gpu.as_ref().map_or(String::new(), on_gpu);
    let (Some(full), Some(memory)) = (fit.needs.last(), memory) else {
        return Finding::ok("models", format!("{name}: {}{gpu}", fit.architecture));
    };
    let available = bytes(memory.available);
    // What a GPU holds need not fit the machine's memory.
    let elsewhere = fit.gpu.as_ref().filter(|gpu| {
        gpu.longest
            .is_some_and(|longest| longest >= SHORT_CONTEXT.min(full.context))
    });
    match (fit.longest, elsewhere) {
        (None, Some(_)) => Finding::ok(
            "models",
            format!("{name} does not fit the {available} of memory free{gpu}"),
        ),
        (None, None) => Finding::warning(
            "models",
            format!(
                "{name} does not fit: {} of weights, {available} of memory free{gpu}",
                bytes(full.weights)
            ),
            "end other programs, or take a smaller or more strongly quantized model",
        ),
        (Some(longest), None) if longest < SHORT_CONTEXT.min(full.context) => Finding::warning(
            "models",
            format!(
                "{name} fits only up to {longest} tokens of context into the {available} free{gpu}"
            ),
            format!("end other programs, or start it with --context {longest}"),
        ),
        (Some(longest), _) if longest < full.context => Finding::ok(
            "models",
            format!(
                "{name} fits up to {longest} of its {} tokens of context{gpu}",
                full.context
            ),
        ),
        (Some(_), _) => Finding::ok(
            "models",
            format!("{name} fits at its full {} tokens{gpu}", full.context),
        ),
    }
}

/// `; on cuda:0 (bf16) up to 32768 of them`
fn on_gpu(fit: &GpuFit) -> String {
    let GpuFit { device, dtype, .. } = fit;
    let full = fit.needs.last().map_or(0, |need| need.context);
    match fit.longest {
        None => {
            let weights = fit.needs.last().map_or(0, |need| need.weights);
            format!(
                "; not on {device}: {} of weights, {} free",
                bytes(weights),
                bytes(fit.free)
            )
        }
        Some(longest) if longest < full => {
            format!("; on {device} ({dtype}) up to {longest} of {full}")
        }
        Some(_) => format!("; on {device} ({dtype}) at all {full}"),
    }
}
