//! Kind `moe`, and `[storage.*]`.

use super::Checker;
use super::spec::STORAGE;
use super::values::{Default, Section};
use crate::diagnostic::nearest;
use crate::ir::{
    ExpertSource, GateUpSource, Moe, Mxfp4Storage, Router, RouterGroups, Shared, Storage, Value,
};
use crate::ir::{ExprKind, Format};
use crate::spec::Table;
use crate::types::{Scope, Want};

const ROUTER_KEYS: [&str; 12] = [
    "name",
    "bias",
    "score",
    "over",
    "softcap",
    "select_bias",
    "groups",
    "renorm",
    "renorm_eps",
    "scale",
    "apply",
    "dtype",
];

const SCORES: [&str; 3] = ["softmax", "sigmoid", "sqrtsoftplus"];

impl<'a> Checker<'a> {
    pub(super) fn moe(&mut self, section: &Section<'a>) -> Option<Moe> {
        let keys = [
            "kind", "router", "experts", "top", "inter", "act", "bias", "hf", "gguf", "shared",
        ];
        self.known_keys(section, &keys);
        let bias = self.flag(section, "bias", Default::Bool(false));
        let act = self.act(section, true);
        let router = self.router(section);
        let source = self.per_format(|cx, format| cx.experts(section, format, &bias));
        let shared = self.shared(section, act.clone());
        let experts = self.number(section, "experts", Default::Field("num_experts"));
        let top = self.number(section, "top", Default::Field("experts_per_token"));
        let inter = self.number(section, "inter", Default::Required);
        if source.hf.is_none() || source.gguf.is_none() {
            return None;
        }
        Some(Moe {
            experts,
            top,
            inter,
            act: act?,
            bias,
            source,
            router: router?,
            shared: shared?,
        })
    }

    fn router(&mut self, section: &Section<'a>) -> Option<Router> {
        if !section.has("router") {
            self.missing(section, "router")
                .help("as in `router = { name = [..], score = \"softmax\" }`");
            return None;
        }
        let table = self.subsection(section, "router")?;
        self.known_keys(&table, &ROUTER_KEYS);
        let name = self.name(&table, "name", &[]);
        let score = self.field_word(&table, "score", &SCORES);
        let over_selected = self.word(
            &table,
            "over",
            &[("all", false), ("selected", true)],
            Some(false),
        );
        let apply_input = self.word(
            &table,
            "apply",
            &[("output", false), ("input", true)],
            Some(false),
        );
        // Activations are at least as precise as the dtype that can be asked for, so the word has no other effect.
        self.word(&table, "dtype", &[("f32", ())], Some(()));
        let select_bias = table.node("select_bias");
        let select_bias = select_bias.map(|node| self.full_name("select_bias", node, &[]));
        let groups = match table.has("groups") {
            true => Some(self.groups(&table)?),
            false => None,
        };
        Some(Router {
            name: name?,
            bias: self.flag(&table, "bias", Default::Bool(false)),
            score: score?,
            over_selected: over_selected?,
            softcap: self.optional(&table, "softcap"),
            select_bias: match select_bias {
                Some(name) => Some(name?),
                None => None,
            },
            groups,
            renorm: self.flag(&table, "renorm", Default::Bool(false)),
            renorm_eps: self.literal_number(&table, "renorm_eps", 0.0),
            scale: self.number(&table, "scale", Default::Number(1.0)),
            apply_input: apply_input?,
            at: self.set.at(table.span),
        })
    }

    fn groups(&mut self, router: &Section<'a>) -> Option<RouterGroups> {
        let table = self.subsection(router, "groups")?;
        self.known_keys(&table, &["count", "keep", "rank", "on"]);
        let top2_sum = self.word(&table, "rank", &[("max", false), ("top2_sum", true)], None);
        Some(RouterGroups {
            count: self.value(
                &table,
                "count",
                Want::OptNumber,
                Scope::LAYER,
                Default::Required,
            ),
            keep: self.number(&table, "keep", Default::Required),
            top2_sum: top2_sum?,
            on: self.flag(&table, "on", Default::Bool(true)),
        })
    }

    /// Where the experts are in one format.
    fn experts(
        &mut self,
        section: &Section<'a>,
        format: Format,
        bias: &Value,
    ) -> Option<ExpertSource> {
        let key = format.to_string();
        if !section.has(&key) {
            let error = self.missing(section, &key);
            error.help(format!(
                "where the experts are: `{key} = {{ gate = \"..\", up = \"..\", down = \"..\" }}`"
            ));
            return None;
        }
        let table = self.subsection(section, &key)?;
        self.known_keys(
            &table,
            &["gate", "up", "down", "gate_up", "rows", "storage"],
        );
        self.not_both(&table, "gate_up", &["gate", "up"])?;
        let rows = self.gate_up_rows(table.node("rows"));
        let down = self.expert_name(&table, "down");
        let gate_up = match table.has("gate_up") {
            true => {
                let name = self.expert_name(&table, "gate_up");
                GateUpSource::Fused {
                    name: name?,
                    rows: rows?,
                }
            }
            false => {
                let (gate, up) = (
                    self.expert_name(&table, "gate"),
                    self.expert_name(&table, "up"),
                );
                GateUpSource::Split {
                    gate: Some(gate?),
                    up: up?,
                }
            }
        };
        let storage = match table.has("storage") {
            true => Some(self.storage(&table, format, bias)?),
            false => None,
        };
        Some(ExpertSource {
            gate_up,
            down: down?,
            storage,
            at: self.set.at(table.span),
        })
    }

    fn expert_name(&mut self, table: &Section<'a>, key: &str) -> Option<String> {
        let Some(node) = table.node(key) else {
            self.missing(table, key);
            return None;
        };
        let Some(text) = node.text() else {
            self.wrong_form(key, node, "a plain name here: the sub-table is one format");
            return None;
        };
        self.placeholders(node, &["e"])?;
        Some(text.value.clone())
    }

    /// The `[storage.*]` table that experts name.
    fn storage(&mut self, table: &Section<'a>, format: Format, bias: &Value) -> Option<Storage> {
        let node = table.node("storage")?;
        let Some(text) = node.text() else {
            self.wrong_form("storage", node, "the name of a [storage.*] table");
            return None;
        };
        let all = self
            .merged
            .table
            .get(STORAGE)
            .and_then(|entry| entry.node.table());
        let Some(entry) = all.and_then(|all| all.get(&text.value)) else {
            let known = all.map_or(Vec::new(), |all| {
                all.entries.iter().map(|entry| entry.key.as_str()).collect()
            });
            let error = self.error(
                node.span,
                format!("there is no table [storage.{}]", text.value),
            );
            match nearest(&text.value, known) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(
                    "it says how stacked experts are spelt, as in `plain = { weight = \"{P}\" }`",
                ),
            };
            return None;
        };
        let section = self.section(entry, &format!("[storage.{}]", entry.key))?;
        let storage = self.storage_table(&entry.key, &section)?;
        let biased = bias.get(format).kind != ExprKind::Bool(false);
        if biased && storage.bias.is_none() {
            let error = self.error(
                section.span,
                format!(
                    "{} needs `plain.bias`, because the experts have a bias",
                    section.title
                ),
            );
            error.help("as in `plain = { weight = \"{P}\", bias = \"{P}_bias\" }`");
            return None;
        }
        Some(storage)
    }

    /// Checks the spec's own `[storage.*]` tables, named by experts or not.
    pub(super) fn storages(&mut self, own: &'a Table) {
        let Some(entry) = own.get(STORAGE) else {
            return;
        };
        let Some(section) = self.section(entry, "[storage]") else {
            return;
        };
        for entry in &section.table.entries {
            let title = format!("[storage.{}]", entry.key);
            if let Some(section) = self.section(entry, &title) {
                self.storage_table(&entry.key, &section);
            }
        }
    }

    fn storage_table(&mut self, name: &str, section: &Section<'a>) -> Option<Storage> {
        self.known_keys(section, &["plain", "mxfp4"]);
        if !section.has("plain") {
            self.missing(section, "plain")
                .help("the float tensor: `plain = { weight = \"{P}\" }`");
            return None;
        }
        let plain = self.subsection(section, "plain")?;
        self.known_keys(
            &plain,
            &["weight", "bias", "transposed", "transposed_only", "flat"],
        );
        let weight = self.pattern(&plain, "weight", true);
        let bias = self.pattern(&plain, "bias", false);
        let transposed_only = match plain.node("transposed_only") {
            None => None,
            Some(node) => match node.text() {
                Some(text) => Some(text.value.clone()),
                None => {
                    self.wrong_form("transposed_only", node, "the end of a projection's name");
                    return None;
                }
            },
        };
        let mxfp4 = match section.has("mxfp4") {
            true => Some(self.mxfp4(section)?),
            false => None,
        };
        Some(Storage {
            name: name.to_string(),
            weight: weight??,
            bias: bias?,
            transposed: self.literal_bool(&plain, "transposed"),
            transposed_only,
            flat: self.literal_bool(&plain, "flat"),
            mxfp4,
        })
    }

    fn mxfp4(&mut self, section: &Section<'a>) -> Option<Mxfp4Storage> {
        let table = self.subsection(section, "mxfp4")?;
        self.known_keys(&table, &["blocks", "scales", "bias"]);
        let (blocks, scales) = (
            self.pattern(&table, "blocks", true),
            self.pattern(&table, "scales", true),
        );
        let bias = self.pattern(&table, "bias", false);
        Some(Mxfp4Storage {
            blocks: blocks??,
            scales: scales??,
            bias: bias?,
        })
    }

    /// A tensor name with `{P}`; the inner `None`: it is not given. The outer: a mistake that was told.
    fn pattern(
        &mut self,
        section: &Section<'a>,
        key: &str,
        required: bool,
    ) -> Option<Option<String>> {
        let Some(node) = section.node(key) else {
            if required {
                self.missing(section, key)
                    .help("a tensor name in which `{P}` is the projection");
                return None;
            }
            return Some(None);
        };
        let Some(text) = node.text() else {
            self.wrong_form(key, node, "a tensor name in which `{P}` is the projection");
            return None;
        };
        self.placeholders(node, &["P"])?;
        if !text.value.contains("{P}") {
            let error = self.error(
                node.span,
                format!("`{key}` needs `{{P}}`, the name of the projection"),
            );
            error.help("as in \"{P}.weight\"");
            return None;
        }
        Some(Some(text.value.clone()))
    }

    /// The MLP that every token passes; the inner `None`: there is none.
    fn shared(
        &mut self,
        section: &Section<'a>,
        act: Option<crate::ir::MlpAct>,
    ) -> Option<Option<Shared>> {
        if !section.has("shared") {
            return Some(None);
        }
        let table = self.subsection(section, "shared")?;
        let keys = [
            "kind",
            "on",
            "gate",
            "up",
            "down",
            "gate_up",
            "rows",
            "inter",
            "act",
            "bias",
            "transposed",
            "hf",
            "gguf",
            "out_gate",
        ];
        self.known_keys(&table, &keys);
        self.word(&table, "kind", &[("glu", ())], Some(()));
        let act = match table.has("act") {
            true => self.act(&table, true),
            false => act,
        };
        let mlp = self.mlp_body(&table, true, act);
        let out_gate = match table.node("out_gate") {
            Some(node) => Some(self.full_name("out_gate", node, &[])?),
            None => None,
        };
        Some(Some(Shared {
            mlp: mlp?,
            on: self.flag(&table, "on", Default::Bool(true)),
            out_gate,
        }))
    }
}
