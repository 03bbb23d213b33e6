//! The steps of a layer as a graph of values: what is computed once, what under which condition.
//!
//! A value is one operation on other values. Two equal operations on the same values are one value, so
//! `attn(n(x)) + mlp(n(x))` computes `n(x)` once, while `n(x)` after `x` has changed is another value.

use std::collections::HashMap;

use super::doc;
use super::options::constant;
use crate::ir::{Expr, ExprKind, Step, StepExpr, StepOp};

/// Index of a value.
pub(super) type Id = usize;

/// Index of a scope: 0 is the layer, every arm of a choice has its own.
pub(super) type ScopeId = usize;

/// What a layer must hold for its forward pass.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// A norm instance.
    Norm(String),
    /// A component.
    Component(String),
    /// A number that is no literal.
    Scalar(Expr),
    /// What `if` chose.
    Choice(usize),
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    /// The residual stream that enters the layer.
    Input,
    /// A norm of a value; the part's index.
    Norm(usize, Id),
    /// A component of a value; the part's index, and which call of this component it is.
    Component(usize, Id, usize),
    /// a + b
    Add(Id, Id),
    /// a - b
    Sub(Id, Id),
    /// number · a
    Scale(Factor, Id),
    /// The value of the arm taken; index of the choice.
    Choose(usize),
}

/// A factor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Factor {
    /// Known in the spec.
    Literal(f64),
    /// The part that holds it.
    Part(usize),
}

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) scope: ScopeId,
    /// How often it is an operand or a result.
    pub(super) uses: usize,
}

/// An `if`.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) condition: Expr,
    /// Scope and result where the condition holds, and where it does not.
    pub(super) arms: [(ScopeId, Id); 2],
    /// The scope it stands in.
    pub(super) scope: ScopeId,
    /// Calls that both arms make, computed before.
    pub(super) common: Vec<Id>,
}

/// One step: the variable and its new value.
#[derive(Debug)]
pub(super) struct Assign {
    pub(super) var: String,
    pub(super) value: Id,
}

/// The steps, lowered.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) parts: Vec<Part>,
    pub(super) choices: Vec<Choice>,
    pub(super) assigns: Vec<Assign>,
    /// For each scope the arm it is: choice and 0 or 1.
    pub(super) scopes: Vec<Option<(usize, usize)>>,
    /// Calls of each component.
    pub(super) calls: HashMap<String, usize>,
    scope: ScopeId,
    vars: HashMap<String, Id>,
}

impl Graph {
    /// Lowers `steps`.
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut graph = Self {
            scopes: vec![None],
            ..Self::default()
        };
        let input = graph.value(Op::Input);
        graph.vars.insert("x".into(), input);
        for step in steps {
            let value = graph.step(step);
            graph.vars.insert(step.var.clone(), value);
            graph.assigns.push(Assign {
                var: step.var.clone(),
                value,
            });
        }
        let last = graph.variable("x");
        graph.count_uses(last);
        graph
    }

    fn step(&mut self, step: &Step) -> Id {
        match (step.op, &step.expr) {
            (StepOp::Mul, StepExpr::Number(number)) => {
                let old = self.variable(&step.var);
                self.scaled(number, old)
            }
            (StepOp::Add, expr) => {
                let (old, new) = (self.variable(&step.var), self.lower(expr));
                self.value(Op::Add(old, new))
            }
            (_, expr) => self.lower(expr),
        }
    }

    /// The checker knows that the variable is set; were it not, the stream stands in.
    fn variable(&self, name: &str) -> Id {
        self.vars.get(name).copied().unwrap_or_default()
    }

    fn lower(&mut self, expr: &StepExpr) -> Id {
        match expr {
            StepExpr::Var(name) => self.variable(name),
            StepExpr::Norm(name, input) => {
                let input = self.lower(input);
                let part = self.part(Part::Norm(name.clone()));
                self.value(Op::Norm(part, input))
            }
            StepExpr::Component(name, input) => {
                let input = self.lower(input);
                let part = self.part(Part::Component(name.clone()));
                self.call(name, part, input)
            }
            StepExpr::Add(a, b) => {
                let (a, b) = (self.lower(a), self.lower(b));
                self.value(Op::Add(a, b))
            }
            StepExpr::Sub(a, b) => {
                let (a, b) = (self.lower(a), self.lower(b));
                self.value(Op::Sub(a, b))
            }
            StepExpr::Scale(number, inner) => {
                let inner = self.lower(inner);
                self.scaled(number, inner)
            }
            StepExpr::If(condition, yes, no) => match condition.kind {
                ExprKind::Bool(true) => self.lower(yes),
                ExprKind::Bool(false) => self.lower(no),
                _ => self.choose(condition, yes, no),
            },
            StepExpr::Number(_) => self.variable("x"),
        }
    }

    fn scaled(&mut self, number: &Expr, value: Id) -> Id {
        let factor = match constant(number) {
            Some(literal) => Factor::Literal(literal),
            None => Factor::Part(self.part(Part::Scalar(number.clone()))),
        };
        if factor == Factor::Literal(1.0) {
            value
        } else {
            self.value(Op::Scale(factor, value))
        }
    }

    fn choose(&mut self, condition: &Expr, yes: &StepExpr, no: &StepExpr) -> Id {
        let mut common = Vec::new();
        calls(yes, &mut common);
        let mut others = Vec::new();
        calls(no, &mut others);
        let common = common.into_iter().filter(|call| others.contains(call));
        let common: Vec<Id> = common.map(|call| self.lower(call)).collect();
        let (outer, choice) = (self.scope, self.choices.len());
        let arms = [(0, 0), (0, 0)];
        self.choices.push(Choice {
            condition: condition.clone(),
            arms,
            scope: outer,
            common,
        });
        let part = self.part(Part::Choice(choice));
        // Only one arm runs, so their calls of an attention share its places in the cache.
        let before = self.calls.clone();
        let mut most = before.clone();
        let mut results = Vec::new();
        for (side, expr) in [yes, no].into_iter().enumerate() {
            self.calls.clone_from(&before);
            self.scope = self.scopes.len();
            self.scopes.push(Some((choice, side)));
            results.push((self.scope, self.lower(expr)));
            for (name, count) in &self.calls {
                let known = most.entry(name.clone()).or_default();
                *known = (*known).max(*count);
            }
        }
        self.calls = most;
        self.scope = outer;
        if let (Some(&yes), Some(&no), Some(made)) = (
            results.first(),
            results.get(1),
            self.choices.get_mut(choice),
        ) {
            made.arms = [yes, no];
            self.count_uses(yes.1);
            self.count_uses(no.1);
        }
        debug_assert!(part < self.parts.len());
        self.push(Op::Choose(choice))
    }

    /// The index of a part.
    pub(super) fn part(&mut self, part: Part) -> usize {
        let found = self.parts.iter().position(|known| match (known, &part) {
            (Part::Scalar(a), Part::Scalar(b)) => doc::spec(a) == doc::spec(b),
            (known, part) => known == part,
        });
        found.unwrap_or_else(|| {
            self.parts.push(part);
            self.parts.len() - 1
        })
    }

    fn call(&mut self, name: &str, part: usize, input: Id) -> Id {
        let known = |node: &Node| matches!(node.op, Op::Component(p, value, _) if p == part && value == input);
        if let Some(id) = self.visible(known) {
            return id;
        }
        let count = self.calls.entry(name.to_owned()).or_default();
        let call = *count;
        *count += 1;
        self.push(Op::Component(part, input, call))
    }

    fn value(&mut self, op: Op) -> Id {
        match self.visible(|node| node.op == op) {
            Some(id) => id,
            None => self.push(op),
        }
    }

    /// A value like that which this scope or one around it has computed already.
    fn visible(&self, like: impl Fn(&Node) -> bool) -> Option<Id> {
        let around = self.around(self.scope);
        self.nodes
            .iter()
            .position(|node| like(node) && around.contains(&node.scope))
    }

    /// A scope and all around it, innermost first.
    pub(super) fn around(&self, scope: ScopeId) -> Vec<ScopeId> {
        let mut around = vec![scope];
        let mut scope = scope;
        while let Some(Some((choice, _))) = self.scopes.get(scope) {
            scope = self.choices.get(*choice).map_or(0, |choice| choice.scope);
            around.push(scope);
        }
        around
    }

    fn push(&mut self, op: Op) -> Id {
        match op {
            Op::Norm(_, a) | Op::Component(_, a, _) | Op::Scale(_, a) => self.count_uses(a),
            Op::Add(a, b) | Op::Sub(a, b) => {
                self.count_uses(a);
                self.count_uses(b);
            }
            Op::Input | Op::Choose(_) => {}
        }
        self.nodes.push(Node {
            op,
            scope: self.scope,
            uses: 0,
        });
        self.nodes.len() - 1
    }

    fn count_uses(&mut self, id: Id) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.uses += 1;
        }
    }
}

/// The calls that `expr` makes whatever its conditions say, innermost first.
fn calls<'e>(expr: &'e StepExpr, found: &mut Vec<&'e StepExpr>) {
    match expr {
        StepExpr::Norm(_, input) | StepExpr::Component(_, input) => {
            calls(input, found);
            found.push(expr);
        }
        StepExpr::Add(a, b) | StepExpr::Sub(a, b) => {
            calls(a, found);
            calls(b, found);
        }
        StepExpr::Scale(_, inner) => calls(inner, found),
        // Both arms make a call: so does the whole.
        StepExpr::If(_, yes, no) => {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            calls(yes, &mut a);
            calls(no, &mut b);
            found.extend(a.into_iter().filter(|call| b.contains(call)));
        }
        StepExpr::Var(_) | StepExpr::Number(_) => {}
    }
}
