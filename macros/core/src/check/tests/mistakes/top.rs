//! The top of a file, and which tables there may be.

use insta::assert_snapshot;

use super::told;

#[test]
fn unknown_version() {
    let spec = r#"
        spec = 2
        formats = ["hf"]
    "#;
    assert_snapshot!(told(spec), @r#"
    the table [layers] is missing
     --> model-spec/mine.toml:1:1
      |
    1 | spec = 2
      | ^
    the table [embed] is missing
     --> model-spec/mine.toml:1:1
      |
    1 | spec = 2
      | ^
    the table [norm] is missing
     --> model-spec/mine.toml:1:1
      |
    1 | spec = 2
      | ^
    the table [head] is missing
     --> model-spec/mine.toml:1:1
      |
    1 | spec = 2
      | ^
    this version of the language is not known
     --> model-spec/mine.toml:1:8
      |
    1 | spec = 2
      |        ^
      = help: this Inferno reads `spec = 1`
    "#);
}

#[test]
fn missing_tables_and_keys() {
    let spec = r#"
        architectures = ["Mine"]
        spec = 1
        formats = ["hf"]
        [layer]
        prefix = ["h.{i}."]
        [embed]
        [norm]
        [head]
        out = "lm_head"
    "#;
    assert_snapshot!(told(spec), @r#"
    the table [layers] is missing
     --> model-spec/mine.toml:1:1
      |
    1 | architectures = ["Mine"]
      | ^
      = help: is [layer] meant to be [layers]?
    [embed] needs the key `tokens`
     --> model-spec/mine.toml:6:2
      |
    6 | [embed]
      |  ^^^^^
    [head] needs the key `norm`
     --> model-spec/mine.toml:8:2
      |
    8 | [head]
      |  ^^^^
      = help: the norm of the last hidden state, or `{ weight = false }`
    "#);
}

#[test]
fn no_version_and_no_formats() {
    let spec = r#"
        architectures = ["Mine"]
    "#;
    assert_snapshot!(told(spec), @r#"
    the spec needs the key `spec`
     --> model-spec/mine.toml:1:1
      |
    1 | architectures = ["Mine"]
      | ^
      = help: the version of the language: `spec = 1`
    the spec needs the key `formats`
     --> model-spec/mine.toml:1:1
      |
    1 | architectures = ["Mine"]
      | ^
      = help: write `formats = ["hf", "gguf"]`: the columns of every name list
    "#);
}

#[test]
fn unknown_format() {
    let spec = r#"
        spec = 1
        formats = ["hf", "ggml"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `ggml` is no `formats`; expected `hf` or `gguf`
     --> model-spec/mine.toml:2:18
      |
    2 | formats = ["hf", "ggml"]
      |                  ^^^^^^
    "#);
}

#[test]
fn several_syntax_errors() {
    let spec = r#"
        spec = 
        formats = ["hf"
        [attn
        bias = 1
    "#;
    assert_snapshot!(told(spec), @r#"
    invalid TOML: string values must be quoted, expected literal string
     --> model-spec/mine.toml:1:8
      |
    1 | spec = 
      |        ^
    invalid TOML: missing comma between array elements, expected `,`
     --> model-spec/mine.toml:3:1
      |
    3 | [attn
      | ^
    invalid TOML: string values must be quoted, expected literal string
     --> model-spec/mine.toml:3:2
      |
    3 | [attn
      |  ^^^^
    invalid TOML: missing comma between array elements, expected `,`
     --> model-spec/mine.toml:4:1
      |
    4 | bias = 1
      | ^
    invalid TOML: string values must be quoted, expected literal string
     --> model-spec/mine.toml:4:1
      |
    4 | bias = 1
      | ^^^^
    invalid TOML: unexpected `=` in array, expected value, `]`
     --> model-spec/mine.toml:4:6
      |
    4 | bias = 1
      |      ^
    invalid TOML: missing comma between array elements, expected `,`
     --> model-spec/mine.toml:4:8
      |
    4 | bias = 1
      |        ^
    invalid TOML: unclosed array, expected `]`
     --> model-spec/mine.toml:4:9
      |
    4 | bias = 1
      |         ^
    "#);
}

#[test]
fn unknown_top_level_key() {
    let spec = r#"
        extends = "llama"
        architecture = ["Mine"]
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown key `architecture` at the top of the spec
     --> model-spec/mine.toml:2:1
      |
    2 | architecture = ["Mine"]
      | ^^^^^^^^^^^^
      = help: did you mean `architectures`?
    "#);
}

#[test]
fn unknown_table() {
    let spec = r#"
        extends = "llama"
        [ropes]
        theta = 10000.0
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown table [ropes], and no step calls it
     --> model-spec/mine.toml:2:2
      |
    2 | [ropes]
      |  ^^^^^
      = help: did you mean [rope]?
    "#);
}

#[test]
fn component_that_no_step_calls() {
    let spec = r#"
        extends = "llama"
        [mlp_wide]
        kind = "fc"
        act = "relu"
        up = ["u", "u"]
        down = ["d", "d"]
    "#;
    assert_snapshot!(told(spec), @r#"
    no step calls the component [mlp_wide]
     --> model-spec/mine.toml:2:2
      |
    2 | [mlp_wide]
      |  ^^^^^^^^
      = help: call it in [layers] steps, or remove it
    "#);
}

#[test]
fn one_key_of_a_component_that_no_step_calls() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += attn(attn_norm(x))"]
        [mlp]
        bias = true
    "#;
    assert_snapshot!(told(spec), @r#"
    no step calls the component [mlp]
     --> model-spec/mine.toml:4:2
      |
    4 | [mlp]
      |  ^^^
      = help: call it in [layers] steps, or remove it
    "#);
}

#[test]
fn norm_that_no_step_calls() {
    let spec = r#"
        extends = "llama"
        [norm]
        esp = ["a", "b"]
        extra_norm = ["c", "d"]
    "#;
    assert_snapshot!(told(spec), @r#"
    no step calls the norm `esp`
     --> model-spec/mine.toml:3:1
      |
    3 | esp = ["a", "b"]
      | ^^^
      = help: call it in [layers] steps, remove it, or was the option `eps` meant?
    no step calls the norm `extra_norm`
     --> model-spec/mine.toml:4:1
      |
    4 | extra_norm = ["c", "d"]
      | ^^^^^^^^^^
      = help: call it in [layers] steps, or remove it
    "#);
}

#[test]
fn unknown_kind() {
    let spec = r#"
        extends = "llama"
        [attn]
        kind = "gqq"
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no kind `gqq`
     --> model-spec/mine.toml:3:8
      |
    3 | kind = "gqq"
      |        ^^^^^
      = help: did you mean `gqa`?
    "#);
}

#[test]
fn planned_kind() {
    let spec = r#"
        extends = "llama"
        [attn]
        kind = "mla"
    "#;
    assert_snapshot!(told(spec), @r#"
    the kind `mla` is planned, and not implemented yet
     --> model-spec/mine.toml:3:8
      |
    3 | kind = "mla"
      |        ^^^^^
      = help: the kinds are gqa, glu, fc, moe
    "#);
}

#[test]
fn missing_kind() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += wide(x)"]
        [wide]
        act = "relu"
    "#;
    assert_snapshot!(told(spec), @r#"
    [wide] needs the key `kind`
     --> model-spec/mine.toml:4:2
      |
    4 | [wide]
      |  ^^^^
      = help: the kinds are gqa, glu, fc, moe; only a table named like one needs no `kind`
    "#);
}

#[test]
fn condition_that_is_no_bool() {
    let spec = r#"
        extends = "llama"
        when = "num_layers"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a bool, found a number
     --> model-spec/mine.toml:2:9
      |
    2 | when = "num_layers"
      |         ^^^^^^^^^^ this is a number
    "#);
}

#[test]
fn condition_by_layer() {
    let spec = r#"
        extends = "llama"
        when = { hf = "i < 3" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `i` is the layer, and this is evaluated once for the whole model
     --> model-spec/mine.toml:2:16
      |
    2 | when = { hf = "i < 3" }
      |                ^
      = help: use a config field here
    "#);
}

#[test]
fn root_without_formats() {
    let spec = r#"
        extends = "llama"
        root = ["", "model."]
    "#;
    assert_snapshot!(told(spec), @r#"
    `root` takes a table per format of lists, not a list
     --> model-spec/mine.toml:2:8
      |
    2 | root = ["", "model."]
      |        ^^^^^^^^^^^^^^
      = help: write `root = { hf = [".."] }`
    "#);
}

#[test]
fn claims_are_lists() {
    let spec = r#"
        extends = "llama"
        gguf = "llama"
    "#;
    assert_snapshot!(told(spec), @r#"
    `gguf` takes a list of strings, not a string
     --> model-spec/mine.toml:2:8
      |
    2 | gguf = "llama"
      |        ^^^^^^^
    "#);
}
