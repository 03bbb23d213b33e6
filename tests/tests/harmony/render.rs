//! Prompts without a network: the small tokenizer against what `openai-harmony` rendered (`golden.json`, written by the test
//! `oracle::markers_and_goldens` when `INFERNO_UPDATE_HARMONY` is set), and what is refused.

use std::collections::BTreeMap;

use inferno_runtime::chat::harmony::{
    Content, DeveloperContent, HarmonyMessage, Reasoning, Role, SystemContent, Tool, ToolNamespace,
};
use inferno_runtime::tokenizer::Tokenizer;
use inferno_tests::harmony::small;
use serde_json::{Value, json};

use super::cases;

/// Ids as text, and markers, which text cannot be taken for, as `{"marker": …}`.
pub(crate) fn segments(tokenizer: &Tokenizer, ids: &[u32]) -> Value {
    let mut out: Vec<Value> = Vec::new();
    for run in ids.chunk_by(|&a, &b| !tokenizer.is_control(a) && !tokenizer.is_control(b)) {
        let text = tokenizer.decode(run, false);
        out.push(if tokenizer.is_control(run[0]) {
            json!({ "marker": text })
        } else {
            text.into()
        });
    }
    out.into()
}

pub(crate) fn goldens() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

#[test]
fn as_openai_harmony_rendered() {
    let (tokenizer, harmony) = small();
    let goldens = goldens();
    let cases = cases::all();
    assert_eq!(cases.len(), goldens.len());
    for case in cases {
        let ids = harmony
            .render(tokenizer, &case.messages, Role::Assistant, case.reasoning)
            .unwrap();
        assert_eq!(
            segments(tokenizer, &ids),
            goldens[case.name],
            "{}",
            case.name
        );
    }
}

fn refused(message: HarmonyMessage) -> String {
    let (tokenizer, harmony) = small();
    harmony
        .render(tokenizer, &[message], Role::Assistant, Reasoning::Keep)
        .unwrap_err()
        .to_string()
}

#[test]
fn misplaced_contents_are_refused() {
    let system = Content::System(SystemContent::default());
    let developer = Content::Developer(DeveloperContent::default());
    for (role, content, word) in [
        (Role::User, system.clone(), "system"),
        (Role::Developer, system, "system"),
        (Role::System, developer, "developer"),
    ] {
        let error = refused(HarmonyMessage::new(role, content));
        assert!(error.contains(word), "{error}");
    }
    assert!(refused(cases::say(Role::Tool, "x")).contains("name"));
}

#[test]
fn a_bottomless_schema_is_refused() {
    let mut schema = json!({"type": "string"});
    for _ in 0..100 {
        schema = json!({"type": "array", "items": schema});
    }
    let tools = ToolNamespace::functions(vec![Tool {
        name: "deep".into(),
        description: String::new(),
        parameters: Some(schema),
    }]);
    let content = DeveloperContent {
        instructions: None,
        tools: BTreeMap::from([("functions".into(), tools)]),
    };
    let message = HarmonyMessage::new(Role::Developer, Content::Developer(content));
    let error = refused(message);
    assert!(error.contains("`deep`"), "{error}");
}

#[test]
fn too_much_is_refused() {
    let (tokenizer, harmony) = small();
    let hello = cases::say(Role::User, "hello");
    let render = |messages: &[HarmonyMessage]| {
        harmony
            .render(tokenizer, messages, Role::Assistant, Reasoning::Keep)
            .unwrap_err()
            .to_string()
    };
    assert!(render(&vec![hello; 10_001]).contains("10001"));
    let long = cases::say(Role::User, &"x".repeat(5 << 20));
    assert!(render(&[long.clone(), long]).contains("bytes"));
}
