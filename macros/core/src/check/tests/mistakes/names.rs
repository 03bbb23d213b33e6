//! Names of tensors.

use insta::assert_snapshot;

use super::told;

#[test]
fn list_of_another_length() {
    let spec = r#"
        extends = "llama"
        [attn]
        q = ["self_attn.q_proj"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `q` has 1 name, but `formats` of this file has 2
     --> model-spec/mine.toml:3:5
      |
    3 | q = ["self_attn.q_proj"]
      |     ^^^^^^^^^^^^^^^^^^^^
      = help: one name each for hf, gguf
    "#);
}

#[test]
fn columns_of_its_own_file() {
    let spec = r#"
        extends = "llama"
        formats = ["hf"]
        [attn]
        o = ["self_attn.out", "attn_out"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `o` has 2 names, but `formats` of this file has 1
     --> model-spec/mine.toml:4:5
      |
    4 | o = ["self_attn.out", "attn_out"]
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: one name each for hf
    "#);
}

#[test]
fn expert_outside_experts() {
    let spec = r#"
        extends = "llama"
        [mlp]
        down = ["mlp.{e}.down_proj", "ffn_down"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `{e}` means nothing here
     --> model-spec/mine.toml:3:14
      |
    3 | down = ["mlp.{e}.down_proj", "ffn_down"]
      |              ^^^
      = help: `{e}` is the expert, in `hf` and `gguf` of a `moe`
    "#);
}

#[test]
fn layer_in_a_name() {
    let spec = r#"
        extends = "llama"
        [mlp]
        down = ["layers.{i}.down_proj", "ffn_down"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `{i}` means nothing here
     --> model-spec/mine.toml:3:17
      |
    3 | down = ["layers.{i}.down_proj", "ffn_down"]
      |                 ^^^
      = help: `{i}` stands in `layers.prefix`, which is put before every name in a layer, and in `ignore`
    "#);
}

#[test]
fn unknown_placeholder() {
    let spec = r#"
        extends = "llama"
        ignore = { hf = ["h.{layer}.bias"] }
    "#;
    assert_snapshot!(told(spec), @r#"
    `{layer}` means nothing here
     --> model-spec/mine.toml:2:21
      |
    2 | ignore = { hf = ["h.{layer}.bias"] }
      |                     ^^^^^^^
      = help: the placeholders here are `{i}`, `{num_layers}`
    "#);
}

#[test]
fn placeholder_not_closed() {
    let spec = r#"
        extends = "llama"
        [attn]
        sinks = ["sinks.{h", "sinks"]
    "#;
    assert_snapshot!(told(spec), @r#"
    this `{` is not closed
     --> model-spec/mine.toml:3:17
      |
    3 | sinks = ["sinks.{h", "sinks"]
      |                 ^^
    "#);
}

#[test]
fn prefix_without_layer() {
    let spec = r#"
        extends = "llama"
        [layers]
        prefix = ["model.layers.", "blk.{i}."]
    "#;
    assert_snapshot!(told(spec), @r#"
    the prefix of a layer needs `{i}`, the number of the layer
     --> model-spec/mine.toml:3:11
      |
    3 | prefix = ["model.layers.", "blk.{i}."]
      |           ^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn prefix_is_a_list() {
    let spec = r#"
        extends = "llama"
        [layers]
        prefix = "model.layers.{i}."
    "#;
    assert_snapshot!(told(spec), @r#"
    `prefix` takes a list with one prefix per format, not a string
     --> model-spec/mine.toml:3:10
      |
    3 | prefix = "model.layers.{i}."
      |          ^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn table_instead_of_a_name() {
    let spec = r#"
        extends = "llama"
        [attn]
        q = { hf = "q" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `q` takes a name, or a list with one name per format, not a table
     --> model-spec/mine.toml:3:5
      |
    3 | q = { hf = "q" }
      |     ^^^^^^^^^^^^
      = help: a name that only one format has goes into the sub-table `hf = { .. }` or `gguf = { .. }` of the component
    "#);
}

#[test]
fn two_parts_with_one_name() {
    let spec = r#"
        extends = "llama"
        [attn]
        k = ["self_attn.k_proj", "attn_q"]
        [norm]
        mlp_norm = ["input_layernorm", "ffn_norm"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `q` of [attn] and `k` of [attn] both read `blk.{i}.attn_q.weight` in gguf
     --> model-spec/mine.toml:3:5
      |
    3 | k = ["self_attn.k_proj", "attn_q"]
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: each tensor belongs to one part: correct one of the names
      = note: the other is llama.toml:33:8
    the norm `attn_norm` and the norm `mlp_norm` both read `model.layers.{i}.input_layernorm.weight` in hf
     --> model-spec/mine.toml:5:12
      |
    5 | mlp_norm = ["input_layernorm", "ffn_norm"]
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: each tensor belongs to one part: correct one of the names
      = note: the other is llama.toml:22:13
    "#);
}

#[test]
fn whole_name_of_another_part() {
    let spec = r#"
        extends = "llama"
        [attn]
        sinks = ["self_attn.sinks", "attn_q.weight"]
    "#;
    assert_snapshot!(told(spec), @r#"
    `q` of [attn] and `sinks` of [attn] both read `blk.{i}.attn_q.weight` in gguf
     --> model-spec/mine.toml:3:9
      |
    3 | sinks = ["self_attn.sinks", "attn_q.weight"]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: each tensor belongs to one part: correct one of the names
      = note: the other is llama.toml:33:8
    "#);
}

#[test]
fn empty_name() {
    let spec = r#"
        extends = "llama"
        [attn]
        o = ["", "attn_output"]
    "#;
    assert_snapshot!(told(spec), @r#"
    this name is empty
     --> model-spec/mine.toml:3:6
      |
    3 | o = ["", "attn_output"]
      |      ^^
    "#);
}

#[test]
fn positions_are_a_list() {
    let spec = r#"
        extends = "llama"
        [embed]
        positions = "wpe"
    "#;
    assert_snapshot!(told(spec), @r#"
    `positions` takes a list with one name per format, or "none"
     --> model-spec/mine.toml:3:13
      |
    3 | positions = "wpe"
      |             ^^^^^
      = help: also a name that is the same in all formats is written as a list here
    "#);
}
