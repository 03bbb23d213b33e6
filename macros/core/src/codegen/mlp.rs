//! Components of kind `glu` and `fc`, and the shared expert of a mixture.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::attn::{flag, flag_let};
use super::expr::{Exprs, Place, float};
use super::options::{Field, Struct, constant, size};
use super::{Module, doc, rows};
use crate::ir::{GateUpSource, Mlp, MlpAct, Name, PerFormat, Word};
use crate::source::At;

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
    let gate = out_gate.map(|gate| {
        let constant = module.constant(&format!("{table}_out_gate"), "_PROJ", gate);
        let value = quote!(Linear::stacked(w, &[(#constant, 1)], hidden, false, false)?);
        let text = format!("{}: `[1, hidden_size]`", doc::spellings([gate]));
        Field::new("out_gate", quote!(Linear), text, value)
    });
    let forward = forward(into, mlp.gated, &act, gate.is_some());
    fields.extend(gate);
    let what = if mlp.gated { "gated MLP" } else { "MLP" };
    Struct {
        name,
        doc: format!("`[{}]`: {what}.", table.replace("_shared", ".shared")),
        fields,
        lets,
        forward,
    }
}

fn forward(into: &str, gated: bool, act: &TokenStream, out_gate: bool) -> TokenStream {
    let into = format_ident!("{into}");
    let activate = if gated {
        quote!(step.glu(#into, #act)?)
    } else {
        quote!(step.activate(#into, #act)?)
    };
    let end = if out_gate {
        quote! {
            let y = self.down.forward(&h, step)?;
            let gate = self.out_gate.forward(x, step)?;
            y.gated(gate, Act::Sigmoid)
        }
    } else {
        quote!(self.down.forward(&h, step))
    };
    quote! {
        /// `[tokens, hidden_size]` → `[tokens, hidden_size]`
        fn forward(&self, x: &Activations, step: &Step) -> Result<Activations> {
            let #into = self.#into.forward(x, step)?;
            let h = #activate;
            #end
        }
    }
}

/// Names of gate and up as far as they are apart, then of both in one matrix.
pub(super) fn gate_up_names(
    sources: &PerFormat<Option<GateUpSource>>,
    at: &[At],
) -> [Option<Name>; 3] {
    type Pick = fn(&GateUpSource) -> Option<&String>;
    let picks: [(usize, Pick); 3] = [
        (0, |source| match source {
            GateUpSource::Split { gate, .. } => gate.as_ref(),
            GateUpSource::Fused { .. } => None,
        }),
        (1, |source| match source {
            GateUpSource::Split { up, .. } => Some(up),
            GateUpSource::Fused { .. } => None,
        }),
        (0, |source| match source {
            GateUpSource::Fused { name, .. } => Some(name),
            GateUpSource::Split { .. } => None,
        }),
    ];
    picks.map(|(index, pick)| {
        let name = |source: &Option<GateUpSource>| source.as_ref().and_then(pick).cloned();
        let names = PerFormat {
            hf: name(&sources.hf),
            gguf: name(&sources.gguf),
        };
        let at = at.get(index).or(at.first()).cloned().unwrap_or_default();
        (names.hf.is_some() || names.gguf.is_some()).then_some(Name { names, at })
    })
}

/// The field of gate and up, or of up alone.
fn projection_in(module: &mut Module, table: &str, mlp: &Mlp, width: &str) -> Field {
    let names = gate_up_names(&mlp.gate_up, &mlp.gate_up_at);
    let spelled = doc::spellings(names.iter().flatten());
    let keys = ["gate", "up", "gate_up"].into_iter();
    let constants: Vec<_> = keys
        .zip(&names)
        .map(|(key, name)| {
            let name = name.as_ref()?;
            Some(module.constant(&format!("{table}_{key}"), "_PROJ", name))
        })
        .collect();
    let exprs = Exprs::new(&module.idents, Place::Load);
    let (bias, transposed) = (flag(&mlp.bias, "bias"), flag(&mlp.transposed, "transposed"));
    let value = exprs.per_format(&mlp.gate_up, |source| match source {
        None => quote!(),
        Some(GateUpSource::Split { .. }) => {
            let parts = constants.iter().take(2).flatten();
            let parts = parts.map(|name| quote!((#name, inter)));
            quote!(Linear::stacked(w, &[#(#parts),*], hidden, #bias, #transposed)?)
        }
        Some(GateUpSource::Fused { rows: layout, .. }) => {
            let fused = constants.last().cloned().flatten();
            let layout = rows::rows(&exprs, layout, &["gate", "up"], |_| quote!(inter));
            quote!(Linear::fused(w, #fused, &#layout, hidden, #bias, #transposed)?)
        }
    });
    let (field, factor) = if mlp.gated {
        ("gate_up", "2 * ")
    } else {
        ("up", "")
    };
    let text = format!("{spelled}: `[{factor}{width}, hidden_size]`");
    Field::new(field, quote!(Linear), text, value)
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
