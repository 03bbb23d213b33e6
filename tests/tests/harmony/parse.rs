//! The parser on well-formed answers, on broken ones, and on any tokens at all.

use inferno_runtime::chat::Message;
use inferno_runtime::chat::harmony::{Harmony, Kind, Parser, Step};
use inferno_runtime::tokenizer::Tokenizer;
use inferno_tests::harmony::{CONTROL, VOCAB, ids, small};
use proptest::prelude::*;

/// `channel[→recipient][content type]: text` of each message, and whether the parser was content.
fn read(text: &str) -> (Vec<String>, bool) {
    let (tokenizer, harmony) = small();
    let (messages, irregular) = harmony.parse(tokenizer, &ids(tokenizer, text));
    (messages.iter().map(show).collect(), irregular)
}

fn show(message: &Message) -> String {
    let role = match message.role.as_str() {
        "assistant" => String::new(),
        role => format!("({role} {}) ", message.name.as_deref().unwrap_or_default()),
    };
    let recipient = message.recipient.as_ref().map(|to| format!("→{to}"));
    let kind = message
        .content_type
        .as_ref()
        .map(|kind| format!("[{kind}]"));
    format!(
        "{role}{}{}{}: {}",
        message.channel.as_deref().unwrap_or("-"),
        recipient.unwrap_or_default(),
        kind.unwrap_or_default(),
        message.content
    )
}

#[test]
fn well_formed_answers() {
    for (text, expected) in [
        (
            "<|channel|>analysis<|message|>Sum.<|end|><|start|>assistant<|channel|>final<|message|>4 é<|return|>",
            &["analysis: Sum.", "final: 4 é"][..],
        ),
        (
            "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
            &["commentary→functions.f[<|constrain|>json]: {}"],
        ),
        (
            " to=functions.f<|channel|>commentary<|constrain|>json<|message|>{}<|call|>",
            &["commentary→functions.f[<|constrain|>json]: {}"],
        ),
        (
            "<|channel|>analysis to=python code<|message|>1+1<|call|>",
            &["analysis→python[code]: 1+1"],
        ),
        ("<|message|>no channel<|end|>", &["-: no channel"]),
        // The answer is held to a format. openai-harmony takes the format for a recipient here.
        (
            "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
            &["final[<|constrain|>json]: {}"],
        ),
        (
            "<|channel|>final json<|message|>{}<|return|>",
            &["final[json]: {}"],
        ),
        ("<|channel|>final<|message|>cut off", &["final: cut off"]),
        ("", &[]),
    ] {
        assert_eq!(
            read(text),
            (expected.iter().map(ToString::to_string).collect(), false),
            "{text}"
        );
    }
}

#[test]
fn the_beginning_of_a_header_says_nothing() {
    for text in [
        "<|chan",
        "<|channel|>",
        "<|channel|>ana",
        "<|channel|>commentary to=functions.f <|constrain|>js",
        "<|channel|>final<|message|>x<|end|><|start|>assis",
    ] {
        let (messages, _) = read(text);
        let expected: &[&str] = match text {
            "<|chan" => &["-: <|chan"],
            text if text.contains("final") => &["final: x"],
            _ => &[],
        };
        assert_eq!(messages, expected, "{text}");
    }
}

/// Found by the properties below.
#[test]
fn a_header_that_is_cut_off_hides_no_second_word() {
    let (tokenizer, harmony) = small();
    for (text, word) in [
        ("<|constrain|>\0\u{b}\u{e}<|startoftext|>", "\u{e}"),
        (
            "<|start|>assistant to=functions.f<|startoftext|>é<|startoftext|>",
            "é",
        ),
    ] {
        let (messages, irregular) = harmony.parse(tokenizer, &ids(tokenizer, text));
        assert!(irregular, "{text:?}");
        assert!(
            messages
                .iter()
                .any(|message| message.content.contains(word)),
            "{text:?}: {messages:?}"
        );
    }
}

#[test]
fn broken_answers_lose_nothing_and_say_so() {
    for (text, expected) in [
        ("Hello.", &["-: Hello."][..]),
        ("Hello<|end|>", &["-: Hello"]),
        // `<|message|>` is missing, but the channel is known.
        ("<|channel|>analysis We need<|end|>", &["analysis: We need"]),
        (
            "<|channel|>final The answer<|return|>",
            &["final: The answer"],
        ),
        // Channels that do not exist.
        ("<|channel|>finale<|message|>x<|end|>", &["finale: x"]),
        ("<|channel|><|message|>x<|end|>", &["-: x"]),
        // Two channels: the later one.
        (
            "<|channel|>commentary<|channel|>analysis<|message|>x<|end|>",
            &["analysis: x"],
        ),
        // Too many words.
        (
            "<|channel|>final one two three<|message|>x<|end|>",
            &["final: one two threex"],
        ),
        // A word that cannot be a recipient.
        (
            "\u{1}?<|channel|>analysis<|message|>x<|end|>",
            &["analysis: \u{1}?x"],
        ),
        // No `<|start|>`.
        (
            "<|channel|>analysis<|message|>a<|end|>assistant<|channel|>final<|message|>b<|return|>",
            &["analysis: a", "final: b"],
        ),
        (
            "<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b<|return|>",
            &["analysis: a", "final: b"],
        ),
        (
            "<|channel|>final<|message|>a<|end|> and b",
            &["final: a", "-: and b"],
        ),
        // No `<|end|>`.
        (
            "<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b<|return|>",
            &["analysis: a", "final: b"],
        ),
        (
            "<|channel|>analysis<|message|>a<|channel|>final<|message|>b<|return|>",
            &["analysis: a", "final: b"],
        ),
        // Markers where they mean nothing.
        (
            "<|channel|>final<|message|>a<|message|>b<|constrain|>c<|reserved|>d<|return|>",
            &["final: abcd"],
        ),
        (
            "<|end|><|call|><|channel|>final<|message|>a<|end|><|return|>",
            &["final: a"],
        ),
        // Others do not speak here.
        (
            "<|channel|>final<|message|>a<|end|><|start|>user<|message|>b<|end|>",
            &["final: a", "(user ) -: b"],
        ),
        (
            "<|end|><|start|>functions.f to=assistant<|channel|>commentary<|message|>b<|end|>",
            &["(tool functions.f) commentary→assistant: b"],
        ),
        ("<|end|><|start|>nobody<|message|>b<|end|>", &["-: nobodyb"]),
        ("<|end|><|message|>b<|end|>", &["-: b"]),
    ] {
        assert_eq!(
            read(text),
            (expected.iter().map(ToString::to_string).collect(), true),
            "{text}"
        );
    }
}

#[test]
fn an_endless_header_becomes_text_while_it_is_written() {
    let (tokenizer, harmony) = small();
    let mut parser = Parser::new(harmony, tokenizer);
    let mut shown = String::new();
    let text = "word ".repeat(400);
    for id in ids(tokenizer, &format!("<|channel|>analysis {text}")) {
        for step in parser.push(id) {
            match step {
                Step::Text(text) => shown += &text,
                Step::Begin(header) => assert_eq!(Kind::of(&header.message()), Kind::Reasoning),
                Step::End => {}
            }
        }
    }
    assert_eq!(shown, text);
    for marker in ["<|channel|>", "<|constrain|>"] {
        let (messages, irregular) = read(&marker.repeat(10_000));
        // One message at most for what a header may hold.
        assert!(messages.len() < 200 && irregular, "{messages:?}");
    }
}

#[test]
fn spelled_markers_are_text() {
    let (tokenizer, harmony) = small();
    let mut tokens = ids(tokenizer, "<|channel|>final<|message|>");
    tokens.extend(tokenizer.encode("a<|end|><|start|>b").unwrap());
    let (messages, irregular) = harmony.parse(tokenizer, &tokens);
    assert_eq!(messages[0].content, "a<|end|><|start|>b");
    assert!(!irregular);
}

#[test]
fn it_goes_on_where_the_prompt_stopped() {
    let (tokenizer, harmony) = small();
    let user = "<|start|>user<|message|>hi<|end|>";
    for (prompt, answer, expected) in [
        (
            "<|start|>assistant",
            "<|channel|>final<|message|>x",
            Some("final: x"),
        ),
        (
            "<|start|>assistant<|channel|>",
            "final<|message|>x",
            Some("final: x"),
        ),
        (
            "<|start|>assistant<|channel|>final<|message|>y",
            "x",
            Some("final: x"),
        ),
        ("<|start|>assistant", "x", Some("-: x")),
        (
            "",
            "<|start|>assistant<|channel|>final<|message|>x",
            Some("final: x"),
        ),
    ] {
        let prompt = ids(tokenizer, &format!("{user}{prompt}"));
        let (mut parser, open) = Parser::after(harmony, tokenizer, &prompt).unwrap();
        let mut steps: Vec<Step> = open.into_iter().map(Step::Begin).collect();
        for id in ids(tokenizer, answer) {
            steps.extend(parser.push(id));
        }
        steps.extend(parser.finish());
        let mut shown = None;
        for step in steps {
            match step {
                Step::Begin(header) => {
                    shown = Some(format!("{}: ", header.channel.as_deref().unwrap_or("-")));
                }
                Step::Text(text) => shown.as_mut().unwrap().push_str(&text),
                Step::End => {}
            }
        }
        assert_eq!(shown.as_deref(), expected, "{answer}");
    }
    assert!(Parser::after(harmony, tokenizer, &ids(tokenizer, "plain text")).is_none());
}

/// Tokens of all kinds, markers and the words of headers more often than chance has it.
fn any_tokens() -> impl Strategy<Value = Vec<u32>> {
    let (tokenizer, _) = small();
    let words = [
        "assistant",
        "user",
        "analysis",
        "commentary",
        "final",
        " to=functions.f",
        " json",
        " ",
        "é",
        "🙂",
        "x y",
    ];
    let words: Vec<Vec<u32>> = words.iter().map(|word| ids(tokenizer, word)).collect();
    let piece = prop_oneof![
        4 => (256..256 + CONTROL.len() as u32).prop_map(|id| vec![id]),
        4 => prop::sample::select(words),
        1 => (0..256_u32).prop_map(|byte| vec![byte]),
        1 => prop::collection::vec(0..256_u32, 0..200),
        1 => (0..VOCAB as u32 + 500).prop_map(|id| vec![id]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// What the parser makes of tokens, with the place of the token that brought each step.
fn steps(tokenizer: &Tokenizer, harmony: Harmony, tokens: &[u32]) -> Vec<(usize, Step)> {
    let mut parser = Parser::new(harmony, tokenizer);
    let mut all = Vec::new();
    for (place, &id) in tokens.iter().enumerate() {
        all.extend(parser.push(id).into_iter().map(|step| (place, step)));
    }
    all.extend(parser.finish().into_iter().map(|step| (tokens.len(), step)));
    all
}

/// Words that may be missing from the text because they were a header's.
fn is_markup(word: &str) -> bool {
    let names = ["assistant", "analysis", "commentary", "final"];
    word.starts_with("to=")
        || "to=".starts_with(word)
        || names.iter().any(|name| name.starts_with(word))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_tokens_become_messages(tokens in any_tokens()) {
        let (tokenizer, harmony) = small();
        let steps = steps(tokenizer, harmony, &tokens);
        // Begin, text, end; never text outside of a message, nor an empty piece.
        let mut open = false;
        for (_, step) in &steps {
            match step {
                Step::Begin(_) => { prop_assert!(!open); open = true; }
                Step::Text(text) => prop_assert!(open && !text.is_empty()),
                Step::End => { prop_assert!(open); open = false; }
            }
        }
        prop_assert!(!open);
        // Batch and stream agree.
        let (messages, _) = harmony.parse(tokenizer, &tokens);
        let streamed: String = steps.iter().filter_map(|(_, step)| match step {
            Step::Text(text) => Some(text.as_str()),
            _ => None,
        }).collect();
        let batch: String = messages.iter().map(|message| message.content.as_str()).collect();
        prop_assert_eq!(streamed, batch);
    }

    #[test]
    fn no_text_behind_a_message_marker_is_lost(tokens in any_tokens()) {
        let (tokenizer, harmony) = small();
        let all = steps(tokenizer, harmony, &tokens);
        // Cut the tokens at markers; what follows `<|message|>` must come out whole, up to the next marker.
        let mut at = 0;
        while let Some(from) = tokens[at..].iter().position(|&id| id == harmony.message).map(|i| at + i + 1) {
            let to = tokens[from..].iter().position(|&id| tokenizer.is_control(id)).map_or(tokens.len(), |i| from + i);
            let shown: String = all
                .iter()
                .filter(|(place, _)| (from..=to).contains(place))
                // At the closing marker itself only what was held back belongs to this text: it comes before the next message.
                .take_while(|(place, step)| *place < to || !matches!(step, Step::Begin(_)))
                .filter_map(|(_, step)| match step { Step::Text(text) => Some(text.as_str()), _ => None })
                .collect();
            prop_assert_eq!(shown, tokenizer.decode(&tokens[from..to], true));
            at = from;
        }
    }

    #[test]
    fn only_markup_is_left_out(tokens in any_tokens()) {
        let (tokenizer, harmony) = small();
        let (messages, _) = harmony.parse(tokenizer, &tokens);
        let text: String = messages.iter().map(|message| message.content.as_str()).collect();
        let headers: Vec<String> = messages.iter().flat_map(|message| {
            [&message.name, &message.recipient, &message.channel, &message.content_type, &Some(message.role.clone())]
                .into_iter().flatten().map(|word| word.replace("<|constrain|>", "")).collect::<Vec<_>>()
        }).collect();
        let in_header = |word: &str| headers.iter().any(|header| {
            header.contains(word) || (!header.is_empty() && word.contains(header.as_str()))
        });
        let mut before = None;
        let marks = |id| [harmony.start, harmony.channel, harmony.constrain, harmony.message, harmony.end, harmony.ret, harmony.call].contains(&id);
        for run in tokens.chunk_by(|&a, &b| !tokenizer.is_control(a) && !tokenizer.is_control(b)) {
            if tokenizer.is_control(run[0]) {
                if marks(run[0]) {
                    before = Some(run[0]);
                }
                continue;
            }
            for (index, word) in tokenizer.decode(run, true).split_whitespace().enumerate() {
                // A content type that no `<|message|>` follows says nothing.
                let constrained = before == Some(harmony.constrain) && index == 0;
                prop_assert!(
                    text.contains(word) || is_markup(word) || constrained || in_header(word),
                    "{word:?} is nowhere in {text:?} nor in {headers:?}"
                );
            }
        }
    }

    #[test]
    fn text_without_markers_is_the_answer(bytes in prop::collection::vec(0..256_u32, 0..700)) {
        let (tokenizer, harmony) = small();
        let (messages, irregular) = harmony.parse(tokenizer, &bytes);
        let text: String = messages.iter().map(|message| message.content.as_str()).collect();
        let expected = tokenizer.decode(&bytes, true);
        prop_assert_eq!(text.trim_start(), expected.trim_start());
        prop_assert_eq!(irregular, !expected.trim().is_empty());
    }
}
