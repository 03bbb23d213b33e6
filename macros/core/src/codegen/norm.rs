//! Norm instances and their options.

use proc_macro2::TokenStream;
use quote::quote;

use super::expr::{Exprs, Place};
use super::{Idents, Module};
use crate::ir::{Architecture, Expr, ExprKind, NormInstance, NormKind, NormOptions, Value};

/// The four options as Rust expressions.
#[derive(Clone)]
struct Printed {
    kind: TokenStream,
    eps: TokenStream,
    shift: TokenStream,
    bias: TokenStream,
}

impl Printed {
    fn new(idents: &Idents, options: &NormOptions, place: Place) -> Self {
        let exprs = Exprs::new(idents, place);
        Self {
            kind: match options.kind {
                NormKind::Rms => quote!(NormKind::Rms),
                NormKind::Layer => quote!(NormKind::Layer),
            },
            eps: exprs.number(&options.eps),
            shift: exprs.number(&options.shift),
            bias: exprs.boolean(&options.bias),
        }
    }

    fn pairs(&self) -> [(TokenStream, &TokenStream); 4] {
        [
            (quote!(kind), &self.kind),
            (quote!(eps), &self.eps),
            (quote!(shift), &self.shift),
            (quote!(bias), &self.bias),
        ]
    }

    fn whole(&self) -> TokenStream {
        let fields = self
            .pairs()
            .into_iter()
            .map(|(name, value)| quote!(#name: #value));
        quote!(NormOptions { #(#fields),* })
    }
}

/// The options most norms of the architecture share, if at least two do.
pub(super) fn shared(arch: &Architecture) -> Option<NormOptions> {
    let mut all: Vec<&NormOptions> = arch.norms.iter().map(|norm| &norm.options).collect();
    all.extend(arch.embed.norm.iter().map(|norm| &norm.options));
    all.push(&arch.head.norm.options);
    let count = |options: &NormOptions| all.iter().filter(|other| same(other, options)).count();
    let best = all.iter().rev().max_by_key(|options| count(options))?;
    (count(best) > 1).then(|| (*best).clone())
}

fn same(a: &NormOptions, b: &NormOptions) -> bool {
    a.kind == b.kind
        && alike(&a.eps, &b.eps)
        && alike(&a.shift, &b.shift)
        && alike(&a.bias, &b.bias)
}

fn alike(a: &Value, b: &Value) -> bool {
    a.hf.kind == b.hf.kind && a.gguf.kind == b.gguf.kind
}

/// `fn norm_options`, where something uses it.
pub(super) fn options_function(module: &Module) -> Option<TokenStream> {
    let options = module.norm_options.as_ref()?;
    let whole = Printed::new(&module.idents, options, Place::Free).whole();
    let cfg = if super::mentions(&whole, "cfg") {
        quote!(cfg)
    } else {
        quote!(_)
    };
    Some(quote! {
        /// `[norm]`: what the norms have in common.
        fn norm_options(#cfg: &Config) -> Result<NormOptions> {
            Ok(#whole)
        }
    })
}

/// The options of one norm, as a value.
pub(super) fn options(module: &Module, options: &NormOptions) -> TokenStream {
    let own = Printed::new(&module.idents, options, Place::Load);
    let Some(base) = &module.norm_options else {
        return own.whole();
    };
    if same(base, options) {
        return quote!(norm_options(cfg)?);
    }
    // What an own option replaces must not be evaluated: the language is lazy.
    let replaced_is_literal = [
        (&base.eps, &options.eps),
        (&base.shift, &options.shift),
        (&base.bias, &options.bias),
    ]
    .into_iter()
    .all(|(base, own)| alike(base, own) || (literal(&base.hf) && literal(&base.gguf)));
    let base_printed = Printed::new(&module.idents, base, Place::Load);
    let own_fields: Vec<_> = own
        .pairs()
        .into_iter()
        .zip(base_printed.pairs())
        .filter(|((_, own), (_, base))| own.to_string() != base.to_string())
        .map(|((name, value), _)| quote!(#name: #value))
        .collect();
    if !replaced_is_literal || own_fields.len() > 2 {
        return own.whole();
    }
    quote!(NormOptions { #(#own_fields,)* ..norm_options(cfg)? })
}

fn literal(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Number(_) | ExprKind::Bool(_))
}

/// The options of a norm without a weight: neither shift nor bias is looked at.
pub(super) fn unweighted(module: &Module, options: &NormOptions) -> TokenStream {
    let read = [&options.shift, &options.bias]
        .iter()
        .any(|value| !literal(&value.hf) || !literal(&value.gguf));
    if !read {
        return self::options(module, options);
    }
    let printed = Printed::new(&module.idents, options, Place::Load);
    let (kind, eps) = (&printed.kind, &printed.eps);
    quote!(NormOptions { kind: #kind, eps: #eps, shift: 0.0, bias: false })
}

/// The load of a norm over `[tokens, hidden_size]`; the constant is named after `constant`.
pub(super) fn load(module: &mut Module, norm: &NormInstance, constant: &str) -> TokenStream {
    let Some(name) = &norm.name else {
        let options = unweighted(module, &norm.options);
        return quote!(Norm::unweighted(&#options));
    };
    let constant = module.constant(constant, "_NORM", name);
    let options = options(module, &norm.options);
    quote!(Norm::load(w, #constant, hidden, &#options)?)
}

/// The doc comment of a norm's field.
pub(super) fn text(norm: &NormInstance) -> String {
    match &norm.name {
        Some(name) => format!("{}: `[hidden_size]`", super::doc::spellings([name])),
        None => "Without a weight.".into(),
    }
}
