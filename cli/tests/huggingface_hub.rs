//! Hugging Face's own library as a witness: it takes our hub on this machine for a hub, finds what we download, and we find
//! what it downloads. Fetched from the package index; without a network the test says SKIPPED.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use inferno_hub_server::{HubServer, tiny_llama};

const PACKAGE: &str = "huggingface_hub==2.4.0";

/// The folder with the package; `None`, with a loud line, if it cannot be had.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn package() -> Option<PathBuf> {
    let cache = std::env::var_os("INFERNO_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/real-models"),
        PathBuf::from,
    );
    let folder = cache.join(PACKAGE.replace("==", "-"));
    if !folder.join("huggingface_hub").is_dir() {
        let part = cache.join(format!("huggingface_hub.{}.part", std::process::id()));
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--retries=1", "--target"])
            .arg(&part)
            .arg(PACKAGE)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            // Whoever is first wins.
            let _ = std::fs::rename(&part, &folder);
        }
        let _ = std::fs::remove_dir_all(&part);
    }
    let found = folder.join("huggingface_hub").is_dir();
    if !found {
        eprintln!("SKIPPED: pip gave no {PACKAGE}");
    }
    found.then_some(folder)
}

fn inferno(arguments: &[&str], server: &HubServer, home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_inferno"))
        .args(arguments)
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", &server.url)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap()
}

/// Runs `snapshot_download` with these further arguments; gives the path it printed.
fn python(package: &Path, server: &HubServer, home: &Path, arguments: &str) -> String {
    let script = format!(
        "from huggingface_hub import snapshot_download\nprint(snapshot_download('acme/tiny', {arguments}))"
    );
    let output = Command::new("python3")
        .args(["-c", &script])
        .env("PYTHONPATH", package)
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", &server.url)
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn the_cache_is_shared_with_huggingface_hub() {
    let Some(package) = package() else { return };
    let server = HubServer::start();
    server.add("acme/tiny", &tiny_llama(300_000));

    let theirs = tempfile::tempdir().unwrap();
    let path = python(
        &package,
        &server,
        theirs.path(),
        "allow_patterns=['*.json', '*.safetensors']",
    );
    assert!(Path::new(&path).join("model.safetensors").is_file());
    let before = server.sent();
    let ran = inferno(&["download", "acme/tiny"], &server, theirs.path());
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), path);
    assert_eq!(
        server.sent(),
        before,
        "what huggingface_hub had fetched was fetched again"
    );
    assert!(
        inferno(&["verify", "acme/tiny"], &server, theirs.path())
            .status
            .success()
    );

    let ours = tempfile::tempdir().unwrap();
    assert!(
        inferno(&["download", "acme/tiny"], &server, ours.path())
            .status
            .success()
    );
    let path = python(&package, &server, ours.path(), "local_files_only=True");
    assert!(Path::new(&path).join("model.safetensors").is_file());
}
