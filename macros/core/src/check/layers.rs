//! `[layers]`: prefix and steps.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::Checker;
use super::norm;
use super::values::Section;
use crate::diagnostic::nearest;
use crate::expr::{Ast, AstKind, RESERVED, StepAst, parse_step};
use crate::ir::{BinaryOp, Expr, ExprKind, Name, Step, StepExpr, StepOp, Type};
use crate::source::Span;
use crate::spec::{Node, Value};
use crate::types::{Binding, Context, Scope, Variables, Want, function};

/// The residual stream.
const STREAM: &str = "x";

/// Longer layers are refused: nobody writes them, and a limit keeps time and memory small.
const MAX_STEPS: usize = 128;

/// How a layer is wired.
pub(crate) struct Wiring {
    pub(crate) prefix: Name,
    pub(crate) steps: Vec<Step>,
    /// Every call of a part, in order.
    pub(crate) calls: Vec<Call>,
}

/// A call of a norm or component in a step.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) part: String,
    pub(crate) is_norm: bool,
    /// Conditions around it, each with the branch taken.
    guards: Vec<(String, bool)>,
}

impl Call {
    /// Whether no layer makes both calls.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        let opposite = |(condition, branch): &(String, bool)| {
            other.guards.contains(&(condition.clone(), !branch))
        };
        self.guards.iter().any(opposite)
    }
}

impl Wiring {
    /// Names of the parts called, in order of first call.
    pub(crate) fn called(&self, norms: bool) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for call in self.calls.iter().filter(|call| call.is_norm == norms) {
            if !names.contains(&call.part.as_str()) {
                names.push(&call.part);
            }
        }
        names
    }

    /// The calls of each part.
    pub(crate) fn calls_by_part(&self) -> HashMap<&str, Vec<&Call>> {
        let mut calls: HashMap<&str, Vec<&Call>> = HashMap::new();
        for call in &self.calls {
            calls.entry(&call.part).or_default().push(call);
        }
        calls
    }
}

/// What steps may call.
struct Parts<'a> {
    norms: Vec<&'a str>,
    components: Vec<&'a str>,
}

/// Checking of the steps, one after the other.
struct Steps<'c, 'a> {
    cx: &'c mut Checker<'a>,
    parts: Parts<'a>,
    variables: Variables,
    /// Variables that some step sets.
    assigned: BTreeSet<String>,
    calls: Vec<Call>,
    guards: Vec<(String, bool)>,
}

impl<'a> Checker<'a> {
    /// Checks prefix and steps.
    pub(crate) fn layers(
        &mut self,
        section: &Section<'a>,
        root: &Section<'a>,
        norm: Option<&Section<'a>>,
    ) -> Option<Wiring> {
        self.known_keys(section, &["prefix", "let", "steps"]);
        let prefix = self.prefix(section);
        let norms = norm
            .iter()
            .flat_map(|norm| &norm.table.entries)
            .map(|entry| entry.key.as_str());
        let components = root
            .table
            .entries
            .iter()
            .filter(|entry| entry.node.table().is_some());
        let components = components.map(|entry| entry.key.as_str());
        let parts = Parts {
            norms: norms.filter(|key| !norm::OPTIONS.contains(key)).collect(),
            components: components
                .filter(|key| !Self::is_reserved_key(key))
                .collect(),
        };
        let Some(node) = section.node("steps") else {
            self.missing(section, "steps")
                .help("as in `steps = [\"x += attn(attn_norm(x))\"]`");
            return None;
        };
        let lines = self.strings("steps", node);
        if lines.len() > MAX_STEPS {
            self.error(node.span, format!("a layer of more than {MAX_STEPS} steps"));
            return None;
        }
        let mut asts = Vec::new();
        let mut whole = !lines.is_empty();
        for line in &lines {
            match self.step_ast(line) {
                Some(ast) => asts.push((*line, ast)),
                None => whole = false,
            }
        }
        let assigned: BTreeSet<String> = asts.iter().map(|(_, ast)| ast.var.clone()).collect();
        if !assigned.contains(STREAM) && (whole || lines.is_empty()) {
            let error = self.error(node.span, "no step updates `x`, the residual stream");
            error.help("write a step like `x += attn(attn_norm(x))`");
            return None;
        }
        let mut steps = Steps {
            cx: self,
            parts,
            variables: Variables::from([(STREAM.to_string(), Binding::Tensor)]),
            assigned,
            calls: Vec::new(),
            guards: Vec::new(),
        };
        let mut done = Vec::new();
        for (node, ast) in &asts {
            match steps.step(node, ast) {
                Some(step) => done.extend(step),
                None => whole = false,
            }
        }
        let calls = steps.calls;
        whole.then_some(())?;
        Some(Wiring {
            prefix: prefix?,
            steps: done,
            calls,
        })
    }

    fn prefix(&mut self, section: &Section<'a>) -> Option<Name> {
        let name = self.name(section, "prefix", &["i"])?;
        let node = section.node("prefix")?;
        let Value::List(items) = &node.value else {
            self.wrong_form("prefix", node, "a list with one prefix per format");
            return None;
        };
        for item in items {
            if item.text().is_some_and(|text| !text.value.contains("{i}")) {
                self.error(
                    item.span,
                    "the prefix of a layer needs `{i}`, the number of the layer",
                );
                return None;
            }
        }
        Some(name)
    }

    fn step_ast(&mut self, line: &Node) -> Option<StepAst> {
        let text = line.text()?;
        match parse_step(&text.value) {
            Ok(ast) => Some(ast),
            Err(error) => {
                let diagnostic = self.error(text.part(error.range), error.message);
                diagnostic.help = error.help;
                None
            }
        }
    }
}

impl Steps<'_, '_> {
    /// Checks a step. The inner `None`: it sets a plain value, which is put in where it is read.
    fn step(&mut self, line: &Node, ast: &StepAst) -> Option<Option<Step>> {
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
                let value = self.scalar(&context, &ast.expr);
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

    fn scalar(&mut self, cx: &Context, ast: &Ast) -> Option<Expr> {
        self.cx.typed(cx, ast)
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
