//! Against OpenAI's `openai-harmony`, with gpt-oss's own tokenizer (a public package; SKIPPED without network).

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use inferno_runtime::chat::Message;
use inferno_runtime::chat::harmony::{
    ChannelConfig, Content, DeveloperContent, Harmony, HarmonyMessage, Reasoning, ReasoningEffort,
    Role, SystemContent, Tool, ToolNamespace,
};
use inferno_runtime::tokenizer::Tokenizer;
use inferno_tests::harmony::gpt_oss;
use openai_harmony::chat as theirs;
use openai_harmony::{
    HarmonyEncoding, HarmonyEncodingName, StreamableParser, load_harmony_encoding,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{cases, render};

struct Oracle {
    encoding: HarmonyEncoding,
    tokenizer: Tokenizer,
    harmony: Harmony,
}

/// Loaded once a process, which is once a test.
fn oracle() -> Option<&'static Oracle> {
    static ORACLE: OnceLock<Option<Oracle>> = OnceLock::new();
    let load = || {
        let (tokenizer, folder) = gpt_oss()?;
        // Its only way to be given a file. Nothing in this process reads the environment other than through std, which
        // locks it.
        #[expect(
            unsafe_code,
            reason = "set_var is unsafe where threads read the environment"
        )]
        unsafe {
            std::env::set_var("TIKTOKEN_ENCODINGS_BASE", folder);
        }
        Some(Oracle {
            encoding: load_harmony_encoding(HarmonyEncodingName::HarmonyGptOss).unwrap(),
            harmony: Harmony::detect(&tokenizer)?,
            tokenizer,
        })
    };
    ORACLE.get_or_init(load).as_ref()
}

impl Oracle {
    fn theirs(&self, messages: &[HarmonyMessage], next: Role, reasoning: Reasoning) -> Vec<u32> {
        let messages: Vec<theirs::Message> = messages.iter().map(message).collect();
        // The type of the settings has no public path; its default drops reasoning.
        let settings = Default::default();
        let settings = (reasoning == Reasoning::DropAnswered).then_some(&settings);
        self.encoding
            .render_conversation_for_completion(&messages, role(next), settings)
            .unwrap()
    }

    fn ours(&self, messages: &[HarmonyMessage], next: Role, reasoning: Reasoning) -> Vec<u32> {
        self.harmony
            .render(&self.tokenizer, messages, next, reasoning)
            .unwrap()
    }
}

fn role(role: Role) -> theirs::Role {
    theirs::Role::try_from(role.as_str()).unwrap()
}

fn message(message: &HarmonyMessage) -> theirs::Message {
    let content = match &message.content {
        Content::Text(text) => text.clone().into(),
        Content::System(content) => system(content).into(),
        Content::Developer(content) => theirs::DeveloperContent {
            instructions: content.instructions.clone(),
            tools: namespaces(&content.tools),
        }
        .into(),
    };
    theirs::Message {
        author: theirs::Author {
            role: role(message.role),
            name: message.name.clone(),
        },
        recipient: message.recipient.clone(),
        content: vec![content],
        channel: message.channel.clone(),
        content_type: message.content_type.clone(),
    }
}

fn system(content: &SystemContent) -> theirs::SystemContent {
    theirs::SystemContent {
        model_identity: content.identity.clone(),
        reasoning_effort: content.reasoning_effort.map(|effort| match effort {
            ReasoningEffort::Low => theirs::ReasoningEffort::Low,
            ReasoningEffort::Medium => theirs::ReasoningEffort::Medium,
            ReasoningEffort::High => theirs::ReasoningEffort::High,
        }),
        tools: namespaces(&content.tools),
        conversation_start_date: content.current_date.clone(),
        knowledge_cutoff: content.knowledge_cutoff.clone(),
        channel_config: content
            .channels
            .as_ref()
            .map(|channels| theirs::ChannelConfig {
                valid_channels: channels.valid.clone(),
                channel_required: channels.required,
            }),
    }
}

/// What they build in, they describe themselves.
fn namespaces(
    spaces: &BTreeMap<String, ToolNamespace>,
) -> Option<BTreeMap<String, theirs::ToolNamespaceConfig>> {
    let one = |(key, space): (&String, &ToolNamespace)| {
        let theirs = if *space == ToolNamespace::browser() {
            theirs::ToolNamespaceConfig::browser()
        } else if *space == ToolNamespace::python() {
            theirs::ToolNamespaceConfig::python()
        } else {
            let tools = space.tools.iter().map(|tool| {
                theirs::ToolDescription::new(&tool.name, &tool.description, tool.parameters.clone())
            });
            theirs::ToolNamespaceConfig::new(
                &space.name,
                space.description.clone(),
                tools.collect(),
            )
        };
        (key.clone(), theirs)
    };
    Some(spaces.iter().map(one).collect())
}

#[test]
fn markers_and_goldens() {
    let Some(oracle) = oracle() else { return };
    let harmony = &oracle.harmony;
    assert_eq!(
        [
            harmony.start,
            harmony.channel,
            harmony.constrain,
            harmony.message,
            harmony.end
        ],
        [200_006, 200_005, 200_003, 200_008, 200_007]
    );
    // As gpt-oss's generation_config.json has them.
    let named = [200_002, 199_999, 200_012];
    assert_eq!(harmony.stops(&named), named);
    let theirs = oracle.encoding.stop_tokens_for_assistant_actions().unwrap();
    let ours: HashSet<u32> = harmony.stops(&[harmony.ret]).into_iter().collect();
    assert_eq!(ours, theirs);
    let rendered: BTreeMap<String, Value> = cases::all()
        .into_iter()
        .map(|case| {
            let theirs = oracle.theirs(&case.messages, Role::Assistant, case.reasoning);
            let ours = oracle.ours(&case.messages, Role::Assistant, case.reasoning);
            assert_eq!(ours, theirs, "{}", case.name);
            (
                case.name.to_string(),
                render::segments(&oracle.tokenizer, &theirs),
            )
        })
        .collect();
    if std::env::var_os("INFERNO_UPDATE_HARMONY").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harmony/golden.json");
        let text = serde_json::to_string_pretty(&rendered).unwrap();
        std::fs::write(file, text + "\n").unwrap();
        return;
    }
    assert_eq!(
        rendered,
        render::goldens(),
        "INFERNO_UPDATE_HARMONY=1 writes them anew"
    );
}

/// Text as people write it and as they should not.
fn text() -> BoxedStrategy<String> {
    let pieces = prop_oneof![
        3 => "[ a-zA-Z0-9.,!?'\"-]{0,20}",
        2 => ".{0,8}",
        2 => "\\PC{0,6}",
        1 => "[\\r\\n\\t ]{1,5}",
        1 => prop::sample::select(vec![
            "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>",
            "<|endoftext|>", "<|reserved_200013|>", "<|star", "t|>", "🙂", "👩\u{200d}👧", "नमस्ते", "汉字", "\u{0}", "it's", "1234567",
        ]).prop_map(str::to_string),
    ];
    prop::collection::vec(pieces, 0..6)
        .prop_map(|pieces| pieces.concat())
        .boxed()
}

fn word() -> impl Strategy<Value = String> {
    "[a-z_]{1,8}"
}

fn schema() -> impl Strategy<Value = Value> {
    let default = prop_oneof![
        text().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(["a", {"b": null}])),
        Just(Value::Null),
    ];
    let extras = (
        prop::option::of(text()),
        prop::option::of(default),
        prop::option::of(any::<bool>()),
        prop::option::of(text()),
        prop::option::of(prop::collection::vec(
            prop_oneof![text().prop_map(Value::from), Just(json!(1))],
            0..3,
        )),
    )
        .boxed();
    let leaf = (
        prop::sample::select(vec![
            json!({"type": "string"}),
            json!({"type": "number"}),
            json!({"type": "integer"}),
            json!({"type": "boolean"}),
            json!({"type": "array"}),
            json!({"type": "null"}),
            json!({"type": ["integer", "string"]}),
            json!({"type": [1]}),
            json!({"type": []}),
            json!({}),
            json!(true),
            json!({"oneOf": []}),
            json!({"oneOf": 1}),
            json!({"type": "object"}),
            json!({"type": "string", "enum": []}),
            json!({"type": "string", "enum": ["a", 1, "b\"c"]}),
            json!({"enum": ["a"]}),
        ]),
        extras.clone(),
    )
        .prop_map(decorate);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let shape = prop_oneof![
            inner
                .clone()
                .prop_map(|items| json!({"type": "array", "items": items})),
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|variants| json!({"oneOf": variants})),
            (prop::collection::vec((word(), inner, any::<bool>()), 0..5)).prop_map(|properties| {
                let required: Vec<Value> = properties
                    .iter()
                    .filter(|p| p.2)
                    .map(|p| p.0.clone().into())
                    .collect();
                let map: serde_json::Map<String, Value> =
                    properties.into_iter().map(|p| (p.0, p.1)).collect();
                json!({"type": "object", "properties": map, "required": required})
            }),
        ];
        (shape, extras.clone()).prop_map(decorate)
    })
}

type Extras = (
    Option<String>,
    Option<Value>,
    Option<bool>,
    Option<String>,
    Option<Vec<Value>>,
);

fn decorate(
    (mut schema, (description, default, nullable, title, examples)): (Value, Extras),
) -> Value {
    if let Some(map) = schema.as_object_mut() {
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.into(), value);
            }
        };
        put("description", description.map(Value::from));
        put("default", default);
        put("nullable", nullable.map(Value::from));
        put("title", title.map(Value::from));
        put("examples", examples.map(Value::from));
    }
    schema
}

fn tools() -> impl Strategy<Value = BTreeMap<String, ToolNamespace>> {
    let tool = (word(), text(), prop::option::of(schema()))
        .prop_map(|(name, description, parameters)| Tool {
            name,
            description,
            parameters,
        })
        .boxed();
    let own = (
        word(),
        prop::option::of(text()),
        prop::collection::vec(tool.clone(), 0..3),
    )
        .prop_map(|(name, description, tools)| ToolNamespace {
            name,
            description,
            tools,
        });
    let functions = prop::collection::vec(tool, 0..4).prop_map(ToolNamespace::functions);
    let space = prop_oneof![
        2 => functions,
        1 => own,
        1 => Just(ToolNamespace::browser()),
        1 => Just(ToolNamespace::python()),
    ];
    prop::collection::vec(space, 0..3).prop_map(|spaces| {
        spaces
            .into_iter()
            .map(|space| (space.name.clone(), space))
            .collect()
    })
}

fn frame() -> impl Strategy<Value = Content> {
    let effort = prop::sample::select(vec![
        None,
        Some(ReasoningEffort::Low),
        Some(ReasoningEffort::Medium),
        Some(ReasoningEffort::High),
    ]);
    let channels = prop::option::of(
        (prop::collection::vec(word(), 0..4), any::<bool>())
            .prop_map(|(valid, required)| ChannelConfig { valid, required }),
    );
    (
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
        effort,
        tools(),
        channels,
    )
        .prop_map(
            |(identity, knowledge_cutoff, current_date, reasoning_effort, tools, channels)| {
                Content::System(SystemContent {
                    identity,
                    knowledge_cutoff,
                    current_date,
                    reasoning_effort,
                    tools,
                    channels,
                })
            },
        )
}

fn any_message() -> impl Strategy<Value = HarmonyMessage> {
    let content = text().prop_map(Content::Text);
    let developer = (prop::option::of(text()), tools()).prop_map(|(instructions, tools)| {
        Content::Developer(DeveloperContent {
            instructions,
            tools,
        })
    });
    let spoken = prop_oneof![
        1 => frame().prop_map(|content| (Role::System, content)),
        1 => developer.prop_map(|content| (Role::Developer, content)),
        6 => (
            prop::sample::select(vec![Role::User, Role::Assistant, Role::Assistant, Role::Assistant, Role::Tool, Role::System, Role::Developer]),
            content,
        ),
    ];
    let channel = prop::option::of(prop_oneof![
        4 => prop::sample::select(vec!["analysis", "commentary", "final"]).prop_map(str::to_string),
        1 => text(),
    ]);
    let content_type = prop::option::of(prop_oneof![
        3 => Just("<|constrain|>json".to_string()),
        1 => Just("code".to_string()),
        1 => Just("<|constrain|>".to_string()),
        1 => text(),
    ]);
    let recipient = prop::option::of(prop_oneof![
        Just("functions.f".to_string()),
        Just("all".to_string()),
        text()
    ]);
    (
        spoken,
        prop::option::of(text()),
        recipient,
        channel,
        content_type,
    )
        .prop_map(
            |((role, content), name, recipient, channel, content_type)| HarmonyMessage {
                role,
                name: name.or((role == Role::Tool).then(|| "functions.f".to_string())),
                recipient,
                channel,
                content_type,
                content,
            },
        )
}

#[test]
fn every_conversation_is_rendered_alike() {
    let Some(oracle) = oracle() else { return };
    let conversations = (
        prop::collection::vec(any_message(), 0..7),
        prop::sample::select(vec![
            Role::Assistant,
            Role::Assistant,
            Role::User,
            Role::Tool,
        ]),
        prop::sample::select(vec![Reasoning::DropAnswered, Reasoning::Keep]),
    );
    let check = |(messages, next, reasoning): (Vec<HarmonyMessage>, Role, Reasoning)| {
        prop_assert_eq!(
            oracle.ours(&messages, next, reasoning),
            oracle.theirs(&messages, next, reasoning)
        );
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(600));
    runner.run(&conversations, check).unwrap();
}

/// A message as a model should write it, behind `<|start|>assistant`.
#[derive(Clone, Debug)]
struct Written {
    recipient: Option<String>,
    /// Whether the recipient stands before the channel.
    before: bool,
    channel: &'static str,
    content_type: Option<&'static str>,
    text: String,
}

fn written() -> impl Strategy<Value = Written> {
    let call = (
        any::<bool>(),
        prop::sample::select(vec!["functions.f", "python", "browser.search"]),
    );
    (
        prop::option::of(call),
        prop::sample::select(vec!["analysis", "commentary", "final"]),
        prop::sample::select(vec![None, Some("<|constrain|>json"), Some("code")]),
        text(),
    )
        .prop_map(|(call, channel, content_type, text)| Written {
            // A content type without a recipient is where the two differ on purpose (see the tests of `parse`).
            content_type: content_type.filter(|_| call.is_some()),
            before: call.is_some_and(|(before, _)| before),
            recipient: call.map(|(_, recipient)| recipient.to_string()),
            channel,
            text,
        })
}

fn tokens(oracle: &Oracle, answer: &[Written]) -> Vec<u32> {
    let Oracle {
        tokenizer, harmony, ..
    } = oracle;
    let encode = |text: &str| tokenizer.encode(text).unwrap();
    let mut ids = Vec::new();
    for (index, message) in answer.iter().enumerate() {
        if index > 0 {
            ids.push(harmony.start);
            ids.extend(encode("assistant"));
        }
        let to = message
            .recipient
            .as_ref()
            .map(|to| format!(" to={to}"))
            .unwrap_or_default();
        let (before, after) = if message.before {
            (to, String::new())
        } else {
            (String::new(), to)
        };
        ids.extend(encode(&before));
        ids.push(harmony.channel);
        ids.extend(encode(&format!("{}{after}", message.channel)));
        match message.content_type {
            None => {}
            Some(kind) => match kind.strip_prefix("<|constrain|>") {
                None => ids.extend(encode(&format!(" {kind}"))),
                Some(rest) => {
                    ids.extend(encode(" "));
                    ids.push(harmony.constrain);
                    ids.extend(encode(rest));
                }
            },
        }
        ids.push(harmony.message);
        ids.extend(encode(&message.text));
        ids.push(match (&message.recipient, index + 1 == answer.len()) {
            (Some(_), _) => harmony.call,
            (None, true) => harmony.ret,
            (None, false) => harmony.end,
        });
    }
    ids
}

/// Our message in their words.
fn translated(message: &Message) -> theirs::Message {
    theirs::Message {
        author: theirs::Author {
            role: theirs::Role::try_from(message.role.as_str()).unwrap(),
            name: message.name.clone(),
        },
        recipient: message.recipient.clone(),
        content: vec![message.content.clone().into()],
        channel: message.channel.clone(),
        content_type: message.content_type.clone(),
    }
}

#[test]
fn well_formed_answers_are_read_alike() {
    let Some(oracle) = oracle() else { return };
    let check = |answer: Vec<Written>| {
        let tokens = tokens(oracle, &answer);
        let mut parser =
            StreamableParser::new(oracle.encoding.clone(), Some(theirs::Role::Assistant)).unwrap();
        for &token in &tokens {
            parser.process(token).unwrap();
        }
        parser.process_eos().unwrap();
        let (ours, irregular) = oracle.harmony.parse(&oracle.tokenizer, &tokens);
        let ours: Vec<theirs::Message> = ours.iter().map(translated).collect();
        prop_assert_eq!(ours, parser.into_messages());
        prop_assert!(!irregular);
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    runner
        .run(&prop::collection::vec(written(), 1..5), check)
        .unwrap();
}
