//! Criterion benches: `cargo bench -p inferno-benches`. `expand` times the macro, `forward` each generated model.
