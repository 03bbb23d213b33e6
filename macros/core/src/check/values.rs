//! The forms a value may take: numbers, bools, words, fields, names, each possibly per format.

use super::Checker;
use crate::diagnostic::{Diagnostic, nearest, one_of};
use crate::ir::{self, Expr, ExprKind, Format, PerFormat, Type, Word};
use crate::source::Span;
use crate::spec::{Entry, Node, Table, Value};
use crate::types::{Scope, Want};

/// Mistakes of one spec that get a hint.
const MAX_HINTS: usize = 100;

/// A table with the words that messages call it by.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    pub(crate) table: &'a Table,
    /// `[attn]`, or `` `router` of [moe] ``.
    pub(crate) title: String,
    /// Its header or key.
    pub(crate) span: Span,
}

impl<'a> Section<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Entry> {
        self.table.get(key)
    }

    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        Some(&self.get(key)?.node)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.has(key)
    }
}

/// What holds when a key is absent.
#[derive(Clone)]
pub(crate) enum Default {
    Required,
    None,
    Number(f64),
    Bool(bool),
    /// The value of a config field.
    Field(&'static str),
    /// The value of another option.
    Value(ir::Value),
}

/// A table whose keys are formats: the value of each, absent where its column is missing.
pub(crate) fn columns(node: &Node) -> Option<PerFormat<Option<&Node>>> {
    columns_of(node.table()?)
}

pub(crate) fn columns_of(table: &Table) -> Option<PerFormat<Option<&Node>>> {
    let formats = !table.entries.is_empty()
        && table
            .entries
            .iter()
            .all(|entry| Format::named(&entry.key).is_some());
    formats.then(|| PerFormat {
        hf: table.get("hf").map(|entry| &entry.node),
        gguf: table.get("gguf").map(|entry| &entry.node),
    })
}

impl<T> PerFormat<T> {
    pub(crate) fn get(&self, format: Format) -> &T {
        match format {
            Format::Hf => &self.hf,
            Format::Gguf => &self.gguf,
        }
    }

    pub(crate) fn both(value: T) -> Self
    where
        T: Clone,
    {
        Self {
            hf: value.clone(),
            gguf: value,
        }
    }
}

impl<'a> Checker<'a> {
    /// Adds an error.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let index = self.diagnostics.len();
        self.diagnostics
            .push(Diagnostic::at(self.set, span, message));
        &mut self.diagnostics[index]
    }

    /// The nearest known word, unless so many mistakes got a hint already that one more helps nobody.
    pub(crate) fn near<'w>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'w str>,
    ) -> Option<&'w str> {
        self.hints.set(self.hints.get() + 1);
        (self.hints.get() <= MAX_HINTS)
            .then(|| nearest(word, known))
            .flatten()
    }

    /// A value for each served format; a format that is not served repeats the other's.
    pub(crate) fn per_format<T: Clone>(
        &mut self,
        mut f: impl FnMut(&mut Self, Format) -> T,
    ) -> PerFormat<T> {
        match (self.serves(Format::Hf), self.serves(Format::Gguf)) {
            (true, true) => PerFormat {
                hf: f(self, Format::Hf),
                gguf: f(self, Format::Gguf),
            },
            (false, true) => PerFormat::both(f(self, Format::Gguf)),
            _ => PerFormat::both(f(self, Format::Hf)),
        }
    }

    /// The table that an entry must be.
    pub(crate) fn section(&mut self, entry: &'a Entry, title: &str) -> Option<Section<'a>> {
        match entry.node.table() {
            Some(table) => Some(Section {
                table,
                title: title.to_string(),
                span: entry.key_span,
            }),
            None => {
                self.wrong_form(&entry.key, &entry.node, "a table");
                None
            }
        }
    }

    /// A table inside a section, told by its key.
    pub(crate) fn subsection(&mut self, section: &Section<'a>, key: &str) -> Option<Section<'a>> {
        let title = format!("`{key}` of {}", section.title);
        self.section(section.get(key)?, &title)
    }

    pub(crate) fn wrong_form(&mut self, key: &str, node: &Node, takes: &str) -> &mut Diagnostic {
        self.error(
            node.span,
            format!("`{key}` takes {takes}, not {}", node.describe()),
        )
    }

    /// Complains about keys that a section does not have.
    pub(crate) fn known_keys(&mut self, section: &Section, keys: &[&str]) {
        for entry in &section.table.entries {
            if !keys.contains(&entry.key.as_str()) {
                self.unknown_key(section, entry, keys);
            }
        }
    }

    fn unknown_key(&mut self, section: &Section, entry: &Entry, keys: &[&str]) {
        let mut message = format!("unknown key `{}` in {}", entry.key, section.title);
        if keys.len() <= 4 {
            message = format!("{message}; expected {}", one_of(keys));
        }
        let near = self.near(&entry.key, keys.iter().copied());
        let error = self.error(entry.key_span, message);
        if let Some(near) = near {
            error.help(format!("did you mean `{near}`?"));
        } else if keys.len() > 4 {
            error.help(format!("its keys are {}", keys.join(", ")));
        }
    }

    pub(crate) fn missing(&mut self, section: &Section, key: &str) -> &mut Diagnostic {
        self.error(
            section.span,
            format!("{} needs the key `{key}`", section.title),
        )
    }

    /// An expression that stands where one is missing: only ever seen together with an error.
    fn placeholder(&self, span: Span) -> Expr {
        self.literal(ExprKind::Number(0.0), Type::Number, span)
    }

    pub(crate) fn literal(&self, kind: ExprKind, ty: Type, span: Span) -> Expr {
        Expr {
            kind,
            ty,
            at: self.set.at(span),
        }
    }

    pub(crate) fn bool_literal(&self, value: bool, span: Span) -> Expr {
        self.literal(ExprKind::Bool(value), Type::Bool, span)
    }

    /// A NUM, `NUM?` or BOOL option.
    pub(crate) fn value(
        &mut self,
        section: &Section<'a>,
        key: &str,
        want: Want,
        scope: Scope,
        default: Default,
    ) -> ir::Value {
        let Some(node) = section.node(key) else {
            if matches!(default, Default::Required) {
                self.missing(section, key);
            }
            return self.per_format(|cx, format| cx.default(&default, format, section.span));
        };
        let Some(columns) = columns(node) else {
            let expr = self.scalar(key, node, want, scope);
            return PerFormat::both(expr.unwrap_or_else(|| self.placeholder(node.span)));
        };
        self.per_format(|cx, format| match columns.get(format) {
            Some(node) => {
                let expr = cx.scalar(key, node, want, scope);
                expr.unwrap_or_else(|| cx.placeholder(node.span))
            }
            None => {
                if matches!(default, Default::Required) {
                    cx.error(node.span, format!("`{key}` has no value for {format}"));
                }
                cx.default(&default, format, node.span)
            }
        })
    }

    /// A per-layer NUM.
    pub(crate) fn number(
        &mut self,
        section: &Section<'a>,
        key: &str,
        default: Default,
    ) -> ir::Value {
        self.value(section, key, Want::Number, Scope::LAYER, default)
    }

    /// A per-layer `NUM?`, none unless told.
    pub(crate) fn optional(&mut self, section: &Section<'a>, key: &str) -> ir::Value {
        self.value(section, key, Want::OptNumber, Scope::LAYER, Default::None)
    }

    /// A per-layer BOOL.
    pub(crate) fn flag(&mut self, section: &Section<'a>, key: &str, default: Default) -> ir::Value {
        self.value(section, key, Want::Bool, Scope::LAYER, default)
    }

    fn default(&mut self, default: &Default, format: Format, span: Span) -> Expr {
        match default {
            Default::Required => self.placeholder(span),
            Default::None => self.literal(ExprKind::None, Type::None, span),
            Default::Number(number) => self.literal(ExprKind::Number(*number), Type::Number, span),
            Default::Bool(bool) => self.bool_literal(*bool, span),
            Default::Field(name) => match self.look_up(name, Scope::LAYER, span) {
                Some((kind, ty)) => self.literal(kind, ty, span),
                None => self.placeholder(span),
            },
            Default::Value(value) => value.get(format).clone(),
        }
    }

    /// One literal or expression.
    pub(crate) fn scalar(
        &mut self,
        key: &str,
        node: &'a Node,
        want: Want,
        scope: Scope,
    ) -> Option<Expr> {
        let number = matches!(want, Want::Number | Want::OptNumber);
        match &node.value {
            Value::Text(text) => self.expression(text, scope, want),
            Value::Integer(value) | Value::Float(value) if number => {
                Some(self.literal(ExprKind::Number(*value), Type::Number, node.span))
            }
            Value::Bool(value) if want == Want::Bool => Some(self.bool_literal(*value, node.span)),
            Value::Table(table) => {
                let takes = format!("{} or a table per format", want.describe());
                let first = table
                    .entries
                    .iter()
                    .find(|entry| Format::named(&entry.key).is_none());
                let error = self.wrong_form(key, node, &takes);
                match first {
                    Some(entry) => error.help(format!(
                        "a table per format has the keys `hf` and `gguf`, and not `{}`",
                        entry.key
                    )),
                    None => {
                        error.help("a table per format has one or both of the keys `hf` and `gguf`")
                    }
                };
                None
            }
            _ => {
                let takes = match want {
                    Want::Bool | Want::OptBool => "a bool or an expression in a string",
                    _ => "a number or an expression in a string",
                };
                let switch = want == Want::OptNumber && matches!(node.value, Value::Bool(false));
                let error = self.wrong_form(key, node, takes);
                if switch {
                    error.help("to switch it off write \"none\"");
                }
                None
            }
        }
    }

    /// A literal bool.
    pub(crate) fn literal_bool(&mut self, section: &Section<'a>, key: &str) -> bool {
        match section.node(key).map(|node| (node, &node.value)) {
            None => false,
            Some((_, Value::Bool(value))) => *value,
            Some((node, _)) => {
                self.wrong_form(key, node, "a literal `true` or `false`");
                false
            }
        }
    }

    /// A literal number.
    pub(crate) fn literal_number(&mut self, section: &Section<'a>, key: &str, default: f64) -> f64 {
        match section.node(key).map(|node| (node, &node.value)) {
            None => default,
            Some((_, Value::Integer(value) | Value::Float(value))) => *value,
            Some((node, _)) => {
                self.wrong_form(key, node, "a literal number");
                default
            }
        }
    }

    /// A word out of a fixed list; `None` is a mistake that was told.
    pub(crate) fn word<T: Copy>(
        &mut self,
        section: &Section<'a>,
        key: &str,
        words: &[(&str, T)],
        default: Option<T>,
    ) -> Option<T> {
        match section.node(key) {
            Some(node) => self.one_word(key, node, words),
            None => {
                if default.is_none() {
                    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                    let help = format!("it is {}", one_of(&words));
                    self.missing(section, key).help(help);
                }
                default
            }
        }
    }

    pub(crate) fn one_word<T: Copy>(
        &mut self,
        key: &str,
        node: &Node,
        words: &[(&str, T)],
    ) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Some(text) = node.text() else {
            self.wrong_form(key, node, &format!("one of the words {}", known.join(", ")));
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            self.unknown_word(key, node.span, &text.value, &known);
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn unknown_word(&mut self, key: &str, span: Span, word: &str, known: &[&str]) {
        let error = self.error(
            span,
            format!("`{word}` is no `{key}`; expected {}", one_of(known)),
        );
        if let Some(near) = nearest(word, known.iter().copied()) {
            error.help(format!("did you mean `{near}`?"));
        }
    }

    /// A FIELD option: a word, or a config field that holds one; `None` is a mistake that was told.
    pub(crate) fn field_word(
        &mut self,
        section: &Section<'a>,
        key: &str,
        words: &[&str],
    ) -> Option<PerFormat<Word>> {
        let Some(node) = section.node(key) else {
            let help = format!("it is {}, or the name of a config field", one_of(words));
            self.missing(section, key).help(help);
            return None;
        };
        let columns = columns(node).unwrap_or(PerFormat::both(Some(node)));
        let found = self.per_format(|cx, format| match columns.get(format) {
            Some(node) => cx.one_field_word(key, node, words),
            None => {
                cx.error(node.span, format!("`{key}` has no value for {format}"));
                None
            }
        });
        Some(PerFormat {
            hf: found.hf?,
            gguf: found.gguf?,
        })
    }

    fn one_field_word(&mut self, key: &str, node: &Node, words: &[&str]) -> Option<Word> {
        let Some(text) = node.text() else {
            self.wrong_form(key, node, "a word or the name of a config field");
            return None;
        };
        if let Some(index) = self.names.field(&text.value) {
            self.reads.fields.insert(index);
            let ty = self.names.fields[index].ty;
            if !Want::accepts_word(ty) {
                let message = format!(
                    "the field `{}` is {}, not a word",
                    text.value,
                    crate::types::describe(ty)
                );
                let error = self.error(node.span, message);
                error.help("declare it with `type = \"act\"` or `type = \"str\"`");
                return None;
            }
            return Some(Word::Field(text.value.clone()));
        }
        if words.contains(&text.value.as_str()) {
            return Some(Word::Literal(text.value.clone()));
        }
        let message = format!(
            "`{}` is neither a word for `{key}` nor a config field",
            text.value
        );
        let candidates = words
            .iter()
            .copied()
            .chain(self.names.fields.iter().map(|field| field.name.as_str()));
        let help = match self.near(&text.value, candidates) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the words are {}", words.join(", ")),
        };
        self.error(node.span, message).help(help);
        None
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, key: &str, node: &'a Node) -> Vec<&'a Node> {
        let Value::List(items) = &node.value else {
            self.wrong_form(key, node, "a list of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items {
            match item.text() {
                Some(_) => strings.push(item),
                None => drop(self.wrong_form(key, item, "strings")),
            }
        }
        strings
    }
}
