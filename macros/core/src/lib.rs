//! From `model-spec/*.toml` to Rust: the ordinary library behind the macro, `inferno expand` and `inferno spec check`.

mod check;
mod codegen;
mod diagnostic;
mod expr;
pub mod ir;
mod merge;
mod pretty;
pub mod source;
mod spec;
mod types;

pub use check::{check_one, load};
pub use codegen::{expand, expand_one};
pub use diagnostic::{Diagnostic, Place, Severity};
pub use pretty::pretty;
pub use source::SpecSet;
