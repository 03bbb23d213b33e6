//! `inferno run`: how a prompt is put together, what comes out, how it ends.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;
use std::process::{Command, Stdio};

use common::{Output, plain, run, run_without_stdin};

const PROMPT: &str = "Tell me a story about a dog.";
const GREEDY: [&str; 4] = ["--temperature", "0", "-n", "24"];

fn greedy(arguments: &[&str], stdin: Option<&str>) -> Output {
    let arguments = [&["run"], arguments, &GREEDY].concat();
    match stdin {
        Some(text) => run(&arguments, text),
        None => run_without_stdin(&arguments),
    }
}

#[test]
fn run_and_a_pipe_into_play_give_the_same_answer() {
    let piped = run(&[&["play"], &GREEDY[..]].concat(), &format!("{PROMPT}\n"));
    let argument = greedy(&[PROMPT], None);
    assert_eq!(argument.code, 0, "{}", argument.stderr);
    assert!(argument.stdout.split_whitespace().count() > 8);
    for other in [
        piped,
        greedy(&["-"], Some(PROMPT)),
        greedy(&[], Some(PROMPT)),
        greedy(&[PROMPT], Some("")),
        greedy(&[PROMPT, "--model", "ember"], None),
    ] {
        assert_eq!(other.stdout, argument.stdout, "{}", other.stderr);
    }
}

#[test]
fn the_parts_of_a_prompt_are_joined_with_an_empty_line() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a.txt", "b.txt"].map(|name| folder.path().join(name));
    std::fs::write(&a, "There was a dog.\n").unwrap();
    std::fs::write(&b, "It was red.").unwrap();
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let whole = greedy(
        &["Go on.\n\nThere was a dog.\n\nIt was red.\n\nThe end?"],
        None,
    );
    let parts = greedy(&["Go on.", "--file", a, "-f", b], Some("The end?\n"));
    assert_eq!(parts.stdout, whole.stdout, "{}", parts.stderr);
    let first = greedy(&["-", "--file", b], Some("There was a dog.\n"));
    let files = greedy(&["--file", a, "--file", b], None);
    assert_eq!(first.stdout, files.stdout, "{}", first.stderr);
    assert_ne!(first.stdout, whole.stdout);
}

#[test]
fn raw_text_is_continued_as_it_is() {
    let text = "Once upon a time, there was a little";
    let raw = greedy(&[text, "--raw"], None);
    assert_eq!(raw.code, 0, "{}", raw.stderr);
    assert_ne!(raw.stdout, greedy(&[text], None).stdout);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("story.txt");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    let from_file = greedy(&["--raw", "--file", file.to_str().unwrap()], None);
    assert_eq!(from_file.stdout, raw.stdout);
    let refused = greedy(&[text, "--raw", "--system", "Be brief."], None);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
}

#[test]
fn json_has_text_tokens_reason_usage_timings_and_logprobs_when_asked() {
    let text = greedy(&[PROMPT], None).stdout;
    let value = greedy(&[PROMPT, "--json"], None).json();
    assert_eq!(value["text"].as_str().unwrap(), text.trim_end_matches('\n'));
    assert_eq!(value["model"], "ember");
    assert_eq!(value["finish_reason"], "length");
    assert_eq!(value["tokens"].as_array().unwrap().len(), 24);
    let usage = &value["usage"];
    assert_eq!(usage["completion_tokens"], 24);
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["prompt_tokens"].as_u64().unwrap() + 24
    );
    for timing in [
        "load_seconds",
        "first_token_seconds",
        "decode_seconds",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
    ] {
        assert!(value["timings"][timing].as_f64().unwrap() > 0.0, "{timing}");
    }
    assert!(value.get("logprobs").is_none());
    let value = greedy(&[PROMPT, "--json", "--logprobs", "2"], None).json();
    assert_eq!(value["logprobs"].as_array().unwrap().len(), 24);
}

#[test]
fn nothing_to_answer_is_a_mistake_of_usage() {
    let output = greedy(&[], None);
    assert_eq!(output.code, 2);
    assert!(
        output.stderr.contains("hint: inferno run") && output.stderr.contains("Usage: inferno run"),
        "{}",
        output.stderr
    );
    assert_eq!(greedy(&["two", "prompts"], None).code, 2);
}

#[test]
fn ctrl_c_ends_an_answer_with_130() {
    // Nearly uniform choice: the token that ends an answer hardly ever comes.
    let arguments = [
        "run",
        PROMPT,
        "--temperature",
        "100",
        "--seed",
        "1",
        "--threads",
        "1",
    ];
    let mut child = plain(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let answer = |stdout: Stdio| {
        let mut child = plain(&["run", PROMPT, "-n", "24"])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Output::of(child.wait_with_output().unwrap())
    };
    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let output = answer(full.into());
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("error:"), "{}", output.stderr);
    }
    let output = answer(Stdio::piped());
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stderr.contains("error:"), "{}", output.stderr);
}
