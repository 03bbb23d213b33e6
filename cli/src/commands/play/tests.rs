//! Conversations of several turns with a model that says what it is told to. It answers a prompt only if the prompt has
//! exactly the expected number of tokens, so an answer shows what the prompt was.

use std::path::Path;

use clap::Parser as _;
use inferno_runtime::chat::{ChatOptions, Message};
use inferno_runtime::cpu::Precision;
use inferno_runtime::engine::{Engine, EngineOptions};
use inferno_tests::scripted;

use super::session::Session;
use crate::args::{Cli, Command};
use crate::model;
use crate::printer::Printer;

const ANSWER: &str = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>One.<|return|>";
const AGAIN: &str = "<|channel|>final<|message|>Two.<|return|>";
const CALL: &str = "<|channel|>analysis<|message|>I ask.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>";

fn on(channel: &str, text: &str) -> Message {
    Message {
        channel: Some(channel.into()),
        ..Message::new("assistant", text)
    }
}

fn call() -> Message {
    Message {
        recipient: Some("functions.f".into()),
        content_type: Some("<|constrain|>json".into()),
        ..on("commentary", "{}")
    }
}

/// A session with a model that gives these answers to these conversations.
fn session(folder: &Path, script: &[(Vec<Message>, &str)]) -> Session {
    scripted::write(folder, &[]).unwrap();
    let engine = Engine::open(folder, &EngineOptions::default()).unwrap();
    let lines: Vec<scripted::Line<'_>> = script
        .iter()
        .map(|(messages, answer)| (engine.render(messages).unwrap().len(), *answer))
        .collect();
    scripted::write(folder, &lines).unwrap();
    let name = folder.to_str().unwrap();
    let arguments = ["inferno", "play", "--model", name, "--temperature", "0"];
    let Command::Play(args) = Cli::try_parse_from(arguments).unwrap().command else {
        unreachable!("`play` is what was parsed")
    };
    let printer = Printer::new();
    let engine = model::load(name, &args.model, Precision::Fast, &printer).unwrap();
    Session::new(name.into(), engine, &args.answer, printer).unwrap()
}

fn long(text: &str) -> String {
    format!("{text} {}", "x".repeat(200))
}

#[test]
fn reasoning_is_dropped_behind_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let first = vec![Message::new("user", "Hi")];
    let second = vec![
        Message::new("user", "Hi"),
        on("final", "One."),
        Message::new("user", long("And")),
    ];
    let mut session = session(folder.path(), &[(first, ANSWER), (second, AGAIN)]);
    session.say("Hi".into()).unwrap();
    assert_eq!(
        session.messages[1..],
        [on("analysis", "Hm."), on("final", "One.")]
    );
    session.say(long("And")).unwrap();
    assert_eq!(session.messages.last(), Some(&on("final", "Two.")));
    assert_eq!(session.written.as_deref(), Some(AGAIN));

    // Another answer to the same message; a saved conversation is the same conversation.
    assert!(session.obey("/retry").unwrap().is_continue());
    assert_eq!(session.messages.len(), 5);
    assert_eq!(session.messages.last(), Some(&on("final", "Two.")));
    let (file, messages) = (folder.path().join("chat.json"), session.messages.clone());
    assert!(
        session
            .obey(&format!("/save {}", file.display()))
            .unwrap()
            .is_continue()
    );
    assert!(session.obey("/clear").unwrap().is_continue());
    assert!(session.messages.is_empty());
    assert!(
        session
            .obey(&format!("/load {}", file.display()))
            .unwrap()
            .is_continue()
    );
    assert_eq!(session.messages, messages);
    assert!(session.obey("/retry").unwrap().is_continue());
    assert_eq!(session.messages, messages);
}

#[test]
fn reasoning_is_kept_until_the_tool_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    let first = vec![Message::new("user", "Hi")];
    let result = Message::tool_result("functions.f", long("sunny"));
    let second = vec![
        Message::new("user", "Hi"),
        on("analysis", "I ask."),
        call(),
        result.clone(),
    ];
    let mut session = session(folder.path(), &[(first, CALL), (second, AGAIN)]);
    session.say("Hi".into()).unwrap();
    assert_eq!(session.expects(), Some("functions.f"));
    session.say(long("sunny")).unwrap();
    assert_eq!(session.expects(), None);
    assert_eq!(
        session.messages[1..],
        [
            on("analysis", "I ask."),
            call(),
            result,
            on("final", "Two.")
        ]
    );
    // Only the last answer is given again, with the result that it is based on.
    assert!(session.obey("/retry").unwrap().is_continue());
    assert_eq!(session.messages.last(), Some(&on("final", "Two.")));
    assert_eq!(session.messages.len(), 5);
}

#[test]
fn a_call_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = session(folder.path(), &[(vec![Message::new("user", "Hi")], CALL)]);
    session.say("Hi".into()).unwrap();
    assert!(session.drop_call());
    assert_eq!(session.expects(), None);
    assert!(!session.drop_call());
}

#[test]
fn a_call_that_was_cut_off_waits_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = session(folder.path(), &[(vec![Message::new("user", "Hi")], CALL)]);
    let length = CALL.find("{}").unwrap();
    // A marker is a token, any other character as well.
    let markers = CALL[..length].matches("<|").count();
    let inside: usize = CALL[..length]
        .split("|>")
        .filter_map(|part| part.find("<|").map(|at| part.len() - at + 2))
        .sum();
    let tokens = length - inside + markers + 1;
    assert!(
        session
            .obey(&format!("/set max_tokens {tokens}"))
            .unwrap()
            .is_continue()
    );
    session.say("Hi".into()).unwrap();
    assert_eq!(session.expects(), None);
    assert_eq!(session.messages.len(), 2);
}

#[test]
fn effort_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let hi = vec![Message::new("user", "Hi")];
    let mut session = session(folder.path(), &[(hi, ANSWER)]);
    for (line, effort) in [
        ("/set reasoning_effort high", Some("high")),
        ("/set reasoning-effort lots", Some("high")),
        ("/set reasoning_effort low", Some("low")),
    ] {
        assert!(session.obey(line).unwrap().is_continue());
        let ChatOptions {
            reasoning_effort, ..
        } = &session.options;
        assert_eq!(
            reasoning_effort.map(|effort| effort.to_string()).as_deref(),
            effort
        );
    }
    session.say("Hi".into()).unwrap();
    let low = session
        .engine
        .render_with(&[Message::new("user", "Hi")], &session.options);
    assert_eq!(session.totals.prompt_tokens, low.unwrap().len());
    let medium = session
        .engine
        .render(&[Message::new("user", "Hi")])
        .unwrap();
    assert_eq!(session.totals.prompt_tokens, medium.len() - 3);
}
