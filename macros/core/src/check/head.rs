//! `[embed]` and `[head]`.

use super::Checker;
use super::values::{Default, Section, columns};
use crate::ir::{Embed, Format, Head, Name, PerFormat, Tied, Value};
use crate::spec::{self, Node};
use crate::types::{Scope, Want};

const ABSENT_OUT: &str = "absent(out)";

impl<'a> Checker<'a> {
    pub(super) fn embed(&mut self, section: &Section<'a>) -> Option<Embed> {
        self.known_keys(section, &["tokens", "scale", "positions", "offset", "norm"]);
        let tokens = self.name(section, "tokens", &[]);
        let scale = self.value(
            section,
            "scale",
            Want::Number,
            Scope::ONCE,
            Default::Number(1.0),
        );
        let positions = self.positions(section);
        let norm = match section.get("norm") {
            Some(entry) => Some(self.norm_instance("embed_norm", entry, " of [embed]")?),
            None => None,
        };
        Some(Embed {
            tokens: tokens?,
            scale,
            positions: positions?,
            norm,
        })
    }

    /// Learned positions and their offset; `None` is a mistake that was told.
    fn positions(&mut self, section: &Section<'a>) -> Option<Option<(Name, Value)>> {
        let offset = |cx: &mut Self| {
            cx.value(
                section,
                "offset",
                Want::Number,
                Scope::ONCE,
                Default::Number(0.0),
            )
        };
        let Some(node) = section.node("positions") else {
            return Some(None);
        };
        match &node.value {
            spec::Value::Text(text) if text.value == "none" => Some(None),
            spec::Value::List(_) => {
                let name = self.full_name("positions", node, &[])?;
                Some(Some((name, offset(self))))
            }
            _ => {
                let error = self.error(
                    node.span,
                    "`positions` takes a list with one name per format, or \"none\"",
                );
                error.help("also a name that is the same in all formats is written as a list here");
                None
            }
        }
    }

    pub(super) fn head(&mut self, section: &Section<'a>) -> Option<Head> {
        self.known_keys(
            section,
            &["norm", "out", "tied", "bias", "scale", "softcap"],
        );
        let norm = match section.get("norm") {
            Some(entry) => self.norm_instance("norm", entry, " of [head]"),
            None => {
                self.missing(section, "norm")
                    .help("the norm of the last hidden state, or `{ weight = false }`");
                None
            }
        };
        let out = self.name(section, "out", &[]);
        let tied = self.tied(section);
        let bias = self.value(
            section,
            "bias",
            Want::Bool,
            Scope::ONCE,
            Default::Bool(false),
        );
        let scale = self.value(
            section,
            "scale",
            Want::Number,
            Scope::ONCE,
            Default::Number(1.0),
        );
        let softcap = self.value(
            section,
            "softcap",
            Want::OptNumber,
            Scope::ONCE,
            Default::None,
        );
        Some(Head {
            norm: norm?,
            out: out?,
            tied: tied?,
            bias,
            scale,
            softcap,
        })
    }

    fn tied(&mut self, section: &Section<'a>) -> Option<PerFormat<Tied>> {
        let node = section.node("tied");
        let columns = node.map_or(PerFormat::both(None), |node| {
            columns(node).unwrap_or(PerFormat::both(Some(node)))
        });
        let tied = self.per_format(|cx, format| match columns.get(format) {
            Some(node) => cx.one_tied(node),
            None => cx.default_tied(section, format),
        });
        Some(PerFormat {
            hf: tied.hf?,
            gguf: tied.gguf?,
        })
    }

    fn one_tied(&mut self, node: &'a Node) -> Option<Tied> {
        match node.text() {
            Some(text) if text.value.trim() == ABSENT_OUT => Some(Tied::AbsentOut),
            _ => Some(Tied::Expr(self.scalar(
                "tied",
                node,
                Want::Bool,
                Scope::ONCE,
            )?)),
        }
    }

    fn default_tied(&mut self, section: &Section<'a>, format: Format) -> Option<Tied> {
        match format {
            Format::Gguf => Some(Tied::AbsentOut),
            Format::Hf => {
                let (kind, ty) = self.look_up("tie_embeddings", Scope::ONCE, section.span)?;
                Some(Tied::Expr(self.literal(kind, ty, section.span)))
            }
        }
    }
}
