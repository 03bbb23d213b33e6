//! Criterion benches: `expand` times the macro, `kernels` each kernel of the matrix products (with the feature `cuda` those of
//! a GPU too), `forward` prefill and decode of each generated model.
//!
//! `cargo bench --workspace --profile dev --bench forward` uses what the tests and `cargo run` have compiled already.
//! First-token time and peak memory of a whole model: `inferno bench`.
