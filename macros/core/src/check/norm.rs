//! `[norm]`: options and instances, and the norms of `embed`, `head` and `qk_norm`.

use super::Checker;
use super::layers::Wiring;
use super::values::{Default, Section};
use crate::diagnostic::nearest;
use crate::ir::{NormInstance, NormKind, NormOptions, PerFormat};
use crate::spec::{Entry, Node, Table, Value};
use crate::types::{Scope, Want};

/// Keys of `[norm]` that are no instances.
pub(crate) const OPTIONS: [&str; 4] = ["kind", "eps", "bias", "shift"];

const KINDS: [(&str, NormKind); 3] = [
    ("rms", NormKind::Rms),
    ("layer", NormKind::Layer),
    ("l2", NormKind::Rms),
];

impl<'a> Checker<'a> {
    /// The options of `[norm]` itself.
    pub(super) fn norm_defaults(&mut self) -> NormOptions {
        let entry = self.merged.table.get("norm");
        let section = entry.and_then(|entry| {
            Some(Section {
                table: entry.node.table()?,
                title: "[norm]".to_string(),
                span: entry.key_span,
            })
        });
        let section = section.unwrap_or(Section {
            table: &EMPTY,
            title: "[norm]".to_string(),
            span: self.top(),
        });
        NormOptions {
            kind: self
                .word(&section, "kind", &KINDS, Some(NormKind::Rms))
                .unwrap_or(NormKind::Rms),
            eps: self.value(
                &section,
                "eps",
                Want::Number,
                Scope::ONCE,
                Default::Field("rms_norm_eps"),
            ),
            shift: self.value(
                &section,
                "shift",
                Want::Number,
                Scope::ONCE,
                Default::Number(0.0),
            ),
            bias: self.value(
                &section,
                "bias",
                Want::Bool,
                Scope::ONCE,
                Default::Bool(false),
            ),
        }
    }

    /// Options of one norm: its own, else those of `[norm]`.
    pub(super) fn norm_options(
        &mut self,
        section: &Section<'a>,
        inherit_bias: bool,
    ) -> NormOptions {
        let base = self.norm_defaults();
        let bias = if inherit_bias {
            Default::Value(base.bias)
        } else {
            Default::Bool(false)
        };
        NormOptions {
            kind: self
                .word(section, "kind", &KINDS, Some(base.kind))
                .unwrap_or(base.kind),
            eps: self.value(
                section,
                "eps",
                Want::Number,
                Scope::ONCE,
                Default::Value(base.eps),
            ),
            shift: self.value(
                section,
                "shift",
                Want::Number,
                Scope::ONCE,
                Default::Value(base.shift),
            ),
            bias: self.value(section, "bias", Want::Bool, Scope::ONCE, bias),
        }
    }

    /// A norm instance: a name, or a table with `name` and options of its own.
    pub(super) fn norm_instance(
        &mut self,
        ident: &str,
        entry: &'a Entry,
        of: &str,
    ) -> Option<NormInstance> {
        let node = &entry.node;
        let title = format!("the norm `{}`{of}", entry.key);
        if node.table().is_none() {
            let name = self.full_name(&entry.key, node, &[])?;
            let section = Section {
                table: &EMPTY,
                title,
                span: entry.key_span,
            };
            let options = self.norm_options(&section, true);
            return Some(NormInstance {
                ident: ident.to_string(),
                name: Some(name),
                options,
            });
        }
        let section = self.section(entry, &title)?;
        self.known_keys(
            &section,
            &["name", "weight", "kind", "eps", "bias", "shift"],
        );
        let name = match section.node("name") {
            Some(node) => Some(self.full_name("name", node, &[])?),
            None => None,
        };
        let weightless = self.weightless(&section)?;
        let mut options = self.norm_options(&section, true);
        if weightless {
            options.bias = PerFormat::both(self.bool_literal(false, entry.key_span));
        }
        Some(NormInstance {
            ident: ident.to_string(),
            name: name.filter(|_| !weightless),
            options,
        })
    }

    /// `weight = false`, or no name at all.
    fn weightless(&mut self, section: &Section<'a>) -> Option<bool> {
        let named = section.has("name");
        match section
            .node("weight")
            .map(|node: &Node| (node, &node.value))
        {
            None => Some(!named),
            Some((node, Value::Bool(false))) if named => {
                self.error(node.span, "a norm without weight has no `name`")
                    .help("remove one of the two");
                None
            }
            Some((_, Value::Bool(false))) => Some(true),
            Some((node, _)) => {
                let error = self.error(node.span, "`weight` is only ever `false`");
                error.help("a norm has a weight when it has a `name`");
                None
            }
        }
    }

    /// The instances that some step calls. Own ones that none calls are mistakes, inherited ones vanish.
    pub(super) fn norm_instances(
        &mut self,
        norm: Option<&Section<'a>>,
        wiring: &Wiring,
        own: &'a Table,
    ) -> Vec<NormInstance> {
        let called = wiring.called(true);
        let declared = own.get("norm").and_then(|entry| entry.node.table());
        for entry in declared.iter().flat_map(|table| &table.entries) {
            let instance = !OPTIONS.contains(&entry.key.as_str());
            if instance && !called.contains(&entry.key.as_str()) {
                self.uncalled(&format!("norm `{}`", entry.key), &entry.key, entry);
            }
        }
        let entries = called.iter().filter_map(|name| norm?.get(name));
        let entries: Vec<&'a Entry> = entries.collect();
        entries
            .iter()
            .filter_map(|entry| self.norm_instance(&entry.key, entry, " of [norm]"))
            .collect()
    }

    /// A norm or component of the spec's own file that no step calls.
    pub(super) fn uncalled(&mut self, what: &str, name: &str, entry: &Entry) {
        let near = nearest(name, OPTIONS).filter(|_| what.starts_with("norm"));
        let error = self.error(entry.key_span, format!("no step calls the {what}"));
        match near {
            Some(near) => error.help(format!(
                "call it in [layers] steps, remove it, or was the option `{near}` meant?"
            )),
            None => error.help("call it in [layers] steps, or remove it"),
        };
    }
}

/// Stands for a table that is not there.
pub(super) static EMPTY: Table = Table {
    entries: Vec::new(),
};
