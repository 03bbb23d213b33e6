//! The classic mistakes of gpt-oss implementations, each made in a spec: the goldens see every one of them.

use std::path::Path;

use inferno_tests::golden::run_as;

/// gpt-oss, and copies of it with one mistake each.
mod mutants {
    inferno_macros::models!("mutants");
}

/// A mistake that is smaller than this could hide behind rounding.
const SEEN: f64 = 1e-2;

#[test]
fn golden_cases_see_every_classic_mistake() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let worst = |architecture| {
        let cases = ["gpt-oss-f32", "gpt-oss-limit-7-reached"];
        let errors = cases.map(|case| {
            run_as(&golden.join(case), architecture)
                .outcome
                .map(|outcome| outcome.prefill)
        });
        errors
            .into_iter()
            .map(|error| error.expect("a mutant loads and runs"))
            .fold(0.0, f64::max)
    };
    let mut mistakes = 0;
    for architecture in mutants::ARCHITECTURES {
        let error = worst(architecture);
        if architecture.name == "gpt_oss" {
            assert!(error < 2e-5, "without a mistake: {error:.1e}");
        } else {
            assert!(error > SEEN, "{}: {error:.1e}", architecture.name);
            mistakes += 1;
        }
    }
    assert_eq!(mistakes, 15);
}
