//! Chat templates against Python's jinja2 (`chat/make.py`), and hostile ones.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use inferno_runtime::chat::{ChatError, ChatTemplate, MAX_TEMPLATE_BYTES, Message, RenderOptions};
use serde_json::Value;

fn file(name: &str) -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/chat")
            .join(name),
    )
    .unwrap()
}

fn options() -> RenderOptions<'static> {
    RenderOptions {
        bos_token: Some("<s>"),
        eos_token: Some("</s>"),
        now: Some(UNIX_EPOCH + Duration::from_secs(1_709_211_599)),
        ..RenderOptions::default()
    }
}

fn render(source: &str, messages: &[Message]) -> Result<String, ChatError> {
    Ok(ChatTemplate::new(source)?
        .render(messages, &options())?
        .text()
        .to_string())
}

fn hello() -> Vec<Message> {
    vec![Message::new("user", "Hello")]
}

#[test]
fn real_templates_render_as_in_python() {
    let expected: Value = serde_json::from_str(&file("expected.json")).unwrap();
    let mut wrong = Vec::new();
    for case in expected["cases"].as_array().unwrap() {
        let template = case["template"].as_str().unwrap();
        let conversation = case["conversation"].as_str().unwrap();
        let messages: Vec<Message> = expected["conversations"][conversation]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| {
                Message::new(
                    message["role"].as_str().unwrap(),
                    message["content"].as_str().unwrap(),
                )
            })
            .collect();
        let source = file(&format!("templates/{template}.jinja"));
        let options = RenderOptions {
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            ..options()
        };
        let rendered =
            ChatTemplate::new(&source).and_then(|compiled| compiled.render(&messages, &options));
        let same = match (&rendered, case["prompt"].as_str(), case["refused"].as_str()) {
            (Ok(rendered), Some(prompt), _) => rendered.text() == prompt,
            (
                Err(ChatError::Refused {
                    message,
                    line: Some(_),
                }),
                None,
                Some(refused),
            ) => message == refused,
            _ => false,
        };
        if !same {
            wrong.push(format!(
                "{template}, {conversation}:\n  ours {rendered:?}\n  Python {case}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn options_reach_the_template() {
    let source = "{{ add_generation_prompt }} {{ bos_token }} {{ eos_token }} {{ enable_thinking is defined }}";
    assert_eq!(render(source, &hello()).unwrap(), "False <s> </s> False");
    let thinking = RenderOptions {
        enable_thinking: Some(false),
        ..options()
    };
    let rendered = ChatTemplate::new("{{ enable_thinking }}")
        .unwrap()
        .render(&hello(), &thinking)
        .unwrap();
    assert_eq!(rendered.text(), "False");
    assert_eq!(
        render("{{ strftime_now('%d %b %Y') }}", &hello()).unwrap(),
        "29 Feb 2024"
    );
}

#[test]
fn errors_name_the_line() {
    let error = render("a\nb\n{{ messages[0].content | nosuchfilter }}", &hello()).unwrap_err();
    assert!(
        error.to_string().starts_with("chat template, line 3: "),
        "{error}"
    );
    assert!(error.to_string().contains("nosuchfilter"), "{error}");
    let error = render("a\n{% if %}", &hello()).unwrap_err();
    assert!(
        error.to_string().starts_with("chat template, line 2: "),
        "{error}"
    );
    let error = render("\n\n\n{{ raise_exception('no system role') }}", &hello()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template refuses this conversation (line 4): no system role"
    );
    let error = render("\n{{ messages[0].nothing.deeper }}", &hello()).unwrap_err();
    assert!(
        error.to_string().starts_with("chat template, line 2: "),
        "{error}"
    );
}

/// Each must end with a typed error, soon.
#[test]
fn hostile_templates_are_stopped() {
    let nested = "{% for a in range(99999) %}".repeat(5) + &"{% endfor %}".repeat(5);
    let doubling = "{% set ns = namespace(x='0123456789abcdef') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let deep = format!("{}1{}", "(".repeat(50_000), ")".repeat(50_000));
    for (name, source) in [
        ("nested loops", nested.as_str()),
        ("huge range", "{% for i in range(10**9) %}x{% endfor %}"),
        (
            "a gigabyte of output",
            "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
        ),
        ("a gigabyte at once", "{{ 'x' * 10**9 }}"),
        ("a doubling string", doubling),
        ("padding", "{{ '%999999999d' | format(1) }}"),
        ("centre", "{{ 'x'.center(10**9) }}"),
        (
            "endless recursion",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        ),
        (
            "recursion that forks",
            "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        ),
        (
            "a recursive loop",
            "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        ),
        ("deep nesting", &format!("{{{{ {deep} }}}}")),
        ("deep blocks", &"{% if true %}".repeat(50_000)),
        (
            "replace",
            "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x | replace('a', 'aaaaaaaa') %}{% endfor %}",
        ),
        (
            "a doubling list",
            "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        ),
        (
            "a list that doubles in a sum",
            "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] | sum(start=[]) %}{% endfor %}",
        ),
        (
            "a list that doubles in a macro",
            "{% macro m(x, n) %}{% if n %}{{ m(x + x, n - 1) }}{% endif %}{% endmacro %}{{ m([1], 60) }}",
        ),
        ("a repeated list", "{{ (([1] * 10**9) + [1]) | length }}"),
        ("zip", "{{ [1] | zip([2]) }}"),
        ("chain", "{{ [1] | chain([2]) }}"),
        ("a huge batch", "{{ [1] | batch(10**9, 1) }}"),
        ("join", "{{ range(99999) | join('x' * 9999) }}"),
        ("an unknown filter", "{{ 1 | frobnicate }}"),
        ("an include", "{% include '/etc/passwd' %}"),
        ("an import", "{% import 'os' as os %}{{ os.system('id') }}"),
        ("inheritance", "{% extends 'chat_template' %}"),
        ("including itself", "{% include 'chat_template' %}"),
        (
            "Python's insides",
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        ),
        ("division by zero", "{{ 1 // 0 }}"),
        (
            "an overflow",
            "{{ 9223372036854775807 ** 9223372036854775807 }}",
        ),
        ("an unclosed tag", "{% for"),
    ] {
        let start = Instant::now();
        let outcome = render(source, &hello());
        assert!(
            outcome.is_err(),
            "{name} gives {} bytes",
            outcome.unwrap().len()
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{name} took {:?}",
            start.elapsed()
        );
    }
}

/// Values as deep as fuel allows are printed, compared, sliced and dropped by recursion: that must not overflow the stack.
#[test]
fn deeply_nested_values_do_not_end_the_process() {
    for (name, step) in [
        ("lists", "[ns.x]"),
        ("maps", "{'a': ns.x}"),
        ("namespaces", "namespace(x=ns.x)"),
        ("slices", "ns.x[0:]"),
        ("repetitions", "ns.x * 1"),
        ("sums", "ns.x + []"),
        ("ten lists at once", "[[[[[[[[[[ns.x]]]]]]]]]]"),
    ] {
        for end in [
            "",
            "{{ ns.x }}",
            "{{ ns.x | tojson }}",
            "{{ ns.x == [ns.x] }}",
            "{% for a in ns.x %}{% endfor %}",
        ] {
            let source = format!(
                "{{% set ns = namespace(x=[]) %}}{{% for i in range(50000) %}}{{% set ns.x = {step} %}}{{% endfor %}}{end}"
            );
            let start = Instant::now();
            // Some of these are allowed: an answer or a typed error, soon.
            let _ = render(&source, &hello());
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{name} {end} took {:?}",
                start.elapsed()
            );
        }
    }
}

#[test]
fn operators_do_what_jinja_does() {
    for (source, expected) in [
        ("{{ 1 + 2 }} {{ 1.5 + 2 }} {{ 'a' + 'b' }}", "3 3.5 ab"),
        ("{{ [1] + [2, 'x'] }}", "[1, 2, 'x']"),
        ("{{ (1,) + (2,) }}", "(1, 2)"),
        (
            "{{ 3 * 2 }} {{ 'ab' * 2 }} {{ [1, 2] * 2 }}",
            "6 abab [1, 2, 1, 2]",
        ),
        (
            "{{ [1, 2, 3][1:] }} {{ [1, 2, 3][::-1] }} {{ 'abc'[:-1] }}",
            "[2, 3] [3, 2, 1] ab",
        ),
        (
            "{{ [[1], [2]] | sum(start=[]) }} {{ [1, 2] | sum }}",
            "[1, 2] 3",
        ),
        (
            "{{ [{'x': [1]}, {'x': [2]}] | sum(attribute='x', start=[]) }}",
            "[1, 2]",
        ),
        ("{{ [1, 2, 3] | batch(2, 0) | list }}", "[[1, 2], [3, 0]]"),
    ] {
        assert_eq!(render(source, &hello()).unwrap(), expected, "{source}");
    }
    let error = render("\n{{ [1] + 'a' }}", &hello()).unwrap_err();
    assert!(
        error.to_string().starts_with("chat template, line 2: ") && error.to_string().contains('+'),
        "{error}"
    );
}

#[test]
fn limits_are_told_apart() {
    let error = |source: &str| render(source, &hello()).unwrap_err();
    let loops = "\n{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(
        matches!(error(loops), ChatError::TooMuchWork { line: Some(2) }),
        "{}",
        error(loops)
    );
    let output = "{% for a in range(99) %}{{ 'x' * 99999 }}{% endfor %}";
    assert!(
        matches!(error(output), ChatError::OutputTooLarge { .. }),
        "{}",
        error(output)
    );
    assert_eq!(
        error(&"x".repeat(MAX_TEMPLATE_BYTES + 1)),
        ChatError::TooLarge(MAX_TEMPLATE_BYTES + 1)
    );
}

#[test]
fn a_long_conversation_is_no_attack() {
    let messages: Vec<Message> = (0..2000)
        .map(|i| {
            Message::new(
                if i % 2 == 0 { "user" } else { "assistant" },
                "lorem ipsum ".repeat(100),
            )
        })
        .collect();
    for template in ["chatml", "llama3", "gemma", "mistral", "qwen"] {
        let prompt = render(&file(&format!("templates/{template}.jinja")), &messages).unwrap();
        assert!(prompt.len() > 2_000_000, "{template}");
    }
}

#[test]
fn conversations_that_are_none() {
    assert_eq!(render("x", &[]), Err(ChatError::Empty));
    for role in ["", "user\n", "<|im_start|>", "a b", &"r".repeat(65)] {
        let error = render("x", &[Message::new(role, "")]).unwrap_err();
        assert!(matches!(error, ChatError::BadRole(_)), "{error}");
    }
    let many = vec![Message::new("user", ""); 10_001];
    assert_eq!(render("x", &many), Err(ChatError::TooManyMessages(10_001)));
}

#[test]
fn the_template_of_a_tokenizer_config() {
    let source = |json: &str| {
        ChatTemplate::from_tokenizer_config(json.as_bytes())
            .map(|template| template.source().to_string())
    };
    assert_eq!(source(r#"{"chat_template": "one"}"#).unwrap(), "one");
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(source(named).unwrap(), "d");
    assert_eq!(
        source(r#"{"chat_template": [{"name": "rag", "template": "r"}]}"#).unwrap(),
        "r"
    );
    let two = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "tool_use", "template": "t"}]}"#;
    assert_eq!(
        source(two),
        Err(ChatError::Ambiguous("rag, tool_use".into()))
    );
    for none in [
        "{}",
        r#"{"chat_template": null}"#,
        r#"{"chat_template": []}"#,
    ] {
        assert_eq!(source(none), Err(ChatError::NoTemplate));
    }
    for bad in [
        "",
        "[",
        r#"{"chat_template": 5}"#,
        r#"{"chat_template": [{"name": "x"}]}"#,
    ] {
        assert!(
            matches!(source(bad), Err(ChatError::Malformed { .. })),
            "{bad}"
        );
    }
}
