//! Components of kind `gqa`.

mod gate;
mod qkv;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use super::expr::{Exprs, Place};
use super::options::{Field, Setting, Struct, always, optional_size, switched};
use super::{Module, doc, mlp, norm, rope};
use crate::ir::{Component, Gqa, Name, PerFormat, QkNorm, QkvSource, Scope, Value};

/// The struct of an attention that a layer calls `calls` times.
pub(super) fn attention(
    module: &mut Module,
    component: &Component,
    gqa: &Gqa,
    name: Ident,
    calls: usize,
) -> Struct {
    let mut attention = Attention {
        table: component.ident.clone(),
        gqa,
        calls,
        fields: Vec::new(),
        parts: None,
    };
    let forward = attention.write(module);
    let lets = attention.lets(module);
    Struct {
        name,
        doc: format!("`[{}]`: grouped-query attention.", component.ident),
        fields: attention.fields,
        lets,
        forward,
    }
}

struct Attention<'a> {
    table: String,
    gqa: &'a Gqa,
    calls: usize,
    fields: Vec<Field>,
    /// `let parts`: the projections in, if they are the same in both formats.
    parts: Option<TokenStream>,
}

impl Attention<'_> {
    fn constant(&self, module: &mut Module, key: &str, name: &Name) -> Ident {
        module.constant(&format!("{}_{key}", self.table), "_PROJ", name)
    }

    fn lets(&self, module: &Module) -> Vec<(Ident, TokenStream)> {
        let exprs = Exprs::new(&module.idents, Place::Load);
        let gqa = self.gqa;
        let (q, kv, dim) = (
            exprs.number(&gqa.heads),
            exprs.number(&gqa.kv_heads),
            exprs.number(&gqa.head_dim),
        );
        let v_dim = gqa
            .v_head_dim
            .as_ref()
            .map_or(dim.clone(), |v_dim| exprs.number(v_dim));
        let mut lets = vec![
            mlp::hidden(module),
            (
                format_ident!("heads"),
                quote!(Heads::new(#q, #kv, #dim, #v_dim)?),
            ),
        ];
        lets.extend(flag_let(&exprs, &gqa.bias, "bias"));
        lets.extend(flag_let(&exprs, &gqa.transposed, "transposed"));
        lets.extend(
            self.parts
                .clone()
                .map(|parts| (format_ident!("parts"), parts)),
        );
        for (name, value) in [("window", &gqa.window), ("chunk", &gqa.chunk)] {
            let size = optional_size(&exprs, value, name);
            lets.extend((!is_word(&size)).then(|| (format_ident!("{name}"), size)));
        }
        lets
    }

    /// Fills the fields in the order of the computation and gives `forward`.
    fn write(&mut self, module: &mut Module) -> TokenStream {
        let tail = self.tail(module);
        self.qkv(module, &tail);
        let prepare = self.prepare(module);
        self.slot(module);
        let attend = self.attend(module);
        let (split, gated) = self.gate(module, &tail);
        self.out(module);
        let (call, kv) = if self.calls > 1 {
            (Some(quote!(call: usize,)), quote!(&self.kv[call]))
        } else {
            (None, quote!(&self.kv))
        };
        let text = doc::doc(match call {
            Some(_) => {
                "`[tokens, hidden_size]` → `[tokens, hidden_size]`; each call of a layer has keys and values of its own."
            }
            None => "`[tokens, hidden_size]` → `[tokens, hidden_size]`",
        });
        quote! {
            #text
            fn forward(&self, x: &Activations, #call step: &mut Step) -> Result<Activations> {
                let qkv = self.qkv.forward(x, step)?;
                #split
                let q = step.append(#kv, qkv)#prepare.run()?;
                let y = step.attend(#kv, q)#attend.run()?;
                #gated
                self.o.forward(&y, step)
            }
        }
    }

    /// What happens to queries, keys and values before attention: the calls on `append`.
    fn prepare(&mut self, module: &mut Module) -> TokenStream {
        let gqa = self.gqa;
        let (before, after) = match &gqa.qk_norm {
            None => (quote!(), quote!()),
            Some(qk_norm) if qk_norm.after_rope => (quote!(), self.qk_norm(module, qk_norm)),
            Some(qk_norm) => (self.qk_norm(module, qk_norm), quote!()),
        };
        let exprs = Exprs::new(&module.idents, Place::Load);
        let clip = Setting::number(&exprs, &gqa.clip, true);
        let clip = clip.call(
            &mut self.fields,
            "clip",
            "clip",
            "Bound of queries, keys and values.",
        );
        let rope = gqa.rope.as_ref().map(|rope| self.rope(module, rope));
        let temperature = self.temperature(module);
        let exprs = Exprs::new(&module.idents, Place::Load);
        let v_scale = Setting::number(&exprs, &gqa.v_scale, true);
        let v_scale = v_scale.call(
            &mut self.fields,
            "v_scale",
            "v_scale",
            "Factor of the values.",
        );
        quote!(#before #clip #rope #after #temperature #v_scale)
    }

    fn qk_norm(&mut self, module: &mut Module, qk_norm: &QkNorm) -> TokenStream {
        let mut name = |key: &str, name: &Option<Name>| match name {
            None => quote!(None),
            Some(name) => {
                let constant =
                    module.constant(&format!("{}_{key}_norm", self.table), "_WEIGHT", name);
                quote!(Some(#constant))
            }
        };
        let (q, k) = (name("q", &qk_norm.q), name("k", &qk_norm.k));
        let (scope, q_shape, k_shape) = match qk_norm.scope {
            Scope::Head => (quote!(Head), "head_dim", "head_dim"),
            Scope::PerHead => (quote!(PerHead), "heads, head_dim", "kv_heads, head_dim"),
            Scope::Whole => (quote!(Whole), "heads * head_dim", "kv_heads * head_dim"),
        };
        let options = match (&qk_norm.q, &qk_norm.k) {
            (None, None) => norm::unweighted(module, &qk_norm.options),
            _ => norm::options(module, &qk_norm.options),
        };
        let shapes = [(&qk_norm.q, q_shape), (&qk_norm.k, k_shape)];
        let shapes: Vec<_> = shapes
            .iter()
            .filter_map(|(name, shape)| {
                name.as_ref()
                    .map(|name| format!("{}: `[{shape}]`", doc::spellings([name])))
            })
            .collect();
        let text = if shapes.is_empty() {
            "Norm of queries and keys, without weights.".into()
        } else {
            shapes.join(", ")
        };
        let value = quote! {
            QkNorm::load(w, QkNormOptions { scope: Scope::#scope, q: #q, k: #k, norm: #options }, heads)?
        };
        let exprs = Exprs::new(&module.idents, Place::Load);
        let (ty, value) = switched(&exprs, &qk_norm.on, quote!(QkNorm), value);
        self.fields.push(Field::new("qk_norm", ty, text, value));
        let argument = reference("qk_norm", always(&qk_norm.on, true));
        quote!(.qk_norm(#argument))
    }

    fn rope(&mut self, module: &mut Module, rope: &crate::ir::Rope) -> TokenStream {
        if always(&rope.on, false) {
            return quote!();
        }
        let arguments = rope::arguments(module, rope);
        let exprs = Exprs::new(&module.idents, Place::Load);
        let value = quote!(rope(#(#arguments,)* heads.dim)?);
        let (ty, value) = switched(&exprs, &rope.on, quote!(Rope), value);
        self.fields.push(Field::new("rope", ty, "", value));
        let argument = reference("rope", always(&rope.on, true));
        quote!(.rope(#argument))
    }

    fn temperature(&mut self, module: &Module) -> TokenStream {
        let Some(temperature) = &self.gqa.q_temperature else {
            return quote!();
        };
        if always(&temperature.on, false) {
            return quote!();
        }
        let exprs = Exprs::new(&module.idents, Place::Load);
        let (scale, floor) = (
            exprs.number(&temperature.scale),
            exprs.number(&temperature.floor),
        );
        let from_one = temperature.from_one;
        let value = quote!(QTemperature { scale: #scale, floor: #floor, from_one: #from_one });
        let (ty, value) = switched(&exprs, &temperature.on, quote!(QTemperature), value);
        self.fields.push(Field::new(
            "temperature",
            ty,
            "Growth of the queries with their position.",
            value,
        ));
        let argument = reference("temperature", always(&temperature.on, true));
        quote!(.temperature(#argument))
    }

    fn slot(&mut self, module: &Module) {
        let exprs = Exprs::new(&module.idents, Place::Load);
        let [window, chunk] =
            [("window", &self.gqa.window), ("chunk", &self.gqa.chunk)].map(|(name, value)| {
                let size = optional_size(&exprs, value, name);
                let name = format_ident!("{name}");
                if is_word(&size) { size } else { quote!(#name) }
            });
        let slot = quote!(w.kv_slot(heads, #window, #chunk)?);
        let shared =
            |source: &Option<QkvSource>| matches!(source, Some(QkvSource::Split { v: None, .. }));
        let shared = PerFormat {
            hf: shared(&self.gqa.qkv.hf),
            gguf: shared(&self.gqa.qkv.gguf),
        };
        let slot = exprs.per_format(&shared, |shared| {
            if *shared {
                quote!(#slot.v_is_k())
            } else {
                slot.clone()
            }
        });
        let (ty, value) = match self.calls {
            0 | 1 => (quote!(KvSlot), slot),
            calls => {
                let slots = std::iter::repeat_n(&slot, calls);
                let calls = Literal::usize_unsuffixed(calls);
                (quote!([KvSlot; #calls]), quote!([#(#slots),*]))
            }
        };
        self.fields.push(Field::new("kv", ty, "", value));
    }

    /// The calls on `attend`.
    fn attend(&mut self, module: &mut Module) -> TokenStream {
        let gqa = self.gqa;
        let exprs = Exprs::new(&module.idents, Place::Load);
        let scale = Setting::number(&exprs, &gqa.scale, false);
        let scale = scale.call(&mut self.fields, "scale", "scale", "Factor of the scores.");
        let softcap = Setting::number(&exprs, &gqa.softcap, true);
        let softcap = softcap.call(&mut self.fields, "softcap", "softcap", "Cap of the scores.");
        let alibi = Setting::boolean(&exprs, &gqa.alibi);
        let alibi = alibi.call(
            &mut self.fields,
            "alibi",
            "alibi",
            "Whether keys are weighted by their position.",
        );
        let sinks = match &gqa.sinks {
            Some((name, on)) if !always(on, false) => {
                let constant = self.constant(module, "sinks", name);
                let exprs = Exprs::new(&module.idents, Place::Load);
                let (ty, value) = switched(
                    &exprs,
                    on,
                    quote!(Sinks),
                    quote!(Sinks::load(w, #constant, heads)?),
                );
                self.fields.push(Field::new(
                    "sinks",
                    ty,
                    format!("{}: `[heads]`", doc::spellings([name])),
                    value,
                ));
                let argument = reference("sinks", always(on, true));
                quote!(.sinks(#argument))
            }
            _ => quote!(),
        };
        quote!(#scale #softcap #alibi #sinks)
    }

    fn out(&mut self, module: &mut Module) {
        let constant = self.constant(module, "o", &self.gqa.o);
        let exprs = Exprs::new(&module.idents, Place::Load);
        let bias = exprs.boolean(&self.gqa.bias).to_string()
            == exprs.boolean(&self.gqa.o_bias).to_string();
        let bias = if bias {
            flag(&self.gqa.o_bias, "bias")
        } else {
            exprs.boolean(&self.gqa.o_bias)
        };
        let transposed = flag(&self.gqa.transposed, "transposed");
        let dim = if self.gqa.v_head_dim.is_some() {
            "v_head_dim"
        } else {
            "head_dim"
        };
        let text = format!(
            "{}: `[hidden_size, heads * {dim}]`",
            doc::spellings([&self.gqa.o])
        );
        let value = quote!(Linear::stacked(w, &[(#constant, hidden)], heads.out_rows(), #bias, #transposed)?);
        self.fields
            .push(Field::new("o", quote!(Linear), text, value));
    }
}

/// A bool that is a literal, else the local `name`.
pub(super) fn flag(value: &Value, name: &str) -> TokenStream {
    if always(value, true) {
        quote!(true)
    } else if always(value, false) {
        quote!(false)
    } else {
        let name = format_ident!("{name}");
        quote!(#name)
    }
}

/// `let name = ..`, unless [`flag`] is a literal.
pub(super) fn flag_let(exprs: &Exprs, value: &Value, name: &str) -> Option<(Ident, TokenStream)> {
    let literal = always(value, true) || always(value, false);
    (!literal).then(|| (format_ident!("{name}"), exprs.boolean(value)))
}

/// A field as an argument: `&self.f`, or of an `Option` `self.f.as_ref()`.
fn reference(field: &str, always: bool) -> TokenStream {
    let field = format_ident!("{field}");
    if always {
        quote!(&self.#field)
    } else {
        quote!(self.#field.as_ref())
    }
}

/// `None` or `Some(4096)`.
fn is_word(size: &TokenStream) -> bool {
    size.to_string() == "None" || size.clone().into_iter().count() == 2
}
