//! The doorbell: reads a folder of specs and hands it to `inferno-macros-core`.

use std::path::Path;

use inferno_macros_core::{Severity, SpecSet, expand};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr, parse_macro_input};

/// Expands a folder of specs, one module per architecture: `inferno_macros::models!("../model-spec");`
///
/// The path is relative to the manifest of the calling crate. Files whose name starts with `_` are no architectures.
/// A mistake in a spec is a compile error that names its file, line and column.
#[proc_macro]
pub fn models(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let folder = parse_macro_input!(input as LitStr);
    let refuse = |message: String| Error::new(folder.span(), message).to_compile_error();
    let tokens = match read(&folder.value()) {
        Ok((set, names)) => models_of(&set, &names, &folder),
        Err(message) => refuse(message),
    };
    tokens.into()
}

fn models_of(set: &SpecSet, names: &[String], folder: &LitStr) -> TokenStream {
    let models = expand(set).unwrap_or_else(|found| {
        let errors = found
            .iter()
            .filter(|found| found.severity == Severity::Error);
        let texts = errors.map(|error| Error::new(folder.span(), error.render_plain()));
        texts.map(|error| error.to_compile_error()).collect()
    });
    // Editing a file rebuilds. Relative to the manifest, so that no machine's path gets into the code.
    let paths = names
        .iter()
        .map(|name| format!("/{}/{name}", folder.value()));
    quote!(#models #(const _: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), #paths));)*)
}

/// The specs of a folder and their file names, sorted.
fn read(folder: &str) -> Result<(SpecSet, Vec<String>), String> {
    if Path::new(folder).is_absolute() {
        let hint = "write it relative to Cargo.toml, so that other machines find it";
        return Err(format!("`{folder}` is absolute; {hint}"));
    }
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let given = Path::new(&manifest).join(folder);
    let cannot = |path: &Path, error| format!("cannot read {}: {error}", path.display());
    let path = given
        .canonicalize()
        .map_err(|error| cannot(&given, error))?;
    let entries = std::fs::read_dir(&path).map_err(|error| cannot(&path, error))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    if !names.iter().any(|name| !name.starts_with('_')) {
        let hint = "an architecture is a file <name>.toml";
        return Err(format!("the folder {folder} holds no spec; {hint}"));
    }
    let mut files = Vec::new();
    for name in &names {
        let file = path.join(name);
        let text = std::fs::read_to_string(&file).map_err(|error| cannot(&file, error))?;
        files.push((name, text));
    }
    // Messages name files as the one who called cargo sees them.
    let here = std::env::current_dir().unwrap_or_default();
    let relative = path.strip_prefix(&here).unwrap_or(&path);
    let set = SpecSet::new(files).in_folder(&relative.to_string_lossy());
    Ok((set, names))
}
