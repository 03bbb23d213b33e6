//! Steps.

use insta::assert_snapshot;

use super::told;

#[test]
fn part_that_is_not_there() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += atn(attn_norm(x))", "x += mlp(mlp_norm(x))"]
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no norm or component `atn`
     --> model-spec/mine.toml:3:16
      |
    3 | steps = ["x += atn(attn_norm(x))", "x += mlp(mlp_norm(x))"]
      |                ^^^
      = help: did you mean `attn`?
    "#);
}

#[test]
fn unknown_part_without_a_near_one() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += conv(x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no norm or component `conv`
     --> model-spec/mine.toml:3:16
      |
    3 | steps = ["x += conv(x)"]
      |                ^^^^
      = help: add `conv = [..]` to [norm], or a table [conv]; there are attn_norm, mlp_norm, attn, mlp
    "#);
}

#[test]
fn stream_never_updated() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["h = attn(x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    no step updates `x`, the residual stream
     --> model-spec/mine.toml:3:9
      |
    3 | steps = ["h = attn(x)"]
      |         ^^^^^^^^^^^^^^^
      = help: write a step like `x += attn(attn_norm(x))`
    "#);
}

#[test]
fn no_steps() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = []
    "#;
    assert_snapshot!(told(spec), @r#"
    no step updates `x`, the residual stream
     --> model-spec/mine.toml:3:9
      |
    3 | steps = []
      |         ^^
      = help: write a step like `x += attn(attn_norm(x))`
    "#);
}

#[test]
fn used_before_set() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += attn(h)", "h = attn_norm(x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `h` is used before it is set
     --> model-spec/mine.toml:3:21
      |
    3 | steps = ["x += attn(h)", "h = attn_norm(x)"]
      |                     ^
      = help: steps run from first to last, and only `x` lives on from layer to layer
    "#);
}

#[test]
fn updated_before_set() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["h += attn(x)", "x = h"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `h` is used before it is set
     --> model-spec/mine.toml:3:11
      |
    3 | steps = ["h += attn(x)", "x = h"]
      |           ^
      = help: set it first: `h = ..`
    `h` is used before it is set
     --> model-spec/mine.toml:3:31
      |
    3 | steps = ["h += attn(x)", "x = h"]
      |                               ^
      = help: steps run from first to last, and only `x` lives on from layer to layer
    "#);
}

#[test]
fn tensor_plus_number() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += attn(x) + 1"]
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a tensor, found a plain value
     --> model-spec/mine.toml:3:26
      |
    3 | steps = ["x += attn(x) + 1"]
      |                          ^
      = help: `x`, what norms and components give, and sums and multiples of these are tensors
    "#);
}

#[test]
fn tensor_times_tensor() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["h = mlp(x)", "x += attn(x) * h"]
    "#;
    assert_snapshot!(told(spec), @r#"
    tensors cannot be multiplied
     --> model-spec/mine.toml:3:30
      |
    3 | steps = ["h = mlp(x)", "x += attn(x) * h"]
      |                              ^^^^^^^^^^^
      = help: they are added, or multiplied by numbers
    "#);
}

#[test]
fn tensor_as_factor() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x *= attn(x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a number, found a tensor
     --> model-spec/mine.toml:3:16
      |
    3 | steps = ["x *= attn(x)"]
      |                ^^^^^^^
      = help: tensors are added, or multiplied by numbers
    "#);
}

#[test]
fn number_minus_equals() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x -= attn(x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    expected `=`, `+=` or `*=`
     --> model-spec/mine.toml:3:13
      |
    3 | steps = ["x -= attn(x)"]
      |             ^
      = help: a step is `var = expr`, `var += expr` or `var *= expr`
    "#);
}

#[test]
fn two_arguments() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += attn(x, x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `attn` takes exactly one tensor, found 2 arguments
     --> model-spec/mine.toml:3:16
      |
    3 | steps = ["x += attn(x, x)"]
      |                ^^^^
      = help: write `attn(x)`
    "#);
}

#[test]
fn plain_stream() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x = 2"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `x` is the residual stream and cannot become a plain value
     --> model-spec/mine.toml:3:11
      |
    3 | steps = ["x = 2"]
      |           ^
      = help: give the right side a tensor, as in `x = norm(x)`
    "#);
}

#[test]
fn reserved_variable() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["i = attn(x)", "x += i"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `i` is a word of the language, no variable
     --> model-spec/mine.toml:3:11
      |
    3 | steps = ["i = attn(x)", "x += i"]
      |           ^
      = help: choose another name
    `i` is used before it is set
     --> model-spec/mine.toml:3:31
      |
    3 | steps = ["i = attn(x)", "x += i"]
      |                               ^
      = help: steps run from first to last, and only `x` lives on from layer to layer
    "#);
}

#[test]
fn condition_of_a_tensor() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += if x { attn(x) } else { mlp(x) }"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `x` is a tensor, and a plain value is needed here
     --> model-spec/mine.toml:3:19
      |
    3 | steps = ["x += if x { attn(x) } else { mlp(x) }"]
      |                   ^
      = help: values that steps may use here are fields, `let`s and `i`
    "#);
}

#[test]
fn unknown_name_in_a_step() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += residual * attn(x)"]
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown name `residual`
     --> model-spec/mine.toml:3:16
      |
    3 | steps = ["x += residual * attn(x)"]
      |                ^^^^^^^^
      = help: declare it: a config field in [config], as in `residual = { type = "int" }`, or a `let` in [layers]
    "#);
}

#[test]
fn function_of_a_tensor() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += sqrt(attn(x))"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `attn` gives a tensor, and a plain value is needed here
     --> model-spec/mine.toml:3:21
      |
    3 | steps = ["x += sqrt(attn(x))"]
      |                     ^^^^
    "#);
}

#[test]
fn column_inside_a_step() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += attn(attn_norm(x)", "x += mlp(mlp_norm(x))"]
    "#;
    assert_snapshot!(told(spec), @r#"
    expected `,` or `)` in the arguments, but the text ends here
     --> model-spec/mine.toml:3:33
      |
    3 | steps = ["x += attn(attn_norm(x)", "x += mlp(mlp_norm(x))"]
      |                                 ^
    "#);
}
