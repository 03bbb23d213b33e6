//! `[config]`: fields, their types, keys and defaults.

use super::Checker;
use super::names::Reads;
use super::values::{Section, columns};
use crate::diagnostic::nearest;
use crate::expr::{Ast, AstKind, parse};
use crate::ir::{BinaryOp, ExprKind, Field, FieldDefault, FieldKind, Format, PerFormat, Type};
use crate::source::Span;
use crate::spec::{Entry, Node, Table, Value};
use crate::types::{Scope, Want};

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

/// The default that is no expression.
const ROWS_OF_EMBEDDING: &str = "rows(embed.tokens)";

/// A declared field.
pub(crate) struct FieldDecl<'a> {
    pub(crate) name: String,
    kind: FieldKind,
    optional: bool,
    pub(crate) ty: Type,
    hf_keys: Vec<String>,
    gguf_key: Option<String>,
    default: PerFormat<Option<&'a Node>>,
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
        let hf_keys = match layers.get("hf") {
            None => vec![name.to_string()],
            Some(node) => match &node.value {
                Value::Text(text) => vec![text.value.clone()],
                Value::List(_) => {
                    let keys = self.strings("hf", node);
                    keys.iter()
                        .filter_map(|node| node.text())
                        .map(|text| text.value.clone())
                        .collect()
                }
                _ => {
                    let error =
                        self.wrong_form("hf", node, "a key of config.json, or a list of keys");
                    error.help("values per format belong to `default = { hf = .., gguf = .. }`");
                    return None;
                }
            },
        };
        let gguf_key = match layers.get("gguf") {
            None => None,
            Some(node) => match node.text() {
                Some(text) => Some(text.value.clone()),
                None => {
                    self.wrong_form(
                        "gguf",
                        node,
                        "a metadata key without the architecture in front",
                    );
                    return None;
                }
            },
        };
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

    /// Types the defaults of all fields. Mistakes in those that nothing reads count only in the spec's own file.
    pub(crate) fn defaults(&mut self) -> Vec<FieldInfo> {
        (0..self.names.fields.len())
            .map(|index| self.default_of(index))
            .collect()
    }

    fn default_of(&mut self, index: usize) -> FieldInfo {
        let decl = &self.names.fields[index];
        let (kind, ty, nodes) = (decl.kind, decl.ty, decl.default.clone());
        let outer = std::mem::take(&mut self.reads);
        let before = self.diagnostics.len();
        let same = match (nodes.hf, nodes.gguf) {
            (Some(hf), Some(gguf)) => hf.span == gguf.span,
            _ => false,
        };
        let mut typed = |format: Format| {
            let node = (*nodes.get(format))?;
            self.one_default(node, kind, ty)
        };
        let hf = typed(Format::Hf);
        let gguf = if same {
            hf.clone()
        } else {
            typed(Format::Gguf)
        };
        let errors = self.diagnostics.split_off(before);
        FieldInfo {
            default: PerFormat { hf, gguf },
            reads: std::mem::replace(&mut self.reads, outer),
            errors,
        }
    }

    fn one_default(&mut self, node: &'a Node, kind: FieldKind, ty: Type) -> Option<FieldDefault> {
        let element = match kind {
            FieldKind::Ints | FieldKind::Floats => Some(Want::Number),
            FieldKind::Bools => Some(Want::Bool),
            FieldKind::Strs => Some(Want::Str),
            _ => None,
        };
        if let (Some(want), Value::List(items)) = (element, &node.value) {
            return self.list_default(items, kind, want);
        }
        match (&node.value, kind) {
            (Value::Text(text), FieldKind::Str | FieldKind::Act) => {
                if kind == FieldKind::Act && !super::mlp::ACTIVATIONS.contains(&text.value.as_str())
                {
                    self.unknown_word(
                        "activation",
                        node.span,
                        &text.value,
                        &super::mlp::ACTIVATIONS,
                    );
                    return None;
                }
                let word = self.literal(ExprKind::Str(text.value.clone()), Type::Str, node.span);
                Some(FieldDefault::Expr(word))
            }
            (Value::Text(text), _) if text.value == ROWS_OF_EMBEDDING && element.is_none() => {
                Some(FieldDefault::RowsOfEmbedding)
            }
            (Value::Text(_), _) => {
                let scope = if element.is_some() {
                    Scope::LAYER
                } else {
                    Scope::ONCE
                };
                let want = element.unwrap_or(match ty {
                    Type::Bool => Want::Bool,
                    Type::OptBool => Want::OptBool,
                    Type::Number => Want::Number,
                    _ => Want::OptNumber,
                });
                Some(FieldDefault::Expr(
                    self.scalar("default", node, want, scope)?,
                ))
            }
            (Value::Float(value), FieldKind::Int) if value.fract() != 0.0 => {
                self.wrong_form("default", node, "an integer");
                None
            }
            (
                Value::Integer(_) | Value::Float(_),
                FieldKind::Int | FieldKind::Float | FieldKind::OneOrEach,
            ) => Some(FieldDefault::Expr(self.scalar(
                "default",
                node,
                Want::Number,
                Scope::ONCE,
            )?)),
            (Value::Bool(_), FieldKind::Bool) => Some(FieldDefault::Expr(self.scalar(
                "default",
                node,
                Want::Bool,
                Scope::ONCE,
            )?)),
            _ => {
                self.wrong_form("default", node, describe(kind));
                None
            }
        }
    }

    fn list_default(
        &mut self,
        items: &'a [Node],
        kind: FieldKind,
        want: Want,
    ) -> Option<FieldDefault> {
        let mut exprs = Vec::new();
        for item in items {
            let expr = match (&item.value, want) {
                (Value::Text(text), Want::Str) => {
                    Some(self.literal(ExprKind::Str(text.value.clone()), Type::Str, item.span))
                }
                (Value::Integer(_), Want::Number) | (Value::Bool(_), Want::Bool) => {
                    self.scalar("default", item, want, Scope::ONCE)
                }
                (Value::Float(value), Want::Number)
                    if kind == FieldKind::Floats || value.fract() == 0.0 =>
                {
                    self.scalar("default", item, want, Scope::ONCE)
                }
                _ => None,
            };
            let Some(expr) = expr else {
                self.wrong_form("default", item, describe(kind));
                return None;
            };
            exprs.push(expr);
        }
        Some(FieldDefault::List(exprs))
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

/// A field's typed default, what it reads, and what is wrong with it.
pub(crate) struct FieldInfo {
    pub(crate) default: PerFormat<Option<FieldDefault>>,
    pub(crate) reads: Reads,
    pub(crate) errors: Vec<crate::diagnostic::Diagnostic>,
}

fn describe(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Int => "an integer or an expression in a string",
        FieldKind::Float | FieldKind::OneOrEach => "a number or an expression in a string",
        FieldKind::Bool => "a bool or an expression in a string",
        FieldKind::Str | FieldKind::Act => "a word",
        FieldKind::Ints => "a list of integers, or an expression in a string",
        FieldKind::Floats => "a list of numbers, or an expression in a string",
        FieldKind::Bools => "a list of bools, or an expression in a string",
        FieldKind::Strs => "a list of strings, or an expression in a string",
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

fn kind_of_default(node: &Node) -> FieldKind {
    match &node.value {
        Value::Bool(_) => FieldKind::Bool,
        Value::Integer(_) | Value::Float(_) => FieldKind::Float,
        Value::List(items) => match items.first().map(|item| &item.value) {
            Some(Value::Text(_)) => FieldKind::Strs,
            Some(Value::Bool(_)) => FieldKind::Bools,
            _ => FieldKind::Floats,
        },
        Value::Text(text) if parse(&text.value).is_ok_and(|ast| gives_bool(&ast)) => {
            FieldKind::Bool
        }
        _ => FieldKind::OneOrEach,
    }
}

/// Whether an expression gives a bool, as far as its form tells.
fn gives_bool(ast: &Ast) -> bool {
    match &ast.kind {
        AstKind::Name(name) => name == "true" || name == "false",
        AstKind::Not(_) => true,
        AstKind::Binary(op, _, _) => {
            use BinaryOp::{And, Eq, Ge, Gt, Le, Lt, Ne, Or};
            matches!(op, Or | And | Eq | Ne | Lt | Le | Gt | Ge)
        }
        AstKind::If(_, yes, _) => gives_bool(yes),
        AstKind::Call(name, _, _) => name == "contains",
        _ => false,
    }
}

/// Whether a field that is not marked `?` has a default that may be none.
fn may_give_none(decl: &FieldDecl, all: &[FieldDecl]) -> bool {
    if matches!(decl.kind, FieldKind::Str | FieldKind::Act) {
        return false;
    }
    let texts = [decl.default.hf, decl.default.gguf]
        .into_iter()
        .flatten()
        .filter_map(Node::text);
    let mut asts = texts.filter_map(|text| parse(&text.value).ok());
    asts.any(|ast| none_in(&ast, all))
}

fn none_in(ast: &Ast, all: &[FieldDecl]) -> bool {
    match &ast.kind {
        AstKind::Name(name) => {
            name == "none"
                || all
                    .iter()
                    .any(|field| field.optional && field.name == *name)
        }
        AstKind::If(_, yes, no) => none_in(yes, all) || none_in(no, all),
        _ => false,
    }
}
