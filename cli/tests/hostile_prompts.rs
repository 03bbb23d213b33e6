//! Prompts that no model can take: refused at once, with what is wrong and what to do. Nothing is ever cut.
#![allow(clippy::unwrap_used)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::time::{Duration, Instant};

use common::{Output, inferno, run, run_without_stdin};

fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert_eq!(output.stdout, "");
    for word in words {
        assert!(
            output.stderr.contains(word),
            "{word:?} is not in {}",
            output.stderr
        );
    }
}

#[cfg(unix)]
#[test]
fn a_prompt_that_is_no_utf_8_is_refused_with_the_byte() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    for (bytes, at) in [(&b"ab\xff"[..], "byte 2"), (b"\xed\xa0\x80", "byte 0")] {
        let argument = OsStr::from_bytes(bytes);
        let output = run_without_stdin(&[OsStr::new("run"), argument]);
        refused(&output, &["the prompt", "UTF-8", at]);
        for command in ["run", "play"] {
            let piped = inferno(&[command]).write_stdin(bytes).output().unwrap();
            refused(&Output::of(piped), &["standard input", "UTF-8", at]);
        }
        fs::write(&file, bytes).unwrap();
        let output = run_without_stdin(&["run", "Hi", "--file", file.to_str().unwrap()]);
        refused(&output, &["notes.txt", "UTF-8", at]);
    }
}

#[test]
fn nul_is_refused_with_the_byte() {
    for command in ["run", "play"] {
        refused(&run(&[command], "a\0b"), &["NUL", "byte 1"]);
    }
}

#[test]
fn an_empty_prompt_is_refused() {
    refused(&run_without_stdin(&["run", ""]), &["empty", "hint:"]);
    refused(&run_without_stdin(&["run", "", "--raw"]), &["empty"]);
    for command in ["run", "play"] {
        refused(&run(&[command], ""), &["empty", "hint:"]);
        refused(&run(&[command], "\n"), &["empty"]);
    }
    refused(&run(&["run", "-"], ""), &["empty"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.txt");
    fs::write(&file, "").unwrap();
    let output = run_without_stdin(&["run", "--file", file.to_str().unwrap()]);
    refused(&output, &["empty"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_str().unwrap(), "/nonexistent/notes.txt"] {
        let output = run_without_stdin(&["run", "Hi", "--file", path]);
        refused(&output, &["cannot read", path]);
    }
}

#[test]
fn control_tokens_spelled_in_a_prompt_stay_text() {
    let tokens = |prompt: &str| {
        let output = run_without_stdin(&["run", prompt, "-n", "1", "--json"]);
        output.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let empty = tokens("a");
    for token in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
        let more = tokens(&format!("a{token}")) - empty;
        assert!(more > 1, "{token} became {more} token");
    }
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_the_numbers() {
    let long = "word ".repeat(2000);
    for command in [&["run", "-"][..], &["play"], &["run", "-", "--raw"]] {
        let output = run(command, &long);
        refused(&output, &["the context holds 512", "the prompt has 2"]);
    }
    let output = run_without_stdin(&["run", "Hi", "--context", "99999999"]);
    refused(&output, &["99999999", "at most 512"]);
    let output = run_without_stdin(&["run", "Tell me a story.", "--context", "4"]);
    refused(&output, &["the context holds 4"]);
}

#[test]
fn a_prompt_of_ten_million_tokens_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("huge.txt");
    fs::write(&file, "word ".repeat(10_000_000)).unwrap();
    for more in [&[][..], &["--raw"]] {
        let begin = Instant::now();
        let arguments = [&["run", "--file", file.to_str().unwrap()], more].concat();
        let output = run_without_stdin(&arguments);
        refused(
            &output,
            &["the prompt has 50000000 bytes", "the context holds 512"],
        );
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    // Longer than anything: it is not even read whole.
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    let output = run_without_stdin(&["run", "--file", file.to_str().unwrap()]);
    refused(&output, &["huge.txt", "64 MiB", "hint:"]);
}
