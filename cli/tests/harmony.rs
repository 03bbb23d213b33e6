//! `inferno play` with models that speak Harmony: one that says what it is told to, and one that writes anything at all.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assert_cmd::Command;
use inferno_runtime::chat::harmony::Tool;
use inferno_runtime::chat::{ChatOptions, Message};
use inferno_runtime::engine::{Engine, EngineOptions};
use inferno_tests::scripted;
use serde_json::Value;

const THOUGHT: &str = "The person greets.";
const ANSWER: &str = "<|channel|>analysis<|message|>The person greets.<|end|><|start|>assistant<|channel|>final<|message|>Good day, é!<|return|>";
const CALL: &str = "<|channel|>analysis<|message|>I ask.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"place\":\"Oslo\"}<|call|>";
const TOOLS: &str = r#"[{"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}}]"#;

/// A model that answers `Hello` with this.
fn model(folder: &Path, answer: &str, options: &ChatOptions) {
    scripted::write(folder, &[]).unwrap();
    let engine = Engine::open(folder, &EngineOptions::default()).unwrap();
    let prompt = engine
        .render_with(&[Message::new("user", "Hello")], options)
        .unwrap();
    scripted::write(folder, &[(prompt.len(), answer)]).unwrap();
}

struct Output {
    code: i32,
    stdout: String,
    stderr: String,
}

fn play(model: &Path, flags: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_inferno"))
        .args(["play", "--model", model.to_str().unwrap()])
        .args(flags)
        .env("HF_HOME", "/nonexistent")
        .env("NO_COLOR", "1")
        .write_stdin("Hello\n")
        .output()
        .unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn json(output: &Output) -> Value {
    assert_eq!(output.code, 0, "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_pipe_gets_the_final_channel_alone() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), ANSWER, &ChatOptions::default());
    for (flags, thought, folded) in [
        (&["--temperature", "0"][..], true, false),
        (&["--temperature", "0", "--reasoning", "show"], true, false),
        (&["--temperature", "0", "--reasoning", "fold"], false, true),
        (&["--temperature", "0", "--reasoning", "hide"], false, false),
    ] {
        let output = play(folder.path(), flags);
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (0, "Good day, é!\n"),
            "{flags:?}"
        );
        assert_eq!(
            output.stderr.contains(THOUGHT),
            thought,
            "{flags:?}: {}",
            output.stderr
        );
        assert_eq!(
            output.stderr.contains("[18 tokens of reasoning]"),
            folded,
            "{flags:?}: {}",
            output.stderr
        );
        assert!(
            !output.stderr.contains("<|") && !output.stderr.contains("warning"),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn json_has_both_channels_and_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), ANSWER, &ChatOptions::default());
    let value = json(&play(
        folder.path(),
        &["--temperature", "0", "--json", "--reasoning", "hide"],
    ));
    assert_eq!(value["text"], "Good day, é!");
    assert_eq!(value["reasoning"], THOUGHT);
    assert_eq!(value["raw"], ANSWER);
    assert_eq!(value["finish_reason"], "stop");
    assert_eq!(value["stop_token"], 258);
    assert_eq!(value["messages"][0]["channel"], "analysis");
    assert_eq!(value["messages"][1]["content"], "Good day, é!");
    assert!(value.get("irregular").is_none());
}

#[test]
fn stop_strings_end_the_answer_and_not_the_thinking() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), ANSWER, &ChatOptions::default());
    let value = json(&play(
        folder.path(),
        &[
            "--temperature",
            "0",
            "--json",
            "--stop",
            "e",
            "--stop",
            "day",
        ],
    ));
    assert_eq!(
        (&value["text"], &value["reasoning"]),
        (&"Good ".into(), &THOUGHT.into())
    );
    assert_eq!(value["messages"][1]["content"], "Good ");
}

#[test]
fn a_broken_answer_is_shown_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    model(
        folder.path(),
        "<|channel|>finally<|message|>Oh<|end|><|return|>",
        &ChatOptions::default(),
    );
    let output = play(folder.path(), &["--temperature", "0"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "Oh\n"));
    assert!(
        output
            .stderr
            .contains("warning: the model broke its own format"),
        "{}",
        output.stderr
    );
}

#[test]
fn an_answer_cut_off_while_thinking_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), ANSWER, &ChatOptions::default());
    let output = play(folder.path(), &["--temperature", "0", "-n", "14"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""));
    assert!(
        output.stderr.contains("The") && !output.stderr.contains("warning"),
        "{}",
        output.stderr
    );
}

#[test]
fn effort_and_tools_reach_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools.json");
    std::fs::write(&tools, TOOLS).unwrap();
    let options = ChatOptions {
        tools: Tool::list_from_json(TOOLS).unwrap(),
        ..ChatOptions::default()
    };
    model(folder.path(), CALL, &options);
    let tools = tools.to_str().unwrap();
    let value = json(&play(
        folder.path(),
        &["--temperature", "0", "--json", "--tools", tools],
    ));
    assert_eq!(
        (&value["finish_reason"], &value["text"]),
        (&"call".into(), &"".into())
    );
    let call = &value["messages"][1];
    assert_eq!(
        (&call["recipient"], &call["content"]),
        (&"functions.weather".into(), &"{\"place\":\"Oslo\"}".into())
    );

    let tokens = |effort: &str| {
        let flags = ["--json", "-n", "1", "--reasoning-effort", effort];
        json(&play(folder.path(), &flags))["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    // A token a byte: `low`, `high`, `medium`.
    assert_eq!(tokens("low") + 1, tokens("high"));
    assert_eq!(tokens("low") + 3, tokens("medium"));
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), ANSWER, &ChatOptions::default());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let (tools, bad) = (file("tools.json", TOOLS), file("bad.json", "{}"));
    let twice = file("twice.json", r#"[{"name": "a"}, {"name": "a"}]"#);
    let odd = file("odd.json", r#"[{"name": "a b"}]"#);
    let scripted = folder.path();
    let ember = Path::new("ember");
    for (model, flags, reason) in [
        (scripted, &["--tools", &tools][..], "--json"),
        (scripted, &["--json", "--tools", &bad], "no list of tools"),
        (
            scripted,
            &["--json", "--tools", &twice],
            "two tools are called `a`",
        ),
        (
            scripted,
            &["--json", "--tools", &odd],
            "cannot be a tool's name",
        ),
        (
            scripted,
            &["--json", "--tools", "/nonexistent"],
            "cannot read /nonexistent",
        ),
        (
            scripted,
            &["--raw", "--reasoning-effort", "low"],
            "chat format",
        ),
        (ember, &["--reasoning-effort", "low"], "no reasoning effort"),
        (ember, &["--json", "--tools", &tools], "no tools"),
        (
            scripted,
            &["--reasoning-effort", "lots"],
            "low, medium, high",
        ),
    ] {
        let output = play(model, flags);
        assert_ne!(output.code, 0, "{flags:?}");
        assert_eq!(output.stdout, "", "{flags:?}");
        assert!(
            output.stderr.contains(reason),
            "{flags:?}: {}",
            output.stderr
        );
    }
}

#[test]
fn raw_text_is_continued_without_channels() {
    let folder = tempfile::tempdir().unwrap();
    scripted::write(folder.path(), &[("Hello".len(), ", world<|return|>")]).unwrap();
    let output = play(folder.path(), &["--temperature", "0", "--raw"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, ", world\n"));
}

#[test]
fn a_gpt_oss_that_writes_anything_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    scripted::write_random_gpt_oss(folder.path()).unwrap();
    let mut written = 0;
    for seed in ["1", "2", "3", "4"] {
        let flags = ["--temperature", "3", "--seed", seed, "-n", "200"];
        let output = play(folder.path(), &flags);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(!output.stdout.contains("<|"), "{}", output.stdout);
        let value = json(&play(folder.path(), &[&flags[..], &["--json"]].concat()));
        let text: String = value["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["content"].as_str().unwrap())
            .collect();
        // Bytes become replacement characters, but a marker in what was written never becomes text.
        assert!(!text.contains("<|"), "{text}");
        written += value["tokens"].as_array().unwrap().len();
    }
    assert!(written > 50, "it stops before it has written anything");
}
