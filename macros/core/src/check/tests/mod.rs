mod accepted;
mod mistakes;

use super::*;

/// Every shipped spec, read from the folder itself.
fn shipped() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../model-spec");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of specs") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            files.push((name, std::fs::read_to_string(&path).expect("readable")));
        }
    }
    files
}

/// A text without the indentation of its lines and without the line break at its start.
fn dedent(text: &str) -> String {
    let lines = text.trim_start_matches('\n').lines().map(str::trim_start);
    lines.map(|line| format!("{line}\n")).collect()
}

/// The shipped specs and one more, `mine.toml`.
fn set_with(spec: &str) -> SpecSet {
    let mut files = shipped();
    files.push(("mine".to_string(), dedent(spec)));
    SpecSet::new(files)
}

/// What is told about one more spec.
fn told(spec: &str) -> String {
    let errors = check_one(&set_with(spec), "mine").expect_err("a mistake");
    let errors: Vec<String> = errors.iter().map(Diagnostic::render_plain).collect();
    errors.join("\n")
}

#[test]
fn shipped_specs_are_clean() {
    let set = SpecSet::new(shipped());
    let (architectures, diagnostics) = load(&set);
    let told: Vec<String> = diagnostics.iter().map(Diagnostic::render_plain).collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    assert_eq!(architectures.len(), set.stems().count());
}
