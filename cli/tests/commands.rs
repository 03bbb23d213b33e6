//! The command as a person or a script meets it: what comes on which stream, and the exit code.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Output, inferno, run};

/// One answer of the embedded model, 24 tokens long unless `more` says how long.
fn answer(more: &[&str]) -> Output {
    let length: &[&str] = if more.contains(&"-n") {
        &[]
    } else {
        &["-n", "24"]
    };
    let arguments = [&["play", "--seed", "7"], length, more].concat();
    run(&arguments, "Tell me a story about a dog.\n")
}

#[test]
fn help_of_every_command() {
    for arguments in [
        &["--help"][..],
        &["play", "--help"],
        &["download", "--help"],
        &["run", "--help"],
        &["bench", "--help"],
        &["doctor", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
        &["list", "--help"],
        &["rm", "--help"],
        &["verify", "--help"],
        &["inspect", "--help"],
        &["perplexity", "--help"],
        &["expand", "--help"],
        &["spec", "--help"],
        &["spec", "check", "--help"],
    ] {
        let output = run(arguments, "");
        assert_eq!(output.code, 0);
        let name = arguments[..arguments.len() - 1].join("-");
        insta::assert_snapshot!(
            format!("help-{}", if name.is_empty() { "inferno" } else { &name }),
            output.stdout
        );
    }
}

#[test]
fn a_pipe_gets_the_answer_alone() {
    let output = answer(&["--temperature", "0"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(
        output.stdout.split_whitespace().count() > 8,
        "{:?}",
        output.stdout
    );
    assert!(
        output.stdout.ends_with('\n') && !output.stdout.contains("tokens/s"),
        "{:?}",
        output.stdout
    );
    assert!(
        output.stderr.contains("ember: llama") && output.stderr.contains("toy"),
        "{}",
        output.stderr
    );
}

#[test]
fn the_same_seed_gives_the_same_answer_and_another_seed_another() {
    let (a, b) = (
        answer(&["--temperature", "1"]).stdout,
        answer(&["--temperature", "1"]).stdout,
    );
    assert_eq!(a, b);
    let others: Vec<String> = ["1", "2", "3"]
        .map(|seed| {
            run(
                &["play", "-n", "24", "--temperature", "1", "--seed", seed],
                "Tell me a story about a dog.",
            )
            .stdout
        })
        .into();
    assert!(others.iter().any(|other| *other != a));
}

#[test]
fn every_sampling_flag_changes_the_answer() {
    let hot = answer(&["--temperature", "2"]).stdout;
    for flags in [
        &["--temperature", "0"][..],
        &["--temperature", "2", "--top-k", "1"],
        &["--temperature", "2", "--top-p", "0.05"],
        &["--temperature", "2", "--min-p", "0.9"],
    ] {
        assert_ne!(answer(flags).stdout, hot, "{flags:?} did nothing");
    }
    let greedy = answer(&["--temperature", "0", "-n", "80"]).stdout;
    for flags in [
        &["--repetition-penalty", "2"][..],
        &["--presence-penalty", "2"],
        &["--frequency-penalty", "2"],
    ] {
        let flags = [&["--temperature", "0", "-n", "80"], flags].concat();
        assert_ne!(answer(&flags).stdout, greedy, "{flags:?} did nothing");
    }
    let word = greedy.split_whitespace().nth(3).unwrap().to_string();
    let stopped = answer(&["--temperature", "0", "--stop", &word]).stdout;
    assert_eq!(
        stopped.trim_end(),
        greedy.split(&word).next().unwrap().trim_end()
    );
    assert!(answer(&["--temperature", "0", "-n", "3"]).stdout.len() < greedy.len());
    let pirate = answer(&[
        "--temperature",
        "0",
        "-n",
        "80",
        "--system",
        "You are a pirate who only ever says arr.",
    ])
    .stdout;
    assert_ne!(pirate, greedy, "--system did nothing");
    assert_ne!(
        answer(&["--temperature", "0", "-n", "80", "--raw"]).stdout,
        greedy,
        "--raw did nothing"
    );
}

#[test]
fn json_is_one_line_with_everything() {
    let output = answer(&["--temperature", "0", "--json", "--logprobs", "2"]);
    let value = output.json();
    assert_eq!(
        value["tokens"].as_array().unwrap().len(),
        value["logprobs"].as_array().unwrap().len()
    );
    assert_eq!(value["finish_reason"], "length");
    assert_eq!(
        value["logprobs"][0]["top_logprobs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(value["usage"]["prompt_tokens"].as_u64().unwrap() > 5);
}

#[test]
fn bad_flags_are_refused_with_the_reason() {
    for (flags, code, reason) in [
        (&["--temperature", "-1"][..], 1, "temperature"),
        (&["--temperature", "nan"], 1, "temperature"),
        (&["--top-p", "1.5"], 1, "top_p"),
        (&["--min-p", "inf"], 1, "min_p"),
        (&["-n", "0"], 2, "max-tokens"),
        (&["--context", "0"], 2, "context"),
        (&["--logprobs", "2"], 2, "--json"),
        (&["--context", "99999999"], 1, "context"),
        (&["--model", "no/such-model"], 1, "inferno list"),
        (&["--model", "../../etc/passwd-of-nobody"], 1, "hint"),
    ] {
        let output = answer(flags);
        assert_eq!(output.code, code, "{flags:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(reason),
            "{flags:?}: {}",
            output.stderr
        );
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn bad_input_is_refused_with_the_reason() {
    let long = "word ".repeat(200_000);
    for (input, reason) in [("", "empty"), ("\n", "empty"), (long.as_str(), "context")] {
        let output = run(&["play"], input);
        assert_eq!(output.code, 1, "{}", output.stderr);
        assert!(output.stderr.contains(reason), "{}", output.stderr);
    }
    let output = inferno(&["play"])
        .write_stdin(b"\xff\xfe".to_vec())
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("UTF-8"));
}

#[test]
fn list_names_the_architectures() {
    let output = run(&["list"], "");
    assert_eq!(output.code, 0, "{}", output.stderr);
    for name in ["ember", "ember-oss", "llama", "qwen3_moe", "gemma3"] {
        assert!(output.stdout.contains(name), "{}", output.stdout);
    }
    let value: serde_json::Value =
        serde_json::from_str(&run(&["list", "--json"], "").stdout).unwrap();
    assert!(value["architectures"].as_array().unwrap().len() > 5);
}

#[test]
fn inspect_shows_parameters_and_memory() {
    let output = run(&["inspect", "ember", "--tensors"], "");
    assert_eq!(output.code, 0, "{}", output.stderr);
    for word in ["llama", "parameters", "token_embd.weight", "llama.toml:"] {
        assert!(
            output.stdout.contains(word),
            "{word} is missing in\n{}",
            output.stdout
        );
    }
    let small: serde_json::Value =
        serde_json::from_str(&run(&["inspect", "ember", "--json", "--context", "64"], "").stdout)
            .unwrap();
    let large: serde_json::Value =
        serde_json::from_str(&run(&["inspect", "ember", "--json", "--context", "256"], "").stdout)
            .unwrap();
    for memory in ["memory", "gpu_memory"] {
        assert_eq!(small[memory]["context"], 64);
        let cache = |report: &serde_json::Value| report[memory]["cache"].as_u64().unwrap();
        assert!(
            cache(&small) > 0 && cache(&small) < cache(&large),
            "{memory}"
        );
    }
}

#[test]
fn perplexity_prefers_english_to_noise() {
    let folder = tempfile::tempdir().unwrap();
    let perplexity = |text: &str| {
        let file = folder.path().join("text.txt");
        std::fs::write(&file, text).unwrap();
        let output = run(
            &[
                "perplexity",
                "--file",
                file.to_str().unwrap(),
                "--window",
                "64",
                "--json",
            ],
            "",
        );
        assert_eq!(output.code, 0, "{}", output.stderr);
        serde_json::from_str::<serde_json::Value>(&output.stdout).unwrap()["perplexity"]
            .as_f64()
            .unwrap()
    };
    let story = "Once upon a time there was a little girl who had a small brown dog. They played in the garden every day. ".repeat(6);
    let noise: String = story
        .split(' ')
        .rev()
        .map(|word| word.chars().rev().collect::<String>() + " ")
        .collect();
    assert!(perplexity(&story) * 3.0 < perplexity(&noise));
}

#[test]
fn expand_prints_the_module() {
    let output = run(&["expand", "llama"], "");
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("pub mod llama {") && output.stdout.contains("fn forward("));
    let unknown = run(&["expand", "lama"], "");
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("llama"), "{}", unknown.stderr);
}

#[test]
fn spec_check_names_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, "extends = \"llama\"\narchitectures = [\"MineForCausalLM\"]\ngguf = []\n\n[attn]\nwindw = 128\n").unwrap();
    let output = run(&["spec", "check", file.to_str().unwrap()], "");
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("mine.toml:6:1") && output.stderr.contains("`window`"),
        "{}",
        output.stderr
    );
    std::fs::write(&file, "extends = \"llama\"\narchitectures = [\"MineForCausalLM\"]\ngguf = []\n\n[attn]\nwindow = 128\n").unwrap();
    let output = run(&["spec", "check", file.to_str().unwrap()], "");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_inferno"))
        .args(["expand", "llama"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
