//! Criterion benches: `expand` times the macro, `forward` prefill and decode of each generated model.
//!
//! `cargo bench --workspace --profile dev --bench forward` uses what the tests and `cargo run` have compiled already.
//! First-token time and peak memory of a whole model: `inferno bench`.
