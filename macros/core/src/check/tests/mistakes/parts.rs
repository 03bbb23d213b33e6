//! Components.

use insta::assert_snapshot;

use super::told;

#[test]
fn both_q_and_qkv() {
    let spec = r#"
        spec = 1
        formats = ["hf"]
        [embed]
        tokens = "e"
        [layers]
        prefix = ["{i}."]
        steps = ["x += attn(x)"]
        [norm]
        [attn]
        kind = "gqa"
        qkv = "qkv"
        q = "q"
        k = "k"
        v = "v"
        rows = "q k v"
        o = "o"
        [head]
        norm = "n"
        out = "h"
    "#;
    assert_snapshot!(told(spec), @r#"
    [attn] has both `qkv` and `q`
      --> model-spec/mine.toml:11:1
       |
    11 | qkv = "qkv"
       | ^^^
       = help: `qkv` is one matrix instead of q, k, v: remove one of the two
    "#);
}

#[test]
fn both_gate_and_gate_up() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += wide(x)"]
        [wide]
        kind = "glu"
        act = "silu"
        gate_up = "gu"
        up = "u"
        down = "d"
    "#;
    assert_snapshot!(told(spec), @r#"
    [wide] has both `gate_up` and `up`
     --> model-spec/mine.toml:7:1
      |
    7 | gate_up = "gu"
      | ^^^^^^^
      = help: `gate_up` is one matrix instead of gate, up: remove one of the two
    "#);
}

#[test]
fn rows_of_what_is_not_there() {
    let spec = r#"
        extends = "llama"
        [attn]
        qkv = ["qkv", "qkv"]
        rows = "(q k v up)*num_heads"
    "#;
    assert_snapshot!(told(spec), @r#"
    there are no rows of `up` here; the parts are `q`, `k`, `v` or `gate`
     --> model-spec/mine.toml:4:16
      |
    4 | rows = "(q k v up)*num_heads"
      |                ^^
      = help: the forms are "a b", "(a b)*n" and "(a b)*"
    "#);
}

#[test]
fn rows_without_v() {
    let spec = r#"
        extends = "llama"
        [attn]
        qkv = ["qkv", "qkv"]
        rows = "q k"
    "#;
    assert_snapshot!(told(spec), @r#"
    the rows of `v` are missing
     --> model-spec/mine.toml:4:8
      |
    4 | rows = "q k"
      |        ^^^^^
      = help: all of q, k, v must be there
    "#);
}

#[test]
fn rows_that_are_no_layout() {
    let spec = r#"
        extends = "llama"
        [attn]
        qkv = ["qkv", "qkv"]
        rows = "(q k v)num_heads"
    "#;
    assert_snapshot!(told(spec), @r#"
    `(q k v)num_heads` is no row layout
     --> model-spec/mine.toml:4:8
      |
    4 | rows = "(q k v)num_heads"
      |        ^^^^^^^^^^^^^^^^^^
      = help: the forms are "a b", "(a b)*n" and "(a b)*"
    "#);
}

#[test]
fn rows_missing() {
    let spec = r#"
        extends = "llama"
        [attn]
        qkv = ["qkv", "qkv"]
        rows = { hf = "q k v" }
    "#;
    assert_snapshot!(told(spec), @r#"
    [attn] needs the key `rows` for gguf
     --> model-spec/mine.toml:2:2
      |
    2 | [attn]
      |  ^^^^
      = help: how the rows of `qkv` lie, as in `rows = "q k v"`
    "#);
}

#[test]
fn gate_rows_without_gate() {
    let spec = r#"
        extends = "llama"
        [attn]
        qkv = ["qkv", "qkv"]
        rows = "q k v gate"
    "#;
    assert_snapshot!(told(spec), @r#"
    `rows` has `gate` for hf, but [attn] has no `out_gate`
     --> model-spec/mine.toml:4:8
      |
    4 | rows = "q k v gate"
      |        ^^^^^^^^^^^^
      = help: write `out_gate = {}`, or with an `act` of its own
    "#);
}

#[test]
fn gate_without_name() {
    let spec = r#"
        extends = "llama"
        [attn]
        out_gate = { act = "silu" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `out_gate` of [attn] needs the key `name`
     --> model-spec/mine.toml:3:1
      |
    3 | out_gate = { act = "silu" }
      | ^^^^^^^^
      = help: only where the rows of `qkv` carry the gate it has no name; for hf they do not
    "#);
}

#[test]
fn group_count_of_an_mlp() {
    let spec = r#"
        extends = "llama"
        [mlp]
        gate_up = "gu"
        rows = "(gate up)*num_heads"
    "#;
    assert_snapshot!(told(spec), @r#"
    the group count `num_heads` must be an integer here
     --> model-spec/mine.toml:4:8
      |
    4 | rows = "(gate up)*num_heads"
      |        ^^^^^^^^^^^^^^^^^^^^^
      = help: write "(gate up)*" for rows that alternate
    "#);
}

#[test]
fn bias_with_one_name_per_head() {
    let spec = r#"
        extends = "llama"
        [attn]
        qk_norm = { scope = "per_head", q = "q.{h}", k = "k.{h}", bias = true }
    "#;
    assert_snapshot!(told(spec), @r#"
    names with `{h}` have no bias
     --> model-spec/mine.toml:3:66
      |
    3 | qk_norm = { scope = "per_head", q = "q.{h}", k = "k.{h}", bias = true }
      |                                                                  ^^^^
      = help: remove `bias`, or name one tensor for all heads
    "#);
}

#[test]
fn head_in_a_shared_weight() {
    let spec = r#"
        extends = "llama"
        [attn]
        qk_norm = { scope = "head", q = "q.{h}", k = "k.{h}" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `{h}` means nothing here
     --> model-spec/mine.toml:3:36
      |
    3 | qk_norm = { scope = "head", q = "q.{h}", k = "k.{h}" }
      |                                    ^^^
      = help: `{h}` is the head, in `q` and `k` of a `qk_norm` with scope `per_head`
    "#);
}

#[test]
fn another_head_dim() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += wide(x)"]
        [wide]
        kind = "gqa"
        head_dim = 3
        q = "q"
        k = "k"
        v = "v"
        o = "o"
    "#;
    assert_snapshot!(told(spec), @r#"
    [wide] has another `head_dim` than [attn]
     --> model-spec/mine.toml:6:1
      |
    6 | head_dim = 3
      | ^^^^^^^^
      = help: `head_dim` is always read from the table [attn]: move it there
    "#);
}

#[test]
fn projection_of_one_format_only() {
    let spec = r#"
        extends = "llama"
        [mlp]
        kind = "fc"
        hf = { up = "up", down = "down" }
        gguf = { up = "up" }
    "#;
    assert_snapshot!(told(spec), @r#"
    [mlp] has no `down` for gguf
     --> model-spec/mine.toml:2:2
      |
    2 | [mlp]
      |  ^^^
      = help: write it in the sub-table: `gguf = { down = ".." }`
    "#);
}

#[test]
fn gate_of_fc() {
    let spec = r#"
        extends = "llama"
        [mlp]
        kind = "fc"
        up = "u"
        down = "d"
        gate = "g"
        act = { fn = "clamped_swiglu", alpha = 1.0, limit = 7.0 }
    "#;
    assert_snapshot!(told(spec), @r#"
    unknown key `gate` in [mlp]
     --> model-spec/mine.toml:6:1
      |
    6 | gate = "g"
      | ^^^^
      = help: its keys are kind, act, inter, up, down, hf, gguf, bias, transposed
    an MLP without gate takes a word as `act`
     --> model-spec/mine.toml:7:1
      |
    7 | act = { fn = "clamped_swiglu", alpha = 1.0, limit = 7.0 }
      | ^^^
      = help: the words are silu, swish, gelu, gelu_new, gelu_tanh, gelu_pytorch_tanh, gelu_fast, relu, relu2, sigmoid, softplus, identity
    "#);
}

#[test]
fn experts_of_one_format_only() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += moe(x)"]
        [moe]
        act = "silu"
        inter = 8
        router = { name = "r", score = "softmax" }
        hf = { gate = "{e}.g", up = "{e}.u", down = "{e}.d" }
    "#;
    assert_snapshot!(told(spec), @r#"
    [moe] needs the key `gguf`
     --> model-spec/mine.toml:4:2
      |
    4 | [moe]
      |  ^^^
      = help: where the experts are: `gguf = { gate = "..", up = "..", down = ".." }`
    "#);
}

#[test]
fn storage_that_is_not_there() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += moe(x)"]
        [moe]
        act = "silu"
        inter = 8
        router = { name = "r", score = "softmax" }
        hf = { gate_up = "gu", down = "d", storage = "stakced" }
        gguf = { gate_up = "gu", down = "d" }
        [storage.stacked]
        plain = { weight = "{P}" }
    "#;
    assert_snapshot!(told(spec), @r#"
    there is no table [storage.stakced]
     --> model-spec/mine.toml:8:46
      |
    8 | hf = { gate_up = "gu", down = "d", storage = "stakced" }
      |                                              ^^^^^^^^^
      = help: did you mean `stacked`?
    "#);
}

#[test]
fn storage_without_bias() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += moe(x)"]
        [moe]
        act = "silu"
        inter = 8
        router = { name = "r", score = "softmax" }
        bias = true
        hf = { gate_up = "gu", down = "d", storage = "stacked" }
        gguf = { gate_up = "gu", down = "d" }
        [storage.stacked]
        plain = { weight = "{P}" }
    "#;
    assert_snapshot!(told(spec), @r#"
    [storage.stacked] needs `plain.bias`, because the experts have a bias
      --> model-spec/mine.toml:11:10
       |
    11 | [storage.stacked]
       |          ^^^^^^^
       = help: as in `plain = { weight = "{P}", bias = "{P}_bias" }`
    "#);
}

#[test]
fn storage_without_projection() {
    let spec = r#"
        extends = "llama"
        [layers]
        steps = ["x += moe(x)"]
        [moe]
        act = "silu"
        inter = 8
        router = { name = "r", score = "softmax" }
        hf = { gate_up = "gu", down = "d", storage = "s" }
        gguf = { gate_up = "gu", down = "d" }
        [storage.s]
        plain = { weight = "weight" }
        mxfp4 = { blocks = "{P}_blocks" }
    "#;
    assert_snapshot!(told(spec), @r#"
    `weight` needs `{P}`, the name of the projection
      --> model-spec/mine.toml:11:20
       |
    11 | plain = { weight = "weight" }
       |                    ^^^^^^^^
       = help: as in "{P}.weight"
    `mxfp4` of [storage.s] needs the key `scales`
      --> model-spec/mine.toml:12:1
       |
    12 | mxfp4 = { blocks = "{P}_blocks" }
       | ^^^^^
       = help: a tensor name in which `{P}` is the projection
    "#);
}
