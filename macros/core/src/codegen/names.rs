//! Identifiers: what the spec calls a thing, as Rust spells it, without collisions.

use std::collections::HashSet;

use proc_macro2::{Ident, Span};

/// Types that a generated module may import or that Rust's prelude has; no generated type takes their names.
const RESERVED_TYPES: &[&str] = &[
    "Arc", "Box", "Err", "None", "Ok", "Option", "Result", "Self", "Some", "String", "Vec",
    "Config", "Layer", "Fn", "FnMut", "FnOnce", "Drop", "Clone", "Copy", "Default", "Send", "Sync",
    "Iterator", "From", "Into", "Eq", "Ord",
];

/// Words of Rust that a name of the spec may be.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// Keywords that cannot be raw identifiers.
const NEVER_RAW: &[&str] = &["self", "Self", "super", "crate", "_", "union"];

/// Names taken in one namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Namer {
    used: HashSet<String>,
}

impl Namer {
    /// A namespace of types: what modules import is taken.
    pub(super) fn types() -> Self {
        Self::with(RESERVED_TYPES.iter().chain(super::imports::TYPES))
    }

    /// A namespace in which `words` are taken.
    pub(super) fn with<'w>(words: impl IntoIterator<Item = &'w &'w str>) -> Self {
        Self {
            used: words.into_iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    /// `wanted`, else `wanted` + `suffix`, else with a number; taken from now on.
    pub(super) fn take(&mut self, wanted: &str, suffix: &str) -> Ident {
        let joint = if wanted.contains(char::is_lowercase) && wanted.starts_with(char::is_uppercase)
        {
            ""
        } else {
            "_"
        };
        let numbered = (2..).map(|count| format!("{wanted}{suffix}{joint}{count}"));
        let mut name = wanted.to_owned();
        for next in std::iter::once(format!("{wanted}{suffix}")).chain(numbered) {
            if self.used.insert(name.clone()) {
                break;
            }
            name = next;
        }
        ident(&name)
    }
}

/// An identifier, raw where it is a keyword. `name` holds only letters, digits and `_`.
pub(super) fn ident(name: &str) -> Ident {
    if KEYWORDS.contains(&name) {
        Ident::new_raw(name, Span::call_site())
    } else if NEVER_RAW.contains(&name) {
        Ident::new(&format!("{name}_"), Span::call_site())
    } else {
        Ident::new(name, Span::call_site())
    }
}

/// The words of a name: `mlpWide-2` is `mlp wide 2`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last_lower = false;
    for c in name.chars() {
        let start = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && last_lower);
        if start {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
        last_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    if words
        .first()
        .is_none_or(|word| word.starts_with(|c: char| c.is_ascii_digit()))
    {
        words.insert(0, "part".into());
    }
    words
}

/// `mlp_wide`
pub(super) fn snake(name: &str) -> String {
    words(name).join("_")
}

/// `MLP_WIDE`
pub(super) fn upper(name: &str) -> String {
    snake(name).to_ascii_uppercase()
}

/// `MlpWide`
pub(super) fn camel(name: &str) -> String {
    words(name)
        .iter()
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        assert_eq!(camel("gpt_oss"), "GptOss");
        assert_eq!(camel("qwen2.5-moe"), "Qwen25Moe");
        assert_eq!(snake("mlpWide"), "mlp_wide");
        assert_eq!(upper("attn_norm"), "ATTN_NORM");
        assert_eq!(snake("3d"), "part_3d");
        assert_eq!(snake("__"), "part");
    }

    #[test]
    fn collisions_and_keywords() {
        let mut types = Namer::types();
        assert_eq!(types.take("Linear", "Block"), "LinearBlock");
        assert_eq!(types.take("Linear", "Block"), "LinearBlock2");
        assert_eq!(types.take("Attn", "Block"), "Attn");
        assert_eq!(ident("type").to_string(), "r#type");
        assert_eq!(ident("self").to_string(), "self_");
    }
}
