//! What the reference allows, and what it becomes.

use super::*;
use crate::ir::{
    ComponentKind, Expr, ExprKind, FieldKind, Gqa, Groups, MlpAct, NormKind, QkvSource, StepExpr,
    Tied, Type,
};

fn accepted(spec: &str) -> Architecture {
    match check_one(&set_with(spec), "mine") {
        Ok(architecture) => architecture,
        Err(errors) => panic!(
            "{}",
            errors
                .iter()
                .map(Diagnostic::render_plain)
                .collect::<Vec<_>>()
                .join("\n")
        ),
    }
}

fn gqa(architecture: &Architecture) -> &Gqa {
    let found = architecture
        .components
        .iter()
        .find_map(|component| match &component.kind {
            ComponentKind::Gqa(gqa) => Some(gqa.as_ref()),
            _ => None,
        });
    found.expect("attention")
}

fn fields(architecture: &Architecture) -> Vec<&str> {
    architecture
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect()
}

fn number(expr: &Expr) -> f64 {
    match expr.kind {
        ExprKind::Number(number) => number,
        _ => panic!("{expr:?} is no number"),
    }
}

#[test]
fn a_missing_column_is_the_default() {
    let mine =
        accepted("extends = \"llama\"\n[norm]\nshift = { hf = 1 }\n[head]\ntied = { hf = true }");
    let norm = &mine.head.norm.options;
    assert_eq!(
        (number(&norm.shift.hf), number(&norm.shift.gguf)),
        (1.0, 0.0)
    );
    assert!(matches!(mine.head.tied.gguf, Tied::AbsentOut));
    assert!(matches!(&mine.head.tied.hf, Tied::Expr(tied) if tied.kind == ExprKind::Bool(true)));
}

#[test]
fn inherited_parts_that_no_step_calls_vanish() {
    let mine = accepted(
        "extends = \"llama\"
        [layers]
        steps = [\"x += attn(other(x))\"]
        [norm]
        other = [\"input_layernorm\", \"attn_norm\"]",
    );
    assert_eq!(mine.norms.len(), 1);
    assert_eq!(mine.components.len(), 1);
    assert!(!fields(&mine).contains(&"intermediate_size"));
    assert!(!fields(&mine).contains(&"mlp_bias"));
}

#[test]
fn a_format_that_is_not_served_repeats_the_other() {
    let mine = accepted("extends = \"llama\"\nformats = [\"gguf\"]\n[attn]\nq = \"mine_q\"");
    assert!(matches!(&gqa(&mine).qkv.hf, Some(QkvSource::Split { k, .. }) if k == "attn_k"));
    assert_eq!(mine.embed.tokens.names.hf.as_deref(), Some("token_embd"));
    assert!(mine.hf_names.is_empty());
}

#[test]
fn qk_norm_inherits_all_but_the_bias() {
    let mine = accepted(
        "extends = \"llama\"
        [norm]
        kind = \"layer\"
        bias = true
        shift = 1
        [attn]
        qk_norm = { scope = \"whole\", eps = 1e-3 }",
    );
    let options = &gqa(&mine).qk_norm.as_ref().expect("a norm").options;
    assert_eq!(options.kind, NormKind::Layer);
    assert_eq!(
        (number(&options.eps.hf), number(&options.shift.hf)),
        (1e-3, 1.0)
    );
    assert_eq!(options.bias.hf.kind, ExprKind::Bool(false));
    assert_eq!(mine.head.norm.options.bias.hf.kind, ExprKind::Bool(true));
}

#[test]
fn a_norm_without_weight_has_no_bias() {
    let mine = accepted(
        "extends = \"llama\"
        [norm]
        bias = true
        attn_norm = { weight = false }
        mlp_norm = { kind = \"l2\" }",
    );
    assert!(mine.norms.iter().all(|norm| norm.name.is_none()));
    assert!(
        mine.norms
            .iter()
            .all(|norm| norm.options.bias.hf.kind == ExprKind::Bool(false))
    );
}

#[test]
fn sub_tables_name_one_format() {
    let mine = accepted(
        "extends = \"llama\"
        [attn]
        qkv = \"both\"
        rows = { hf = \"(q k v)*num_heads\", gguf = \"q v k\" }
        gguf = { qkv = \"hidden by the key\" }
        [mlp]
        kind = \"fc\"
        hf = { up = \"u\", down = \"d\" }
        gguf = { up = \"U\", down = \"D\" }",
    );
    let attn = gqa(&mine);
    assert!(matches!(&attn.qkv.gguf, Some(QkvSource::Fused { name, .. }) if name == "both"));
    assert!(
        matches!(&attn.qkv.hf, Some(QkvSource::Fused { rows, .. }) if matches!(rows.groups, Groups::Count(_)))
    );
    let Some(ComponentKind::Mlp(mlp)) = mine.components.last().map(|component| &component.kind)
    else {
        panic!("no MLP");
    };
    assert!(!mlp.gated && matches!(&mlp.act, MlpAct::Word(_)));
    assert_eq!(mlp.down.names.gguf.as_deref(), Some("D"));
}

#[test]
fn o_bias_follows_bias() {
    let mine = accepted("extends = \"llama\"\n[attn]\nbias = true");
    assert_eq!(gqa(&mine).o_bias.hf.kind, ExprKind::Bool(true));
    let mine = accepted("extends = \"llama\"\n[attn]\nbias = true\no_bias = false");
    assert_eq!(gqa(&mine).o_bias.hf.kind, ExprKind::Bool(false));
}

#[test]
fn parts_of_different_layers_may_share_names() {
    accepted(
        "extends = \"llama\"
        [layers]
        steps = [\"x += if i < 2 { wide(attn_norm(x)) } else { mlp(mlp_norm(x)) }\"]
        [wide]
        kind = \"fc\"
        act = \"relu\"
        inter = 3
        up = [\"mlp.up_proj\", \"ffn_up\"]
        down = [\"mlp.down_proj\", \"ffn_down\"]",
    );
    accepted(
        "extends = \"llama\"
        [layers]
        let = { late = \"i > 3\" }
        steps = [\"x += if !late { attn(x) } else { mlp(x) }\", \"x += if late { n1(x) } else { n2(x) }\"]
        [norm]
        n1 = \"n\"
        n2 = \"n\"",
    );
}

#[test]
fn variables_that_hold_numbers_are_put_in() {
    let mine = accepted(
        "extends = \"llama\"
        [layers]
        steps = [\"a = i + 1\", \"a *= 2\", \"h = attn(x)\", \"x += -h / a\"]",
    );
    assert_eq!(mine.steps.len(), 2);
    let StepExpr::Scale(factor, inner) = &mine.steps[1].expr else {
        panic!("{:?}", mine.steps[1].expr);
    };
    assert!(
        matches!(&factor.kind, ExprKind::Binary(crate::ir::BinaryOp::Div, one, _) if number(one) == 1.0)
    );
    assert!(matches!(inner.as_ref(), StepExpr::Scale(minus, _) if number(minus) == -1.0));
}

#[test]
fn variables_hide_fields_and_lets_hide_fields() {
    let mine = accepted(
        "extends = \"llama\"
        [layers]
        let = { num_layers = \"hidden_size + i\" }
        steps = [\"head_dim = attn(x)\", \"x += num_layers * head_dim\"]",
    );
    assert!(
        mine.lets
            .iter()
            .any(|found| found.name == "num_layers" && found.per_layer)
    );
    assert!(
        matches!(&mine.steps[1].expr, StepExpr::Scale(factor, _) if factor.kind == ExprKind::Let("num_layers".into()))
    );
}

#[test]
fn fields_get_their_types() {
    let mine = accepted(
        "extends = \"llama\"
        [config]
        a = false
        b = 3
        c = { hf = \"c\" }
        d = \"none\"
        e = { type = \"int?\", default = 3 }
        f = { type = \"[str]\", default = 'if i % 2 == 0 { \"x\" } else { \"y\" }' }
        g = []
        h = { type = \"int\", default = \"e\" }
        k = { default = { hf = false, gguf = true } }
        [layers]
        let = { all = 'if a && k && f[i] == \"x\" && contains(g, i) { at(c, i) + c } else { e + h }', also = 'd == none' }
        steps = [\"x += (if also { b } else { all }) * attn(x)\"]",
    );
    let of = |name: &str| {
        let field = mine.fields.iter().find(|field| field.name == name);
        field
            .map(|field| (field.kind, field.ty))
            .unwrap_or_else(|| panic!("{name} is missing"))
    };
    assert_eq!(of("a"), (FieldKind::Bool, Type::Bool));
    assert_eq!(of("b"), (FieldKind::Float, Type::Number));
    assert_eq!(of("c"), (FieldKind::OneOrEach, Type::OneOrEach));
    assert_eq!(of("d"), (FieldKind::OneOrEach, Type::OneOrEach));
    assert_eq!(of("e"), (FieldKind::Int, Type::OptNumber));
    assert_eq!(of("f"), (FieldKind::Strs, Type::Strs));
    assert_eq!(of("g"), (FieldKind::Floats, Type::Numbers));
    assert_eq!(of("h"), (FieldKind::Int, Type::OptNumber));
    assert_eq!(of("k"), (FieldKind::Bool, Type::Bool));
}

#[test]
fn prelude_fields_are_laid_under_the_merged_entry() {
    let files = [
        (
            "parent",
            "extends = \"llama\"\n[config]\nhidden_act = { hf = \"activation\" }\n",
        ),
        (
            "mine",
            "extends = \"parent\"\n[config]\nhidden_act = { default = \"relu\" }\n",
        ),
    ];
    let set = SpecSet::new(
        shipped()
            .into_iter()
            .chain(files.map(|(name, text)| (name.to_string(), text.to_string()))),
    );
    let keys = |stem: &str| {
        let architecture = check_one(&set, stem).expect("fine");
        let field = architecture
            .fields
            .into_iter()
            .find(|field| field.name == "hidden_act");
        field.map(|field| field.hf_keys).expect("read")
    };
    assert_eq!(keys("parent"), ["activation"]);
    assert_eq!(keys("mine"), ["hidden_act"]);
}

#[test]
fn what_generated_code_always_reads_is_listed() {
    let mine = accepted(
        "extends = \"llama\"\n[config]\nlayer_types = { type = \"[str]\", default = '\"full\"' }",
    );
    for name in [
        "num_layers",
        "hidden_size",
        "vocab_size",
        "layer_types",
        "max_positions",
        "rope_theta",
    ] {
        assert!(fields(&mine).contains(&name), "{name}");
    }
    assert!(!fields(&mine).contains(&"sliding_window"));
}

#[test]
fn defaults_may_name_each_other() {
    accepted(
        "extends = \"llama\"
        [config]
        n_a = { type = \"int\", default = \"n_b - 1\" }
        n_b = { type = \"int\", default = \"n_a + 1\" }
        [attn]
        window = \"n_a\"",
    );
}

#[test]
fn head_dim_comes_from_attn() {
    let mine = accepted(
        "extends = \"llama\"
        [layers]
        steps = [\"x += if i < 1 { attn(x) } else { wide(x) }\"]
        [attn]
        head_dim = \"hidden_size / 4\"
        [wide]
        kind = \"gqa\"
        q = \"q\"
        k = \"k\"
        o = \"o\"",
    );
    for component in &mine.components {
        let ComponentKind::Gqa(gqa) = &component.kind else {
            panic!("{component:?}")
        };
        assert!(matches!(gqa.head_dim.hf.kind, ExprKind::Binary(..)));
    }
}

#[test]
fn scaling_has_three_forms() {
    let rope = |scaling: &str| {
        let mine = accepted(&format!("extends = \"llama\"\n[rope]\nscaling = {scaling}"));
        gqa(&mine).rope.clone().expect("rope")
    };
    assert_eq!(
        rope("\"if i < 3 { none } else { config }\"").scaling.ty,
        Type::Config
    );
    let fixed = rope("{ type = \"linear\", factor = 4.0 }");
    assert!(fixed.scaling_fixed && fixed.scaling_params.len() == 2);
    let default =
        rope("{ from = \"config\", default = { type = \"yarn\", factor = 32 }, truncate = false }");
    assert!(!default.scaling_fixed);
    assert_eq!(
        (default.scaling_default.len(), default.scaling_params.len()),
        (2, 1)
    );
}

#[test]
fn unconditional_rivals_are_told() {
    let set = set_with("extends = \"llama\"");
    let (_, diagnostics) = load(&set);
    insta::assert_snapshot!(diagnostics[0].render_plain(), @r#"
    `llama` and `mine` both claim `LlamaForCausalLM` in hf
     --> model-spec/mine.toml:1:1
      |
    1 | extends = "llama"
      | ^
      = help: the claim is inherited: write `architectures = []` to give it up, or give one of them a `when`
    "#);
    let set = set_with("extends = \"llama\"\nwhen = \"attention_bias\"");
    assert!(load(&set).1.is_empty());
    let set = set_with("extends = \"llama\"\nwhen = { gguf = \"attention_bias\" }");
    assert_eq!(load(&set).1.len(), 1);
}

#[test]
fn a_mistake_is_told_once_however_many_inherit_it() {
    let mut files = shipped();
    for (name, text) in &mut files {
        if name == "llama.toml" {
            *text = text.replace("bias = \"attention_bias\"", "bias = \"atention_bias\"");
        }
    }
    let (architectures, diagnostics) = load(&SpecSet::new(files));
    assert_eq!(diagnostics.len(), 1);
    let stems: Vec<&str> = architectures
        .iter()
        .map(|found| found.stem.as_str())
        .collect();
    assert!(
        !stems.contains(&"llama") && !stems.contains(&"mistral"),
        "{stems:?}"
    );
    assert!(stems.contains(&"gpt2"), "{stems:?}");
}

#[test]
fn doc_is_the_comment_on_top() {
    let mine = accepted("# My model.\n# With more.\n\nextends = \"llama\"");
    assert_eq!(mine.doc, ["My model.", "With more."]);
    assert_eq!(mine.files, ["mine.toml", "llama.toml"]);
}
