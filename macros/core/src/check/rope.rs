//! `[rope]`.

use super::Checker;
use super::values::{Default, Section, columns};
use crate::ir::{Expr, ExprKind, Format, Param, PerFormat, Rope, Type};
use crate::spec::{Node, Table, Value};
use crate::types::{Scope, Want};

/// Scalings that the language knows.
const KINDS: [&str; 7] = [
    "default",
    "linear",
    "dynamic",
    "llama3",
    "yarn",
    "longrope",
    "proportional",
];

/// Where scaling comes from: expressions of `config` and `none`.
const SCALING: Scope = Scope {
    layer: true,
    config: true,
};

/// What `scaling` says.
struct Scaling {
    from: Expr,
    default: Vec<(String, Param)>,
    params: Vec<(String, Param)>,
    fixed: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn rope(&mut self, section: &Section<'a>) -> Option<Rope> {
        let keys = [
            "theta",
            "on",
            "partial",
            "dim",
            "pairs",
            "reverse",
            "scaling",
            "freq_factors",
        ];
        self.known_keys(section, &keys);
        let theta = self.number(section, "theta", Default::Required);
        let on = self.flag(section, "on", Default::Bool(true));
        let dim = section
            .has("dim")
            .then(|| self.number(section, "dim", Default::Required));
        // With `dim` the share is not read, and what it names need not be there.
        let partial = match dim {
            Some(_) if !section.has("partial") => Default::Number(1.0),
            _ => Default::Field("partial_rotary_factor"),
        };
        let partial = self.value(section, "partial", Want::Number, Scope::LAYER, partial);
        let adjacent = self.pairs(section);
        let reverse = self.literal_bool(section, "reverse");
        let scaling = self.scaling(section);
        let freq_factors = self.freq_factors(section);
        let at = section
            .node("freq_factors")
            .map_or(section.span, |node| node.span);
        let scaling = scaling?;
        Some(Rope {
            theta,
            on,
            partial,
            dim,
            adjacent: adjacent?,
            reverse,
            scaling: scaling.from,
            scaling_default: scaling.default,
            scaling_params: scaling.params,
            scaling_fixed: scaling.fixed,
            freq_factors: freq_factors?,
            at: self.set.at(at),
        })
    }

    fn pairs(&mut self, section: &Section<'a>) -> Option<PerFormat<bool>> {
        let words = [("half", false), ("adjacent", true)];
        let Some(node) = section.node("pairs") else {
            return Some(PerFormat::both(false));
        };
        let columns = columns(node).unwrap_or(PerFormat::both(Some(node)));
        let found = self.per_format(|cx, format| match columns.get(format) {
            Some(node) => cx.one_word("pairs", node, &words),
            None => Some(false),
        });
        Some(PerFormat {
            hf: found.hf?,
            gguf: found.gguf?,
        })
    }

    fn scaling(&mut self, section: &Section<'a>) -> Option<Scaling> {
        let mut scaling = Scaling {
            from: self.literal(ExprKind::None, Type::None, section.span),
            default: Vec::new(),
            params: Vec::new(),
            fixed: false,
        };
        let Some(entry) = section.get("scaling") else {
            return Some(scaling);
        };
        match &entry.node.value {
            Value::Text(text) => {
                scaling.from = self.expression(text, SCALING, Want::Scaling)?;
                return Some(scaling);
            }
            Value::Table(_) => {}
            _ => {
                self.wrong_form(
                    "scaling",
                    &entry.node,
                    "an expression of `config` and `none`, or a table",
                );
                return None;
            }
        }
        if columns(&entry.node).is_some() {
            let error = self.error(entry.node.span, "`scaling` takes no table per format");
            error.help("one expression for both, as in `scaling = \"config\"`");
            return None;
        }
        let table = self.subsection(section, "scaling")?;
        match table.node("from") {
            None => scaling.fixed = true,
            Some(node) => match node.text() {
                Some(text) => scaling.from = self.expression(text, SCALING, Want::Scaling)?,
                None => {
                    self.wrong_form("from", node, "an expression of `config` and `none`");
                    return None;
                }
            },
        }
        if let Some(entry) = table.get("default") {
            let default = self.subsection(&table, "default")?;
            if default.table.entries.is_empty() {
                self.error(entry.node.span, "a scaling needs a `type`")
                    .help("as in `{ type = \"yarn\", factor = 32.0 }`");
                return None;
            }
            scaling.default = self.params(default.table, &[])?;
        }
        scaling.params = self.params(table.table, &["from", "default"])?;
        Some(scaling)
    }

    /// The literal parameters of a scaling.
    fn params(&mut self, table: &Table, but: &[&str]) -> Option<Vec<(String, Param)>> {
        let mut params = Vec::new();
        let mut whole = true;
        for entry in table
            .entries
            .iter()
            .filter(|entry| !but.contains(&entry.key.as_str()))
        {
            match self.param(&entry.key, &entry.node) {
                Some(param) => params.push((entry.key.clone(), param)),
                None => whole = false,
            }
        }
        whole.then_some(params)
    }

    fn param(&mut self, key: &str, node: &Node) -> Option<Param> {
        let param = match &node.value {
            Value::Integer(value) | Value::Float(value) => Param::Number(*value),
            Value::Bool(value) => Param::Bool(*value),
            Value::Text(text) => {
                if ["type", "rope_type"].contains(&key) && !KINDS.contains(&text.value.as_str()) {
                    self.unknown_word("scaling", node.span, &text.value, &KINDS);
                    return None;
                }
                Param::Word(text.value.clone())
            }
            Value::List(items) => {
                let numbers = items.iter().map(|item| match item.value {
                    Value::Integer(value) | Value::Float(value) => Some(value),
                    _ => None,
                });
                match numbers.collect() {
                    Some(numbers) => Param::Numbers(numbers),
                    None => {
                        self.wrong_form(key, node, "a list of numbers");
                        return None;
                    }
                }
            }
            Value::Date | Value::Table(_) => {
                self.wrong_form(
                    key,
                    node,
                    "a literal: a number, a bool, a word or a list of numbers",
                );
                return None;
            }
        };
        Some(param)
    }

    /// Names of the tensors that divide the frequencies, per format: none, one, or short and long.
    fn freq_factors(&mut self, section: &Section<'a>) -> Option<PerFormat<Vec<String>>> {
        let Some(node) = section.node("freq_factors") else {
            return Some(PerFormat::both(Vec::new()));
        };
        let Some(columns) = columns(node) else {
            let error = self.wrong_form("freq_factors", node, "a table per format");
            error.help("as in `freq_factors = { gguf = \"rope_freqs\" }`");
            return None;
        };
        let found = self.per_format(|cx, format: Format| match columns.get(format) {
            Some(node) => cx.factor_names(node),
            None => Some(Vec::new()),
        });
        Some(PerFormat {
            hf: found.hf?,
            gguf: found.gguf?,
        })
    }

    fn factor_names(&mut self, node: &'a Node) -> Option<Vec<String>> {
        let names: Vec<&Node> = match &node.value {
            Value::Text(_) => vec![node],
            Value::List(items) if items.len() == 2 => items.iter().collect(),
            _ => {
                let error = self.wrong_form("freq_factors", node, "a name, or a list of two");
                error.help("two are the short and the long factors of longrope");
                return None;
            }
        };
        let mut texts = Vec::new();
        for name in names {
            let Some(text) = name.text() else {
                self.wrong_form("freq_factors", name, "names");
                return None;
            };
            self.placeholders(name, &[])?;
            texts.push(text.value.clone());
        }
        Some(texts)
    }
}
