//! The classic mistakes of gpt-oss implementations, each made in a spec: the goldens see every one of them.

use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
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

/// The one classic mistake that is none of the spec: which half of a byte comes first. Here the file has it.
#[test]
fn golden_cases_see_swapped_nibbles() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/gpt-oss-mxfp4");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["config.json", "expected.safetensors"] {
        std::fs::copy(golden.join(name), folder.path().join(name)).expect("the case is complete");
    }
    let file = golden.join("model.safetensors");
    let mut tensors = safetensors::load(file, &Device::Cpu).expect("the checkpoint can be read");
    let mut swapped = 0;
    for (_, tensor) in tensors
        .iter_mut()
        .filter(|(name, _)| name.ends_with("_blocks"))
    {
        let bytes: Vec<u8> = tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1())
            .expect("u8");
        let bytes = bytes.iter().map(|byte| byte.rotate_left(4)).collect();
        *tensor = Tensor::from_vec(bytes, tensor.shape(), &Device::Cpu).expect("the same shape");
        swapped += 1;
    }
    assert_eq!(swapped, 4);
    safetensors::save(&tensors, folder.path().join("model.safetensors"))
        .expect("it can be written");
    let original = mutants::ARCHITECTURES
        .iter()
        .find(|one| one.name == "gpt_oss");
    let outcome = run_as(folder.path(), original.expect("the spec without a mistake")).outcome;
    let error = outcome.expect("it loads and runs").prefill;
    assert!(error > SEEN, "{error:.1e}");
}
