//! A conversation as people hold it → Harmony's messages, through the engine.

use std::time::{Duration, UNIX_EPOCH};

use inferno_runtime::chat::harmony::{ReasoningEffort, Tool};
use inferno_runtime::chat::{ChatOptions, Message};
use inferno_runtime::engine::{Engine, EngineOptions};
use inferno_tests::scripted;

const FRAME: &str = "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: 2024-02-29\n\nReasoning: medium\n\n# Valid channels: analysis, commentary, final. Channel must be included for every message.";

struct Fixture {
    engine: Engine,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        scripted::write(folder.path(), &[]).unwrap();
        let engine = Engine::open(folder.path(), &EngineOptions::default()).unwrap();
        Self {
            engine,
            _folder: folder,
        }
    }

    fn render(&self, messages: &[Message], options: ChatOptions) -> Result<String, String> {
        let options = ChatOptions {
            now: Some(UNIX_EPOCH + Duration::from_secs(1_709_211_599)),
            ..options
        };
        let ids = self
            .engine
            .render_with(messages, &options)
            .map_err(|error| error.to_string())?;
        Ok(self.engine.tokenizer().decode(&ids, false))
    }

    /// What follows the frame.
    fn rest(&self, messages: &[Message]) -> String {
        let text = self.render(messages, ChatOptions::default()).unwrap();
        text.strip_prefix(FRAME)
            .and_then(|text| text.strip_prefix("<|end|>"))
            .unwrap_or_else(|| panic!("{text}"))
            .to_string()
    }
}

fn on(channel: &str, text: &str) -> Message {
    Message {
        channel: Some(channel.into()),
        ..Message::new("assistant", text)
    }
}

#[test]
fn a_system_message_is_the_developers() {
    let fixture = Fixture::new();
    for role in ["system", "developer"] {
        assert_eq!(
            fixture.rest(&[Message::new(role, "Be brief."), Message::new("user", "Hi")]),
            "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant"
        );
    }
    assert_eq!(
        fixture.rest(&[
            Message::new("user", "Hi"),
            Message::new("system", "Now loud.")
        ]),
        "<|start|>user<|message|>Hi<|end|><|start|>developer<|message|># Instructions\n\nNow loud.<|end|><|start|>assistant"
    );
}

#[test]
fn options_are_in_the_frame() {
    let fixture = Fixture::new();
    let hi = [Message::new("user", "Hi")];
    let options = ChatOptions {
        reasoning_effort: Some(ReasoningEffort::High),
        identity: Some("You are ember.".into()),
        tools: Tool::list_from_json(r#"[{"name": "f", "description": "Does."}]"#).unwrap(),
        ..ChatOptions::default()
    };
    let text = fixture.render(&hi, options).unwrap();
    for part in [
        "<|message|>You are ember.\nKnowledge",
        "Reasoning: high\n",
        "every message.\nCalls to these tools must go to the commentary channel: 'functions'.<|end|>",
        "<|start|>developer<|message|># Tools\n\n## functions\n\nnamespace functions {\n\n// Does.\ntype f = () => any;\n\n} // namespace functions<|end|>",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn only_the_reasoning_behind_the_last_answer_is_kept() {
    let fixture = Fixture::new();
    let mut messages = vec![
        Message::new("user", "1"),
        on("analysis", "a"),
        on("final", "A"),
        Message::new("user", "2"),
        on("analysis", "b"),
        // An answer of a model without channels.
        Message::new("assistant", "B"),
        Message::new("user", "3"),
        on("analysis", "c"),
        Message {
            recipient: Some("functions.f".into()),
            content_type: Some("<|constrain|>json".into()),
            ..on("commentary", "{}")
        },
        Message::tool_result("functions.f", "7"),
    ];
    let answers = "<|start|>user<|message|>1<|end|><|start|>assistant<|channel|>final<|message|>A<|end|><|start|>user<|message|>2<|end|><|start|>assistant<|channel|>final<|message|>B<|end|><|start|>user<|message|>3<|end|>";
    let call = "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|><|start|>functions.f to=assistant<|channel|>commentary<|message|>7<|end|>";
    assert_eq!(
        fixture.rest(&messages),
        format!(
            "{answers}<|start|>assistant<|channel|>analysis<|message|>c<|end|>{call}<|start|>assistant"
        )
    );
    messages.push(on("final", "C"));
    assert_eq!(
        fixture.rest(&messages),
        format!(
            "{answers}{call}<|start|>assistant<|channel|>final<|message|>C<|end|><|start|>assistant"
        )
    );
}

#[test]
fn what_is_no_conversation_is_refused() {
    let fixture = Fixture::new();
    for (messages, word) in [
        (vec![], "empty"),
        (vec![Message::new("wizard", "x")], "wizard"),
    ] {
        let error = fixture
            .render(&messages, ChatOptions::default())
            .unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}
