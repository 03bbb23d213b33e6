//! Components of kind `glu` and `fc`, and the shared expert of a mixture.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::attn::{flag, flag_let};
use super::expr::{Exprs, Place, float};
use super::options::{Field, Struct, constant, size};
use super::{Module, doc, rows};
use crate::ir::{GateUpSource, Mlp, MlpAct, Name, PerFormat, Word};

/// `let hidden = ..`
pub(super) fn hidden(module: &Module) -> (Ident, TokenStream) {
    let method = module.idents.field("hidden_size");
    (
        format_ident!("hidden"),
        quote!(size("hidden_size", cfg.#method()?)?),
    )
}

/// The struct of an MLP; constants are named after `table`.
pub(super) fn mlp(
    module: &mut Module,
    table: &str,
    mlp: &Mlp,
    name: Ident,
    out_gate: Option<&Name>,
) -> Struct {
    let width = doc::symbol(&mlp.inter, "inter");
    let mut fields = Vec::new();
    let into = if mlp.gated { "gate_up" } else { "up" };
    let into_field = projection_in(module, table, mlp, &width);
    fields.push(into_field);
    let exprs = Exprs::new(&module.idents, Place::Load);
    let act = match activation(&exprs, &mlp.act) {
        Ok(literal) => literal,
        Err((ty, value)) => {
            fields.push(Field::new("act", ty, "", value));
            quote!(self.act)
        }
    };
    let (bias, transposed) = (flag(&mlp.bias, "bias"), flag(&mlp.transposed, "transposed"));
    let inter = size(&exprs, &mlp.inter, &format!("{table}.inter"));
    let mut lets = vec![hidden(module), (format_ident!("inter"), inter)];
    lets.extend(flag_let(&exprs, &mlp.bias, "bias"));
    lets.extend(flag_let(&exprs, &mlp.transposed, "transposed"));
    let down = module.constant(&format!("{table}_down"), "_PROJ", &mlp.down);
    let value = quote!(Linear::stacked(w, &[(#down, hidden)], inter, #bias, #transposed)?);
    fields.push(Field::new(
        "down",
        quote!(Linear),
        format!("{}: `[hidden_size, {width}]`", doc::spellings([&mlp.down])),
        value,
    ));
    let mut end = quote!(self.down.forward(&h, step));
    if let Some(gate) = out_gate {
        let constant = module.constant(&format!("{table}_out_gate"), "_PROJ", gate);
        let value = quote!(Linear::stacked(w, &[(#constant, 1)], hidden, false, false)?);
        fields.push(Field::new(
            "out_gate",
            quote!(Linear),
            format!("{}: `[1, hidden_size]`", doc::spellings([gate])),
            value,
        ));
        end = quote! {
            let y = #end?;
            let gate = self.out_gate.forward(x, step)?;
            y.gated(gate, Act::Sigmoid)
        };
    }
    let into = format_ident!("{into}");
    let activate = if mlp.gated {
        quote!(step.glu(#into, #act)?)
    } else {
        quote!(step.activate(#into, #act)?)
    };
    let forward = quote! {
        /// `[tokens, hidden_size]` → `[tokens, hidden_size]`
        fn forward(&self, x: &Activations, step: &Step) -> Result<Activations> {
            let #into = self.#into.forward(x, step)?;
            let h = #activate;
            #end
        }
    };
    let what = if mlp.gated { "gated MLP" } else { "MLP" };
    Struct {
        name,
        doc: format!("`[{}]`: {what}.", table.replace("_shared", ".shared")),
        fields,
        lets,
        forward,
    }
}

/// The field of gate and up, or of up alone.
fn projection_in(module: &mut Module, table: &str, mlp: &Mlp, width: &str) -> Field {
    let part = |at: usize, pick: &dyn Fn(&GateUpSource) -> Option<&String>| {
        let pick = |source: &Option<GateUpSource>| source.as_ref().and_then(pick).cloned();
        let names = PerFormat {
            hf: pick(&mlp.gate_up.hf),
            gguf: pick(&mlp.gate_up.gguf),
        };
        let at = mlp
            .gate_up_at
            .get(at)
            .or(mlp.gate_up_at.first())
            .cloned()
            .unwrap_or_default();
        (names.hf.is_some() || names.gguf.is_some()).then_some(Name { names, at })
    };
    let gate = part(0, &|source| match source {
        GateUpSource::Split { gate, .. } => gate.as_ref(),
        GateUpSource::Fused { .. } => None,
    });
    let up = part(1, &|source| match source {
        GateUpSource::Split { up, .. } => Some(up),
        GateUpSource::Fused { .. } => None,
    });
    let fused = part(0, &|source| match source {
        GateUpSource::Fused { name, .. } => Some(name),
        GateUpSource::Split { .. } => None,
    });
    let names = doc::spellings([&gate, &up, &fused].into_iter().flatten());
    let mut constant = |key: &str, name: Option<Name>| {
        name.map(|name| module.constant(&format!("{table}_{key}"), "_PROJ", &name))
    };
    let (gate, up, fused) = (
        constant("gate", gate),
        constant("up", up),
        constant("gate_up", fused),
    );
    let exprs = Exprs::new(&module.idents, Place::Load);
    let (bias, transposed) = (flag(&mlp.bias, "bias"), flag(&mlp.transposed, "transposed"));
    let value = exprs.per_format(&mlp.gate_up, |source| match source {
        None => quote!(),
        Some(GateUpSource::Split { .. }) => {
            let parts = [&gate, &up]
                .into_iter()
                .flatten()
                .map(|name| quote!((#name, inter)));
            quote!(Linear::stacked(w, &[#(#parts),*], hidden, #bias, #transposed)?)
        }
        Some(GateUpSource::Fused { rows: layout, .. }) => {
            let layout = rows::rows(&exprs, layout, &["gate", "up"], |_| quote!(inter));
            quote!(Linear::fused(w, #fused, &#layout, hidden, #bias, #transposed)?)
        }
    });
    let (field, factor) = if mlp.gated {
        ("gate_up", "2 * ")
    } else {
        ("up", "")
    };
    Field::new(
        field,
        quote!(Linear),
        format!("{names}: `[{factor}{width}, hidden_size]`"),
        value,
    )
}

/// An activation: a literal for `forward`, else type and value of a field.
pub(super) fn activation(
    exprs: &Exprs,
    act: &MlpAct,
) -> Result<TokenStream, (TokenStream, TokenStream)> {
    match act {
        MlpAct::Word(PerFormat {
            hf: Word::Literal(hf),
            gguf: Word::Literal(gguf),
        }) if word(hf).to_string() == word(gguf).to_string() => Ok(word(hf)),
        MlpAct::Word(words) => {
            let value = exprs.per_format(words, |one| match one {
                Word::Literal(text) => word(text),
                Word::Field(name) => {
                    let name = exprs.text_field(name);
                    quote!(Act::named(#name)?)
                }
            });
            Err((quote!(Act), value))
        }
        MlpAct::Clamped {
            alpha,
            limit,
            up_shift,
        } => {
            let known = [&alpha.hf, &alpha.gguf, &limit.hf, &limit.gguf]
                .iter()
                .all(|expr| constant(expr).is_some());
            let (alpha, limit, up_shift) =
                (exprs.number(alpha), exprs.number(limit), float(*up_shift));
            let value = quote!(Glu::Clamped { alpha: #alpha, limit: #limit, up_shift: #up_shift });
            let fixed = known && !value.to_string().contains("match");
            if fixed {
                Ok(value)
            } else {
                Err((quote!(Glu), value))
            }
        }
    }
}

/// An activation of the language.
pub(super) fn word(word: &str) -> TokenStream {
    match word {
        "silu" | "swish" => quote!(Act::Silu),
        "gelu" => quote!(Act::Gelu),
        "relu" => quote!(Act::Relu),
        "relu2" => quote!(Act::Relu2),
        "sigmoid" => quote!(Act::Sigmoid),
        "softplus" => quote!(Act::Softplus),
        "identity" => quote!(Act::Identity),
        _ => quote!(Act::GeluTanh),
    }
}
