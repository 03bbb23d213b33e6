//! Every golden case agrees with transformers.
//!
//! Runs the folders below `tests/golden` and `tests/golden-gguf`, and below `$INFERNO_GOLDEN_DIR` when that is set; `$INFERNO_GOLDEN_ONLY` keeps
//! the cases whose names contain it.

use std::io::Write;
use std::path::{Path, PathBuf};

use inferno_tests::golden::{folders, run};
use inferno_tests::specs;

#[test]
fn golden_cases_agree_with_transformers() {
    let own =
        ["golden", "golden-gguf"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let extra = std::env::var_os("INFERNO_GOLDEN_DIR").map(PathBuf::from);
    let only = std::env::var("INFERNO_GOLDEN_ONLY").unwrap_or_default();
    let mut cases = Vec::new();
    for root in own.into_iter().chain(extra) {
        let found = folders(&root).expect("the golden folder can be read");
        assert!(!found.is_empty(), "no golden case in {}", root.display());
        cases.extend(found);
    }
    let mut failed = Vec::new();
    let mut out = std::io::stdout();
    for folder in cases
        .iter()
        .filter(|folder| folder.to_string_lossy().contains(&only))
    {
        let report = run(
            folder,
            &[
                inferno_runtime::models::ARCHITECTURES,
                specs::ARCHITECTURES,
                specs::small::ARCHITECTURES,
            ],
        );
        // Not `print!`: each line shows at once, whatever captures the test's output.
        writeln!(out, "{report}").expect("stdout is open");
        if !report.passed() {
            failed.push(report.name);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} golden cases fail: {}",
        failed.len(),
        cases.len(),
        failed.join(", ")
    );
}
