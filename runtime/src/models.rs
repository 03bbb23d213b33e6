//! The architectures: every file of `model-spec/`, expanded. `inferno expand llama` shows what one becomes.

inferno_macros::models!("../model-spec");
