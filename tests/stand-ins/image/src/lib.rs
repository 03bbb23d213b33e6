//! Empty: `openai-harmony` 0.0.8 names the crate `image` among its dependencies and never uses it.
