//! A model that is not here is offered to a person, and named to a script.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Output, plain};
use inferno_hub_server::HubServer;

const MODEL: &str = "acme/ember-GGUF";

fn hub() -> HubServer {
    let ember = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/default-model.gguf");
    let hub = HubServer::start();
    hub.add(MODEL, &[("ember-Q8_0.gguf", std::fs::read(ember).unwrap())]);
    hub
}

/// `inferno run` at a terminal (util-linux `script` makes one) where a person types this; `None` without `script`.
fn at_terminal(hub: &HubServer, home: &Path, typed: &str) -> Option<Output> {
    let command = format!(
        "'{}' run 'Hello' -n 4 --temperature 0 --model {MODEL}",
        env!("CARGO_BIN_EXE_inferno")
    );
    let terminal = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", &hub.url)
        .env_remove("HF_HUB_CACHE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = terminal else {
        eprintln!("SKIPPED: no `script` here");
        return None;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    Some(Output::of(child.wait_with_output().unwrap()))
}

#[test]
fn a_person_is_asked_and_a_yes_downloads() {
    let (hub, home) = (hub(), tempfile::tempdir().unwrap());
    let Some(no) = at_terminal(&hub, home.path(), "n\n") else {
        return;
    };
    assert_eq!(no.code, 1, "{}", no.stdout);
    assert!(no.stdout.contains("Download it? [y/N]"), "{}", no.stdout);
    assert!(
        no.stdout.contains(&format!("inferno download {MODEL}")),
        "{}",
        no.stdout
    );
    let yes = at_terminal(&hub, home.path(), "y\n").unwrap();
    assert_eq!(yes.code, 0, "{}", yes.stdout);
    let again = at_terminal(&hub, home.path(), "").unwrap();
    assert_eq!(again.code, 0, "{}", again.stdout);
    assert!(!again.stdout.contains("[y/N]"), "{}", again.stdout);
}

#[test]
fn a_script_is_told_the_command() {
    let (hub, home) = (hub(), tempfile::tempdir().unwrap());
    for command in ["run", "play"] {
        let mut child = plain(&[command, "--model", MODEL])
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", &hub.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"Hello").unwrap();
        let output = Output::of(child.wait_with_output().unwrap());
        assert_eq!((output.code, output.stdout.as_str()), (1, ""));
        assert!(
            output.stderr.contains(&format!("inferno download {MODEL}"))
                && !output.stderr.contains("[y/N]"),
            "{}",
            output.stderr
        );
    }
}
