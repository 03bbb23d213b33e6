//! Components of kind `moe`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::expr::{Exprs, Place, float};
use super::options::{Field, Setting, Struct, always, one_size, size, switched};
use super::{Module, doc, mlp, rows};
use crate::ir::{
    Component, ExpertSource, ExprKind, GateUpSource, MlpAct, Moe, Name, PerFormat, Router,
    RouterGroups, Shared, Storage, Type, Word,
};

/// The struct of a mixture of experts, and before it the items of its shared expert.
pub(super) fn moe(
    module: &mut Module,
    component: &Component,
    moe: &Moe,
    name: Ident,
) -> (TokenStream, Struct) {
    let table = &component.ident;
    let router = router(module, table, moe);
    let experts = experts(module, table, moe);
    let mut fields = vec![router, experts];
    let shared = moe
        .shared
        .as_ref()
        .filter(|shared| !always(&shared.on, false));
    let mut items = quote!();
    if let Some(shared) = shared {
        let (made, field) = self::shared(module, table, shared);
        items = made;
        fields.push(field);
    }
    let end = end(shared);
    let forward = quote! {
        /// `[tokens, hidden_size]` → `[tokens, hidden_size]`
        fn forward(&self, x: &Activations, step: &Step) -> Result<Activations> {
            let routes = self.router.forward(x, step)?;
            #end
        }
    };
    let exprs = Exprs::new(&module.idents, Place::Load);
    let lets = vec![
        mlp::hidden(module),
        (
            format_ident!("experts"),
            size(&exprs, &moe.experts, &format!("{table}.experts")),
        ),
        (
            format_ident!("inter"),
            size(&exprs, &moe.inter, &format!("{table}.inter")),
        ),
    ];
    (
        items,
        Struct {
            name,
            doc: format!("`[{table}]`: mixture of experts."),
            fields,
            lets,
            forward,
        },
    )
}

/// What `forward` gives: the experts' sum, and the shared expert's result added.
fn end(shared: Option<&Shared>) -> TokenStream {
    let experts = quote!(self.experts.forward(x, &routes, step));
    match shared {
        None => experts,
        Some(shared) if always(&shared.on, true) => quote! {
            let y = #experts?;
            let shared = self.shared.forward(x, step)?;
            y.plus(shared)
        },
        Some(_) => quote! {
            let y = #experts?;
            match &self.shared {
                Some(shared) => y.plus(shared.forward(x, step)?),
                None => Ok(y),
            }
        },
    }
}

fn router(module: &mut Module, table: &str, moe: &Moe) -> Field {
    let router = &moe.router;
    let name = module.constant(&format!("{table}_router"), "_PROJ", &router.name);
    let select_bias = router
        .select_bias
        .as_ref()
        .map(|name| module.constant(&format!("{table}_select_bias"), "_VECTOR", name));
    let exprs = Exprs::new(&module.idents, Place::Load);
    let top = size(&exprs, &moe.top, &format!("{table}.top"));
    let score = exprs.per_format(&router.score, |word| match word {
        Word::Literal(word) => score(word),
        Word::Field(name) => {
            let name = exprs.text_field(name);
            quote!(Score::named(#name)?)
        }
    });
    let mut options = vec![quote!(experts), quote!(top: #top), quote!(score: #score)];
    options.extend(router_options(&exprs, router, select_bias.as_ref()));
    let text = format!(
        "{}: `[{}, hidden_size]`",
        doc::spellings([&router.name]),
        doc::symbol(&moe.experts, "experts")
    );
    let rest = (options.len() < 12).then(|| quote!(..RouterOptions::default()));
    let value = quote!(Router::load(w, #name, RouterOptions { #(#options,)* #rest }, hidden)?);
    Field::new("router", quote!(Router), text, value)
}

/// The options that differ from their defaults.
fn router_options(exprs: &Exprs, router: &Router, select_bias: Option<&Ident>) -> Vec<TokenStream> {
    let mut options = Vec::new();
    if router.over_selected {
        options.push(quote!(over: Over::Selected));
    }
    if !always(&router.bias, false) {
        let bias = exprs.boolean(&router.bias);
        options.push(quote!(bias: #bias));
    }
    options.extend(select_bias.map(|name| quote!(select_bias: Some(#name))));
    match Setting::number(exprs, &router.softcap, true) {
        Setting::Off => {}
        Setting::Literal(cap) => options.push(quote!(softcap: Some(#cap))),
        Setting::Loaded(..) => {
            let cap = exprs.optional(&router.softcap);
            options.push(quote!(softcap: #cap));
        }
    }
    if let Some(groups) = router
        .groups
        .as_ref()
        .filter(|groups| !always(&groups.on, false))
    {
        let groups = self::groups(exprs, groups);
        options.push(quote!(groups: #groups));
    }
    if !always(&router.renorm, false) {
        let renorm = exprs.boolean(&router.renorm);
        options.push(quote!(renorm: #renorm));
    }
    if router.renorm_eps != 0.0 {
        let eps = float(router.renorm_eps);
        options.push(quote!(renorm_eps: #eps));
    }
    let scale = exprs.number(&router.scale);
    if scale.to_string() != "1.0" {
        options.push(quote!(scale: #scale));
    }
    if router.apply_input {
        options.push(quote!(apply: Apply::Input));
    }
    options
}

/// `groups`: none where they are off, or their count is none or 0.
fn groups(exprs: &Exprs, groups: &RouterGroups) -> TokenStream {
    let rank = if groups.top2_sum {
        quote!(Rank::Top2Sum)
    } else {
        quote!(Rank::Max)
    };
    let keep = size(exprs, &groups.keep, "groups.keep");
    let some = exprs.per_format(&groups.count, |count| match (&count.kind, count.ty) {
        (ExprKind::None, _) => quote!(None),
        (ExprKind::Number(number), _) if *number == 0.0 => quote!(None),
        (ExprKind::Number(_), _) => {
            let count = one_size(exprs, count, "groups.count");
            quote!(Some(Groups { count: #count, keep: #keep, rank: #rank }))
        }
        _ => {
            let count = exprs.to(count, Type::OptNumber).value();
            quote! {
                match #count {
                    Some(count) if count != 0.0 => {
                        Some(Groups { count: size("groups.count", count)?, keep: #keep, rank: #rank })
                    }
                    _ => None,
                }
            }
        }
    });
    if always(&groups.on, true) {
        return some;
    }
    let on = exprs.boolean(&groups.on);
    quote!(if #on { #some } else { None })
}

fn score(word: &str) -> TokenStream {
    match word {
        "sigmoid" => quote!(Score::Sigmoid),
        "sqrtsoftplus" => quote!(Score::SqrtSoftplus),
        _ => quote!(Score::Softmax),
    }
}

/// The field of the experts.
fn experts(module: &mut Module, table: &str, moe: &Moe) -> Field {
    let fused = |source: &ExpertSource| matches!(source.gate_up, GateUpSource::Fused { .. });
    let each = [&moe.source.hf, &moe.source.gguf];
    let at = each
        .iter()
        .find_map(|source| Some(source.as_ref()?.at.clone()))
        .unwrap_or_default();
    let gate_ups = PerFormat {
        hf: moe.source.hf.as_ref().map(|source| source.gate_up.clone()),
        gguf: moe
            .source
            .gguf
            .as_ref()
            .map(|source| source.gate_up.clone()),
    };
    let [gate, up, gate_up] = mlp::gate_up_names(&gate_ups, std::slice::from_ref(&at));
    let names = PerFormat {
        hf: moe.source.hf.as_ref().map(|source| source.down.clone()),
        gguf: moe.source.gguf.as_ref().map(|source| source.down.clone()),
    };
    let all = [gate, up, gate_up, Some(Name { names, at })];
    let names = doc::spellings(all.iter().flatten());
    let keys = ["gate", "up", "gate_up", "down"];
    let mut constants = keys.into_iter().zip(all).map(|(key, name)| {
        name.map(|name| module.constant(&format!("{table}_{key}"), "_PROJ", &name))
    });
    let mut next = || constants.next().flatten();
    let (gate, up, gate_up, down) = (next(), next(), next(), next());
    drop(constants);
    let storages = PerFormat {
        hf: storage(module, &moe.source.hf),
        gguf: storage(module, &moe.source.gguf),
    };
    let exprs = Exprs::new(&module.idents, Place::Load);
    let value = exprs.per_format(&moe.source, |source| match source {
        None => quote!(),
        Some(source) if fused(source) => {
            let layout = expert_rows(&exprs, &source.gate_up);
            quote!(ExpertNames::Fused { gate_up: #gate_up, rows: #layout, down: #down })
        }
        Some(_) => quote!(ExpertNames::Split { gate: #gate, up: #up, down: #down }),
    });
    let storage = exprs.per_format(&storages, Clone::clone);
    let bias = exprs.boolean(&moe.bias);
    let act = expert_act(&exprs, &moe.act);
    let (e, i) = (
        doc::symbol(&moe.experts, "experts"),
        doc::symbol(&moe.inter, "inter"),
    );
    let text = format!("{names}: `{e}` gated MLPs of width `{i}`");
    let load = quote! {
        Experts::load(
            w,
            ExpertsOptions { names: #value, storage: #storage, count: experts, inter, hidden, act: #act, bias: #bias },
        )?
    };
    Field::new("experts", quote!(Experts), text, load)
}

fn expert_act(exprs: &Exprs, act: &MlpAct) -> TokenStream {
    let (Ok(value) | Err((_, value))) = mlp::activation(exprs, act);
    if matches!(act, MlpAct::Clamped { .. }) {
        value
    } else {
        quote!(Glu::Act(#value))
    }
}

fn expert_rows(exprs: &Exprs, source: &GateUpSource) -> TokenStream {
    match source {
        GateUpSource::Fused { rows: layout, .. } => {
            rows::rows(exprs, layout, &["gate", "up"], |_| quote!(inter))
        }
        GateUpSource::Split { .. } => quote!(),
    }
}

/// The constant of a `[storage]` table.
fn storage(module: &mut Module, source: &Option<ExpertSource>) -> TokenStream {
    let Some(storage) = source.as_ref().and_then(|source| source.storage.as_ref()) else {
        return quote!(None);
    };
    let Storage {
        weight,
        transposed,
        flat,
        ..
    } = storage;
    let text = |text: &Option<String>| {
        text.as_ref()
            .map_or(quote!(None), |text| quote!(Some(#text)))
    };
    let (bias, transposed_only) = (text(&storage.bias), text(&storage.transposed_only));
    let mxfp4 = storage.mxfp4.as_ref().map_or(quote!(None), |mxfp4| {
        let (blocks, scales, bias) = (&mxfp4.blocks, &mxfp4.scales, text(&mxfp4.bias));
        quote!(Some(Mxfp4Storage { blocks: #blocks, scales: #scales, bias: #bias }))
    });
    let value = quote! {
        Storage {
            weight: #weight,
            bias: #bias,
            transposed: #transposed,
            transposed_only: #transposed_only,
            flat: #flat,
            mxfp4: #mxfp4,
        }
    };
    let name = module.storage(&storage.name, value);
    quote!(Some(#name))
}

/// The items of the shared expert and its field.
fn shared(module: &mut Module, table: &str, shared: &Shared) -> (TokenStream, Field) {
    let name = module
        .types
        .take(&super::camel(&format!("{table}_shared")), "Mlp");
    let table = format!("{table}_shared");
    let (items, arguments) = mlp::mlp(
        module,
        &table,
        &shared.mlp,
        name.clone(),
        shared.out_gate.as_ref(),
    )
    .print();
    let exprs = Exprs::new(&module.idents, Place::Load);
    let (ty, value) = switched(
        &exprs,
        &shared.on,
        quote!(#name),
        quote!(#name::load(#(#arguments),*)?),
    );
    (
        items,
        Field::new("shared", ty, "The expert that every token passes.", value),
    )
}
