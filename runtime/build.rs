//! Rebuilds when a spec is added: the macro sees edits, but not new files.

fn main() {
    println!("cargo::rerun-if-changed=../model-spec");
}
