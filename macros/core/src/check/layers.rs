//! `[layers]`: prefix and steps.

use std::collections::HashMap;

use super::Checker;
use super::steps::{Parts, Steps};
use super::values::Section;
use crate::expr::{StepAst, parse_step};
use crate::ir::{Name, Step};
use crate::spec::{Node, Value};

/// The residual stream.
pub(super) const STREAM: &str = "x";

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
    pub(super) guards: Vec<(String, bool)>,
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
        let Some(node) = section.node("steps") else {
            self.missing(section, "steps")
                .help("as in `steps = [\"x += attn(attn_norm(x))\"]`");
            return None;
        };
        let (lines, whole) = self.lines(node)?;
        let mut steps = Steps::new(self, Parts::new(root, norm), &lines);
        let done: Vec<_> = lines
            .iter()
            .map(|(node, ast)| steps.step(node, ast))
            .collect();
        let calls = steps.calls;
        if !whole || done.iter().any(Option::is_none) {
            return None;
        }
        Some(Wiring {
            prefix: prefix?,
            steps: done.into_iter().flatten().flatten().collect(),
            calls,
        })
    }

    /// The steps, parsed, and whether all are.
    fn lines(&mut self, node: &'a Node) -> Option<(Vec<(&'a Node, StepAst)>, bool)> {
        let lines = self.strings("steps", node);
        if lines.len() > MAX_STEPS {
            self.error(node.span, format!("a layer of more than {MAX_STEPS} steps"));
            return None;
        }
        let parsed = lines.iter().map(|line| Some((*line, self.step_ast(line)?)));
        let parsed: Vec<_> = parsed.collect();
        let whole = parsed.iter().all(Option::is_some);
        let parsed: Vec<_> = parsed.into_iter().flatten().collect();
        if whole && !parsed.iter().any(|(_, ast)| ast.var == STREAM) {
            let error = self.error(node.span, "no step updates `x`, the residual stream");
            error.help("write a step like `x += attn(attn_norm(x))`");
            return None;
        }
        Some((parsed, whole))
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
