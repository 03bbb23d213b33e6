//! `[rope]`: one loading function that every attention of the model calls.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::Module;
use super::expr::{Code, Exprs, Place, float};
use super::options::parameters;
use crate::ir::{Expr, ExprKind, Param, Rope, Type, Value};

/// The arguments of `fn rope` but for the width of a head, which comes last; writes the function the first time.
pub(super) fn arguments(module: &mut Module, rope: &Rope) -> Vec<Ident> {
    if module.rope.is_none() {
        let (function, arguments) = function(module, rope);
        module.rope = Some(function);
        module.rope_arguments = arguments;
    }
    module.rope_arguments.clone()
}

fn function(module: &Module, rope: &Rope) -> (TokenStream, Vec<Ident>) {
    let exprs = Exprs::new(&module.idents, Place::Load);
    let mut lets = quote!();
    let theta = result(&exprs, &rope.theta, "theta", &mut lets);
    let width = match &rope.dim {
        Some(dim) => {
            let dim = exprs.number(dim);
            quote!(.dim(#dim))
        }
        None if is_number(&rope.partial, 1.0) => quote!(),
        None => {
            let partial = result(&exprs, &rope.partial, "partial", &mut lets);
            quote!(.partial(#partial))
        }
    };
    let pairs = exprs.per_format(&rope.adjacent, |adjacent| {
        if *adjacent {
            quote!(Pairs::Adjacent)
        } else {
            quote!(Pairs::Half)
        }
    });
    let pairs = if pairs.to_string() == quote!(Pairs::Half).to_string() {
        quote!()
    } else {
        quote!(.pairs(#pairs))
    };
    let reverse = rope.reverse.then(|| quote!(.reverse()));
    let scaling = scaling(&exprs, rope);
    let layer_type = layer_type(module);
    let positions = module
        .arch
        .fields
        .iter()
        .any(|field| field.name == "max_positions")
        .then(|| {
            let field = module.idents.field("max_positions");
            quote!(.max_positions(cfg.#field()))
        });
    let factors = freq_factors(module, rope);
    let body = quote! {
        #lets
        RopeOptions::new(head_dim, #theta)#width #pairs #reverse #scaling #layer_type #positions #factors.load(w)
    };
    let (parameters, arguments) = parameters(&body);
    let function = quote! {
        /// `[rope]`: rotary position embedding of heads of `head_dim`.
        fn rope(#(#parameters,)* head_dim: usize) -> Result<Rope> { #body }
    };
    (function, arguments)
}

fn is_number(value: &Value, number: f64) -> bool {
    [&value.hf, &value.gguf]
        .iter()
        .all(|expr| expr.kind == ExprKind::Number(number))
}

/// A number as an unevaluated `Result`, by a closure where it takes more than a lookup.
fn result(exprs: &Exprs, value: &Value, name: &str, lets: &mut TokenStream) -> TokenStream {
    let code = |expr: &Expr| exprs.to(expr, Type::Number);
    let inner = |code: &Code| code.inner_question();
    let text = exprs.per_format(value, |expr| code(expr).result());
    if !inner(&code(&value.hf)) && !inner(&code(&value.gguf)) {
        return text;
    }
    let name = format_ident!("{name}");
    *lets = quote!(#lets let #name = || -> Result<f64> { #text };);
    quote!(#name())
}

fn scaling(exprs: &Exprs, rope: &Rope) -> TokenStream {
    let gaps = params(&rope.scaling_params);
    let gaps = (!rope.scaling_params.is_empty()).then(|| quote!(.scaling_gaps(&[#(#gaps),*])));
    if rope.scaling_fixed {
        return quote!(.scaling(Scaling::Fixed) #gaps);
    }
    if rope.scaling.kind == ExprKind::None {
        return quote!(#gaps);
    }
    let from = from(exprs, &rope.scaling);
    let default = params(&rope.scaling_default);
    let default =
        (!rope.scaling_default.is_empty()).then(|| quote!(.scaling_default(&[#(#default),*])));
    quote!(.scaling(#from) #default #gaps)
}

/// Where the scaling comes from.
fn from(exprs: &Exprs, expr: &Expr) -> TokenStream {
    match &expr.kind {
        ExprKind::Config => quote!(Scaling::Config),
        ExprKind::If(condition, yes, no) => {
            let (condition, yes, other) = (
                exprs.condition(condition),
                from(exprs, yes),
                from(exprs, no),
            );
            let other = if matches!(no.kind, ExprKind::If(..)) {
                other
            } else {
                quote!({ #other })
            };
            quote!(if #condition { #yes } else #other)
        }
        _ => quote!(Scaling::None),
    }
}

fn params(params: &[(String, Param)]) -> impl Iterator<Item = TokenStream> {
    params.iter().map(|(name, value)| {
        let value = match value {
            Param::Number(number) => {
                let number = float(*number);
                quote!(Param::Number(#number))
            }
            Param::Bool(value) => quote!(Param::Bool(#value)),
            Param::Word(word) => quote!(Param::Word(#word)),
            Param::Numbers(numbers) => {
                let numbers = numbers.iter().map(|number| float(*number));
                quote!(Param::Numbers(&[#(#numbers),*]))
            }
        };
        quote!((#name, #value))
    })
}

/// Nested `rope_parameters` are chosen by `layer_types[i]`.
fn layer_type(module: &Module) -> Option<TokenStream> {
    let types = module
        .arch
        .fields
        .iter()
        .find(|field| field.name == "layer_types" && field.ty == Type::Strs)?;
    let method = module.idents.field(&types.name);
    Some(quote!(.layer_type(cfg.#method().and_then(|types| Ok(at(&types, i as f64)?.into())))))
}

fn freq_factors(module: &Module, rope: &Rope) -> TokenStream {
    let print = |names: &Vec<String>| match names.as_slice() {
        [one] => Some(quote!(FreqFactors::One(#one))),
        [short, long] => Some(quote!(FreqFactors::ShortLong(#short, #long))),
        _ => None,
    };
    let hf = print(&rope.freq_factors.hf).filter(|_| module.idents.hf);
    let gguf = print(&rope.freq_factors.gguf).filter(|_| module.idents.gguf);
    let _ = (&hf, &gguf);
    match (hf, gguf) {
        (None, None) => quote!(),
        (hf, gguf) => {
            let some = |factors: Option<TokenStream>| {
                factors.map_or(quote!(None), |factors| quote!(Some(#factors)))
            };
            let (hf, gguf) = (some(hf), some(gguf));
            let factors = Exprs::new(&module.idents, Place::Load)
                .per_format(&crate::ir::PerFormat { hf, gguf }, Clone::clone);
            quote!(.freq_factors(#factors))
        }
    }
}
