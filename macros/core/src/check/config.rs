//! `[config]`: fields, their types, keys and defaults.

use super::Checker;
use super::defaults::{kind_of_default, may_give_none};
use super::values::{Section, columns};
use crate::diagnostic::nearest;
use crate::ir::{Field, FieldDefault, FieldKind, Format, PerFormat, Type};
use crate::source::Span;
use crate::spec::{Entry, Node, Table, Value};

/// Words of `type`, without those that end in `?`.
const TYPES: [(&str, FieldKind); 9] = [
    ("int", FieldKind::Int),
    ("float", FieldKind::Float),
    ("bool", FieldKind::Bool),
    ("str", FieldKind::Str),
    ("act", FieldKind::Act),
    ("[int]", FieldKind::Ints),
    ("[float]", FieldKind::Floats),
    ("[bool]", FieldKind::Bools),
    ("[str]", FieldKind::Strs),
];

/// A declared field.
pub(crate) struct FieldDecl<'a> {
    pub(crate) name: String,
    pub(super) kind: FieldKind,
    pub(super) optional: bool,
    pub(crate) ty: Type,
    hf_keys: Vec<String>,
    gguf_key: Option<String>,
    pub(super) default: PerFormat<Option<&'a Node>>,
    /// Whether the spec's own file says something about it.
    own: bool,
    span: Span,
}

/// A field's entry in the prelude and in the spec, the latter laid over the former key by key.
struct Layers<'a> {
    prelude: Option<&'a Entry>,
    spec: Option<&'a Entry>,
}

impl<'a> Layers<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        let of = |entry: Option<&'a Entry>| -> Option<&'a Node> {
            let node = &entry?.node;
            match node.table() {
                Some(table) => Some(&table.get(key)?.node),
                None => (key == "default").then_some(node),
            }
        };
        of(self.spec).or_else(|| of(self.prelude))
    }
}

impl<'a> Checker<'a> {
    /// Declares all fields: those of the prelude first, then the spec's.
    pub(crate) fn fields(
        &mut self,
        prelude: &'a Table,
        config: Option<&Section<'a>>,
    ) -> Vec<FieldDecl<'a>> {
        let own = config.map(|section| section.table);
        let mut layers: Vec<(&'a str, Layers<'a>)> = Vec::new();
        for entry in &prelude.entries {
            let spec = own.and_then(|table| table.get(&entry.key));
            let prelude = Some(entry);
            layers.push((&entry.key, Layers { prelude, spec }));
        }
        for entry in own.iter().flat_map(|table| &table.entries) {
            if !prelude.has(&entry.key) {
                let spec = Some(entry);
                layers.push((
                    &entry.key,
                    Layers {
                        prelude: None,
                        spec,
                    },
                ));
            }
        }
        let mut decls = Vec::new();
        for (name, layers) in &layers {
            decls.extend(self.field(name, layers));
        }
        // A default that is the name of an optional field may give none, and that field may be declared later.
        for index in 0..decls.len() {
            if may_give_none(&decls[index], &decls) {
                decls[index].ty = optional(decls[index].ty);
            }
        }
        decls
    }

    fn field(&mut self, name: &str, layers: &Layers<'a>) -> Option<FieldDecl<'a>> {
        let entry = layers.spec.or(layers.prelude)?;
        self.reserved(name, entry.key_span);
        if let Some(table) = layers.spec.and_then(|entry| entry.node.table()) {
            self.known_field_keys(name, entry, table);
        }
        let hf_keys = self.hf_keys(name, layers)?;
        let gguf_key = self.gguf_key(layers)?;
        let default = layers.get("default");
        let default = default.map_or(PerFormat::both(None), |node| {
            columns(node).unwrap_or(PerFormat::both(Some(node)))
        });
        let (kind, optional_type) = match layers.get("type") {
            Some(node) => self.declared_type(node)?,
            None => (self.inferred_kind(&default)?, false),
        };
        let ty = if optional_type {
            optional(type_of(kind))
        } else {
            type_of(kind)
        };
        let decl = FieldDecl {
            name: name.to_string(),
            kind,
            optional: optional_type,
            ty,
            hf_keys,
            gguf_key,
            default,
            own: layers
                .spec
                .is_some_and(|entry| entry.key_span.file == self.merged.own()),
            span: entry.key_span,
        };
        self.reachable(&decl);
        Some(decl)
    }

    /// Keys in config.json: the field's own name unless told.
    fn hf_keys(&mut self, name: &str, layers: &Layers<'a>) -> Option<Vec<String>> {
        let Some(node) = layers.get("hf") else {
            return Some(vec![name.to_string()]);
        };
        let keys = match &node.value {
            Value::Text(_) => vec![node],
            Value::List(_) => self.strings("hf", node),
            _ => {
                let takes = "a key of config.json, or a list of keys";
                let error = self.wrong_form("hf", node, takes);
                error.help("values per format belong to `default = { hf = .., gguf = .. }`");
                return None;
            }
        };
        let texts = keys.iter().filter_map(|node| node.text());
        Some(texts.map(|text| text.value.clone()).collect())
    }

    /// The metadata key; the inner `None`: there is none.
    fn gguf_key(&mut self, layers: &Layers<'a>) -> Option<Option<String>> {
        let Some(node) = layers.get("gguf") else {
            return Some(None);
        };
        match node.text() {
            Some(text) => Some(Some(text.value.clone())),
            None => {
                let takes = "a metadata key without the architecture in front";
                self.wrong_form("gguf", node, takes);
                None
            }
        }
    }

    /// A field that no served format can ever give a value is a mistake.
    fn reachable(&mut self, decl: &FieldDecl) {
        let dead = |format: Format| {
            let keys = match format {
                Format::Hf => decl.hf_keys.len(),
                Format::Gguf => usize::from(decl.gguf_key.is_some()),
            };
            keys == 0 && decl.default.get(format).is_none()
        };
        if decl.own && self.formats.iter().all(|&format| dead(format)) {
            let message = format!(
                "the field `{}` has no key and no default, so it never has a value",
                decl.name
            );
            let error = self.error(decl.span, message);
            error.help("give it a key (`hf = \"..\"`, `gguf = \"..\"`) or a `default`");
        }
    }

    fn known_field_keys(&mut self, name: &str, entry: &'a Entry, table: &'a Table) {
        let section = Section {
            table,
            title: format!("the field `{name}`"),
            span: entry.key_span,
        };
        self.known_keys(&section, &["type", "hf", "gguf", "default"]);
    }

    fn declared_type(&mut self, node: &Node) -> Option<(FieldKind, bool)> {
        let Some(text) = node.text() else {
            self.wrong_form("type", node, "a word such as `int`, `float?` or `[str]`");
            return None;
        };
        let word = text.value.strip_suffix('?').unwrap_or(&text.value);
        let marked = word.len() < text.value.len();
        let found = TYPES
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, kind)| *kind);
        match found {
            Some(kind) if !(marked && word.starts_with('[')) => Some((kind, marked)),
            Some(_) => {
                self.error(node.span, "a list type takes no `?`");
                None
            }
            None => {
                let known = TYPES.map(|(word, _)| word);
                let error = self.error(node.span, format!("there is no type `{}`", text.value));
                match nearest(word, known) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error.help(format!(
                        "the types are {}; all but lists also with `?`",
                        known.join(", ")
                    )),
                };
                None
            }
        }
    }

    /// What an untyped field holds, by its default.
    fn inferred_kind(&mut self, default: &PerFormat<Option<&'a Node>>) -> Option<FieldKind> {
        let kinds: Vec<(FieldKind, &Node)> = [default.hf, default.gguf]
            .into_iter()
            .flatten()
            .map(|node| (kind_of_default(node), node))
            .collect();
        let Some(&(first, _)) = kinds.first() else {
            return Some(FieldKind::OneOrEach);
        };
        let mut common = first;
        for &(kind, node) in &kinds {
            let numbers = [FieldKind::Float, FieldKind::OneOrEach];
            common = match (common, kind) {
                (a, b) if a == b => a,
                (a, b) if numbers.contains(&a) && numbers.contains(&b) => FieldKind::OneOrEach,
                _ => {
                    let error = self.error(
                        node.span,
                        "the defaults of the two formats are of different types",
                    );
                    error.help("give the field a `type`");
                    return None;
                }
            };
        }
        Some(common)
    }

    /// The field as the IR has it.
    pub(crate) fn ir_field(&self, index: usize, default: PerFormat<Option<FieldDefault>>) -> Field {
        let decl = &self.names.fields[index];
        Field {
            name: decl.name.clone(),
            kind: decl.kind,
            optional: decl.optional,
            ty: decl.ty,
            hf_keys: decl.hf_keys.clone(),
            gguf_key: decl.gguf_key.clone(),
            default,
            at: self.set.at(decl.span),
        }
    }

    /// Whether the spec's own file declares the field.
    pub(crate) fn own_field(&self, index: usize) -> bool {
        self.names.fields[index].own
    }
}

fn type_of(kind: FieldKind) -> Type {
    match kind {
        FieldKind::Int | FieldKind::Float => Type::Number,
        FieldKind::Bool => Type::Bool,
        FieldKind::Str | FieldKind::Act => Type::Str,
        FieldKind::Ints | FieldKind::Floats => Type::Numbers,
        FieldKind::Bools => Type::Bools,
        FieldKind::Strs => Type::Strs,
        FieldKind::OneOrEach => Type::OneOrEach,
    }
}

fn optional(ty: Type) -> Type {
    match ty {
        Type::Number => Type::OptNumber,
        Type::Bool => Type::OptBool,
        Type::Str => Type::OptStr,
        other => other,
    }
}
