//! Quantized spellings that are recognized, so that they can be refused by name.

use super::{Checkpoint, LoadError, StoredDtype};
use crate::config::ConfigFile;

/// The spelling that a checkpoint's weights have, if it is a known one that is not read yet.
pub(super) fn unsupported(checkpoint: &Checkpoint) -> Option<LoadError> {
    by_config(checkpoint.config()).or_else(|| {
        checkpoint
            .names()
            .find_map(|name| by_name(checkpoint, name))
    })
}

/// The spelling that config.json announces, if it is a known one that is not read yet: known before any weight is here.
pub(crate) fn by_config(config: &ConfigFile) -> Option<LoadError> {
    let method = config.quantization_method()?;
    let storage = match method {
        "fp8" | "fbgemm_fp8" => "fp8_block",
        "gptq" => "gptq",
        "awq" => "awq",
        "bitsandbytes" => "bitsandbytes",
        "modelopt" => "nvfp4",
        "int8" => "int8",
        _ => return None,
    };
    Some(LoadError::Storage {
        storage,
        evidence: format!("quantization_config says `{method}`"),
    })
}

fn by_name(checkpoint: &Checkpoint, name: &str) -> Option<LoadError> {
    let (stem, last) = name.rsplit_once('.').unwrap_or(("", name));
    let has = |suffix: &str| checkpoint.tensor(&format!("{stem}.{suffix}"));
    let is = |suffix: &str, dtype: ::safetensors::Dtype| {
        has(suffix).is_some_and(|tensor| tensor.dtype == StoredDtype::Raw(dtype))
    };
    let storage = match last {
        "weight_scale_inv" => "fp8_block",
        "weight_scale_2" | "weight_global_scale" => "nvfp4",
        "weight_packed" if is("weight_packed", ::safetensors::Dtype::I32) => "compressed_pack",
        "weight_packed" if is("weight_scale", ::safetensors::Dtype::U8) => "mxfp4_pack",
        "weight_packed" => "nvfp4",
        "qweight" if has("g_idx").is_some() => "gptq",
        "qweight" => "awq",
        "weight_scale" if has("weight_packed").is_some() || has("weight_scale_2").is_some() => {
            return None;
        }
        "weight_scale" if is("weight", ::safetensors::Dtype::I8) => "compressed-tensors INT8",
        "weight_scale" | "qscale_weight" => "compressed_float",
        "SCB" | "absmax" => "bitsandbytes",
        _ if last.ends_with("_blocks")
            && checkpoint
                .tensor(&name.replace("_blocks", "_scales"))
                .is_some() =>
        {
            "mxfp4, for which the spec has no [storage]"
        }
        _ => return None,
    };
    Some(LoadError::Storage {
        storage,
        evidence: format!("it has `{name}`"),
    })
}
