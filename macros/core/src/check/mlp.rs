//! Kinds `glu` and `fc`.

use super::Checker;
use super::components::Projections;
use super::rows::GATE_UP;
use super::values::{Default, Section};
use crate::ir::{GateUpSource, Groups, Mlp, MlpAct, PerFormat, Rows};
use crate::spec::Node;
use crate::types::{Scope, Want};

/// Words for activations.
pub(super) const ACTIVATIONS: [&str; 12] = [
    "silu",
    "swish",
    "gelu",
    "gelu_new",
    "gelu_tanh",
    "gelu_pytorch_tanh",
    "gelu_fast",
    "relu",
    "relu2",
    "sigmoid",
    "softplus",
    "identity",
];

const GLU_KEYS: [&str; 12] = [
    "kind",
    "act",
    "inter",
    "gate",
    "up",
    "gate_up",
    "rows",
    "down",
    "hf",
    "gguf",
    "bias",
    "transposed",
];
const FC_KEYS: [&str; 9] = [
    "kind",
    "act",
    "inter",
    "up",
    "down",
    "hf",
    "gguf",
    "bias",
    "transposed",
];

impl<'a> Checker<'a> {
    pub(super) fn mlp(&mut self, section: &Section<'a>, gated: bool) -> Option<Mlp> {
        self.known_keys(section, if gated { &GLU_KEYS } else { &FC_KEYS });
        let act = self.act(section, gated);
        self.mlp_body(section, gated, act)
    }

    /// All of an MLP but its table's keys and its activation.
    pub(super) fn mlp_body(
        &mut self,
        section: &Section<'a>,
        gated: bool,
        act: Option<MlpAct>,
    ) -> Option<Mlp> {
        let keys: &[&str] = if gated {
            &["gate", "up", "gate_up", "down"]
        } else {
            &["up", "down"]
        };
        let names = self.projections(section, keys);
        let spelled = self.not_both(section, "gate_up", &["gate", "up"]);
        let gate_up = spelled.and_then(|()| self.gate_up(section, &names, gated));
        let down = self.projection(section, &names, "down");
        Some(Mlp {
            gated,
            act: act?,
            inter: self.number(section, "inter", Default::Field("intermediate_size")),
            gate_up: gate_up?,
            gate_up_at: self.places(&names, &[&["gate", "gate_up"], &["up"]]),
            down: down?,
            bias: self.flag(section, "bias", Default::Bool(false)),
            transposed: self.flag(section, "transposed", Default::Bool(false)),
        })
    }

    fn gate_up(
        &mut self,
        section: &Section<'a>,
        names: &Projections<'a>,
        gated: bool,
    ) -> Option<PerFormat<Option<GateUpSource>>> {
        let rows = self.gate_up_rows(section.node("rows"))?;
        let found = self.per_format(|cx, format| {
            if let Some((name, _)) = names.get("gate_up", format) {
                let rows = rows.clone();
                return Some(GateUpSource::Fused { name, rows });
            }
            let (gate, up) = (names.get("gate", format), names.get("up", format));
            for (key, missing) in [("gate", gated && gate.is_none()), ("up", up.is_none())] {
                if missing {
                    cx.no_projection(section, names, key, format);
                }
            }
            let gate = match gated {
                true => Some(gate?.0),
                false => None,
            };
            Some(GateUpSource::Split { gate, up: up?.0 })
        });
        (found.hf.is_some() && found.gguf.is_some() && !names.failed()).then_some(found)
    }

    /// Rows of `gate_up`: blocks unless told.
    pub(super) fn gate_up_rows(&mut self, node: Option<&'a Node>) -> Option<Rows> {
        match node {
            Some(node) => self.rows(node, &GATE_UP),
            None => Some(Rows {
                parts: vec!["gate".to_string(), "up".to_string()],
                groups: Groups::Blocks,
            }),
        }
    }

    /// An activation; of gated MLPs also a table.
    pub(super) fn act(&mut self, section: &Section<'a>, gated: bool) -> Option<MlpAct> {
        let table = section.node("act").and_then(|node| node.table());
        let function = table.is_some_and(|table| super::values::columns_of(table).is_none());
        if !function {
            return Some(MlpAct::Word(self.field_word(
                section,
                "act",
                &ACTIVATIONS,
            )?));
        }
        let act = self.subsection(section, "act")?;
        if !gated {
            let error = self.error(act.span, "an MLP without gate takes a word as `act`");
            error.help(format!("the words are {}", ACTIVATIONS.join(", ")));
            return None;
        }
        self.known_keys(&act, &["fn", "alpha", "limit", "up_shift"]);
        self.word(&act, "fn", &[("clamped_swiglu", ())], None)?;
        Some(MlpAct::Clamped {
            alpha: self.value(&act, "alpha", Want::Number, Scope::ONCE, Default::Required),
            limit: self.value(&act, "limit", Want::Number, Scope::ONCE, Default::Required),
            up_shift: self.literal_number(&act, "up_shift", 0.0),
        })
    }
}
