//! The tensor types of ggml by their numbers in a file.

use crate::weights::{StoredDtype, WeightDtype};

/// The type with this number; one that the engine does not read is `Unknown` with its name.
pub(super) fn stored_dtype(id: u32) -> StoredDtype {
    use ::safetensors::Dtype;
    use WeightDtype as W;
    StoredDtype::Weight(match id {
        0 => W::F32,
        1 => W::F16,
        2 => W::Q4_0,
        3 => W::Q4_1,
        6 => W::Q5_0,
        7 => W::Q5_1,
        8 => W::Q8_0,
        10 => W::Q2K,
        11 => W::Q3K,
        12 => W::Q4K,
        13 => W::Q5K,
        14 => W::Q6K,
        24 => return StoredDtype::Raw(Dtype::I8),
        25 => return StoredDtype::Raw(Dtype::I16),
        26 => return StoredDtype::Raw(Dtype::I32),
        27 => return StoredDtype::Raw(Dtype::I64),
        28 => return StoredDtype::F64,
        30 => W::BF16,
        39 => W::Mxfp4,
        _ => return StoredDtype::Unknown(name(id)),
    })
}

fn name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        _ => return format!("ggml type {id}"),
    };
    name.into()
}

/// Bytes of a tensor whose rows have `cols` elements; `None` if a row is no whole number of blocks, or on overflow.
/// Unknown types have 0.
pub(super) fn bytes(dtype: &StoredDtype, rows: usize, cols: usize) -> Option<usize> {
    let row = match dtype {
        StoredDtype::Weight(dtype) => dtype.row_bytes(cols)?,
        StoredDtype::F64 => cols.checked_mul(8)?,
        StoredDtype::Raw(dtype) => cols.checked_mul(dtype.bitsize() / 8)?,
        StoredDtype::Unknown(_) => 0,
    };
    rows.checked_mul(row)
}
