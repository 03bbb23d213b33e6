//! From `model-spec/*.toml` to Rust: the ordinary library behind the macro, `inferno expand` and `inferno spec check`.

pub mod ir;
pub mod source;
