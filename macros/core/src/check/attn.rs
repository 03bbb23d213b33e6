//! Kind `gqa`: grouped-query attention.

use super::Checker;
use super::components::Projections;
use super::rows::QKV;
use super::values::{Default, Section, columns};
use crate::ir::{ExprKind, Name};
use crate::ir::{
    Format, Gqa, OutGate, PerFormat, QTemperature, QkNorm, QkvSource, Rope, Scope as NormScope,
    Value,
};
use crate::spec;

const KEYS: [&str; 27] = [
    "kind",
    "heads",
    "kv_heads",
    "head_dim",
    "v_head_dim",
    "q",
    "k",
    "v",
    "qkv",
    "rows",
    "o",
    "hf",
    "gguf",
    "bias",
    "o_bias",
    "transposed",
    "qk_norm",
    "clip",
    "scale",
    "softcap",
    "alibi",
    "window",
    "chunk",
    "sinks",
    "q_temperature",
    "v_scale",
    "out_gate",
];

impl<'a> Checker<'a> {
    pub(super) fn gqa(&mut self, section: &Section<'a>) -> Option<Gqa> {
        self.known_keys(section, &KEYS);
        let names = self.projections(section, &["q", "k", "v", "qkv", "o"]);
        let spelled = self.not_both(section, "qkv", &["q", "k", "v"]);
        let head_dim = self.head_dim(section);
        let bias = self.flag(section, "bias", Default::Bool(false));
        let o_bias = self.flag(section, "o_bias", Default::Value(bias.clone()));
        let qkv = spelled.and_then(|()| self.qkv(section, &names));
        let o = self.projection(section, &names, "o");
        let qk_norm = self.qk_norm(section);
        let sinks = self.sinks(section);
        let q_temperature = self.q_temperature(section);
        let out_gate = self.out_gate(section, qkv.as_ref());
        let rope = self.shared_rope();
        Some(Gqa {
            heads: self.number(section, "heads", Default::Field("num_heads")),
            kv_heads: self.number(section, "kv_heads", Default::Field("num_kv_heads")),
            head_dim,
            v_head_dim: section
                .has("v_head_dim")
                .then(|| self.number(section, "v_head_dim", Default::Required)),
            qkv: qkv?,
            qkv_at: self.places(&names, &[&["q", "qkv"], &["k"], &["v"]]),
            o: o?,
            bias,
            o_bias,
            transposed: self.flag(section, "transposed", Default::Bool(false)),
            qk_norm: qk_norm?,
            clip: self.optional(section, "clip"),
            scale: self.optional(section, "scale"),
            softcap: self.optional(section, "softcap"),
            alibi: self.flag(section, "alibi", Default::Bool(false)),
            window: self.optional(section, "window"),
            chunk: self.optional(section, "chunk"),
            sinks: sinks?,
            q_temperature: q_temperature?,
            v_scale: self.optional(section, "v_scale"),
            out_gate: out_gate?,
            rope: rope?,
        })
    }

    /// The width of heads, which always comes from the table `[attn]`.
    fn head_dim(&mut self, section: &Section<'a>) -> Value {
        let attn = self
            .merged
            .table
            .get("attn")
            .and_then(|entry| Some((entry, entry.node.table()?)));
        let Some((entry, table)) = attn.filter(|_| section.title != "[attn]") else {
            return self.number(section, "head_dim", Default::Field("head_dim"));
        };
        let attn = Section {
            table,
            title: "[attn]".to_string(),
            span: entry.key_span,
        };
        let value = self.number(&attn, "head_dim", Default::Field("head_dim"));
        if let Some(entry) = section.get("head_dim") {
            let own = self.number(section, "head_dim", Default::Required);
            if !same(&own.hf.kind, &value.hf.kind) || !same(&own.gguf.kind, &value.gguf.kind) {
                let message = format!("{} has another `head_dim` than [attn]", section.title);
                let error = self.error(entry.key_span, message);
                error.help("`head_dim` is always read from the table [attn]: move it there");
            }
        }
        value
    }

    /// The one `[rope]` of the model; the inner `None`: there is none.
    fn shared_rope(&mut self) -> Option<Option<Rope>> {
        let Some(entry) = self.merged.table.get("rope") else {
            return Some(None);
        };
        let section = self.section(entry, "[rope]")?;
        self.rope(&section).map(Some)
    }

    fn qkv(
        &mut self,
        section: &Section<'a>,
        names: &Projections<'a>,
    ) -> Option<PerFormat<Option<QkvSource>>> {
        let rows = section.node("rows");
        let found = self.per_format(|cx, format| {
            if let Some((name, _)) = names.get("qkv", format) {
                let columns = rows.map_or(PerFormat::both(None), |node| {
                    columns(node).unwrap_or(PerFormat::both(Some(node)))
                });
                let Some(node) = *columns.get(format) else {
                    let error = cx.error(
                        section.span,
                        format!("{} needs the key `rows` for {format}", section.title),
                    );
                    error.help("how the rows of `qkv` lie, as in `rows = \"q k v\"`");
                    return None;
                };
                let rows = cx.rows(node, &QKV)?;
                return Some(QkvSource::Fused { name, rows });
            }
            let (q, k) = (names.get("q", format), names.get("k", format));
            for (key, found) in [("q", &q), ("k", &k)] {
                if found.is_none() {
                    cx.no_projection(section, names, key, format);
                }
            }
            Some(QkvSource::Split {
                q: q?.0,
                k: k?.0,
                v: names.get("v", format).map(|(name, _)| name),
            })
        });
        (found.hf.is_some() && found.gguf.is_some() && !names.failed()).then_some(found)
    }

    /// The inner `None`: no norm of q and k.
    fn qk_norm(&mut self, section: &Section<'a>) -> Option<Option<QkNorm>> {
        let Some(section) = self.table_or_none(section, "qk_norm", true)? else {
            return Some(None);
        };
        let keys = [
            "scope", "q", "k", "on", "when", "kind", "eps", "shift", "bias",
        ];
        self.known_keys(&section, &keys);
        let scopes = [
            ("head", NormScope::Head),
            ("per_head", NormScope::PerHead),
            ("whole", NormScope::Whole),
        ];
        let scope = self.word(&section, "scope", &scopes, None);
        let after_rope = self.word(
            &section,
            "when",
            &[("before_rope", false), ("after_rope", true)],
            Some(false),
        );
        let placeholders: &[&str] = if scope == Some(NormScope::PerHead) {
            &["h"]
        } else {
            &[]
        };
        let q = self.qk_weight(&section, "q", placeholders)?;
        let k = self.qk_weight(&section, "k", placeholders)?;
        let options = self.norm_options(&section, false);
        let off = |kind: &ExprKind| *kind == ExprKind::Bool(false);
        let biased = !(off(&options.bias.hf.kind) && off(&options.bias.gguf.kind));
        if biased && [&q, &k].into_iter().flatten().any(one_per_head) {
            let span = section.node("bias").map_or(section.span, |node| node.span);
            let error = self.error(span, "names with `{h}` have no bias");
            error.help("remove `bias`, or name one tensor for all heads");
        }
        Some(Some(QkNorm {
            scope: scope?,
            q,
            k,
            on: self.flag(&section, "on", Default::Bool(true)),
            after_rope: after_rope?,
            options,
        }))
    }

    /// The weight of q's or k's norm; the inner `None`: there is none.
    fn qk_weight(
        &mut self,
        section: &Section<'a>,
        key: &str,
        placeholders: &[&str],
    ) -> Option<Option<Name>> {
        match section.node(key) {
            Some(node) => self.full_name(key, node, placeholders).map(Some),
            None => Some(None),
        }
    }

    /// A sub-table; the inner `None`: it is absent, or `"none"` where that is allowed.
    fn table_or_none(
        &mut self,
        section: &Section<'a>,
        key: &str,
        none: bool,
    ) -> Option<Option<Section<'a>>> {
        let Some(node) = section.node(key) else {
            return Some(None);
        };
        if none && node.text().is_some_and(|text| text.value == "none") {
            return Some(None);
        }
        if none && node.table().is_none() {
            self.wrong_form(key, node, "a table, or \"none\"");
            return None;
        }
        self.subsection(section, key).map(Some)
    }

    fn sinks(&mut self, section: &Section<'a>) -> Option<Option<(Name, Value)>> {
        let Some(node) = section.node("sinks") else {
            return Some(None);
        };
        if !matches!(node.value, spec::Value::Table(_)) {
            let name = self.full_name("sinks", node, &[])?;
            let on = PerFormat::both(self.bool_literal(true, node.span));
            return Some(Some((name, on)));
        }
        let table = self.subsection(section, "sinks")?;
        self.known_keys(&table, &["name", "on"]);
        let on = self.flag(&table, "on", Default::Bool(true));
        Some(Some((self.name(&table, "name", &[])?, on)))
    }

    fn q_temperature(&mut self, section: &Section<'a>) -> Option<Option<QTemperature>> {
        let Some(table) = self.table_or_none(section, "q_temperature", false)? else {
            return Some(None);
        };
        self.known_keys(&table, &["scale", "floor", "on", "from_one"]);
        Some(Some(QTemperature {
            scale: self.number(&table, "scale", Default::Required),
            floor: self.number(&table, "floor", Default::Required),
            on: self.flag(&table, "on", Default::Bool(true)),
            from_one: self.literal_bool(&table, "from_one"),
        }))
    }

    /// The gate of the output: a projection of its own, or rows of `qkv`.
    fn out_gate(
        &mut self,
        section: &Section<'a>,
        qkv: Option<&PerFormat<Option<QkvSource>>>,
    ) -> Option<Option<OutGate>> {
        let in_rows = |format: Format| {
            let source = qkv.and_then(|qkv| qkv.get(format).as_ref());
            matches!(source, Some(QkvSource::Fused { rows, .. }) if rows.parts.iter().any(|part| part == "gate"))
        };
        let Some(table) = self.table_or_none(section, "out_gate", false)? else {
            if let Some(format) = self.formats.iter().find(|format| in_rows(**format)) {
                let message = format!(
                    "`rows` has `gate` for {format}, but {} has no `out_gate`",
                    section.title
                );
                let span = section.node("rows").map_or(section.span, |node| node.span);
                self.error(span, message)
                    .help("write `out_gate = {}`, or with an `act` of its own");
                return None;
            }
            return Some(None);
        };
        self.known_keys(&table, &["name", "act"]);
        let words = super::mlp::ACTIVATIONS.map(|word| (word, word));
        let act = self.word(&table, "act", &words, Some("sigmoid"));
        let mut name = match table.node("name") {
            Some(node) => Some(self.name_form("name", node, &[])?),
            None => None,
        };
        for format in self.formats.clone() {
            let named = name
                .as_ref()
                .is_some_and(|name| name.names.get(format).is_some());
            if !named && !in_rows(format) && qkv.is_some() {
                let error = self.missing(&table, "name");
                error.help(format!("only where the rows of `qkv` carry the gate it has no name; for {format} they do not"));
                return None;
            }
        }
        if let Some(name) = &mut name {
            let kept = self.per_format(|_, format| {
                name.names.get(format).clone().filter(|_| !in_rows(format))
            });
            name.names = kept;
        }
        Some(Some(OutGate {
            name: name.filter(|name| name.names.hf.is_some() || name.names.gguf.is_some()),
            act: act?.to_string(),
        }))
    }
}

/// Whether a name stands for one tensor per head.
fn one_per_head(name: &Name) -> bool {
    let names = [&name.names.hf, &name.names.gguf].into_iter().flatten();
    names.into_iter().any(|name| name.contains("{h}"))
}

/// Whether two expressions say the same, wherever they stand.
fn same(a: &ExprKind, b: &ExprKind) -> bool {
    let both = |a: &[&crate::ir::Expr], b: &[&crate::ir::Expr]| {
        a.iter().zip(b).all(|(a, b)| same(&a.kind, &b.kind))
    };
    match (a, b) {
        (ExprKind::Neg(a), ExprKind::Neg(b)) | (ExprKind::Not(a), ExprKind::Not(b)) => {
            same(&a.kind, &b.kind)
        }
        (ExprKind::Binary(op, a, b), ExprKind::Binary(other, c, d)) => {
            op == other && both(&[a, b], &[c, d])
        }
        (ExprKind::If(a, b, c), ExprKind::If(d, e, f)) => both(&[a, b, c], &[d, e, f]),
        (ExprKind::Index(a, b), ExprKind::Index(c, d)) => both(&[a, b], &[c, d]),
        (ExprKind::Call(f, a), ExprKind::Call(g, b)) => {
            f == g && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.kind, &b.kind))
        }
        (a, b) => a == b,
    }
}
