//! The projections of queries, keys and values.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::super::expr::{Exprs, Place};
use super::super::options::Field;
use super::super::{Module, doc, mentions, rows};
use super::gate::Tail;
use super::{Attention, flag};
use crate::ir::{Name, PerFormat, QkvSource};

impl Attention<'_> {
    /// A name that stands for one part of the source, per format.
    fn name(&self, at: usize, pick: impl Fn(&QkvSource) -> Option<&String>) -> Option<Name> {
        let pick = |source: &Option<QkvSource>| source.as_ref().and_then(&pick).cloned();
        let names = PerFormat {
            hf: pick(&self.gqa.qkv.hf),
            gguf: pick(&self.gqa.qkv.gguf),
        };
        let at = self
            .gqa
            .qkv_at
            .get(at)
            .or(self.gqa.qkv_at.first())
            .cloned()
            .unwrap_or_default();
        (names.hf.is_some() || names.gguf.is_some()).then_some(Name { names, at })
    }

    pub(super) fn qkv(&mut self, module: &mut Module, tail: &Tail) {
        let parts = [("q", 0), ("k", 1), ("v", 2)];
        let parts = parts.map(|(key, part)| {
            self.name(part, |source| split_name(source, part))
                .map(|name| (key, name))
        });
        let fused = self.name(0, |source| match source {
            QkvSource::Fused { name, .. } => Some(name),
            QkvSource::Split { .. } => None,
        });
        let names = parts.iter().flatten().map(|(_, name)| name);
        let names = doc::spellings(names.chain(&fused));
        let constants = parts.each_ref().map(|part| {
            part.as_ref()
                .map(|(key, name)| self.constant(module, key, name))
        });
        let fused = fused.map(|name| self.constant(module, "qkv", &name));
        let exprs = Exprs::new(&module.idents, Place::Load);
        let (bias, transposed) = (
            flag(&self.gqa.bias, "bias"),
            flag(&self.gqa.transposed, "transposed"),
        );
        let parts = |source: &Option<QkvSource>| match source {
            Some(QkvSource::Split { v, .. }) => {
                let rows = ["q_rows", "k_rows", "v_rows"].map(|rows| format_ident!("{rows}"));
                let parts = constants
                    .iter()
                    .zip(rows)
                    .take(if v.is_some() { 3 } else { 2 });
                let parts = parts.filter_map(|(name, rows)| {
                    name.as_ref().map(|name| quote!((#name, heads.#rows())))
                });
                quote!([#(#parts),*])
            }
            _ => quote!(),
        };
        let shared = exprs.per_format(&self.gqa.qkv, parts);
        let apart = mentions(&shared, "match");
        let value = exprs.per_format(&self.gqa.qkv, |source| match source {
            None => quote!(),
            Some(QkvSource::Split { .. }) => {
                let parts = if apart { parts(source) } else { quote!(parts) };
                quote!(Linear::stacked(w, &#parts, hidden, #bias, #transposed)?)
            }
            Some(QkvSource::Fused { rows: layout, .. }) => {
                let layout = rows::rows(&exprs, layout, &["q", "k", "v", "gate"], part_rows);
                quote!(Linear::fused(w, #fused, &#layout, hidden, #bias, #transposed)?)
            }
        });
        self.parts = (!apart).then_some(shared);
        let shape = self.shape(tail);
        self.fields.push(Field::new(
            "qkv",
            quote!(Linear),
            format!("{names}: `[{shape}, hidden_size]`"),
            value,
        ));
    }

    /// Rows of q, k, v together, in symbols.
    fn shape(&self, tail: &Tail) -> String {
        let v = |source: &Option<QkvSource>| {
            !matches!(source, None | Some(QkvSource::Split { v: None, .. }))
        };
        let has_v = v(&self.gqa.qkv.hf) || v(&self.gqa.qkv.gguf);
        let heads = if matches!(tail, Tail::None) {
            "heads"
        } else {
            "2 * heads"
        };
        match (has_v, &self.gqa.v_head_dim) {
            (false, _) => format!("({heads} + kv_heads) * head_dim"),
            (true, None) => format!("({heads} + 2 * kv_heads) * head_dim"),
            (true, Some(_)) => format!("({heads} + kv_heads) * head_dim + kv_heads * v_head_dim"),
        }
    }
}

/// The name of q, k or v where they are apart.
fn split_name(source: &QkvSource, part: usize) -> Option<&String> {
    match source {
        QkvSource::Split { q, k, v } => [Some(q), Some(k), v.as_ref()].get(part).copied().flatten(),
        QkvSource::Fused { .. } => None,
    }
}

fn part_rows(part: &str) -> TokenStream {
    match part {
        "k" => quote!(heads.k_rows()),
        "v" => quote!(heads.v_rows()),
        _ => quote!(heads.q_rows()),
    }
}
