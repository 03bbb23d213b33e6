use proptest::prelude::*;

use super::*;

fn shape(text: &str) -> String {
    parse(text).map_or_else(|error| format!("{error:?}"), |ast| ast.to_string())
}

fn error(text: &str) -> (usize, String) {
    let error = parse(text).expect_err("invalid");
    (error.range.start, error.message)
}

#[test]
fn operators_bind_as_written_in_the_reference() {
    assert_eq!(shape("a + b * c - d"), "((a + (b * c)) - d)");
    assert_eq!(shape("a - b - c"), "((a - b) - c)");
    assert_eq!(
        shape("a || b && c == d + 1"),
        "(a || (b && (c == (d + 1))))"
    );
    assert_eq!(shape("-a * !b"), "((-a) * (!b))");
    assert_eq!(shape("--a"), "(-(-a))");
    assert_eq!(shape("-a[1]"), "(-a[1])");
    assert_eq!(shape("a < b == c"), "((a < b) == c)");
    assert_eq!(
        shape("if a { 1 } else { 2 } * x"),
        "(if a { 1 } else { 2 } * x)"
    );
    assert_eq!(shape("f(g(x), 1)[2]"), "f(g(x), 1)[2]");
    assert_eq!(shape("(a + b) * c"), "((a + b) * c)");
}

#[test]
fn numbers() {
    for (text, value) in [
        ("1", 1.0),
        ("1.", 1.0),
        ("1.5", 1.5),
        ("1e-5", 1e-5),
        ("2.e3", 2e3),
        ("1e5", 1e5),
    ] {
        let AstKind::Number(number) = parse(text).expect("valid").kind else {
            panic!("{text} is no number");
        };
        assert_eq!(number, value, "{text}");
    }
    for text in [".5", "1e+5", "1_000", "1e999", "2x", "1.2.3"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn errors_have_columns() {
    assert_eq!(
        error("a + "),
        (
            4,
            "expected a number, a string, a name, `(` or `if`, but the text ends here".into()
        )
    );
    assert_eq!(error("(a").0, 2);
    assert_eq!(error("a b").0, 2);
    assert_eq!(error("a = b").0, 2);
    assert_eq!(
        error("if a { 1 } else if b { 2 } else { 3 }"),
        (16, "there is no `else if`".into())
    );
    assert_eq!(error("a.b").0, 1);
    assert_eq!(error("f(a,)").0, 4);
    assert_eq!(error("(f)(a))").0, 6);
    assert_eq!(error("\"abc").0, 0);
    assert_eq!(error("").0, 0);
}

#[test]
fn steps() {
    let step = parse_step("x += attn(norm(x))").expect("valid");
    assert_eq!((step.var.as_str(), step.op), ("x", StepOp::Add));
    assert_eq!(parse_step("h = x").expect("valid").op, StepOp::Set);
    assert_eq!(parse_step("x *= 2").expect("valid").op, StepOp::Mul);
    for text in ["x -= y", "x", "1 = x", "x == y", "", "x = ", "x = y z"] {
        assert!(parse_step(text).is_err(), "{text}");
    }
}

#[test]
fn deep_and_long_texts_are_refused() {
    for text in [
        "(".repeat(10_000),
        "-".repeat(10_000),
        "a[".repeat(400),
        "1+".repeat(100_000),
        "if ".repeat(500),
    ] {
        assert!(parse(&text).is_err());
    }
    assert!(parse(&format!("{}1", "1+".repeat(255))).is_ok());
}

fn ast() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0u32..1000).prop_map(|n| n.to_string()),
        (0.0..1e3).prop_map(|n: f64| n.to_string()),
        "[a-z][a-z_]{0,4}".prop_filter("keyword", |name| !["if", "else"].contains(&name.as_str())),
        "[a-z ]{0,4}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = proptest::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "&&", "||"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(c, a, b)| format!("if {c} {{ {a} }} else {{ {b} }}")),
            proptest::collection::vec(inner, 0..3)
                .prop_map(|args| format!("f({})", args.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_again_changes_nothing(text in ast()) {
        let first = parse(&text).expect("valid").to_string();
        prop_assert_eq!(parse(&first).expect("valid").to_string(), first);
    }

    #[test]
    fn no_text_panics(text in "[-+*/%<>=!&|(){}\\[\\],.\"'a-fi0-9 é]{0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(text.get(error.range).is_some());
        }
        let _ = parse_step(&text);
    }
}
