//! What names in expressions mean: config fields and `let`s, and which of them something reads.

use std::collections::{BTreeSet, HashMap};

use super::Checker;
use super::config::FieldDecl;
use super::values::Section;

use crate::expr::{Ast, AstKind, RESERVED};
use crate::ir::{Expr, ExprKind, Type};
use crate::source::Span;
use crate::spec::Text;
use crate::types::{Context, Scope, Variables, per_layer};

/// Fields and `let`s, by index, that an expression reads directly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    pub(crate) fields: BTreeSet<usize>,
    pub(crate) lets: BTreeSet<usize>,
}

/// A `let`.
pub(crate) struct LetDecl<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a Text,
    /// `None`: not typed, or wrong (which was told).
    pub(crate) expr: Option<Expr>,
    pub(crate) per_layer: bool,
    pub(crate) reads: Reads,
}

/// All fields and `let`s of a spec.
#[derive(Default)]
pub(crate) struct Names<'a> {
    pub(crate) fields: Vec<FieldDecl<'a>>,
    pub(crate) lets: Vec<LetDecl<'a>>,
    field_index: HashMap<String, usize>,
    let_index: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(fields: Vec<FieldDecl<'a>>) -> Self {
        let field_index = fields
            .iter()
            .enumerate()
            .map(|(index, field)| (field.name.clone(), index));
        Self {
            field_index: field_index.collect(),
            fields,
            ..Self::default()
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<usize> {
        self.field_index.get(name).copied()
    }

    pub(crate) fn find_let(&self, name: &str) -> Option<usize> {
        self.let_index.get(name).copied()
    }
}

impl<'a> Checker<'a> {
    /// Reads `layers.let` and types every expression in it, each after those it names.
    pub(crate) fn lets(&mut self, layers: &Section<'a>) {
        let Some(section) = layers
            .has("let")
            .then(|| self.subsection(layers, "let"))
            .flatten()
        else {
            return;
        };
        let mut asts = Vec::new();
        for entry in &section.table.entries {
            self.reserved(&entry.key, entry.key_span);
            let Some(text) = entry.node.text() else {
                let error = self.wrong_form(&entry.key, &entry.node, "an expression in a string");
                error.help(format!("write `{} = \"..\"`", entry.key));
                continue;
            };
            let Some(ast) = self.parsed(text) else {
                continue;
            };
            self.names
                .let_index
                .insert(&entry.key, self.names.lets.len());
            self.names.lets.push(LetDecl {
                name: &entry.key,
                text,
                expr: None,
                per_layer: false,
                reads: Reads::default(),
            });
            asts.push(ast);
        }
        for index in self.let_order(&asts) {
            self.type_let(index, &asts[index]);
        }
    }

    fn type_let(&mut self, index: usize, ast: &Ast) {
        let text = self.names.lets[index].text;
        let variables = Variables::new();
        let context = Context {
            text,
            scope: Scope::LAYER,
            variables: &variables,
        };
        let outer = std::mem::take(&mut self.reads);
        let expr = self.typed(&context, ast);
        let reads = std::mem::replace(&mut self.reads, outer);
        let lets = &self.names.lets;
        let depends = |name: &str| {
            self.names
                .find_let(name)
                .is_some_and(|index| lets[index].per_layer)
        };
        let per_layer = expr.as_ref().is_some_and(|expr| per_layer(expr, &depends));
        let decl = &mut self.names.lets[index];
        decl.expr = expr;
        decl.per_layer = per_layer;
        decl.reads = reads;
    }

    /// The `let`s in an order in which each comes after those it names. Those in a circle are told and left out.
    fn let_order(&mut self, asts: &[Ast]) -> Vec<usize> {
        let needs: Vec<Vec<usize>> = asts.iter().map(|ast| self.lets_in(ast)).collect();
        let mut order = Vec::new();
        let mut state = vec![State::New; asts.len()];
        for first in 0..asts.len() {
            // Depth first, with a stack of our own: a chain of lets may be long.
            let mut stack = vec![(first, 0)];
            while let Some((index, next)) = stack.pop() {
                if state[index] == State::Done {
                    continue;
                }
                state[index] = State::Open;
                match needs[index].get(next) {
                    Some(&need) if state[need] == State::Open => {
                        self.let_circle(&stack, index, need);
                        return order;
                    }
                    Some(&need) => stack.extend([(index, next + 1), (need, 0)]),
                    None => {
                        state[index] = State::Done;
                        order.push(index);
                    }
                }
            }
        }
        order
    }

    fn lets_in(&self, ast: &Ast) -> Vec<usize> {
        let mut found = Vec::new();
        ast.walk(&mut |ast| {
            if let AstKind::Name(name) = &ast.kind {
                found.extend(self.names.find_let(name));
            }
        });
        found
    }

    fn let_circle(&mut self, stack: &[(usize, usize)], last: usize, first: usize) {
        let path = stack.iter().map(|(index, _)| *index).chain([last]);
        let circle: Vec<usize> = path
            .skip_while(|&index| index != first)
            .chain([first])
            .collect();
        let names: Vec<&str> = circle
            .iter()
            .map(|&index| self.names.lets[index].name)
            .collect();
        let message = format!("`let` runs in a circle: {}", names.join(" → "));
        let span = self.names.lets[first].text.span;
        let error = self.error(span, message);
        error.help("a `let` hides the config field of its name, in its own expression too");
    }

    /// Complains about a name that the language keeps for itself.
    pub(crate) fn reserved(&mut self, name: &str, span: Span) {
        if RESERVED.contains(&name) {
            let error = self.error(span, format!("`{name}` is a word of the language"));
            error.help(format!(
                "choose another name; reserved are {}",
                RESERVED.join(", ")
            ));
        }
    }

    /// What a name means that is neither variable nor word: a `let` or a config field.
    pub(crate) fn look_up(
        &mut self,
        name: &str,
        scope: Scope,
        span: Span,
    ) -> Option<(ExprKind, Type)> {
        if let Some(index) = self.names.find_let(name) {
            self.reads.lets.insert(index);
            let decl = &self.names.lets[index];
            let ty = decl.expr.as_ref()?.ty;
            if decl.per_layer && !scope.layer {
                let message = format!(
                    "`{name}` depends on the layer, and this is evaluated once for the whole model"
                );
                self.error(span, message);
                return None;
            }
            return Some((ExprKind::Let(name.to_string()), ty));
        }
        if let Some(index) = self.names.field(name) {
            self.reads.fields.insert(index);
            return Some((
                ExprKind::Field(name.to_string()),
                self.names.fields[index].ty,
            ));
        }
        self.unknown_name(name, span);
        None
    }

    fn unknown_name(&mut self, name: &str, span: Span) {
        let fields = self.names.fields.iter();
        let lets = self.names.lets.iter().map(|decl| decl.name);
        let known = fields
            .map(|field| field.name.as_str())
            .chain(lets)
            .chain(["true", "false", "none", "i"]);
        let help = match self.near(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "declare it: a config field in [config], as in `{name} = {{ type = \"int\" }}`, or a `let` in [layers]"
            ),
        };
        self.error(span, format!("unknown name `{name}`"))
            .help(help);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}
