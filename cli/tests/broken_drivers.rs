//! `inferno doctor` before drivers and GPUs that fail in every way there is. The driver is one of ours, so no GPU is needed.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Output, plain};
use serde_json::Value;

/// Compiled by the compiler that nvcc, and so this build, needs anyway.
fn driver(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-driver/libcuda.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.join("libcuda.so"))
        .arg(source)
        .status()
        .unwrap();
    assert!(built.success());
}

/// The findings about GPUs, with the exit code.
fn doctor(folder: &Path, state: &str) -> (i32, Vec<Value>, Value) {
    let mut command = plain(&["doctor", "--json"]);
    command
        .env("LD_LIBRARY_PATH", folder)
        .env("FAKE_DRIVER", state)
        .env("HF_HOME", folder)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null());
    let begin = Instant::now();
    let output = Output::of(command.output().unwrap());
    assert!(
        begin.elapsed() < Duration::from_secs(40),
        "{state}: it never hangs"
    );
    let report = output.json();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings = findings.filter(|finding| finding["topic"] == "gpu");
    (
        output.code,
        findings.cloned().collect(),
        report["facts"]["cuda"].clone(),
    )
}

/// The only finding has this level, gives this exit code and has these words.
fn assert_finding(state: &str, level: &str, code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    driver(folder.path());
    let (exit, findings, _) = doctor(folder.path(), state);
    let [finding] = &findings[..] else {
        panic!("{state}: {findings:?}")
    };
    assert_eq!(
        (finding["level"].as_str(), exit),
        (Some(level), code),
        "{state}: {finding}"
    );
    let text = format!("{} {}", finding["what"], finding["hint"]);
    for word in words {
        assert!(text.contains(word), "{state}: {word:?} is not in {text}");
    }
}

#[test]
fn each_way_to_fail_is_its_own_finding() {
    for (state, level, code, words) in [
        ("old_driver", "warning", 1, &["12.4", "13.0", "580"][..]),
        ("not_ready", "error", 2, &["not yet initialized", "580"]),
        ("old_gpu", "warning", 1, &["Fake GPU", "7.5", "8.0"]),
        ("full", "warning", 1, &["cuda:0 Fake GPU", "nvidia-smi"]),
        (
            "no_kernels",
            "warning",
            1,
            &["cuda:0 Fake GPU", "9.0", "INFERNO_CUDA_ARCHS"],
        ),
        ("broken", "error", 2, &["cuModuleLoadData"]),
    ] {
        assert_finding(state, level, code, words);
    }
}

/// It hangs at exit as well.
#[test]
fn a_driver_that_hangs_is_left_behind() {
    assert_finding("silent", "error", 2, &["does not answer", "--device cpu"]);
}

#[test]
fn a_gpu_that_hangs_is_left_behind() {
    let words = ["cuda:0 Fake GPU does not answer", "--device cpu"];
    assert_finding("silent_gpu", "error", 2, &words);
}

#[test]
fn a_driver_without_a_gpu_is_no_trouble_unless_it_hides_one() {
    let folder = tempfile::tempdir().unwrap();
    driver(folder.path());
    let (_, findings, cuda) = doctor(folder.path(), "no_device");
    assert!(cuda["refused"]["no_gpu"].is_object(), "{cuda}");
    assert_eq!(findings.len(), 1);
    assert_ne!(findings[0]["level"], "error", "{findings:?}");
}
