//! Which spec serves a checkpoint: two may claim one name only under a condition.

use std::collections::HashMap;

use crate::diagnostic::Diagnostic;
use crate::ir::{Architecture, Format};
use crate::source::{Span, SpecSet};
use crate::spec::{Table, Value};

/// Complains about names that two specs claim unconditionally in one format.
pub(crate) fn rival_claims(
    set: &SpecSet,
    trees: &[Option<Table>],
    architectures: &[Architecture],
    diagnostics: &mut Vec<Diagnostic>,
) {
    for format in [Format::Hf, Format::Gguf] {
        let mut claimed: HashMap<&str, &Architecture> = HashMap::new();
        for architecture in architectures {
            let unconditional = architecture.when.get(format).is_none();
            if !(unconditional && architecture.formats.contains(&format)) {
                continue;
            }
            let names = match format {
                Format::Hf => &architecture.hf_names,
                Format::Gguf => &architecture.gguf_names,
            };
            for name in names {
                match claimed.get(name.as_str()) {
                    Some(first) if first.stem != architecture.stem => {
                        diagnostics.extend(rivals(set, trees, format, name, [first, architecture]));
                    }
                    _ => drop(claimed.insert(name, architecture)),
                }
            }
        }
    }
}

fn rivals(
    set: &SpecSet,
    trees: &[Option<Table>],
    format: Format,
    name: &str,
    [first, second]: [&Architecture; 2],
) -> Option<Diagnostic> {
    let key = match format {
        Format::Hf => "architectures",
        Format::Gguf => "gguf",
    };
    // The claim may be inherited: then the child is the place to give it up.
    let heir = [second, first]
        .into_iter()
        .find(|architecture| architecture.files.len() > 1);
    let later = heir.unwrap_or(second);
    let other = if later.stem == second.stem {
        first
    } else {
        second
    };
    let file = set.find(&later.stem)?;
    let own = trees[file].as_ref().and_then(|tree| tree.get(key));
    let span = own.map_or(top(file), |entry| match &entry.node.value {
        Value::List(items) => {
            let named = items
                .iter()
                .find(|item| item.text().is_some_and(|text| text.value == name));
            named.map_or(entry.node.span, |item| item.span)
        }
        _ => entry.node.span,
    });
    let message = format!(
        "`{}` and `{}` both claim `{name}` in {format}",
        other.stem, later.stem
    );
    let mut error = Diagnostic::at(set, span, message);
    error.help(match own {
        Some(_) => "give one of them a `when` that tells the variants apart".to_string(),
        None => format!(
            "the claim is inherited: write `{key} = []` to give it up, or give one of them a `when`"
        ),
    });
    Some(error)
}

/// The start of a file.
fn top(file: usize) -> Span {
    Span {
        file,
        start: 0,
        end: 0,
    }
}
