//! Where a layer keeps its parts: in itself, in a variant of a choice, or in an `Option`.

use std::collections::HashMap;

use proc_macro2::Ident;

use super::super::Module;
use super::super::doc;
use super::super::names::{Namer, camel, snake};
use super::super::steps::{Factor, Graph, Op, Part, ScopeId};
use crate::ir::{Component, ComponentKind, Expr, ExprKind};

/// Ways to arms that use a part: the choices on the way and their sides.
pub(in crate::codegen) type Paths = Vec<Vec<(usize, usize)>>;

/// Where a layer or an arm keeps a part.
#[derive(Clone, Debug)]
pub(in crate::codegen) struct Slot {
    pub(in crate::codegen) part: usize,
    pub(in crate::codegen) name: Ident,
    /// Only some layers have it: the arms that call it, each a path of choices and sides.
    pub(in crate::codegen) optional: Option<Paths>,
}

/// How an `if` is kept.
#[derive(Clone, Debug)]
pub(in crate::codegen) enum Shape {
    /// A bool: no arm has parts of its own.
    Bool,
    /// An enum with a variant per arm.
    Enum(Ident, [Ident; 2]),
}

/// The layout of a layer.
pub(in crate::codegen) struct Layout {
    pub(in crate::codegen) graph: Graph,
    /// What each scope holds.
    pub(in crate::codegen) slots: HashMap<ScopeId, Vec<Slot>>,
    /// How each choice is kept.
    pub(in crate::codegen) shapes: Vec<Shape>,
    /// Parts that another part holds: a second `if` on the same bool.
    pub(in crate::codegen) alias: HashMap<usize, usize>,
    /// The components that are attention.
    pub(in crate::codegen) attentions: Vec<String>,
}

impl Layout {
    /// Lays out the module's layer.
    pub(super) fn new(module: &mut Module) -> Self {
        let graph = Graph::new(&module.arch.steps);
        let attention = |component: &&Component| matches!(component.kind, ComponentKind::Gqa(_));
        let attentions = module.arch.components.iter().filter(attention);
        let mut layout = Self {
            shapes: vec![Shape::Bool; graph.choices.len()],
            graph,
            slots: HashMap::new(),
            alias: HashMap::new(),
            attentions: attentions
                .map(|component| component.ident.clone())
                .collect(),
        };
        let held = layout.place(module, 0, &[], &mut Namer::default());
        layout.slots.insert(0, held);
        layout
    }

    /// What a scope holds.
    pub(in crate::codegen) fn slots(&self, scope: ScopeId) -> &[Slot] {
        self.slots.get(&scope).map_or(&[], Vec::as_slice)
    }

    /// The parts that a scope itself uses, whatever its conditions say.
    fn always(&self, scope: ScopeId) -> Vec<usize> {
        let mut parts = Vec::new();
        for node in self.graph.nodes.iter().filter(|node| node.scope == scope) {
            match node.op {
                Op::Norm(part, _) | Op::Component(part, ..) | Op::Scale(Factor::Part(part), _) => {
                    parts.push(part)
                }
                Op::Choose(choice) => {
                    parts.extend(
                        self.graph
                            .parts
                            .iter()
                            .position(|part| *part == Part::Choice(choice)),
                    );
                    if let Some([yes, no]) = self
                        .graph
                        .choices
                        .get(choice)
                        .map(|choice| choice.arms.map(|(scope, _)| scope))
                    {
                        let no = self.always(no);
                        parts.extend(
                            self.always(yes)
                                .into_iter()
                                .filter(|part| no.contains(part)),
                        );
                    }
                }
                _ => {}
            }
        }
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    /// The arms directly below `scope`, and the paths within each to the places that use `part`.
    fn arms_using(&self, scope: ScopeId, part: usize) -> Vec<(ScopeId, Vec<(usize, usize)>)> {
        let mut found = Vec::new();
        for (index, choice) in self
            .graph
            .choices
            .iter()
            .enumerate()
            .filter(|(_, choice)| choice.scope == scope)
        {
            for (side, (arm, _)) in choice.arms.iter().enumerate() {
                if self.always(*arm).contains(&part) {
                    found.push((*arm, vec![(index, side)]));
                    continue;
                }
                for (_, path) in self.arms_using(*arm, part) {
                    found.push((*arm, [vec![(index, side)], path].concat()));
                }
            }
        }
        found
    }

    /// Decides what `scope` and the scopes within it hold.
    fn place(
        &mut self,
        module: &mut Module,
        scope: ScopeId,
        inherited: &[usize],
        namer: &mut Namer,
    ) -> Vec<Slot> {
        let always = self.always(scope);
        let mut held = inherited.to_vec();
        let mut chosen: Vec<(usize, Option<Paths>)> = Vec::new();
        for part in 0..self.graph.parts.len() {
            if held.contains(&part) {
                continue;
            }
            if always.contains(&part) {
                chosen.push((part, None));
                held.push(part);
                continue;
            }
            let arms = self.arms_using(scope, part);
            let several = arms
                .first()
                .is_some_and(|(first, _)| arms.iter().any(|(arm, _)| arm != first));
            if several {
                chosen.push((part, Some(arms.into_iter().map(|(_, path)| path).collect())));
                held.push(part);
            }
        }
        // Arms first: what they hold names the choice.
        for choice in 0..self.graph.choices.len() {
            if self
                .graph
                .choices
                .get(choice)
                .is_some_and(|choice| choice.scope == scope)
            {
                self.choice(module, choice, &held);
            }
        }
        self.named(chosen, namer)
    }

    /// Slots with names; a second bool for the same condition is the first one.
    fn named(&mut self, chosen: Vec<(usize, Option<Paths>)>, namer: &mut Namer) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        for (part, optional) in chosen {
            let condition = self.plain_condition(part);
            let same =
                |slot: &&Slot| condition.is_some() && self.plain_condition(slot.part) == condition;
            if let Some(other) = slots
                .iter()
                .find(same)
                .filter(|other| other.optional.is_none())
            {
                self.alias.insert(part, other.part);
                continue;
            }
            let name = namer.take(&self.part_name(part), "");
            slots.push(Slot {
                part,
                name,
                optional,
            });
        }
        slots
    }

    /// The condition of a choice that is kept as a bool.
    fn plain_condition(&self, part: usize) -> Option<String> {
        let Some(Part::Choice(choice)) = self.graph.parts.get(part) else {
            return None;
        };
        let plain = matches!(self.shapes.get(*choice), Some(Shape::Bool));
        let condition = self.graph.choices.get(*choice).filter(|_| plain)?;
        Some(doc::spec(&condition.condition))
    }

    fn choice(&mut self, module: &mut Module, choice: usize, held: &[usize]) {
        let Some(arms) = self
            .graph
            .choices
            .get(choice)
            .map(|choice| choice.arms.map(|(scope, _)| scope))
        else {
            return;
        };
        let mut labels = Vec::new();
        for arm in arms {
            let slots = self.place(module, arm, held, &mut Namer::default());
            labels.push(self.label(&slots));
            self.slots.insert(arm, slots);
        }
        let shape = match labels.as_slice() {
            [None, None] | [] | [_] => Shape::Bool,
            [yes, no, ..] => {
                let [yes, no] =
                    [yes, no].map(|label| label.clone().unwrap_or_else(|| "Skip".into()));
                let mut variants = Namer::with(&["Self"]);
                let name = module.types.take(&format!("{yes}Or{no}"), "");
                Shape::Enum(name, [variants.take(&yes, ""), variants.take(&no, "Else")])
            }
        };
        if let Some(slot) = self.shapes.get_mut(choice) {
            *slot = shape;
        }
    }

    /// What names an arm: its last component, else its last part.
    fn label(&self, slots: &[Slot]) -> Option<String> {
        let component =
            |slot: &&Slot| matches!(self.graph.parts.get(slot.part), Some(Part::Component(_)));
        let named = slots.iter().rfind(component).or(slots.last())?;
        Some(camel(named.name.to_string().trim_start_matches("r#")))
    }

    fn part_name(&self, part: usize) -> String {
        match self.graph.parts.get(part) {
            Some(Part::Norm(name) | Part::Component(name)) => snake(name),
            Some(Part::Scalar(Expr {
                kind: ExprKind::Field(name) | ExprKind::Let(name),
                ..
            })) => snake(name),
            Some(Part::Choice(choice)) => match self.shapes.get(*choice) {
                Some(Shape::Enum(name, _)) => snake(&name.to_string()),
                _ => match self
                    .graph
                    .choices
                    .get(*choice)
                    .map(|choice| &choice.condition.kind)
                {
                    Some(ExprKind::Field(name) | ExprKind::Let(name)) => snake(name),
                    _ => "first_branch".into(),
                },
            },
            _ => "factor".into(),
        }
    }
}
