mod gpu;

use inferno_runtime::cpu::KernelCheck;
use inferno_runtime::engine::MemoryNeed;

use super::judge;
use crate::commands::doctor::facts::*;
use crate::commands::doctor::finding::{Finding, Level};

/// A machine without anything to complain about.
fn healthy() -> Facts {
    Facts {
        program: Program {
            version: "1.2.3",
            backends: vec![Backend {
                name: "cpu",
                archs: Vec::new(),
                driver: None,
            }],
            architectures: 10,
        },
        system: System {
            name: "An OS".into(),
            kernel: Some("6.1".into()),
            arch: "x86_64",
            container: None,
        },
        cpu: Cpu {
            name: Some("A CPU".into()),
            processors: Some(16),
            usable: 8,
            threads: 8,
            features: vec!["AVX2"],
            level: "AVX2",
        },
        kernels: Some(vec![check("Q8_0", 1e-8)]),
        memory: Some(Memory {
            total: 16_000_000_000,
            available: 8_000_000_000,
        }),
        cache: Some(cache(CacheState::Writable)),
        gpus: Some(Gpus {
            problem: Some("no library".into()),
            ..Gpus::default()
        }),
        cuda: None,
        hub: Some(hub(Ok(Reached {
            seconds: 0.1,
            token: TokenState::None,
        }))),
        models: Some(models(vec![sound(1_000_000_000, Some(8192))])),
    }
}

fn check(dtype: &'static str, worst: f64) -> KernelCheck {
    KernelCheck {
        dtype,
        precision: "fast",
        worst,
        sound: worst < 1e-6,
    }
}

fn cache(state: CacheState) -> Cache {
    Cache {
        folder: "/models".into(),
        state,
        free: Some(100_000_000_000),
    }
}

fn hub(reached: Result<Reached, Problem>) -> Hub {
    Hub {
        endpoint: Some("https://hub.example".into()),
        offline: false,
        token: Some("HF_TOKEN".into()),
        reached,
    }
}

fn models(models: Vec<Model>) -> Models {
    Models {
        models,
        repositories: Vec::new(),
        deep: false,
    }
}

fn sound(weights: u64, longest: Option<usize>) -> Model {
    let need = |context| MemoryNeed {
        context,
        weights,
        cache: context as u64 * 1000,
        workspace: 0,
    };
    Model {
        name: "acme/tiny".into(),
        state: ModelState::Sound(Fit {
            architecture: "llama",
            needs: vec![need(4096), need(8192)],
            longest,
            gpu: None,
        }),
    }
}

/// The only finding that is worse than a note.
fn only_bad(facts: &Facts) -> Finding {
    let bad: Vec<Finding> = judge(facts)
        .into_iter()
        .filter(|finding| finding.level > Level::Note)
        .collect();
    assert_eq!(bad.len(), 1, "{bad:#?}");
    bad.into_iter().next().unwrap()
}

#[track_caller]
fn assert_bad(facts: &Facts, level: Level, topic: &str, words: &[&str]) {
    let finding = only_bad(facts);
    assert_eq!(
        (finding.level, finding.topic),
        (level, topic),
        "{finding:?}"
    );
    let hint = finding.hint.as_deref().unwrap_or_default();
    for word in words {
        assert!(
            finding.what.contains(word) || hint.contains(word),
            "{word:?} is not in {finding:?}"
        );
    }
}

#[test]
fn a_healthy_machine_has_nothing_to_complain_about() {
    let findings = judge(&healthy());
    assert!(
        findings.iter().all(|finding| finding.level == Level::Ok),
        "{findings:#?}"
    );
    for topic in [
        "system", "cpu", "kernels", "memory", "cache", "gpu", "hub", "models",
    ] {
        assert!(
            findings.iter().any(|finding| finding.topic == topic),
            "{topic}"
        );
    }
}

#[test]
fn whatever_is_not_well_says_what_to_do() {
    let mut facts = healthy();
    (facts.kernels, facts.memory, facts.cache) = (None, None, None);
    (facts.gpus, facts.hub, facts.models) = (None, None, None);
    for finding in judge(&facts) {
        assert_eq!(
            finding.level == Level::Ok,
            finding.hint.is_none(),
            "{finding:?}"
        );
    }
}

#[test]
fn wrong_kernels_are_an_error() {
    let mut facts = healthy();
    facts.kernels = Some(vec![check("Q8_0", 1e-8), check("Q4_K", 0.5)]);
    assert_bad(&facts, Level::Error, "kernels", &["Q4_K", "report"]);
}

#[test]
fn more_threads_than_processors_are_a_warning() {
    let mut facts = healthy();
    facts.cpu.threads = 64;
    assert_bad(&facts, Level::Warning, "cpu", &["--threads 8"]);
}

#[test]
fn the_cache_folder_is_judged_by_its_state() {
    let with = |state| {
        let mut facts = healthy();
        facts.cache = Some(cache(state));
        facts
    };
    let reason = || "permission denied".to_string();
    let words = ["/models", "HF_HOME"];
    assert_bad(
        &with(CacheState::ReadOnly { reason: reason() }),
        Level::Warning,
        "cache",
        &words,
    );
    assert_bad(
        &with(CacheState::Impossible { reason: reason() }),
        Level::Warning,
        "cache",
        &words,
    );
    assert_bad(
        &with(CacheState::NotAFolder {
            at: "/models".into(),
        }),
        Level::Error,
        "cache",
        &words,
    );
    let mut nowhere = healthy();
    nowhere.cache = None;
    assert_bad(&nowhere, Level::Warning, "cache", &["HF_HOME"]);
    let mut full = healthy();
    full.cache = Some(Cache {
        free: Some(1_000_000),
        ..cache(CacheState::Writable)
    });
    assert_bad(&full, Level::Warning, "cache", &["1.0 MB", "inferno rm"]);
}

#[test]
fn a_hub_that_is_away_or_refuses_the_token_is_a_warning_and_offline_is_a_choice() {
    let mut away = healthy();
    away.hub = Some(hub(Err(Problem {
        what: "hub.example cannot be reached: connection refused".into(),
        hint: "check the network".into(),
    })));
    assert_bad(
        &away,
        Level::Warning,
        "hub",
        &["connection refused", "check the network", "work without"],
    );
    let mut refused = healthy();
    refused.hub = Some(hub(Ok(Reached {
        seconds: 0.1,
        token: TokenState::Refused,
    })));
    assert_bad(
        &refused,
        Level::Warning,
        "hub",
        &["HF_TOKEN", "settings/tokens"],
    );
    let mut offline = away;
    offline.hub.as_mut().unwrap().offline = true;
    let findings = judge(&offline);
    assert!(findings.iter().all(|finding| finding.level <= Level::Note));
}

#[test]
fn models_that_do_not_fit_are_warnings() {
    let with = |model| {
        let mut facts = healthy();
        facts.models = Some(models(vec![model]));
        facts
    };
    assert_bad(
        &with(sound(40_000_000_000, None)),
        Level::Warning,
        "models",
        &["acme/tiny", "40.0 GB", "8.0 GB"],
    );
    assert_bad(
        &with(sound(7_990_000_000, Some(100))),
        Level::Warning,
        "models",
        &["100 tokens", "--context 100"],
    );
    let partly = judge(&with(sound(7_000_000_000, Some(5000))));
    assert!(
        partly
            .iter()
            .any(|one| one.level == Level::Ok && one.what.contains("5000 of its 8192"))
    );
}

#[test]
fn a_damaged_model_is_an_error_and_a_foreign_one_a_note() {
    let with = |state| {
        let mut facts = healthy();
        facts.models = Some(models(vec![Model {
            name: "acme/tiny".into(),
            state,
        }]));
        facts
    };
    let problems = vec!["missing `lm_head`".to_string()];
    assert_bad(
        &with(ModelState::Damaged { problems }),
        Level::Error,
        "models",
        &["lm_head", "inferno verify acme/tiny"],
    );
    let reason = "BertModel".to_string();
    let findings = judge(&with(ModelState::Unknown { reason }));
    assert!(
        findings
            .iter()
            .any(|one| one.level == Level::Note && one.what.contains("BertModel"))
    );
}
