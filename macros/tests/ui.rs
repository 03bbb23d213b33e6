//! What the macro rejects, as rustc prints it.

use std::fs;
use std::path::Path;

/// Copies a folder with all in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

#[test]
fn mistakes_are_compile_errors_with_file_line_and_column() {
    // The macro looks beside the manifest of its caller, which is a project that trybuild makes.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder");
    let project = target.join("tests/trybuild").join(env!("CARGO_PKG_NAME"));
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/specs");
    copy(&specs, &project.join("specs")).expect("the specs copied");
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    // This message names a path in the target folder, which the expected text has in its usual place.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    if target.parent() == workspace && target.ends_with("target") {
        cases.compile_fail("tests/ui_default_target/*.rs");
    }
}
