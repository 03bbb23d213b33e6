//! A Llama built by hand, and variations of it that snapshots of specs do not reach.

use super::*;
use crate::ir::*;
use crate::source::At;

fn at() -> At {
    At {
        file: "llama.toml".into(),
        line: 7,
        column: 1,
        len: 1,
    }
}

fn expr(kind: ExprKind, ty: Type) -> Expr {
    Expr { kind, ty, at: at() }
}

fn number(value: f64) -> Expr {
    expr(ExprKind::Number(value), Type::Number)
}

fn field(name: &str, ty: Type) -> Expr {
    expr(ExprKind::Field(name.into()), ty)
}

fn both<T: Clone>(value: T) -> PerFormat<T> {
    PerFormat {
        hf: value.clone(),
        gguf: value,
    }
}

fn off() -> Value {
    both(expr(ExprKind::Bool(false), Type::Bool))
}

fn on() -> Value {
    both(expr(ExprKind::Bool(true), Type::Bool))
}

fn none() -> Value {
    both(expr(ExprKind::None, Type::None))
}

fn name(hf: &str, gguf: &str) -> Name {
    Name {
        names: PerFormat {
            hf: Some(hf.into()),
            gguf: Some(gguf.into()),
        },
        at: at(),
    }
}

fn config_field(name: &str, kind: FieldKind, ty: Type, default: Option<Expr>) -> Field {
    Field {
        name: name.into(),
        kind,
        optional: false,
        ty,
        hf_keys: vec![name.into()],
        gguf_key: Some(format!("gguf.{name}")),
        default: both(default.map(FieldDefault::Expr)),
        at: at(),
    }
}

fn norm(ident: &str) -> NormInstance {
    let options = NormOptions {
        kind: NormKind::Rms,
        eps: both(field("rms_norm_eps", Type::Number)),
        shift: both(number(0.0)),
        bias: off(),
    };
    NormInstance {
        ident: ident.into(),
        name: Some(name(ident, ident)),
        options,
    }
}

fn number_field(name: &str) -> Value {
    both(field(name, Type::Number))
}

fn attention() -> Gqa {
    let split = QkvSource::Split {
        q: "q_proj".into(),
        k: "k_proj".into(),
        v: Some("v_proj".into()),
    };
    Gqa {
        heads: number_field("num_heads"),
        kv_heads: number_field("num_kv_heads"),
        head_dim: number_field("head_dim"),
        v_head_dim: None,
        qkv: both(Some(split)),
        qkv_at: vec![at()],
        o: name("o_proj", "attn_output"),
        bias: off(),
        o_bias: off(),
        transposed: off(),
        qk_norm: None,
        clip: none(),
        scale: none(),
        softcap: none(),
        alibi: off(),
        window: none(),
        chunk: none(),
        sinks: None,
        q_temperature: None,
        v_scale: none(),
        out_gate: None,
        rope: Some(Rope {
            theta: number_field("rope_theta"),
            on: on(),
            partial: both(number(1.0)),
            dim: None,
            adjacent: PerFormat {
                hf: false,
                gguf: true,
            },
            reverse: false,
            scaling: expr(ExprKind::Config, Type::Config),
            scaling_default: Vec::new(),
            scaling_params: Vec::new(),
            scaling_fixed: false,
            freq_factors: PerFormat {
                hf: Vec::new(),
                gguf: vec!["rope_freqs".into()],
            },
            at: at(),
        }),
    }
}

fn mlp() -> Mlp {
    Mlp {
        gated: true,
        act: MlpAct::Word(both(Word::Field("hidden_act".into()))),
        inter: number_field("intermediate_size"),
        gate_up: both(Some(GateUpSource::Split {
            gate: Some("gate_proj".into()),
            up: "up_proj".into(),
        })),
        gate_up_at: vec![at()],
        down: name("down_proj", "ffn_down"),
        bias: off(),
        transposed: off(),
    }
}

fn step(text: &str, var: &str, op: StepOp, expr: StepExpr) -> Step {
    Step {
        text: text.into(),
        var: var.into(),
        op,
        expr,
        at: at(),
    }
}

fn call(component: &str, norm: &str) -> StepExpr {
    let x = StepExpr::Var("x".into());
    StepExpr::Component(
        component.into(),
        Box::new(StepExpr::Norm(norm.into(), Box::new(x))),
    )
}

fn llama() -> Architecture {
    let numbers = [
        "vocab_size",
        "hidden_size",
        "num_layers",
        "num_heads",
        "num_kv_heads",
        "head_dim",
        "intermediate_size",
    ];
    let mut fields: Vec<_> = numbers
        .iter()
        .map(|name| config_field(name, FieldKind::Int, Type::Number, None))
        .collect();
    fields.push(config_field(
        "rms_norm_eps",
        FieldKind::Float,
        Type::Number,
        Some(number(1e-6)),
    ));
    fields.push(config_field(
        "rope_theta",
        FieldKind::Float,
        Type::Number,
        Some(number(10000.0)),
    ));
    fields.push(config_field(
        "hidden_act",
        FieldKind::Act,
        Type::Str,
        Some(expr(ExprKind::Str("silu".into()), Type::Str)),
    ));
    let component = |ident: &str, kind| Component {
        ident: ident.into(),
        kind,
        at: at(),
    };
    Architecture {
        stem: "llama".into(),
        doc: vec!["Llama: pre-norm [decoder].".into()],
        files: vec!["llama.toml".into()],
        formats: vec![Format::Hf, Format::Gguf],
        hf_names: vec!["LlamaForCausalLM".into()],
        gguf_names: vec!["llama".into()],
        when: both(None),
        roots: both(vec![String::new()]),
        ignore: both(Vec::new()),
        fields,
        lets: Vec::new(),
        embed: Embed {
            tokens: name("embed_tokens", "token_embd"),
            scale: both(number(1.0)),
            positions: None,
            norm: None,
        },
        layer_prefix: name("model.layers.{i}.", "blk.{i}."),
        steps: vec![
            step(
                "x += attn(attn_norm(x))",
                "x",
                StepOp::Add,
                call("attn", "attn_norm"),
            ),
            step(
                "x += mlp(mlp_norm(x))",
                "x",
                StepOp::Add,
                call("mlp", "mlp_norm"),
            ),
        ],
        norms: vec![norm("attn_norm"), norm("mlp_norm")],
        components: vec![
            component("attn", ComponentKind::Gqa(Box::new(attention()))),
            component("mlp", ComponentKind::Mlp(Box::new(mlp()))),
        ],
        head: Head {
            norm: norm("norm"),
            out: name("lm_head", "output"),
            tied: PerFormat {
                hf: Tied::Expr(expr(ExprKind::Bool(false), Type::Bool)),
                gguf: Tied::AbsentOut,
            },
            bias: off(),
            scale: both(number(1.0)),
            softcap: none(),
        },
    }
}

#[test]
fn a_llama_fits_its_budget() {
    let text = crate::pretty(expand_one(&llama())).unwrap();
    assert!(
        text.lines().count() <= 300,
        "{} lines",
        text.lines().count()
    );
}
