//! The command, run as a person or a script runs it.
#![allow(clippy::unwrap_used, dead_code)]

use std::ffi::OsStr;
use std::process::Stdio;

use assert_cmd::Command;

/// `inferno` with no models of this machine and no settings of the person who runs the tests.
pub(crate) fn inferno<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    Command::from_std(plain(arguments))
}

/// The same for tests that hold its streams themselves.
pub(crate) fn plain<S: AsRef<OsStr>>(arguments: &[S]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_inferno"));
    command
        .args(arguments)
        .env("HF_HOME", "/nonexistent")
        .env("NO_COLOR", "1");
    for name in [
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "INFERNO_MODEL",
        "INFERNO_DEVICE",
        "INFERNO_THREADS",
        "INFERNO_LOG",
    ] {
        command.env_remove(name);
    }
    command
}

pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// With text (or nothing) in a pipe.
pub(crate) fn run(arguments: &[&str], stdin: &str) -> Output {
    Output::of(inferno(arguments).write_stdin(stdin).output().unwrap())
}

/// With standard input as a service has it.
pub(crate) fn run_without_stdin<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    Output::of(plain(arguments).stdin(Stdio::null()).output().unwrap())
}
