//! The generated code of every shipped architecture, whole; of every one-feature spec in `specs/`, what it changes.
//! Each snapshot's header holds the spec.

use std::collections::HashSet;
use std::path::Path;

use inferno_macros_core::{Diagnostic, SpecSet, check_one, expand_one, load, pretty};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{File, Item};

fn read(folder: &str) -> SpecSet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry"));
    let specs = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "toml"));
    SpecSet::new(specs.map(|entry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, std::fs::read_to_string(entry.path()).expect("a spec"))
    }))
}

fn snapshot(name: &str, spec: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(spec);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn no_mistakes(set: &SpecSet) {
    let (_, diagnostics) = load(set);
    let texts: Vec<_> = diagnostics.iter().map(Diagnostic::render_plain).collect();
    assert!(texts.is_empty(), "{}", texts.join("\n"));
}

#[test]
fn shipped_architectures() {
    let set = read("../../model-spec");
    no_mistakes(&set);
    for stem in set.stems() {
        let text = pretty(expand_one(&check_one(&set, stem).unwrap())).unwrap();
        let budget = match stem {
            "llama" => 300,
            _ => 500,
        };
        assert!(
            text.lines().count() <= budget,
            "{stem}: {} lines",
            text.lines().count()
        );
        snapshot(stem, set.text(stem).unwrap(), &text);
    }
}

/// The items of an architecture's module.
fn items(tokens: TokenStream) -> Vec<Item> {
    let file: File = syn::parse2(tokens).expect("Rust");
    let modules = file.items.into_iter().filter_map(|item| match item {
        Item::Mod(module) => module.content,
        _ => None,
    });
    modules.flat_map(|(_, items)| items).collect()
}

/// What of an item the base does not have; of an `impl` only the functions that differ.
fn difference(item: Item, base: &HashSet<String>) -> Option<TokenStream> {
    let text = item.to_token_stream().to_string();
    match item {
        Item::Use(_) => None,
        Item::Const(constant) if constant.ident == "ARCHITECTURE" => None,
        _ if base.contains(&text) => None,
        Item::Impl(mut item) => {
            item.items
                .retain(|function| !base.contains(&function.to_token_stream().to_string()));
            (!item.items.is_empty()).then(|| item.into_token_stream())
        }
        item => Some(item.into_token_stream()),
    }
}

#[test]
fn one_feature_each() {
    let set = read("tests/specs");
    no_mistakes(&set);
    for stem in set.stems() {
        let arch = check_one(&set, stem).unwrap();
        if stem == "tiny" {
            snapshot(
                "feature_tiny",
                set.text(stem).unwrap(),
                &pretty(expand_one(&arch)).unwrap(),
            );
            continue;
        }
        let mut tiny = check_one(&set, "tiny").unwrap();
        tiny.stem.clone_from(&arch.stem);
        let mut base = HashSet::new();
        for item in items(expand_one(&tiny)) {
            base.insert(item.to_token_stream().to_string());
            if let Item::Impl(item) = item {
                base.extend(
                    item.items
                        .iter()
                        .map(|function| function.to_token_stream().to_string()),
                );
            }
        }
        let changed = items(expand_one(&arch))
            .into_iter()
            .filter_map(|item| difference(item, &base));
        let text = pretty(quote!(#(#changed)*)).unwrap();
        snapshot(&format!("feature_{stem}"), set.text(stem).unwrap(), &text);
    }
}
