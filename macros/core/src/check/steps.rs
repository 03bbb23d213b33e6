//! The steps of a layer, checked one after the other.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Checker;
use super::layers::{Call, STREAM};
use super::norm;
use super::values::Section;
use crate::diagnostic::nearest;
use crate::expr::{Ast, AstKind, RESERVED, StepAst};
use crate::ir::{BinaryOp, Expr, ExprKind, Step, StepExpr, StepOp, Type};
use crate::source::Span;
use crate::spec::Node;
use crate::types::{Binding, Context, Scope, Variables, Want, function};

/// What steps may call.
pub(super) struct Parts<'a> {
    norms: Vec<&'a str>,
    components: Vec<&'a str>,
}

/// Checking of the steps, one after the other.
pub(super) struct Steps<'c, 'a> {
    cx: &'c mut Checker<'a>,
    parts: Parts<'a>,
    variables: Variables,
    /// Variables that some step sets.
    assigned: BTreeSet<String>,
    pub(super) calls: Vec<Call>,
    guards: Vec<(String, bool)>,
}

impl<'a> Parts<'a> {
    /// The norm instances and the components of a spec.
    pub(super) fn new(root: &Section<'a>, norm: Option<&Section<'a>>) -> Self {
        let norms = norm.iter().flat_map(|norm| &norm.table.entries);
        let norms = norms.map(|entry| entry.key.as_str());
        let tables = root.table.entries.iter();
        let tables = tables.filter(|entry| entry.node.table().is_some());
        let components = tables.map(|entry| entry.key.as_str());
        Self {
            norms: norms.filter(|key| !norm::OPTIONS.contains(key)).collect(),
            components: components
                .filter(|key| !Checker::is_reserved_key(key))
                .collect(),
        }
    }
}

impl<'c, 'a> Steps<'c, 'a> {
    pub(super) fn new(
        cx: &'c mut Checker<'a>,
        parts: Parts<'a>,
        lines: &[(&Node, StepAst)],
    ) -> Self {
        Self {
            cx,
            parts,
            variables: Variables::from([(STREAM.to_string(), Binding::Tensor)]),
            assigned: lines.iter().map(|(_, ast)| ast.var.clone()).collect(),
            calls: Vec::new(),
            guards: Vec::new(),
        }
    }

    /// Checks a step. The inner `None`: it sets a plain value, which is put in where it is read.
    pub(super) fn step(&mut self, line: &Node, ast: &StepAst) -> Option<Option<Step>> {
        let text = line.text()?.clone();
        let span = text.part(ast.var_range.clone());
        if RESERVED.contains(&ast.var.as_str()) {
            let error = self.cx.error(
                span,
                format!("`{}` is a word of the language, no variable", ast.var),
            );
            error.help("choose another name");
            return None;
        }
        let variables = self.variables.clone();
        let context = Context {
            text: &text,
            scope: Scope::LAYER,
            variables: &variables,
        };
        let before = variables.get(&ast.var).cloned();
        let (expr, binding) = match (ast.op, before) {
            (StepOp::Set, _) if self.is_tensor(&ast.expr) => {
                (Some(self.tensor(&context, &ast.expr)), Binding::Tensor)
            }
            (StepOp::Set, _) => {
                let value = self.cx.typed(&context, &ast.expr);
                self.set_scalar(ast, value, span)?;
                return Some(None);
            }
            (_, None) => {
                let message = format!("`{}` is used before it is set", ast.var);
                self.cx
                    .error(span, message)
                    .help(format!("set it first: `{} = ..`", ast.var));
                return None;
            }
            (StepOp::Mul, Some(Binding::Tensor)) => {
                let factor = self.factor(&context, &ast.expr);
                (Some(factor.map(StepExpr::Number)), Binding::Tensor)
            }
            (StepOp::Add, Some(Binding::Tensor)) => {
                (Some(self.tensor(&context, &ast.expr)), Binding::Tensor)
            }
            (op, Some(Binding::Scalar(old))) => {
                let value = self.update_scalar(&context, op, old, &ast.expr);
                self.set_scalar(ast, value, span)?;
                return Some(None);
            }
        };
        // What a failed step sets counts as set, so that one mistake is told once.
        self.variables.insert(ast.var.clone(), binding);
        Some(Some(Step {
            text: text.value.clone(),
            var: ast.var.clone(),
            op: ast.op,
            expr: expr??,
            at: self.cx.set.at(text.span),
        }))
    }

    fn set_scalar(&mut self, ast: &StepAst, value: Option<Expr>, span: Span) -> Option<()> {
        if ast.var == STREAM {
            let error = self.cx.error(
                span,
                "`x` is the residual stream and cannot become a plain value",
            );
            error.help("give the right side a tensor, as in `x = norm(x)`");
            return None;
        }
        let value = value?;
        self.variables
            .insert(ast.var.clone(), Binding::Scalar(Rc::new(value)));
        Some(())
    }

    fn update_scalar(
        &mut self,
        cx: &Context,
        op: StepOp,
        old: Rc<Expr>,
        ast: &Ast,
    ) -> Option<Expr> {
        let added = self.factor(cx, ast)?;
        let op = if op == StepOp::Add {
            BinaryOp::Add
        } else {
            BinaryOp::Mul
        };
        let at = added.at.clone();
        let old = self
            .cx
            .wanted(cx, Expr::clone(&old), &ast.range, Want::Number)?;
        Some(Expr {
            kind: ExprKind::Binary(op, Box::new(old), Box::new(added)),
            ty: Type::Number,
            at,
        })
    }

    /// Whether an expression gives a tensor rather than a plain value.
    fn is_tensor(&self, ast: &Ast) -> bool {
        match &ast.kind {
            AstKind::Number(_) | AstKind::Str(_) | AstKind::Not(_) | AstKind::Index(..) => false,
            AstKind::Name(name) => match self.variables.get(name) {
                Some(binding) => matches!(binding, Binding::Tensor),
                // A variable that is set later only: told as such where tensors are looked at.
                None => self.unset(name),
            },
            AstKind::Neg(a) => self.is_tensor(a),
            AstKind::Binary(
                BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div,
                a,
                b,
            ) => self.is_tensor(a) || self.is_tensor(b),
            AstKind::Binary(..) => false,
            AstKind::If(_, yes, no) => self.is_tensor(yes) || self.is_tensor(no),
            AstKind::Call(name, ..) => function(name).is_none(),
        }
    }

    /// Whether a name is a variable that no step has set yet.
    fn unset(&self, name: &str) -> bool {
        let known = self.cx.names.find_let(name).is_some() || self.cx.names.field(name).is_some();
        self.assigned.contains(name) && !self.variables.contains_key(name) && !known
    }

    /// A number, as factor or divisor.
    fn factor(&mut self, cx: &Context, ast: &Ast) -> Option<Expr> {
        if self.is_tensor(ast) {
            let span = cx.text.part(ast.range.clone());
            self.cx
                .error(span, "expected a number, found a tensor")
                .help("tensors are added, or multiplied by numbers");
            return None;
        }
        self.cx.typed_as(cx, ast, Want::Number)
    }

    fn tensor(&mut self, cx: &Context, ast: &Ast) -> Option<StepExpr> {
        let span = cx.text.part(ast.range.clone());
        match &ast.kind {
            AstKind::Name(name) => {
                match self.variables.get(name) {
                    Some(Binding::Tensor) => Some(StepExpr::Var(name.clone())),
                    None if self.unset(name) => {
                        let error = self
                            .cx
                            .error(span, format!("`{name}` is used before it is set"));
                        error.help("steps run from first to last, and only `x` lives on from layer to layer");
                        None
                    }
                    _ => self.no_tensor(cx, ast),
                }
            }
            AstKind::Neg(a) => {
                let a = self.tensor(cx, a)?;
                let minus = self.cx.literal(ExprKind::Number(-1.0), Type::Number, span);
                Some(StepExpr::Scale(minus, Box::new(a)))
            }
            AstKind::Binary(op, a, b) => self.product_or_sum(cx, *op, a, b, span),
            AstKind::If(condition, yes, no) => {
                let guard = guard(condition);
                let condition = self.cx.typed_as(cx, condition, Want::Bool);
                let yes = self.branch(cx, yes, guard.clone());
                let no = self.branch(cx, no, (guard.0, !guard.1));
                Some(StepExpr::If(condition?, Box::new(yes?), Box::new(no?)))
            }
            AstKind::Call(name, range, args) if function(name).is_none() => {
                let callee = cx.text.part(range.clone());
                self.part(cx, name, callee, args)
            }
            _ => self.no_tensor(cx, ast),
        }
    }

    fn no_tensor(&mut self, cx: &Context, ast: &Ast) -> Option<StepExpr> {
        // An unknown name is told as such, and not as a number.
        self.cx.typed(cx, ast)?;
        let span = cx.text.part(ast.range.clone());
        let error = self
            .cx
            .error(span, "expected a tensor, found a plain value");
        error.help(
            "`x`, what norms and components give, and sums and multiples of these are tensors",
        );
        None
    }

    fn branch(&mut self, cx: &Context, ast: &Ast, guard: (String, bool)) -> Option<StepExpr> {
        self.guards.push(guard);
        let expr = self.tensor(cx, ast);
        self.guards.pop();
        expr
    }

    fn product_or_sum(
        &mut self,
        cx: &Context,
        op: BinaryOp,
        a: &Ast,
        b: &Ast,
        span: Span,
    ) -> Option<StepExpr> {
        match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let (left, right) = (self.tensor(cx, a), self.tensor(cx, b));
                let (left, right) = (Box::new(left?), Box::new(right?));
                Some(if op == BinaryOp::Add {
                    StepExpr::Add(left, right)
                } else {
                    StepExpr::Sub(left, right)
                })
            }
            BinaryOp::Mul if self.is_tensor(a) && self.is_tensor(b) => {
                self.cx
                    .error(span, "tensors cannot be multiplied")
                    .help("they are added, or multiplied by numbers");
                None
            }
            BinaryOp::Mul => {
                let (number, tensor) = if self.is_tensor(a) { (b, a) } else { (a, b) };
                let number = self.factor(cx, number);
                let tensor = self.tensor(cx, tensor);
                Some(StepExpr::Scale(number?, Box::new(tensor?)))
            }
            BinaryOp::Div => {
                let divisor = self.factor(cx, b)?;
                let tensor = self.tensor(cx, a)?;
                let one = Box::new(crate::types::literal(
                    ExprKind::Number(1.0),
                    Type::Number,
                    &divisor,
                ));
                let at = divisor.at.clone();
                let factor = Expr {
                    kind: ExprKind::Binary(BinaryOp::Div, one, Box::new(divisor)),
                    ty: Type::Number,
                    at,
                };
                Some(StepExpr::Scale(factor, Box::new(tensor)))
            }
            _ => {
                self.cx
                    .error(span, format!("`{op}` takes no tensors"))
                    .help("tensors have `+`, `-`, and `*` and `/` by a number");
                None
            }
        }
    }

    fn part(&mut self, cx: &Context, name: &str, callee: Span, args: &[Ast]) -> Option<StepExpr> {
        let is_norm = self.parts.norms.contains(&name);
        if !is_norm && !self.parts.components.contains(&name) {
            self.unknown_part(name, callee);
            return None;
        }
        let [arg] = args else {
            let message = format!(
                "`{name}` takes exactly one tensor, found {} arguments",
                args.len()
            );
            self.cx
                .error(callee, message)
                .help(format!("write `{name}(x)`"));
            return None;
        };
        self.calls.push(Call {
            part: name.to_string(),
            is_norm,
            guards: self.guards.clone(),
        });
        let arg = Box::new(self.tensor(cx, arg)?);
        Some(if is_norm {
            StepExpr::Norm(name.to_string(), arg)
        } else {
            StepExpr::Component(name.to_string(), arg)
        })
    }

    fn unknown_part(&mut self, name: &str, callee: Span) {
        let known = self
            .parts
            .norms
            .iter()
            .chain(&self.parts.components)
            .copied();
        let help = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let known: Vec<&str> = known.collect();
                format!(
                    "add `{name} = [..]` to [norm], or a table [{name}]; there are {}",
                    known.join(", ")
                )
            }
        };
        let message = format!("there is no norm or component `{name}`");
        self.cx.error(callee, message).help(help);
    }
}

/// A condition in one spelling, and which of its values takes the first branch.
fn guard(condition: &Ast) -> (String, bool) {
    match &condition.kind {
        AstKind::Not(inner) => {
            let (text, branch) = guard(inner);
            (text, !branch)
        }
        _ => (condition.to_string(), true),
    }
}
