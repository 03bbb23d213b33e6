//! From `model-spec/*.toml` to Rust: the ordinary library behind the macro, `inferno expand` and `inferno spec check`.

mod check;
mod diagnostic;
mod expr;
pub mod ir;
mod merge;
pub mod source;
mod spec;
mod types;

pub use check::{check_one, load};
pub use diagnostic::{Diagnostic, Place, Severity};
pub use source::SpecSet;
