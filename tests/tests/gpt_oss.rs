//! gpt-oss at its published sizes, without weights.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use inferno_runtime::config::ConfigFile;
use inferno_runtime::models::ARCHITECTURES;
use inferno_runtime::nn::select;
use inferno_runtime::weights::{Plan, Source};

/// The plan for a config.json of `fixtures/gpt-oss`.
fn plan(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/gpt-oss")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let config = ConfigFile::from_json(name, &text).unwrap();
    let architecture = select(ARCHITECTURES, &config).unwrap();
    assert_eq!(architecture.name, "gpt_oss");
    architecture
        .plan(&config, Source::Random(0.into()))
        .unwrap()
}

/// Bytes of the published files: MXFP4 experts, all other numbers bf16.
fn published_bytes(plan: &Plan) -> usize {
    let bytes = plan.tensors.iter().map(|tensor| {
        let packed = tensor.name.ends_with("_blocks") || tensor.name.ends_with("_scales");
        tensor.shape.iter().product::<usize>() * if packed { 1 } else { 2 }
    });
    bytes.sum()
}

#[test]
fn a_token_reads_its_row_and_four_of_32_experts() {
    let plan = plan("20b.json");
    for tensor in &plan.tensors {
        let read = match tensor.name.as_str() {
            name if name.contains(".experts.") => tensor.bytes / 8,
            "model.embed_tokens.weight" => 2 * 2880,
            _ => tensor.bytes,
        };
        assert_eq!(tensor.token_bytes, read, "{}", tensor.name);
    }
    // 24 layers of 64-wide keys and values of 8 heads; every other one sees 128 tokens.
    assert_eq!(plan.token_kv_bytes(1000, 2), 12 * 2048 * (1000 + 128));
}

#[test]
fn gpt_oss_20b_has_the_tensors_of_its_published_index() {
    let plan = plan("20b.json");
    assert_eq!(plan.tensors.len(), 459);
    assert_eq!(published_bytes(&plan), 13_761_264_768);
    assert_eq!(plan.parameters(), 20_914_757_184);
    let shape = |name: &str| {
        let found = plan.tensors.iter().find(|tensor| tensor.name == name);
        found
            .unwrap_or_else(|| panic!("{name} is missing"))
            .shape
            .clone()
    };
    let layer = |name: &str| shape(&format!("model.layers.23.{name}"));
    assert_eq!(shape("model.embed_tokens.weight"), [201_088, 2880]);
    assert_eq!(shape("lm_head.weight"), [201_088, 2880]);
    assert_eq!(layer("mlp.experts.gate_up_proj_blocks"), [32, 5760, 90, 16]);
    assert_eq!(layer("mlp.experts.gate_up_proj_scales"), [32, 5760, 90]);
    assert_eq!(layer("mlp.experts.gate_up_proj_bias"), [32, 5760]);
    assert_eq!(layer("mlp.experts.down_proj_blocks"), [32, 2880, 90, 16]);
    assert_eq!(layer("mlp.router.weight"), [32, 2880]);
    assert_eq!(layer("mlp.router.bias"), [32]);
    assert_eq!(layer("self_attn.q_proj.weight"), [4096, 2880]);
    assert_eq!(layer("self_attn.k_proj.bias"), [512]);
    assert_eq!(layer("self_attn.o_proj.weight"), [2880, 4096]);
    assert_eq!(layer("self_attn.sinks"), [64]);
}

#[test]
fn gpt_oss_120b_is_the_same_with_more_layers_and_experts() {
    let plan = plan("120b.json");
    assert_eq!(plan.tensors.len(), 3 + 36 * 19);
    assert_eq!(plan.parameters(), 116_829_156_672);
}

#[test]
fn sliding_layers_keep_no_more_than_their_window() {
    let plan = plan("20b.json");
    assert_eq!(plan.kv.len(), 24);
    for (layer, kv) in plan.kv.iter().enumerate() {
        let window = (layer % 2 == 0).then_some(128);
        assert_eq!(
            (kv.heads, kv.k_dim, kv.window),
            (8, 64, window),
            "layer {layer}"
        );
    }
}
