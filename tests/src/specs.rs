//! Specs of architectures that are not shipped, in `tests/specs`: real ones of transformers, and `lang_*`, which try the
//! language itself.

inferno_macros::models!("specs");

/// The small specs whose generated code is a snapshot, in `macros/core/tests/specs`.
pub mod small {
    inferno_macros::models!("../macros/core/tests/specs");
}
