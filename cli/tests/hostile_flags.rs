//! Sampling flags out of their range or at its ends: a refusal with the reason, or the behaviour that --help promises.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Output, run_without_stdin};

fn answer(flags: &[&str]) -> Output {
    let arguments = [
        &["run", "Tell me a story about a dog.", "--seed", "7"],
        flags,
    ]
    .concat();
    run_without_stdin(&arguments)
}

fn short(flags: &[&str]) -> String {
    let output = answer(&[&["-n", "24"], flags].concat());
    assert_eq!(output.code, 0, "{flags:?}: {}", output.stderr);
    output.stdout
}

fn refused(flags: &[&str], reason: &str) {
    let output = answer(flags);
    assert_eq!(output.code, 1, "{flags:?}: {}", output.stderr);
    assert_eq!(output.stdout, "", "{flags:?}");
    assert!(
        output.stderr.contains(reason) && output.stderr.contains("must be"),
        "{flags:?}: {}",
        output.stderr
    );
}

#[test]
fn temperature_nan_negative_or_infinite_is_refused_and_1e_38_is_greedy() {
    for value in ["nan", "-1", "inf", "-inf", "1e39", "101"] {
        refused(&[&format!("--temperature={value}")], "temperature");
    }
    let greedy = short(&["--temperature", "0"]);
    assert_eq!(short(&["--temperature", "1e-38"]), greedy);
    assert_ne!(short(&["--temperature", "2"]), greedy);
}

#[test]
fn top_p_0_is_greedy_and_nan_or_above_1_is_refused() {
    for value in ["nan", "1.01", "-0.1", "inf"] {
        refused(&[&format!("--top-p={value}")], "top_p");
    }
    let greedy = short(&["--temperature", "0"]);
    assert_eq!(short(&["--temperature", "2", "--top-p", "0"]), greedy);
}

#[test]
fn top_k_minus_1_0_and_more_than_the_vocabulary_keep_all() {
    let hot = ["--temperature", "2"];
    let all = short(&[&hot[..], &["--top-k", "0"]].concat());
    for value in ["-1", "1000000000", "9223372036854775807"] {
        assert_eq!(
            short(&[&hot[..], &["--top-k", value]].concat()),
            all,
            "{value}"
        );
    }
    assert_ne!(short(&[&hot[..], &["--top-k", "2"]].concat()), all);
    refused(&["--top-k", "-2"], "top_k");
}

#[test]
fn min_p_1_keeps_the_likeliest() {
    let greedy = short(&["--temperature", "0"]);
    assert_eq!(short(&["--temperature", "2", "--min-p", "1"]), greedy);
    for value in ["nan", "1.5", "-1", "inf"] {
        refused(&[&format!("--min-p={value}")], "min_p");
    }
}

#[test]
fn penalties_that_are_infinite_or_nan_are_refused() {
    for (flag, name) in [
        ("--repetition-penalty", "repetition_penalty"),
        ("--presence-penalty", "presence_penalty"),
        ("--frequency-penalty", "frequency_penalty"),
    ] {
        for value in ["inf", "-inf", "nan", "1000"] {
            refused(&[&format!("{flag}={value}")], name);
        }
    }
    refused(&["--repetition-penalty", "0"], "repetition_penalty");
}

#[test]
fn a_huge_max_tokens_ends_with_the_context() {
    let output = answer(&[
        "-n",
        "4294967295",
        "--json",
        "--temperature",
        "0",
        "--context",
        "64",
    ]);
    let value = output.json();
    assert_eq!(value["finish_reason"], "context", "{value}");
    assert_eq!(
        value["usage"]["total_tokens"], 65,
        "the last token needs no place"
    );
    for value in ["0", "-1", "4294967296", "99999999999999999999", "1e6", ""] {
        assert_eq!(answer(&["-n", value]).code, 2, "{value}");
    }
}

#[test]
fn too_many_or_too_long_stop_strings_are_refused() {
    let many: Vec<&str> = (0..65).flat_map(|_| ["--stop", "x"]).collect();
    refused(&many, "stop");
    refused(&["--stop", &"x".repeat(1025)], "stop");
    refused(&["--stop", ""], "stop");
    assert_eq!(
        short(&many[2..]),
        short(&["--stop", "x"]),
        "64 are accepted"
    );
}

#[test]
fn numbers_that_are_none_are_mistakes_of_usage() {
    for flags in [
        ["--temperature", "hot"],
        ["--top-k", "1.5"],
        ["--seed", "-1"],
        ["--context", "0"],
        ["--context", "99999999999"],
        ["--logprobs", "65"],
        ["--threads", "0"],
    ] {
        let output = answer(&flags);
        assert_eq!(output.code, 2, "{flags:?}: {}", output.stderr);
        assert!(output.stderr.contains(flags[0]), "{}", output.stderr);
    }
}
