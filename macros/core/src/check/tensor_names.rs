//! NAME: parts of tensor names, per format, and their placeholders.

use super::Checker;
use super::values::{Section, columns};
use crate::ir::{Format, Name, PerFormat};
use crate::source::Span;
use crate::spec::{Node, Value};

impl<'a> Checker<'a> {
    /// A required NAME that every served format must have.
    pub(crate) fn name(
        &mut self,
        section: &Section<'a>,
        key: &str,
        placeholders: &[&str],
    ) -> Option<Name> {
        let Some(node) = section.node(key) else {
            self.missing(section, key);
            return None;
        };
        self.full_name(key, node, placeholders)
    }

    /// A NAME that every served format must have.
    pub(crate) fn full_name(
        &mut self,
        key: &str,
        node: &Node,
        placeholders: &[&str],
    ) -> Option<Name> {
        let name = self.name_form(key, node, placeholders)?;
        for format in self.formats.clone() {
            if name.names.get(format).is_none() {
                let error = self.error(node.span, format!("`{key}` has no name for {format}"));
                error.help("write one name for each of the `formats` of this file");
                return None;
            }
        }
        Some(name)
    }

    /// A NAME; formats without a column have none.
    pub(crate) fn name_form(
        &mut self,
        key: &str,
        node: &Node,
        placeholders: &[&str],
    ) -> Option<Name> {
        let at = self.set.at(node.span);
        let names = match &node.value {
            Value::Text(text) => {
                self.placeholders(node, placeholders)?;
                PerFormat::both(Some(text.value.clone()))
            }
            Value::List(items) => {
                let columns = self.merged.columns_of(node.span.file).to_vec();
                if items.len() != columns.len() {
                    let formats: Vec<String> = columns.iter().map(Format::to_string).collect();
                    let message = format!(
                        "`{key}` has {}, but `formats` of this file has {}",
                        count(items.len(), "name"),
                        columns.len()
                    );
                    let help = format!("one name each for {}", formats.join(", "));
                    self.error(node.span, message).help(help);
                    return None;
                }
                let mut texts = Vec::new();
                for item in items {
                    let Some(text) = item.text() else {
                        self.wrong_form(key, item, "names");
                        return None;
                    };
                    self.placeholders(item, placeholders)?;
                    texts.push(text.value.clone());
                }
                self.per_format(|_, format| {
                    let column = columns.iter().position(|column| *column == format);
                    column.and_then(|column| texts.get(column).cloned())
                })
            }
            _ => {
                let error =
                    self.wrong_form(key, node, "a name, or a list with one name per format");
                if columns(node).is_some() {
                    error.help("a name that only one format has goes into the sub-table `hf = { .. }` or `gguf = { .. }` of the component");
                }
                return None;
            }
        };
        Some(Name { names, at })
    }

    /// Complains about an empty name and about placeholders that mean nothing there.
    pub(crate) fn placeholders(&mut self, node: &Node, allowed: &[&str]) -> Option<()> {
        let text = node.text()?;
        if text.value.is_empty() && !allowed.contains(&"") {
            self.error(node.span, "this name is empty");
            return None;
        }
        let mut rest = text.value.as_str();
        let mut offset = 0;
        while let Some(open) = rest.find('{') {
            let inside = &rest[open + 1..];
            let len = inside.find('}');
            let word = len.map_or(inside, |len| &inside[..len]);
            if len.is_none() || !allowed.contains(&word) {
                let start = offset + open;
                let end = start + 1 + word.len() + usize::from(len.is_some());
                let span = text.part(start..end);
                self.bad_placeholder(span, word, len.is_some(), allowed);
                return None;
            }
            offset += open + 1 + word.len();
            rest = &text.value[offset..];
        }
        Some(())
    }

    fn bad_placeholder(&mut self, span: Span, word: &str, closed: bool, allowed: &[&str]) {
        if !closed {
            self.error(span, "this `{` is not closed");
            return;
        }
        let error = self.error(span, format!("`{{{word}}}` means nothing here"));
        let place = match word {
            "i" => Some(
                "`{i}` stands in `layers.prefix`, which is put before every name in a layer, and in `ignore`",
            ),
            "e" => Some("`{e}` is the expert, in `hf` and `gguf` of a `moe`"),
            "h" => Some("`{h}` is the head, in `q` and `k` of a `qk_norm` with scope `per_head`"),
            "P" => Some("`{P}` is the projection, in [storage]"),
            "num_layers" => Some("`{num_layers}` stands in `ignore`"),
            _ => None,
        };
        let known: Vec<String> = allowed
            .iter()
            .filter(|word| !word.is_empty())
            .map(|word| format!("`{{{word}}}`"))
            .collect();
        match place {
            Some(place) => error.help(place),
            None if known.is_empty() => error.help("there is no placeholder in this name"),
            None => error.help(format!("the placeholders here are {}", known.join(", "))),
        };
    }
}

/// `1 name`, `2 names`
fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
