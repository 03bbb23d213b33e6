//! From facts to findings. Pure: the same facts always give the same verdict.

mod gpu;
mod models;
#[cfg(test)]
mod tests;

use crate::commands::doctor::facts::{Cache, CacheState, Cpu, Facts, Hub, Memory, TokenState};
use crate::commands::doctor::finding::Finding;
use crate::printer::bytes;

/// Less free space than this holds no model worth the name.
const LITTLE_SPACE: u64 = 2_000_000_000;

/// What to do about what should never be.
const REPORT: &str = "please report this with the output of inferno doctor --json";

/// Every finding, in the order of the facts.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![system(facts), cpu(&facts.cpu)];
    findings.push(kernels(facts));
    findings.push(memory(facts.memory.as_ref()));
    findings.extend(cache(facts.cache.as_ref()));
    findings.extend(gpu::judge(facts));
    findings.extend(hub(facts.hub.as_ref()));
    findings.extend(models::judge(facts));
    findings
}

fn system(facts: &Facts) -> Finding {
    let system = &facts.system;
    let mut what = system.name.clone();
    if let Some(kernel) = &system.kernel {
        what.push_str(&format!(", kernel {kernel}"));
    }
    what.push_str(&format!(", {}", system.arch));
    if let Some(mark) = system.container {
        what.push_str(&format!(", in a container ({mark})"));
    }
    Finding::ok("system", what)
}

fn cpu(cpu: &Cpu) -> Finding {
    let name = cpu.name.as_deref().unwrap_or("unknown processor");
    let of = cpu
        .processors
        .map_or(String::new(), |all| format!(" of {all}"));
    let features = if cpu.features.is_empty() {
        String::new()
    } else {
        format!("; {}", cpu.features.join(", "))
    };
    let what = format!(
        "{name}; {}{of} processors usable{features}; {} kernels on {} threads",
        cpu.usable, cpu.level, cpu.threads
    );
    if cpu.threads > cpu.usable {
        return Finding::warning(
            "cpu",
            what,
            format!(
                "more threads than processors only get in each other's way: --threads {} (or INFERNO_THREADS)",
                cpu.usable
            ),
        );
    }
    if cpu.level == "plain Rust" && std::env::consts::ARCH == "x86_64" {
        return Finding::note(
            "cpu",
            what,
            "this processor lacks AVX2, FMA or F16C (or a virtual machine hides them), so kernels are several times slower",
        );
    }
    Finding::ok("cpu", what)
}

fn kernels(facts: &Facts) -> Finding {
    let Some(checks) = &facts.kernels else {
        return Finding::error(
            "kernels",
            "the self-test of the kernels gave no answer",
            REPORT,
        );
    };
    let bad: Vec<String> = checks
        .iter()
        .filter(|check| !check.sound)
        .map(|check| {
            format!(
                "{} {} (error {:.0e})",
                check.dtype, check.precision, check.worst
            )
        })
        .collect();
    if bad.is_empty() {
        let worst = checks.iter().map(|check| check.worst).fold(0.0, f64::max);
        return Finding::ok(
            "kernels",
            format!(
                "{} products agree with plain Rust, largest error {worst:.0e}",
                checks.len()
            ),
        );
    }
    Finding::error(
        "kernels",
        format!("wrong results on this processor: {}", bad.join(", ")),
        format!(
            "answers cannot be trusted; is the processor overclocked or its memory bad? Else {REPORT}"
        ),
    )
}

fn memory(memory: Option<&Memory>) -> Finding {
    match memory {
        Some(memory) => Finding::ok(
            "memory",
            format!(
                "{} free of {}",
                bytes(memory.available),
                bytes(memory.total)
            ),
        ),
        None => Finding::note(
            "memory",
            "this system does not say how much there is",
            "compare what inferno inspect <model> asks for with what you have",
        ),
    }
}

fn cache(cache: Option<&Cache>) -> Vec<Finding> {
    let Some(cache) = cache else {
        return vec![Finding::warning(
            "cache",
            "there is no folder for models: no home directory, and HF_HOME is not set",
            "export HF_HOME=/some/folder; models given by path work without it",
        )];
    };
    let folder = cache.folder.display();
    let space = cache
        .free
        .map_or(String::new(), |free| format!(", {} free", bytes(free)));
    let state = match &cache.state {
        CacheState::Writable => Finding::ok("cache", format!("{folder}{space}")),
        CacheState::Absent => Finding::ok(
            "cache",
            format!("{folder} will be made by the first download{space}"),
        ),
        CacheState::ReadOnly { reason } => Finding::warning(
            "cache",
            format!("{folder} cannot be written to: {reason}"),
            "models there work, downloads do not: make it writable or set HF_HOME to another folder",
        ),
        CacheState::NotAFolder { at } => Finding::error(
            "cache",
            format!("{folder} cannot hold models: {} is no folder", at.display()),
            "set HF_HOME (or HF_HUB_CACHE) to a folder, or move what is in its place",
        ),
        CacheState::Impossible { reason } => Finding::warning(
            "cache",
            format!("{folder} does not exist and cannot be made: {reason}"),
            "downloads will fail: set HF_HOME to a folder of yours",
        ),
    };
    let little = cache.free.filter(|free| *free < LITTLE_SPACE).map(|free| {
        Finding::warning(
            "cache",
            format!("only {} are free on the disk of {folder}", bytes(free)),
            "inferno rm <model> frees some; HF_HOME may name another disk",
        )
    });
    [Some(state), little].into_iter().flatten().collect()
}

fn hub(hub: Option<&Hub>) -> Vec<Finding> {
    let Some(hub) = hub else {
        return vec![Finding::warning(
            "hub",
            "no answer in time",
            "is there a proxy to set (HTTPS_PROXY)? Installed models work without the hub",
        )];
    };
    let endpoint = hub.endpoint.as_deref().unwrap_or("the hub");
    if hub.offline {
        return vec![Finding::note(
            "hub",
            format!("{endpoint} is not asked: HF_HUB_OFFLINE is set"),
            "unset HF_HUB_OFFLINE to download models",
        )];
    }
    let reached = match &hub.reached {
        Ok(reached) => reached,
        Err(problem) => {
            let hint = format!("{}. Installed models work without the hub", problem.hint);
            return vec![Finding::warning("hub", problem.what.clone(), hint)];
        }
    };
    let there = format!("{endpoint} answers in {:.2} s", reached.seconds);
    let from = hub
        .token
        .as_ref()
        .map_or(String::new(), |source| format!(" (from {source})"));
    vec![match &reached.token {
        TokenState::None => Finding::ok(
            "hub",
            format!("{there}; no token, which open models do not need"),
        ),
        TokenState::Accepted { user } => Finding::ok(
            "hub",
            format!("{there}; it knows the token{from} as {user}"),
        ),
        TokenState::Refused => Finding::warning(
            "hub",
            format!("{there}, but refuses the token{from}"),
            "make a new one at https://huggingface.co/settings/tokens, or unset it: open models need none",
        ),
    }]
}
