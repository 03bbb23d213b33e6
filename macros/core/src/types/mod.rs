//! Types of expressions: looks names up, checks operands, and gives the IR's expressions.

mod rules;

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use crate::check::Checker;
use crate::diagnostic::nearest;
use crate::expr::{Ast, AstKind, parse};
use crate::ir::{BinaryOp, Expr, ExprKind, Function, Type};
use crate::source::Span;
use crate::spec::Text;
use rules::{FUNCTIONS, comparable, element, unify};
pub(crate) use rules::{Want, describe, function, is_number};

/// Larger expressions are refused: variables that hold numbers are inlined, and each could double the last.
const MAX_NODES: usize = 1024;

/// What names mean at a place.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope {
    /// `i` and what depends on it are known.
    pub(crate) layer: bool,
    /// `config` is a word.
    pub(crate) config: bool,
}

impl Scope {
    /// Evaluated once.
    pub(crate) const ONCE: Self = Self {
        layer: false,
        config: false,
    };
    /// Evaluated for each layer.
    pub(crate) const LAYER: Self = Self {
        layer: true,
        config: false,
    };
}

/// A variable of the steps.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// `[tokens, hidden_size]`.
    Tensor,
    /// A plain value, put in wherever the variable is read.
    Scalar(Rc<Expr>),
}

/// Variables that are set so far.
pub(crate) type Variables = HashMap<String, Binding>;

/// The surroundings of an expression.
#[derive(Clone, Copy)]
pub(crate) struct Context<'t> {
    pub(crate) text: &'t Text,
    pub(crate) scope: Scope,
    pub(crate) variables: &'t Variables,
}

/// Number of nodes in an expression.
fn size(expr: &Expr) -> usize {
    1 + match &expr.kind {
        ExprKind::Neg(a) | ExprKind::Not(a) => size(a),
        ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => size(a) + size(b),
        ExprKind::If(a, b, c) => size(a) + size(b) + size(c),
        ExprKind::Call(_, args) => args.iter().map(size).sum(),
        _ => 0,
    }
}

impl Checker<'_> {
    /// Parses a string and checks that it gives what an option takes.
    pub(crate) fn expression(&mut self, text: &Text, scope: Scope, want: Want) -> Option<Expr> {
        let ast = self.parsed(text)?;
        let variables = Variables::new();
        let context = Context {
            text,
            scope,
            variables: &variables,
        };
        let expr = self.typed(&context, &ast)?;
        self.wanted(&context, expr, &ast.range, want)
    }

    /// Parses a string.
    pub(crate) fn parsed(&mut self, text: &Text) -> Option<Ast> {
        match parse(&text.value) {
            Ok(ast) => Some(ast),
            Err(error) => {
                let diagnostic = self.error(text.part(error.range), error.message);
                diagnostic.help = error.help;
                None
            }
        }
    }

    /// Checks that an expression has the type that is wanted there.
    pub(crate) fn wanted(
        &mut self,
        cx: &Context,
        expr: Expr,
        range: &Range<usize>,
        want: Want,
    ) -> Option<Expr> {
        if !want.accepts(expr.ty) {
            let message = format!("expected {}, found {}", want.describe(), describe(expr.ty));
            let label = format!("this is {}", describe(expr.ty));
            self.error(cx.text.part(range.clone()), message)
                .label(label);
            return None;
        }
        if want == Want::Bool && expr.ty == Type::OptBool {
            // Of a bool that may be none, only true is true.
            let yes = Box::new(literal(ExprKind::Bool(true), Type::Bool, &expr));
            let at = expr.at.clone();
            return Some(Expr {
                kind: ExprKind::Binary(BinaryOp::Eq, Box::new(expr), yes),
                ty: Type::Bool,
                at,
            });
        }
        Some(expr)
    }

    /// Types an expression of the given kind.
    pub(crate) fn typed_as(&mut self, cx: &Context, ast: &Ast, want: Want) -> Option<Expr> {
        let expr = self.typed(cx, ast)?;
        self.wanted(cx, expr, &ast.range, want)
    }

    /// Types an expression; what is wrong with it is in the list of diagnostics when this is `None`.
    pub(crate) fn typed(&mut self, cx: &Context, ast: &Ast) -> Option<Expr> {
        let span = cx.text.part(ast.range.clone());
        let (kind, ty) = match &ast.kind {
            AstKind::Number(number) => (ExprKind::Number(*number), Type::Number),
            AstKind::Str(text) => (ExprKind::Str(text.clone()), Type::Str),
            AstKind::Name(name) => return self.name_expr(cx, name, span),
            AstKind::Neg(a) => {
                let a = self.typed_as(cx, a, Want::Number)?;
                (ExprKind::Neg(Box::new(a)), Type::Number)
            }
            AstKind::Not(a) => {
                let a = self.typed_as(cx, a, Want::Bool)?;
                (ExprKind::Not(Box::new(a)), Type::Bool)
            }
            AstKind::Binary(op, a, b) => self.binary(cx, *op, a, b)?,
            AstKind::If(condition, yes, no) => self.choice(cx, condition, yes, no)?,
            AstKind::Index(list, index) => self.index(cx, list, index)?,
            AstKind::Call(name, range, args) => self.call(cx, name, range, args)?,
        };
        let expr = Expr {
            kind,
            ty,
            at: self.set.at(span),
        };
        if !cx.variables.is_empty() && size(&expr) > MAX_NODES {
            self.error(
                span,
                "this expression is too large once its variables are put in",
            );
            return None;
        }
        Some(expr)
    }

    fn binary(&mut self, cx: &Context, op: BinaryOp, a: &Ast, b: &Ast) -> Option<(ExprKind, Type)> {
        use BinaryOp::{Add, And, Div, Eq, Ge, Gt, Le, Lt, Mul, Ne, Or, Rem, Sub};
        let (want, ty) = match op {
            Or | And => (Want::Bool, Type::Bool),
            Lt | Le | Gt | Ge => (Want::Number, Type::Bool),
            Add | Sub | Mul | Div | Rem => (Want::Number, Type::Number),
            Eq | Ne => return self.equality(cx, op, a, b),
        };
        // Both sides are looked at before giving up: two mistakes, two errors.
        let left = self.typed_as(cx, a, want);
        let right = self.typed_as(cx, b, want);
        Some((ExprKind::Binary(op, Box::new(left?), Box::new(right?)), ty))
    }

    fn equality(
        &mut self,
        cx: &Context,
        op: BinaryOp,
        a: &Ast,
        b: &Ast,
    ) -> Option<(ExprKind, Type)> {
        let (left, right) = (self.typed(cx, a), self.typed(cx, b));
        let (left, right) = (left?, right?);
        if !comparable(left.ty, right.ty) {
            let message = format!(
                "`{op}` cannot compare {} with {}",
                describe(left.ty),
                describe(right.ty)
            );
            self.error(cx.text.part(a.range.start..b.range.end), message);
            return None;
        }
        Some((
            ExprKind::Binary(op, Box::new(left), Box::new(right)),
            Type::Bool,
        ))
    }

    fn choice(
        &mut self,
        cx: &Context,
        condition: &Ast,
        yes: &Ast,
        no: &Ast,
    ) -> Option<(ExprKind, Type)> {
        let condition = self.typed_as(cx, condition, Want::Bool);
        let (a, b) = (self.typed(cx, yes), self.typed(cx, no));
        let (condition, a, b) = (condition?, a?, b?);
        let Some(ty) = unify(a.ty, b.ty) else {
            let message = format!(
                "one branch gives {}, the other {}",
                describe(a.ty),
                describe(b.ty)
            );
            self.error(cx.text.part(no.range.clone()), message);
            return None;
        };
        Some((
            ExprKind::If(Box::new(condition), Box::new(a), Box::new(b)),
            ty,
        ))
    }

    fn index(&mut self, cx: &Context, list: &Ast, index: &Ast) -> Option<(ExprKind, Type)> {
        let (xs, k) = (self.typed(cx, list), self.typed_as(cx, index, Want::Number));
        let (xs, k) = (xs?, k?);
        let Some(ty) = element(xs.ty) else {
            let message = format!("only a list has an index, and this is {}", describe(xs.ty));
            self.error(cx.text.part(list.range.clone()), message);
            return None;
        };
        Some((ExprKind::Index(Box::new(xs), Box::new(k)), ty))
    }

    fn call(
        &mut self,
        cx: &Context,
        name: &str,
        range: &Range<usize>,
        args: &[Ast],
    ) -> Option<(ExprKind, Type)> {
        let span = cx.text.part(range.clone());
        let Some(function) = function(name) else {
            if self.is_part(name) {
                self.error(
                    span,
                    format!("`{name}` gives a tensor, and a plain value is needed here"),
                );
                return None;
            }
            let error = self.error(span, format!("there is no function `{name}`"));
            match nearest(name, FUNCTIONS) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("the functions are {}", FUNCTIONS.join(", "))),
            };
            return None;
        };
        let (takes, right) = match function {
            Function::Sqrt | Function::Ln | Function::Floor | Function::Len => {
                ("1 argument", args.len() == 1)
            }
            Function::Contains | Function::At => ("2 arguments", args.len() == 2),
            Function::Min | Function::Max => ("2 or more arguments", args.len() >= 2),
        };
        if !right {
            self.error(
                span,
                format!("`{name}` takes {takes}, found {}", args.len()),
            );
            return None;
        }
        let (args, ty) = match function {
            Function::Len | Function::Contains | Function::At => {
                self.list_call(cx, function, args)?
            }
            _ => {
                let args: Vec<_> = args
                    .iter()
                    .map(|arg| self.typed_as(cx, arg, Want::Number))
                    .collect();
                (args.into_iter().collect::<Option<_>>()?, Type::Number)
            }
        };
        Some((ExprKind::Call(function, args), ty))
    }

    /// Whether a name is that of a norm or of a component.
    fn is_part(&self, name: &str) -> bool {
        let table = |name| {
            self.merged
                .table
                .get(name)
                .and_then(|entry| entry.node.table())
        };
        table(name).is_some() || table("norm").is_some_and(|norm| norm.has(name))
    }

    /// `len(xs)`, `contains(xs, v)`, `at(v, k)`.
    fn list_call(
        &mut self,
        cx: &Context,
        function: Function,
        args: &[Ast],
    ) -> Option<(Vec<Expr>, Type)> {
        let typed: Vec<_> = args.iter().map(|arg| self.typed(cx, arg)).collect();
        let typed: Vec<Expr> = typed.into_iter().collect::<Option<_>>()?;
        let list = typed.first()?.ty;
        let (ty, fits) = match function {
            Function::Len => (Type::Number, element(list).is_some()),
            Function::Contains => (Type::Bool, element(list).is_some() || list == Type::None),
            _ => (
                element(list).unwrap_or(list),
                !matches!(list, Type::None | Type::Config),
            ),
        };
        if !fits {
            let message = format!("expected a list, found {}", describe(list));
            self.error(cx.text.part(args.first()?.range.clone()), message);
            return None;
        }
        let second = typed.get(1).map_or(Type::None, |second| second.ty);
        let fits = match (function, element(list)) {
            (Function::Contains, Some(element)) => comparable(element, second),
            (Function::At, _) => is_number(second),
            _ => true,
        };
        if !fits {
            let message = match function {
                Function::Contains => {
                    format!("{} cannot contain {}", describe(list), describe(second))
                }
                _ => format!("expected a number as index, found {}", describe(second)),
            };
            self.error(cx.text.part(args.get(1)?.range.clone()), message);
            return None;
        }
        Some((typed, ty))
    }

    fn name_expr(&mut self, cx: &Context, name: &str, span: Span) -> Option<Expr> {
        match cx.variables.get(name) {
            Some(Binding::Scalar(expr)) => return Some(Expr::clone(expr)),
            Some(Binding::Tensor) => {
                let error = self.error(
                    span,
                    format!("`{name}` is a tensor, and a plain value is needed here"),
                );
                error.help("values that steps may use here are fields, `let`s and `i`");
                return None;
            }
            None => {}
        }
        let (kind, ty) = match name {
            "true" | "false" => (ExprKind::Bool(name == "true"), Type::Bool),
            "none" => (ExprKind::None, Type::None),
            "i" if cx.scope.layer => (ExprKind::Layer, Type::Number),
            "i" => {
                let error = self.error(
                    span,
                    "`i` is the layer, and this is evaluated once for the whole model",
                );
                error.help("use a config field here");
                return None;
            }
            "config" if cx.scope.config => (ExprKind::Config, Type::Config),
            "config" => {
                self.error(span, "`config` is a word of `rope.scaling` only");
                return None;
            }
            _ => self.look_up(name, cx.scope, span)?,
        };
        let at = self.set.at(span);
        Some(Expr { kind, ty, at })
    }
}

/// A literal where another expression stands.
pub(crate) fn literal(kind: ExprKind, ty: Type, like: &Expr) -> Expr {
    Expr {
        kind,
        ty,
        at: like.at.clone(),
    }
}

/// Whether a value depends on the layer, given the `let`s that do.
pub(crate) fn per_layer(expr: &Expr, lets: &dyn Fn(&str) -> bool) -> bool {
    match &expr.kind {
        ExprKind::Layer => true,
        ExprKind::Let(name) => lets(name),
        ExprKind::Neg(a) | ExprKind::Not(a) => per_layer(a, lets),
        ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => {
            per_layer(a, lets) || per_layer(b, lets)
        }
        ExprKind::If(a, b, c) => per_layer(a, lets) || per_layer(b, lets) || per_layer(c, lets),
        ExprKind::Call(_, args) => args.iter().any(|arg| per_layer(arg, lets)),
        _ => false,
    }
}
