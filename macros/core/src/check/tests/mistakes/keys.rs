//! Keys, and the forms of their values.

use insta::assert_snapshot;

use super::told;

#[test]
fn unknown_key() {
    let spec = r#"
        extends = "llama"
        [layers]
        prefx = ["model.layers.{i}.", "blk.{i}."]
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown key `prefx` in [layers]; expected `prefix`, `let` or `steps`
     --> model-spec/mine.toml:3:1
      |
    3 | prefx = ["model.layers.{i}.", "blk.{i}."]
      | ^^^^^
      = help: did you mean `prefix`?
    "#);
}

#[test]
fn unknown_key_of_many() {
    let spec = r#"
        extends = "llama"
        [attn]
        windw = 3
        something = 4
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown key `windw` in [attn]
     --> model-spec/mine.toml:3:1
      |
    3 | windw = 3
      | ^^^^^
      = help: did you mean `window`?
    unknown key `something` in [attn]
     --> model-spec/mine.toml:4:1
      |
    4 | something = 4
      | ^^^^^^^^^
      = help: its keys are kind, heads, kv_heads, head_dim, v_head_dim, q, k, v, qkv, rows, o, hf, gguf, bias, o_bias, transposed, qk_norm, clip, scale, softcap, alibi, window, chunk, sinks, q_temperature, v_scale, out_gate
    "#);
}

#[test]
fn unknown_key_in_a_sub_table() {
    let spec = r#"
        extends = "llama"
        [attn]
        qk_norm = { scope = "head", wen = "after_rope" }
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown key `wen` in `qk_norm` of [attn]
     --> model-spec/mine.toml:3:29
      |
    3 | qk_norm = { scope = "head", wen = "after_rope" }
      |                             ^^^
      = help: did you mean `when`?
    "#);
}

#[test]
fn missing_keys() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += moe(x)"]
        [attn]
        [moe]
        router = { name = ["r", "r"] }
        act = "silu"
    "#;
    assert_snapshot!(told(spec), @r#"
    no step calls the component [attn]
     --> model-spec/mine.toml:4:2
      |
    4 | [attn]
      |  ^^^^
      = help: call it in [layers] steps, or remove it
    [moe] needs the key `hf`
     --> model-spec/mine.toml:5:2
      |
    5 | [moe]
      |  ^^^
      = help: where the experts are: `hf = { gate = "..", up = "..", down = ".." }`
    [moe] needs the key `gguf`
     --> model-spec/mine.toml:5:2
      |
    5 | [moe]
      |  ^^^
      = help: where the experts are: `gguf = { gate = "..", up = "..", down = ".." }`
    [moe] needs the key `inter`
     --> model-spec/mine.toml:5:2
      |
    5 | [moe]
      |  ^^^
    `router` of [moe] needs the key `score`
     --> model-spec/mine.toml:6:1
      |
    6 | router = { name = ["r", "r"] }
      | ^^^^^^
      = help: it is `softmax`, `sigmoid` or `sqrtsoftplus`, or the name of a config field
    "#);
}

#[test]
fn wrong_types() {
    let spec = r#"
        extends = "llama"
        [attn]
        bias = 3
        scale = true
        window = [1]
        [rope]
        reverse = "yes"
        [head]
        softcap = false
    "#;
    assert_snapshot!(told(spec), @r#"
    `bias` takes a bool or an expression in a string, not an integer
     --> model-spec/mine.toml:3:8
      |
    3 | bias = 3
      |        ^
    `scale` takes a number or an expression in a string, not a bool
     --> model-spec/mine.toml:4:9
      |
    4 | scale = true
      |         ^^^^
    `window` takes a number or an expression in a string, not a list
     --> model-spec/mine.toml:5:10
      |
    5 | window = [1]
      |          ^^^
    `reverse` takes a literal `true` or `false`, not a string
     --> model-spec/mine.toml:7:11
      |
    7 | reverse = "yes"
      |           ^^^^^
    `softcap` takes a number or an expression in a string, not a bool
     --> model-spec/mine.toml:9:11
      |
    9 | softcap = false
      |           ^^^^^
      = help: to switch it off write "none"
    "#);
}

#[test]
fn wrong_types_of_tables() {
    let spec = r#"
        extends = "llama"
        [embed]
        norm = 3
        [attn]
        q_temperature = 1
        qk_norm = "off"
    "#;
    assert_snapshot!(told(spec), @r#"
    `norm` takes a name, or a list with one name per format, not an integer
     --> model-spec/mine.toml:3:8
      |
    3 | norm = 3
      |        ^
    `q_temperature` takes a table, not an integer
     --> model-spec/mine.toml:5:17
      |
    5 | q_temperature = 1
      |                 ^
    `qk_norm` takes a table, or "none", not a string
     --> model-spec/mine.toml:6:11
      |
    6 | qk_norm = "off"
      |           ^^^^^
    "#);
}

#[test]
fn table_that_is_no_table_per_format() {
    let spec = r#"
        extends = "llama"
        [norm]
        shift = { hf = 1, gguff = 0 }
    "#;
    assert_snapshot!(told(spec), @r#"
    `shift` takes a number or a table per format, not a table
     --> model-spec/mine.toml:3:9
      |
    3 | shift = { hf = 1, gguff = 0 }
      |         ^^^^^^^^^^^^^^^^^^^^^
      = help: a table per format has the keys `hf` and `gguf`, and not `gguff`
    "#);
}

#[test]
fn missing_column_of_a_required_value() {
    let spec = r#"
        extends = "llama"
        [rope]
        theta = { hf = "rope_theta" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `theta` has no value for gguf
     --> model-spec/mine.toml:3:9
      |
    3 | theta = { hf = "rope_theta" }
      |         ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn literal_where_an_expression_stands() {
    let spec = r#"
        extends = "llama"
        [attn]
        q_temperature = { scale = 1.0, floor = 8192, from_one = "true" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `from_one` takes a literal `true` or `false`, not a string
     --> model-spec/mine.toml:3:57
      |
    3 | q_temperature = { scale = 1.0, floor = 8192, from_one = "true" }
      |                                                         ^^^^^^
    "#);
}

#[test]
fn unknown_words() {
    let spec = r#"
        extends = "llama"
        [rope]
        pairs = "adjacents"
        [norm]
        kind = "group"
        [attn]
        qk_norm = { scope = "heads" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `adjacents` is no `pairs`; expected `half` or `adjacent`
     --> model-spec/mine.toml:3:9
      |
    3 | pairs = "adjacents"
      |         ^^^^^^^^^^^
      = help: did you mean `adjacent`?
    `group` is no `kind`; expected `rms`, `layer` or `l2`
     --> model-spec/mine.toml:5:8
      |
    5 | kind = "group"
      |        ^^^^^^^
    `heads` is no `scope`; expected `head`, `per_head` or `whole`
     --> model-spec/mine.toml:7:21
      |
    7 | qk_norm = { scope = "heads" }
      |                     ^^^^^^^
      = help: did you mean `head`?
    "#);
}

#[test]
fn unknown_activation() {
    let spec = r#"
        extends = "llama"
        [mlp]
        act = "sillu"
    "#;
    assert_snapshot!(told(spec), @r#"
    `sillu` is neither a word for `act` nor a config field
     --> model-spec/mine.toml:3:7
      |
    3 | act = "sillu"
      |       ^^^^^^^
      = help: did you mean `silu`?
    "#);
}

#[test]
fn field_that_is_no_word() {
    let spec = r#"
        extends = "llama"
        [mlp]
        act = "hidden_size"
    "#;
    assert_snapshot!(told(spec), @r#"
    the field `hidden_size` is a number, not a word
     --> model-spec/mine.toml:3:7
      |
    3 | act = "hidden_size"
      |       ^^^^^^^^^^^^^
      = help: declare it with `type = "act"` or `type = "str"`
    "#);
}

#[test]
fn scaling() {
    let spec = r#"
        extends = "llama"
        [rope]
        scaling = { hf = "config" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `scaling` takes no table per format
     --> model-spec/mine.toml:3:11
      |
    3 | scaling = { hf = "config" }
      |           ^^^^^^^^^^^^^^^^^
      = help: one expression for both, as in `scaling = "config"`
    "#);
}

#[test]
fn unknown_scaling_kind() {
    let spec = r#"
        extends = "llama"
        [rope]
        scaling = { type = "lineer", factor = 2.0 }
    "#;
    assert_snapshot!(told(spec), @r#"
    `lineer` is no `scaling`; expected `default`, `linear`, `dynamic`, `llama3`, `yarn`, `longrope` or `proportional`
     --> model-spec/mine.toml:3:20
      |
    3 | scaling = { type = "lineer", factor = 2.0 }
      |                    ^^^^^^^^
      = help: did you mean `linear`?
    "#);
}

#[test]
fn scaling_of_numbers() {
    let spec = r#"
        extends = "llama"
        [rope]
        scaling = "rope_theta"
    "#;
    assert_snapshot!(told(spec), @r#"
    expected `config` or `none`, found a number
     --> model-spec/mine.toml:3:12
      |
    3 | scaling = "rope_theta"
      |            ^^^^^^^^^^ this is a number
    "#);
}

#[test]
fn freq_factors() {
    let spec = r#"
        extends = "llama"
        [rope]
        freq_factors = "rope_freqs"
    "#;
    assert_snapshot!(told(spec), @r#"
    `freq_factors` takes a table per format, not a string
     --> model-spec/mine.toml:3:16
      |
    3 | freq_factors = "rope_freqs"
      |                ^^^^^^^^^^^^
      = help: as in `freq_factors = { gguf = "rope_freqs" }`
    "#);
}

#[test]
fn weight_is_only_ever_false() {
    let spec = r#"
        extends = "llama"
        [embed]
        norm = { weight = true }
    "#;
    assert_snapshot!(told(spec), @r#"
    `weight` is only ever `false`
     --> model-spec/mine.toml:3:19
      |
    3 | norm = { weight = true }
      |                   ^^^^
      = help: a norm has a weight when it has a `name`
    "#);
}
