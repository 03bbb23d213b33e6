//! The gate of an attention's output: a projection, or rows of `qkv`.

use proc_macro2::TokenStream;
use quote::quote;

use super::super::expr::{Exprs, Place};
use super::super::options::Field;
use super::super::{Module, doc, mlp};
use super::Attention;
use crate::ir::{Name, OutGate, PerFormat, QkvSource};

/// Where a gate in the rows of `qkv` is split off.
pub(super) enum Tail {
    None,
    Both,
    OneFormat(PerFormat<bool>),
}

impl Attention<'_> {
    pub(super) fn tail(&self, module: &Module) -> Tail {
        let has = |source: &Option<QkvSource>| match source {
            Some(QkvSource::Fused { rows, .. }) => rows.parts.iter().any(|part| part == "gate"),
            _ => false,
        };
        let (hf, gguf) = (has(&self.gqa.qkv.hf), has(&self.gqa.qkv.gguf));
        match (module.idents.hf, module.idents.gguf) {
            (true, true) if hf != gguf => Tail::OneFormat(PerFormat { hf, gguf }),
            (true, _) if hf => Tail::Both,
            (false, true) if gguf => Tail::Both,
            _ => Tail::None,
        }
    }

    /// What splits or computes the gate, and what applies it.
    pub(super) fn gate(&mut self, module: &mut Module, tail: &Tail) -> (TokenStream, TokenStream) {
        let gate = self.gqa.out_gate.as_ref();
        let apply = match gate {
            Some(OutGate { act, .. }) => {
                let act = mlp::word(act);
                quote!(let y = y.gated(gate, #act)?;)
            }
            None => quote!(),
        };
        let rows = Field::new(
            "gate_rows",
            quote!(usize),
            "Rows of the gate at the end of `qkv`.",
            quote!(heads.q_rows()),
        );
        let bound = if gate.is_some() {
            quote!(gate)
        } else {
            quote!(_)
        };
        let name = gate.and_then(|gate| gate.name.as_ref());
        match (tail, name) {
            (Tail::Both, _) => {
                self.fields.push(rows);
                (
                    quote!(let (qkv, #bound) = qkv.split_tail(self.gate_rows)?;),
                    apply,
                )
            }
            (Tail::None, None) => (quote!(), quote!()),
            (Tail::None, Some(name)) => {
                let (text, load) = self.gate_load(module, name);
                self.fields
                    .push(Field::new("gate", quote!(Linear), text, load));
                (quote!(let gate = self.gate.forward(x, step)?;), apply)
            }
            (Tail::OneFormat(in_rows), name) => {
                self.gate_of_one_format(module, in_rows, name, rows, apply)
            }
        }
    }

    /// Rows of `qkv` in one format, and in the other a projection, or nothing if no gate is wanted.
    fn gate_of_one_format(
        &mut self,
        module: &mut Module,
        in_rows: &PerFormat<bool>,
        name: Option<&Name>,
        rows: Field,
        apply: TokenStream,
    ) -> (TokenStream, TokenStream) {
        let load = name.map(|name| self.gate_load(module, name));
        let exprs = Exprs::new(&module.idents, Place::Load);
        let tail = exprs.per_format(in_rows, |in_rows| {
            if *in_rows {
                quote!(Some(heads.q_rows()))
            } else {
                quote!(None)
            }
        });
        self.fields.push(Field {
            ty: quote!(Option<usize>),
            value: tail,
            ..rows
        });
        let Some((text, load)) = load else {
            let split = quote! {
                let qkv = match self.gate_rows {
                    Some(rows) => qkv.split_tail(rows)?.0,
                    None => qkv,
                };
            };
            return (split, quote!());
        };
        let load = exprs.per_format(in_rows, |in_rows| {
            if *in_rows {
                quote!(None)
            } else {
                quote!(Some(#load))
            }
        });
        let gate = Field::new("gate", quote!(Option<Linear>), text, load);
        self.fields.push(gate);
        let split = quote! {
            let (qkv, gate) = match self.gate_rows {
                Some(rows) => qkv.split_tail(rows)?,
                None => (qkv, part(&self.gate, "gate")?.forward(x, step)?),
            };
        };
        (split, apply)
    }

    fn gate_load(&self, module: &mut Module, name: &Name) -> (String, TokenStream) {
        let constant = self.constant(module, "gate", name);
        let text = format!(
            "{}: `[heads * head_dim, hidden_size]` or `[heads, hidden_size]`",
            doc::spellings([name])
        );
        (
            text,
            quote!(Linear::gate(w, #constant, &[heads.out_rows(), heads.q], hidden)?),
        )
    }
}
