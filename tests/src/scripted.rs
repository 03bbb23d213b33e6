//! A model that says what it is told to: its next token depends on the position alone. For tests of what comes after a model.

use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;

use crate::harmony::{VOCAB, ids, small, tokenizer_json};

/// Longest conversation of the model in tokens.
const POSITIONS: usize = 3072;

/// An answer, its markers spelled, to the prompt of so many tokens.
pub type Line<'a> = (usize, &'a str);

/// Writes a GPT-2 with Harmony's markers into a folder. Its layers do nothing; the embedding of a position is the token
/// that comes next.
///
/// # Errors
/// What the operating system reports.
///
/// # Panics
/// If an answer goes beyond the positions.
pub fn write(folder: &Path, script: &[Line<'_>]) -> io::Result<()> {
    let (tokenizer, _) = small();
    let mut positions = vec![0.0_f32; POSITIONS * VOCAB];
    for (prompt, answer) in script {
        for (place, id) in ids(tokenizer, answer).into_iter().enumerate() {
            positions[(prompt - 1 + place) * VOCAB + id as usize] = 1.0;
        }
    }
    let mut head = vec![0.0_f32; VOCAB * VOCAB];
    for row in 0..VOCAB {
        head[row * VOCAB + row] = 1.0;
    }
    let (wide, inner) = (3 * VOCAB, 4);
    let layer = |name: &str| format!("transformer.h.0.{name}");
    let zero = |shape: &[usize]| vec![0.0; shape.iter().product()];
    let one = vec![1.0_f32; VOCAB];
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = vec![
        (
            "transformer.wte.weight".into(),
            vec![VOCAB, VOCAB],
            zero(&[VOCAB, VOCAB]),
        ),
        (
            "transformer.wpe.weight".into(),
            vec![POSITIONS, VOCAB],
            positions,
        ),
        ("lm_head.weight".into(), vec![VOCAB, VOCAB], head),
        ("transformer.ln_f.weight".into(), vec![VOCAB], one.clone()),
        ("transformer.ln_f.bias".into(), vec![VOCAB], zero(&[VOCAB])),
    ];
    for norm in ["ln_1", "ln_2"] {
        tensors.push((layer(&format!("{norm}.weight")), vec![VOCAB], one.clone()));
        tensors.push((layer(&format!("{norm}.bias")), vec![VOCAB], zero(&[VOCAB])));
    }
    for (name, from, to) in [
        ("attn.c_attn", VOCAB, wide),
        ("attn.c_proj", VOCAB, VOCAB),
        ("mlp.c_fc", VOCAB, inner),
        ("mlp.c_proj", inner, VOCAB),
    ] {
        tensors.push((
            layer(&format!("{name}.weight")),
            vec![from, to],
            zero(&[from, to]),
        ));
        tensors.push((layer(&format!("{name}.bias")), vec![to], zero(&[to])));
    }
    save(folder, tensors)?;
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": VOCAB, "n_embd": VOCAB, "n_layer": 1,
        "n_head": 2, "n_inner": inner, "n_positions": POSITIONS, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false,
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    std::fs::write(folder.join("tokenizer.json"), tokenizer_json())
}

/// Writes a gpt-oss with random weights (those of a golden case, but for embedding and head) and Harmony's markers into a
/// folder: it writes tokens of all kinds in any order.
///
/// # Errors
/// What the operating system reports.
///
/// # Panics
/// If the golden case is none.
#[expect(clippy::unwrap_used, reason = "for tests")]
pub fn write_random_gpt_oss(folder: &Path) -> io::Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/gpt-oss-mxfp4");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("config.json"))?).unwrap();
    let hidden = config["hidden_size"].as_u64().unwrap() as usize;
    config["vocab_size"] = json!(VOCAB);
    config["eos_token_id"] = json!(258);
    let bytes = std::fs::read(golden.join("model.safetensors"))?;
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let noise: Vec<u8> = (0..VOCAB * hidden)
        .flat_map(|i| {
            // Knuth's multiplicative hash: nothing here needs better.
            let hash = (i as u32 + 1).wrapping_mul(2_654_435_761);
            let value = hash as f32 / u32::MAX as f32 - 0.5;
            ((value.to_bits() >> 16) as u16).to_le_bytes()
        })
        .collect();
    let views: Vec<(String, TensorView<'_>)> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| match name.as_str() {
            "model.embed_tokens.weight" | "lm_head.weight" => (
                name,
                TensorView::new(Dtype::BF16, vec![VOCAB, hidden], &noise).unwrap(),
            ),
            _ => (name, view),
        })
        .collect();
    serialize_to_file(views, None, &folder.join("model.safetensors")).map_err(io::Error::other)?;
    std::fs::write(folder.join("config.json"), config.to_string())?;
    std::fs::write(folder.join("tokenizer.json"), tokenizer_json())
}

fn save(folder: &Path, tensors: Vec<(String, Vec<usize>, Vec<f32>)>) -> io::Result<()> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| {
            (
                name,
                shape,
                values.into_iter().flat_map(f32::to_le_bytes).collect(),
            )
        })
        .collect();
    let mut views = Vec::new();
    for (name, shape, data) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).map_err(io::Error::other)?;
        views.push((name.as_str(), view));
    }
    serialize_to_file(views, None, &folder.join("model.safetensors")).map_err(io::Error::other)
}
