//! Defaults of config fields.

use super::Checker;
use super::config::FieldDecl;
use super::mlp::ACTIVATIONS;
use super::names::Reads;
use crate::diagnostic::Diagnostic;
use crate::expr::{Ast, AstKind, parse};
use crate::ir::{BinaryOp, ExprKind, FieldDefault, FieldKind, Format, PerFormat, Type};
use crate::spec::{Node, Text, Value};
use crate::types::{Scope, Want};

/// The default that is no expression.
const ROWS_OF_EMBEDDING: &str = "rows(embed.tokens)";

/// A field's typed default, what it reads, and what is wrong with it.
pub(crate) struct FieldInfo {
    pub(crate) default: PerFormat<Option<FieldDefault>>,
    pub(crate) reads: Reads,
    pub(crate) errors: Vec<Diagnostic>,
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

impl<'a> Checker<'a> {
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
        let expr = match (&node.value, kind) {
            (Value::Text(text), FieldKind::Str | FieldKind::Act) => {
                return self.word_default(text, kind);
            }
            (Value::Text(text), _) if text.value == ROWS_OF_EMBEDDING && element.is_none() => {
                return Some(FieldDefault::RowsOfEmbedding);
            }
            (Value::Text(_), _) => {
                let scope = element.map_or(Scope::ONCE, |_| Scope::LAYER);
                let want = element.unwrap_or(match ty {
                    Type::Bool => Want::Bool,
                    Type::OptBool => Want::OptBool,
                    Type::Number => Want::Number,
                    _ => Want::OptNumber,
                });
                self.scalar("default", node, want, scope)?
            }
            (Value::Float(value), FieldKind::Int) if value.fract() != 0.0 => {
                self.wrong_form("default", node, "an integer");
                return None;
            }
            (
                Value::Integer(_) | Value::Float(_),
                FieldKind::Int | FieldKind::Float | FieldKind::OneOrEach,
            ) => self.scalar("default", node, Want::Number, Scope::ONCE)?,
            (Value::Bool(_), FieldKind::Bool) => {
                self.scalar("default", node, Want::Bool, Scope::ONCE)?
            }
            _ => {
                self.wrong_form("default", node, describe(kind));
                return None;
            }
        };
        Some(FieldDefault::Expr(expr))
    }

    /// Of `str` and `act` the default is the word itself.
    fn word_default(&mut self, text: &Text, kind: FieldKind) -> Option<FieldDefault> {
        if kind == FieldKind::Act && !ACTIVATIONS.contains(&text.value.as_str()) {
            self.unknown_word("activation", text.span, &text.value, &ACTIVATIONS);
            return None;
        }
        let word = ExprKind::Str(text.value.clone());
        let word = self.literal(word, Type::Str, text.span);
        Some(FieldDefault::Expr(word))
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
}

pub(super) fn kind_of_default(node: &Node) -> FieldKind {
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
pub(super) fn may_give_none(decl: &FieldDecl, all: &[FieldDecl]) -> bool {
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
