//! Expressions.

use insta::assert_snapshot;

use super::told;

#[test]
fn unknown_name() {
    let spec = r#"
        extends = "llama"
        [head]
        scale = "1 / hiden_size"
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown name `hiden_size`
     --> model-spec/mine.toml:3:14
      |
    3 | scale = "1 / hiden_size"
      |              ^^^^^^^^^^
      = help: did you mean `hidden_size`?
    "#);
}

#[test]
fn unknown_name_without_a_near_one() {
    let spec = r#"
        extends = "llama"
        [head]
        scale = "2 * zeta"
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown name `zeta`
     --> model-spec/mine.toml:3:14
      |
    3 | scale = "2 * zeta"
      |              ^^^^
      = help: declare it: a config field in [config], as in `zeta = { type = "int" }`, or a `let` in [layers]
    "#);
}

#[test]
fn layer_where_there_is_none() {
    let spec = r#"
        extends = "llama"
        [head]
        scale = "i + 1"
    "#;
    assert_snapshot!(told(spec), @r#"
    `i` is the layer, and this is evaluated once for the whole model
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "i + 1"
      |          ^
      = help: use a config field here
    "#);
}

#[test]
fn let_by_layer_where_there_is_none() {
    let spec = r#"
        extends = "llama"
        [layers]
        let = { late = "i > 3" }
        [head]
        scale = "if late { 1 } else { 2 }"
    "#;
    assert_snapshot!(told(spec), @r#"
    `late` depends on the layer, and this is evaluated once for the whole model
     --> model-spec/mine.toml:5:13
      |
    5 | scale = "if late { 1 } else { 2 }"
      |             ^^^^
    "#);
}

#[test]
fn bool_plus_number() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "tie_embeddings + 1"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a number, found a bool
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "tie_embeddings + 1"
      |          ^^^^^^^^^^^^^^ this is a bool
    "#);
}

#[test]
fn two_mistakes_in_one_expression() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "tie_embeddings + hidden_act"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a number, found a bool
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "tie_embeddings + hidden_act"
      |          ^^^^^^^^^^^^^^ this is a bool
    expected a number, found a string
     --> model-spec/mine.toml:3:27
      |
    3 | scale = "tie_embeddings + hidden_act"
      |                           ^^^^^^^^^^ this is a string
    "#);
}

#[test]
fn string_compared_with_number() {
    let spec = r#"
        extends = "llama"
        [attn]
        bias = "hidden_act == 3"
    "#;
    assert_snapshot!(told(spec), @r#"
    `==` cannot compare a string with a number
     --> model-spec/mine.toml:3:9
      |
    3 | bias = "hidden_act == 3"
      |         ^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn number_as_condition() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "if num_layers { 1 } else { 2 }"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a bool, found a number
     --> model-spec/mine.toml:3:13
      |
    3 | scale = "if num_layers { 1 } else { 2 }"
      |             ^^^^^^^^^^ this is a number
    "#);
}

#[test]
fn branches_of_different_types() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "if tie_embeddings { 1 } else { true }"
    "#;
    assert_snapshot!(told(spec), @r#"
    one branch gives a number, the other a bool
     --> model-spec/mine.toml:3:41
      |
    3 | scale = "if tie_embeddings { 1 } else { true }"
      |                                         ^^^^
    "#);
}

#[test]
fn none_where_a_number_is_needed() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "none"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a number, found none
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "none"
      |          ^^^^ this is none
    "#);
}

#[test]
fn index_of_a_number() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "hidden_size[0]"
    "#;
    assert_snapshot!(told(spec), @r#"
    only a list has an index, and this is a number
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "hidden_size[0]"
      |          ^^^^^^^^^^^
    "#);
}

#[test]
fn length_of_a_number() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "len(hidden_size)"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a list, found a number
     --> model-spec/mine.toml:3:14
      |
    3 | scale = "len(hidden_size)"
      |              ^^^^^^^^^^^
    "#);
}

#[test]
fn arguments() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "sqrt(1, 2)"
    "#;
    assert_snapshot!(told(spec), @r#"
    `sqrt` takes 1 argument, found 2
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "sqrt(1, 2)"
      |          ^^^^
    "#);
}

#[test]
fn unknown_function() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "sqr(2)"
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no function `sqr`
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "sqr(2)"
      |          ^^^
      = help: did you mean `sqrt`?
    "#);
}

#[test]
fn unbalanced_bracket() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "sqrt((2)"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected `,` or `)` in the arguments, but the text ends here
     --> model-spec/mine.toml:3:18
      |
    3 | scale = "sqrt((2)"
      |                  ^
    "#);
}

#[test]
fn else_if() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "if true { 1 } else if false { 2 } else { 3 }"
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no `else if`
     --> model-spec/mine.toml:3:29
      |
    3 | scale = "if true { 1 } else if false { 2 } else { 3 }"
      |                             ^^
      = help: nest an `if` in the braces: `else { if .. }`
    "#);
}

#[test]
fn number_form() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = ".5"
    "#;
    assert_snapshot!(told(spec), @r#"
    unexpected `.`
     --> model-spec/mine.toml:3:10
      |
    3 | scale = ".5"
      |          ^
      = help: numbers start with a digit (0.5), and there are no methods or fields
    "#);
}

#[test]
fn config_is_a_word_of_scaling_only() {
    let spec = r#"
        extends = "llama"
        [embed]
        scale = "config"
    "#;
    assert_snapshot!(told(spec), @r#"
    `config` is a word of `rope.scaling` only
     --> model-spec/mine.toml:3:10
      |
    3 | scale = "config"
      |          ^^^^^^
    "#);
}

#[test]
fn circle_of_lets() {
    let spec = r#"
        extends = "llama"
        [layers]
        let = { a = "b + 1", b = "c", c = "a" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `let` runs in a circle: a → b → c → a
     --> model-spec/mine.toml:3:13
      |
    3 | let = { a = "b + 1", b = "c", c = "a" }
      |             ^^^^^^^
      = help: a `let` hides the config field of its name, in its own expression too
    "#);
}

#[test]
fn let_that_is_no_string() {
    let spec = r#"
        extends = "llama"
        [layers]
        let = { a = 1 }
    "#;
    assert_snapshot!(told(spec), @r#"
    `a` takes an expression in a string, not an integer
     --> model-spec/mine.toml:3:13
      |
    3 | let = { a = 1 }
      |             ^
      = help: write `a = ".."`
    "#);
}

#[test]
fn reserved_name() {
    let spec = r#"
        extends = "llama"
        [layers]
        let = { max = "1" }
        [config]
        none = 1
    "#;
    assert_snapshot!(told(spec), @r#"
    `max` is a word of the language
     --> model-spec/mine.toml:3:9
      |
    3 | let = { max = "1" }
      |         ^^^
      = help: choose another name; reserved are true, false, none, if, else, i, config, sqrt, ln, floor, min, max, len, contains, at
    `none` is a word of the language
     --> model-spec/mine.toml:5:1
      |
    5 | none = 1
      | ^^^^
      = help: choose another name; reserved are true, false, none, if, else, i, config, sqrt, ln, floor, min, max, len, contains, at
    "#);
}
