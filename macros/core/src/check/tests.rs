use super::*;

/// Every shipped spec, read from the folder itself.
fn shipped() -> SpecSet {
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
    SpecSet::new(files)
}

#[test]
fn shipped_specs_are_clean() {
    let set = shipped();
    let (architectures, diagnostics) = load(&set);
    let told: Vec<String> = diagnostics.iter().map(Diagnostic::render_plain).collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    assert_eq!(architectures.len(), set.stems().count());
}
