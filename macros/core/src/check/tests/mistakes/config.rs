//! Config fields.

use insta::assert_snapshot;

use super::told;

#[test]
fn no_key_and_no_default() {
    let spec = r#"
        extends = "llama"
        [config]
        lost = { type = "int", hf = [] }
    "#;
    assert_snapshot!(told(spec), @r#"
    the field `lost` has no key and no default, so it never has a value
     --> model-spec/mine.toml:3:1
      |
    3 | lost = { type = "int", hf = [] }
      | ^^^^
      = help: give it a key (`hf = ".."`, `gguf = ".."`) or a `default`
    "#);
}

#[test]
fn no_key_and_no_default_in_gguf() {
    let spec = r#"
        spec = 1
        formats = ["gguf"]
        [config]
        lost = { type = "int" }
        [embed]
        tokens = "e"
        [layers]
        prefix = ["{i}."]
        steps = ["x += n(x)"]
        [norm]
        n = "n"
        [head]
        norm = "m"
        out = "h"
    "#;
    assert_snapshot!(told(spec), @r#"
    the field `lost` has no key and no default, so it never has a value
     --> model-spec/mine.toml:4:1
      |
    4 | lost = { type = "int" }
      | ^^^^
      = help: give it a key (`hf = ".."`, `gguf = ".."`) or a `default`
    "#);
}

#[test]
fn unknown_type() {
    let spec = r#"
        extends = "llama"
        [config]
        a = { type = "integer" }
        b = { type = "[int]?" }
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no type `integer`
     --> model-spec/mine.toml:3:14
      |
    3 | a = { type = "integer" }
      |              ^^^^^^^^^
      = help: the types are int, float, bool, str, act, [int], [float], [bool], [str]; all but lists also with `?`
    a list type takes no `?`
     --> model-spec/mine.toml:4:14
      |
    4 | b = { type = "[int]?" }
      |              ^^^^^^^^
    "#);
}

#[test]
fn unknown_key_of_a_field() {
    let spec = r#"
        extends = "llama"
        [config]
        a = { type = "int", key = "b" }
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown key `key` in the field `a`; expected `type`, `hf`, `gguf` or `default`
     --> model-spec/mine.toml:3:21
      |
    3 | a = { type = "int", key = "b" }
      |                     ^^^
    "#);
}

#[test]
fn default_of_another_type() {
    let spec = r#"
        extends = "llama"
        [config]
        a = { type = "int", default = 1.5 }
        b = { type = "bool", default = 1 }
        c = { type = "[str]", default = [1] }
    "#;
    assert_snapshot!(told(spec), @r#"
    `default` takes an integer, not a float
     --> model-spec/mine.toml:3:31
      |
    3 | a = { type = "int", default = 1.5 }
      |                               ^^^
    `default` takes a bool or an expression in a string, not an integer
     --> model-spec/mine.toml:4:32
      |
    4 | b = { type = "bool", default = 1 }
      |                                ^
    `default` takes a list of strings, or an expression in a string, not an integer
     --> model-spec/mine.toml:5:34
      |
    5 | c = { type = "[str]", default = [1] }
      |                                  ^
    "#);
}

#[test]
fn expression_of_another_type() {
    let spec = r#"
        extends = "llama"
        [config]
        a = { type = "[str]", default = "i + 1" }
        b = { type = "int", default = "i" }
    "#;
    assert_snapshot!(told(spec), @r#"
    expected a string, found a number
     --> model-spec/mine.toml:3:34
      |
    3 | a = { type = "[str]", default = "i + 1" }
      |                                  ^^^^^ this is a number
    `i` is the layer, and this is evaluated once for the whole model
     --> model-spec/mine.toml:4:32
      |
    4 | b = { type = "int", default = "i" }
      |                                ^
      = help: use a config field here
    "#);
}

#[test]
fn values_in_the_place_of_keys() {
    let spec = r#"
        extends = "llama"
        [config]
        a = { hf = 1, gguf = 2 }
    "#;
    assert_snapshot!(told(spec), @r#"
    `hf` takes a key of config.json, or a list of keys, not an integer
     --> model-spec/mine.toml:3:12
      |
    3 | a = { hf = 1, gguf = 2 }
      |            ^
      = help: values per format belong to `default = { hf = .., gguf = .. }`
    "#);
}

#[test]
fn unknown_activation_as_default() {
    let spec = r#"
        extends = "llama"
        [config]
        hidden_act = { default = "none" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `none` is no `activation`; expected `silu`, `swish`, `gelu`, `gelu_new`, `gelu_tanh`, `gelu_pytorch_tanh`, `gelu_fast`, `relu`, `relu2`, `sigmoid`, `softplus` or `identity`
     --> model-spec/mine.toml:3:26
      |
    3 | hidden_act = { default = "none" }
      |                          ^^^^^^
    "#);
}

#[test]
fn defaults_of_different_types() {
    let spec = r#"
        extends = "llama"
        [config]
        a = { default = { hf = true, gguf = 2 } }
    "#;
    assert_snapshot!(told(spec), @r#"
    the defaults of the two formats are of different types
     --> model-spec/mine.toml:3:37
      |
    3 | a = { default = { hf = true, gguf = 2 } }
      |                                     ^
      = help: give the field a `type`
    "#);
}
