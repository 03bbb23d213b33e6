//! What is generated from the command line's own definition: completions and manual pages.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::run_without_stdin;

const COMMANDS: [&str; 4] = ["run", "play", "doctor", "spec"];

#[test]
fn every_shell_has_completions_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run_without_stdin(&["completions", shell]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        for word in COMMANDS.iter().chain(&["temperature"]) {
            assert!(output.stdout.contains(word), "{word} in {shell}");
        }
    }
    let output = run_without_stdin(&["completions", "tcsh"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("bash"), "{}", output.stderr);
}

/// The script is run by the shell that it is for, as far as the machine has it.
#[test]
fn bash_completes_a_command() {
    let script = run_without_stdin(&["completions", "bash"]).stdout;
    let try_it = format!(
        "{script}\nCOMP_WORDS=(inferno doc) COMP_CWORD=1\n_inferno inferno doc inferno\necho \"${{COMPREPLY[@]}}\""
    );
    let Ok(output) = std::process::Command::new("bash")
        .args(["-c", &try_it])
        .output()
    else {
        eprintln!("SKIPPED: no bash here");
        return;
    };
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "doctor");
}

#[test]
fn manual_pages_cover_every_command() {
    let page = run_without_stdin(&["man"]);
    assert_eq!(page.code, 0, "{}", page.stderr);
    assert!(page.stdout.contains(".TH inferno 1"), "{}", page.stdout);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man/man1");
    let output = run_without_stdin(&["man", "--out", out.to_str().unwrap()]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, ""),
        "{}",
        output.stderr
    );
    for command in COMMANDS {
        let page = std::fs::read_to_string(out.join(format!("inferno-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{command}");
    }
    let refused = run_without_stdin(&["man", "--out", "/proc/nonexistent"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("/proc/nonexistent"),
        "{}",
        refused.stderr
    );
}
