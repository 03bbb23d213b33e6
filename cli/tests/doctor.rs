//! `inferno doctor` where things are missing or broken: it always ends, soon, with a verdict and what to do.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Output, plain};
use serde_json::Value;

/// A port of this machine on which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

fn doctor(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = plain(&[&["doctor"], arguments].concat());
    command.env("HF_ENDPOINT", NOBODY).stdin(Stdio::null());
    change(&mut command);
    let begin = Instant::now();
    let output = Output::of(command.output().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(40), "it never hangs");
    output
}

fn findings<'a>(report: &'a Value, topic: &str) -> Vec<&'a Value> {
    let all = report["findings"].as_array().unwrap();
    all.iter().filter(|one| one["topic"] == topic).collect()
}

fn text(finding: &Value) -> String {
    format!("{} {}", finding["what"], finding["hint"])
}

#[test]
fn without_environment_home_and_network_it_still_gives_a_verdict() {
    let output = doctor(&["--json"], |command| {
        // An empty HOME is none; without the variable the system would be asked for it.
        command
            .env_clear()
            .env("HOME", "")
            .env("HF_ENDPOINT", NOBODY);
    });
    let report = output.json();
    assert_eq!(output.code, 1, "{report:#}");
    assert_eq!(report["verdict"], "warning");
    assert_eq!(findings(&report, "kernels")[0]["level"], "ok");
    let hub = findings(&report, "hub")[0];
    assert_eq!(hub["level"], "warning");
    assert!(
        text(hub).contains("127.0.0.1") && hub["hint"].is_string(),
        "{hub}"
    );
    let bad = report["findings"].as_array().unwrap().iter();
    for finding in bad.filter(|finding| finding["level"] != "ok") {
        assert!(finding["hint"].is_string(), "{finding}");
    }
}

#[test]
fn offline_mode_asks_nobody_and_is_no_warning() {
    let home = tempfile::tempdir().unwrap();
    let output = doctor(&["--json"], |command| {
        command
            .env("HF_HOME", home.path())
            .env("HF_HUB_OFFLINE", "1");
    });
    let report = output.json();
    let hub = findings(&report, "hub")[0];
    assert_eq!(hub["level"], "note", "{hub}");
    assert!(text(hub).contains("HF_HUB_OFFLINE"), "{hub}");
    assert_eq!(findings(&report, "cache")[0]["level"], "ok");
}

#[test]
fn a_cache_that_is_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hf");
    fs::write(&file, "").unwrap();
    let output = doctor(&[], |command| {
        command.env("HF_HOME", &file);
    });
    assert_eq!(output.code, 2, "{}", output.stdout);
    let line = output
        .stdout
        .lines()
        .position(|line| line.starts_with("error    cache"))
        .unwrap();
    assert!(
        output
            .stdout
            .lines()
            .nth(line + 1)
            .unwrap()
            .contains("hint: set HF_HOME")
    );
    assert!(
        output.stdout.ends_with("1 error, 1 warning\n"),
        "{}",
        output.stdout
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let output = doctor(&["--json"], |command| {
        command.env("HF_ENDPOINT", "no address");
    });
    let report = output.json();
    assert!(
        text(findings(&report, "hub")[0]).contains("HF_ENDPOINT"),
        "{report:#}"
    );
}

/// A hub that takes the call and says nothing.
#[test]
fn a_silent_hub_costs_seconds_not_minutes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let output = doctor(&["--json"], |command| {
        command.env("HF_ENDPOINT", &address);
    });
    let report = output.json();
    assert_eq!(
        findings(&report, "hub")[0]["level"],
        "warning",
        "{report:#}"
    );
}

/// A hub that answers one request with `response` and gives back what it was asked.
fn hub(response: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(response.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, served)
}

#[test]
fn the_hub_is_asked_who_the_token_belongs_to_and_the_token_is_never_shown() {
    let known = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"name\":\"jane\"}";
    let unknown = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    for (response, level, word) in [(known, "ok", "jane"), (unknown, "warning", "HF_TOKEN")] {
        let (address, served) = hub(response);
        let output = doctor(&["--json"], |command| {
            command
                .env("HF_ENDPOINT", &address)
                .env("HF_TOKEN", "hf_secret");
        });
        let report = output.json();
        let finding = findings(&report, "hub")[0];
        assert_eq!(finding["level"], level, "{finding}");
        assert!(text(finding).contains(word), "{finding}");
        assert!(!output.stdout.contains("hf_secret") && !output.stderr.contains("hf_secret"));
        let request = served.join().unwrap().to_lowercase();
        assert!(
            request.contains("authorization: bearer hf_secret"),
            "{request}"
        );
    }
}

/// A cache with one model in it: ember's file.
fn installed(home: &Path) -> std::path::PathBuf {
    let repository = home.join("hub/models--acme--ember");
    let snapshot = repository.join("snapshots/0123456789012345678901234567890123456789");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(
        repository.join("refs/main"),
        "0123456789012345678901234567890123456789",
    )
    .unwrap();
    let ember = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/default-model.gguf");
    let file = snapshot.join("ember-q8_0.gguf");
    fs::copy(ember, &file).unwrap();
    file
}

#[test]
fn installed_models_are_judged_by_files_and_memory() {
    let home = tempfile::tempdir().unwrap();
    let file = installed(home.path());
    let look = || {
        let output = doctor(&["--json"], |command| {
            command.env("HF_HOME", home.path());
        });
        (output.code, output.json())
    };
    let (_, report) = look();
    let model = findings(&report, "models")[0];
    assert_eq!(model["level"], "ok", "{model}");
    assert!(
        text(model).contains("acme/ember") && text(model).contains("512 tokens"),
        "{model}"
    );
    let need = &report["facts"]["models"]["models"][0]["state"]["sound"]["needs"][0];
    assert!(need["weights"].as_u64().unwrap() > 4_000_000, "{need}");

    let page = doctor(&[], |command| {
        command.env("HF_HOME", home.path());
    });
    assert!(
        page.stdout.contains("memory by length of context"),
        "{}",
        page.stdout
    );

    let whole = fs::metadata(&file).unwrap().len();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(whole / 2)
        .unwrap();
    let (code, report) = look();
    assert_eq!(code, 2, "{report:#}");
    assert!(
        text(findings(&report, "models")[0]).contains("inferno verify"),
        "{report:#}"
    );
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let file = installed(home.path());
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", &file).unwrap();
    let output = doctor(&[], |command| {
        command.env("HF_HOME", home.path());
    });
    assert_eq!(output.code, 2, "{}", output.stdout);
    assert!(
        output.stdout.contains("inferno download acme/ember"),
        "{}",
        output.stdout
    );
}

#[test]
fn deep_reads_every_byte() {
    let home = tempfile::tempdir().unwrap();
    let blobs = home.path().join("hub/models--acme--text/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(home.path().join("hub/models--acme--text/snapshots/abc")).unwrap();
    // The sha256 of "hello\n".
    let blob = blobs.join("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    let deep = || {
        doctor(&["--deep"], |command| {
            command.env("HF_HOME", home.path());
        })
    };
    fs::write(&blob, "hello\n").unwrap();
    let output = deep();
    assert!(
        output.stdout.contains("every hash is right"),
        "{}",
        output.stdout
    );
    fs::write(&blob, "hallo\n").unwrap();
    let output = deep();
    assert_eq!(output.code, 2, "{}", output.stdout);
    assert!(
        output.stdout.contains("inferno verify acme/text --repair"),
        "{}",
        output.stdout
    );
}
