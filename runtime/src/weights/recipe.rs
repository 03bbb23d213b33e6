//! Which tensor of a quantized model has which type: for random weights of the true size.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{PlannedTensor, WeightDtype};

/// Random weights: what determines them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Random {
    /// Other seed, other numbers.
    pub seed: u64,
    /// The types of matrices.
    pub quant: Quant,
}

impl From<u64> for Random {
    fn from(seed: u64) -> Self {
        Self {
            seed,
            quant: Quant::default(),
        }
    }
}

/// How the matrices of random weights are stored. Vectors are f32 always; experts that config.json says are in MXFP4 stay so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quant {
    /// bf16.
    #[default]
    Bf16,
    /// All matrices in Q8_0, as llama.cpp's recipe of this name.
    Q8_0,
    /// Q4_K with some matrices in Q6_K, as llama.cpp's recipe of this name.
    Q4KM,
}

impl Quant {
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4KM => "q4_k_m",
        }
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quant {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = [Self::Bf16, Self::Q8_0, Self::Q4KM];
        all.into_iter()
            .find(|quant| quant.name().eq_ignore_ascii_case(word))
            .ok_or_else(|| format!("`{word}` is no type of random weights: bf16, q8_0 or q4_k_m"))
    }
}

/// What a matrix is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Router,
    Positions,
    Embedding,
    Head,
    /// Values of an attention.
    Value,
    /// Queries, keys and values in one.
    Fused,
    Down,
    Other,
}

/// The types of the matrices among these tensors whose type is not bf16, as the recipe has it; `embedding` is the token
/// embedding's name.
///
/// The rule is that of `llama_tensor_get_type` in llama.cpp's `src/llama-quant.cpp` for models with neither eight experts nor
/// 70 billion parameters: the head, or the embedding that is the head too, in Q6_K; values and down projections of the layers that
/// [`more_bits`] names in Q6_K; queries, keys and values in one matrix in Q5_K; routers in f32; all else in Q4_K. Rows that
/// are no whole number of blocks of 256 take Q5_0 for Q4_K, Q5_1 for Q5_K and Q8_0 for Q6_K.
pub(crate) fn dtypes(
    quant: Quant,
    tensors: &[PlannedTensor],
    embedding: &str,
) -> BTreeMap<String, WeightDtype> {
    if quant == Quant::Bf16 {
        return BTreeMap::new();
    }
    let table = tensors.iter().find(|tensor| tensor.name == embedding);
    let shape = table.map(|table| &table.shape);
    let role = |tensor: &PlannedTensor| {
        let like_embedding = shape == Some(&tensor.shape) && layer(&tensor.name).is_none();
        match role(&tensor.name) {
            _ if tensor.name == embedding => Role::Embedding,
            Role::Other if like_embedding => Role::Head,
            role => role,
        }
    };
    let layers = tensors.iter().filter_map(|tensor| layer(&tensor.name));
    let layers = layers.max().map_or(0, |last| last + 1);
    let tied = tensors.iter().all(|tensor| role(tensor) != Role::Head);
    let matrices = tensors.iter().filter(|tensor| tensor.shape.len() > 1);
    let dtype = |tensor: &PlannedTensor| {
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let more = layer(&tensor.name).is_some_and(|layer| more_bits(layer, layers));
        let wanted = match (quant, role(tensor)) {
            (_, Role::Router) => return Some(WeightDtype::F32),
            (Quant::Bf16, _) | (_, Role::Positions) => return None,
            (Quant::Q8_0, _) => WeightDtype::Q8_0,
            (Quant::Q4KM, Role::Head) => WeightDtype::Q6K,
            (Quant::Q4KM, Role::Embedding) if tied => WeightDtype::Q6K,
            (Quant::Q4KM, Role::Value | Role::Down) if more => WeightDtype::Q6K,
            (Quant::Q4KM, Role::Fused) => WeightDtype::Q5K,
            (Quant::Q4KM, _) => WeightDtype::Q4K,
        };
        let instead = match wanted {
            WeightDtype::Q4K => WeightDtype::Q5_0,
            WeightDtype::Q5K => WeightDtype::Q5_1,
            _ => WeightDtype::Q8_0,
        };
        [wanted, instead]
            .into_iter()
            .find(|dtype| dtype.row_bytes(cols).is_some())
    };
    matrices
        .filter_map(|tensor| Some((tensor.name.clone(), dtype(tensor)?)))
        .collect()
}

/// Whether layer `i` of `n` has more bits: the first eighth, the last eighth, and every third one between.
fn more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// The layer that a tensor is of: the first part of its name that is a number.
fn layer(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

fn role(name: &str) -> Role {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    let last = stem.rsplit('.').find(|part| part.parse::<u32>().is_err());
    match last.unwrap_or_default() {
        "router" | "ffn_gate_inp" | "wg" => Role::Router,
        "gate" if stem.ends_with("mlp.gate") || stem.ends_with("sparse_moe.gate") => Role::Router,
        "gate" if stem.contains("router") => Role::Router,
        "layer" if stem.ends_with("router.layer") => Role::Router,
        "wpe" | "position_embd" | "embed_positions" => Role::Positions,
        "v_proj" | "attn_v" => Role::Value,
        "qkv_proj" | "attn_qkv" | "query_key_value" | "Wqkv" | "c_attn" => Role::Fused,
        "down_proj" | "ffn_down" | "ffn_down_exps" | "w2" | "fc2" | "fc_out" | "dense_4h_to_h"
        | "output_linear" => Role::Down,
        "c_proj" if stem.ends_with("mlp.c_proj") => Role::Down,
        _ => Role::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> PlannedTensor {
        PlannedTensor {
            name: name.into(),
            shape: shape.to_vec(),
            at: "",
            dtype: None,
            bytes: 0,
            token_bytes: 0,
            parameters: shape.iter().product::<usize>() as u64,
        }
    }

    fn llama(layers: usize, hidden: usize, tied: bool) -> Vec<PlannedTensor> {
        let mut all = vec![tensor("model.embed_tokens.weight", &[1000, hidden])];
        for i in 0..layers {
            let mut add = |name: &str, rows| {
                all.push(tensor(
                    &format!("model.layers.{i}.{name}.weight"),
                    &[rows, hidden],
                ));
            };
            for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                add(&format!("self_attn.{name}"), hidden);
            }
            for name in ["gate_proj", "up_proj", "down_proj"] {
                add(&format!("mlp.{name}"), hidden);
            }
            all.push(tensor(
                &format!("model.layers.{i}.input_layernorm.weight"),
                &[hidden],
            ));
        }
        if !tied {
            all.push(tensor("lm_head.weight", &[1000, hidden]));
        }
        all
    }

    const EMBEDDING: &str = "model.embed_tokens.weight";

    #[test]
    fn q4_k_m_gives_half_of_the_layers_more_bits() {
        let types = dtypes(Quant::Q4KM, &llama(32, 4096, false), EMBEDDING);
        // Of 32 layers: 0 to 3, 28 to 31, and 6, 9, ..., 27.
        let more: Vec<usize> = (0..32).filter(|i| more_bits(*i, 32)).collect();
        assert_eq!(
            more,
            [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
        );
        for i in 0..32 {
            let of = |name: &str| types[&format!("model.layers.{i}.{name}.weight")];
            let expected = if more.contains(&i) {
                WeightDtype::Q6K
            } else {
                WeightDtype::Q4K
            };
            assert_eq!(of("self_attn.v_proj"), expected);
            assert_eq!(of("mlp.down_proj"), expected);
            assert_eq!(of("self_attn.q_proj"), WeightDtype::Q4K);
            assert_eq!(of("mlp.gate_proj"), WeightDtype::Q4K);
        }
        assert_eq!(types["lm_head.weight"], WeightDtype::Q6K);
        assert_eq!(types[EMBEDDING], WeightDtype::Q4K);
        assert!(!types.contains_key("model.layers.0.input_layernorm.weight"));
    }

    #[test]
    fn a_tied_embedding_is_the_head_and_odd_rows_take_smaller_blocks() {
        let types = dtypes(Quant::Q4KM, &llama(8, 576, true), EMBEDDING);
        assert_eq!(types[EMBEDDING], WeightDtype::Q8_0);
        assert_eq!(
            types["model.layers.1.self_attn.q_proj.weight"],
            WeightDtype::Q5_0
        );
        assert_eq!(
            types["model.layers.0.mlp.down_proj.weight"],
            WeightDtype::Q8_0
        );
        // Not even blocks of 32: bf16, as without a recipe.
        assert!(dtypes(Quant::Q4KM, &llama(8, 8, true), EMBEDDING).is_empty());
    }

    #[test]
    fn q8_0_takes_every_matrix_but_routers_and_positions() {
        let tensors = [
            tensor("model.embed_tokens.weight", &[1000, 64]),
            tensor("model.layers.0.mlp.gate.weight", &[8, 64]),
            tensor("model.layers.0.mlp.gate_proj.weight", &[8, 64]),
            tensor("model.wpe.weight", &[100, 64]),
        ];
        let types = dtypes(Quant::Q8_0, &tensors, EMBEDDING);
        assert_eq!(types[EMBEDDING], WeightDtype::Q8_0);
        assert_eq!(types["model.layers.0.mlp.gate.weight"], WeightDtype::F32);
        assert_eq!(
            types["model.layers.0.mlp.gate_proj.weight"],
            WeightDtype::Q8_0
        );
        assert!(!types.contains_key("model.wpe.weight"));
        assert!(dtypes(Quant::Bf16, &tensors, EMBEDDING).is_empty());
    }

    #[test]
    fn recipes_have_names() {
        for quant in [Quant::Bf16, Quant::Q8_0, Quant::Q4KM] {
            assert_eq!(quant.to_string().parse(), Ok(quant));
        }
        assert_eq!("Q4_K_M".parse(), Ok(Quant::Q4KM));
        assert!("q4_k_s".parse::<Quant>().is_err());
    }
}
