//! The `use` block: what of `runtime::nn` a module names.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{format_ident, quote};

/// Types and traits of `runtime::nn` that generated code may name.
pub(super) const TYPES: &[&str] = &[
    "Act",
    "Activations",
    "Apply",
    "Architecture",
    "ConfigFile",
    "Embedding",
    "EmbeddingOptions",
    "ExpertNames",
    "ExpertRows",
    "Experts",
    "ExpertsOptions",
    "Format",
    "FreqFactors",
    "Glu",
    "Groups",
    "Heads",
    "KvSlot",
    "Linear",
    "Logits",
    "Model",
    "Mxfp4Storage",
    "Name",
    "Norm",
    "NormKind",
    "NormOptions",
    "OneOrEach",
    "Over",
    "Pairs",
    "Param",
    "QTemperature",
    "QkNorm",
    "QkNormOptions",
    "Rank",
    "Result",
    "Rope",
    "RopeOptions",
    "Router",
    "RouterOptions",
    "Rows",
    "Scaling",
    "Scope",
    "Score",
    "Sinks",
    "Step",
    "Storage",
    "Weights",
];

/// Functions of `runtime::nn` that generated code may call.
pub(super) const FUNCTIONS: &[&str] = &[
    "at",
    "at_or_one",
    "contains",
    "count",
    "number",
    "optional_size",
    "part",
    "per_layer",
    "rem",
    "size",
];

/// The `use` items that `body` needs, sorted.
pub(super) fn imports(body: &TokenStream) -> TokenStream {
    let mut seen = Seen::default();
    seen.walk(body.clone());
    let nn = seen.names.iter().map(|name| format_ident!("{name}"));
    let arc = seen.arc.then(|| {
        quote!(
            use ::std::sync::Arc;
        )
    });
    quote! {
        #arc
        use ::inferno_runtime::nn::{#(#nn),*};
    }
}

#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    arc: bool,
}

impl Seen {
    fn walk(&mut self, tokens: TokenStream) {
        // The text just before a token, as far as it tells whether a name is somebody's member: `.name`, `::name`, `fn name`.
        let mut before = String::new();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) => {
                    let called = matches!(tokens.peek(), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis);
                    let name = ident.to_string();
                    let member = (before.ends_with('.') && !before.ends_with(".."))
                        || before.ends_with("::")
                        || before == "fn";
                    if !member {
                        self.name(&name, called);
                    }
                    before = name;
                }
                TokenTree::Group(group) => {
                    self.walk(group.stream());
                    before.clear();
                }
                TokenTree::Punct(punct) => {
                    if before.ends_with(|c: char| c.is_alphanumeric()) {
                        before.clear();
                    }
                    before.push(punct.as_char());
                }
                TokenTree::Literal(_) => before.clear(),
            }
        }
    }

    fn name(&mut self, name: &str, called: bool) {
        match name {
            "Arc" => self.arc = true,
            _ if TYPES.contains(&name) || (called && FUNCTIONS.contains(&name)) => {
                self.names.insert(name.to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named() {
        let body = quote! {
            fn at(&self) -> Result<Linear> { self.size(1); RouterOptions { over: Over::All, ..RouterOptions::default() }; rem(a, b) }
        };
        assert_eq!(
            imports(&body).to_string(),
            quote! {
                use ::inferno_runtime::nn::{Linear, Over, Result, RouterOptions, rem};
            }
            .to_string()
        );
    }
}
