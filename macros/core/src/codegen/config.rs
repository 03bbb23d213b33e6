//! `Config`: one method per config field and `let`.

use proc_macro2::TokenStream;
use quote::quote;

use super::doc::{self, doc};
use super::expr::{Exprs, Place};
use super::{Idents, Module};
use crate::ir::{Expr, ExprKind, Field, FieldDefault, FieldKind, Let, PerFormat, Type};

/// The struct and its methods.
pub(super) fn config(module: &Module) -> TokenStream {
    let exprs = Exprs::new(&module.idents, Place::Config);
    let fields = module
        .arch
        .fields
        .iter()
        .map(|field| field_method(&exprs, &module.idents, field));
    let lets = module
        .arch
        .lets
        .iter()
        .map(|item| let_method(&exprs, &module.idents, item));
    quote! {
        /// Settings of a checkpoint, each looked up in config.json or GGUF metadata when first needed.
        pub struct Config<'a>(&'a ConfigFile);

        impl Config<'_> {
            #(#fields)*
            #(#lets)*
        }
    }
}

/// The condition of the architecture, and how `ARCHITECTURE` names it per format.
pub(super) fn condition(module: &Module) -> (TokenStream, [TokenStream; 2]) {
    let when = &module.arch.when;
    let exprs = Exprs::new(&module.idents, Place::Free);
    let body = |expr: &Expr| exprs.to(expr, Type::Bool).result();
    let function = |name: &TokenStream, expr: &Expr, of: &str| {
        let body = body(expr);
        let text = doc(&format!(
            "What tells this architecture from others of the same name{of}."
        ));
        quote! {
            #text
            fn #name(file: &ConfigFile) -> Result<bool> {
                let cfg = &Config(file);
                #body
            }
        }
    };
    let some = |name: &TokenStream, expr: &Option<Expr>| {
        if expr.is_some() {
            quote!(Some(#name))
        } else {
            quote!(None)
        }
    };
    let shared = match (&when.hf, &when.gguf) {
        (Some(hf), Some(gguf)) => body(hf).to_string() == body(gguf).to_string(),
        _ => false,
    };
    let (served_hf, served_gguf) = (module.idents.hf, module.idents.gguf);
    let hf = when.hf.clone().filter(|_| served_hf);
    let gguf = when.gguf.clone().filter(|_| served_gguf);
    let (hf_name, gguf_name) = if shared {
        (quote!(when), quote!(when))
    } else {
        (quote!(when_hf), quote!(when_gguf))
    };
    let names = [some(&hf_name, &hf), some(&gguf_name, &gguf)];
    let hf = hf
        .as_ref()
        .map(|e| function(&hf_name, e, if shared { "" } else { ", in config.json" }));
    let gguf = gguf
        .as_ref()
        .filter(|_| !shared || hf.is_none())
        .map(|e| function(&gguf_name, e, if shared { "" } else { ", in GGUF" }));
    (quote!(#hf #gguf), names)
}

fn field_method(exprs: &Exprs, idents: &Idents, field: &Field) -> TokenStream {
    let ident = idents.field(&field.name);
    let text = doc(&doc::field(idents, field));
    let ty = rust_type(field.ty);
    let (name, gguf) = (&field.name, field.gguf_key.as_deref().unwrap_or(""));
    let hf = &field.hf_keys;
    let absent = (null_is_absent(field)).then(|| quote!(.null_is_absent()));
    let (finish, finish_or) = finish(field);
    let end = match default(exprs, field) {
        None => quote!(#finish()),
        Some(default) => quote!(#finish_or(|| #default)),
    };
    quote! {
        #text
        pub fn #ident(&self) -> Result<#ty> {
            self.0.field(#name, &[#(#hf),*], #gguf)#absent.#end
        }
    }
}

/// A default of none for a type without `?`: null in the file still means absent.
fn null_is_absent(field: &Field) -> bool {
    !field.optional
        && matches!(
            field.ty,
            Type::OptNumber | Type::OptBool | Type::OptStr | Type::None
        )
}

/// How the lookup ends, without and with a default.
fn finish(field: &Field) -> (TokenStream, TokenStream) {
    let optional = field.optional || null_is_absent(field);
    match (field.kind, optional) {
        (FieldKind::Int, false) => (quote!(int), quote!(int_or)),
        (FieldKind::Int, true) => (quote!(int_opt), quote!(int_opt_or)),
        (FieldKind::Float, false) => (quote!(float), quote!(float_or)),
        (FieldKind::Float, true) => (quote!(float_opt), quote!(float_opt_or)),
        (FieldKind::Bool, false) => (quote!(bool), quote!(bool_or)),
        (FieldKind::Bool, true) => (quote!(bool_opt), quote!(bool_opt_or)),
        (FieldKind::Str | FieldKind::Act, false) => (quote!(str), quote!(str_or)),
        (FieldKind::Str | FieldKind::Act, true) => (quote!(str_opt), quote!(str_opt_or)),
        (FieldKind::Ints, _) => (quote!(ints), quote!(ints_or)),
        (FieldKind::Floats, _) => (quote!(floats), quote!(floats_or)),
        (FieldKind::Bools, _) => (quote!(bools), quote!(bools_or)),
        (FieldKind::Strs, _) => (quote!(strs), quote!(strs_or)),
        (FieldKind::OneOrEach, _) => (quote!(one_or_each), quote!(one_or_each_or)),
    }
}

/// The default as a `Result`; `None`: the field is required.
fn default(exprs: &Exprs, field: &Field) -> Option<TokenStream> {
    let print = |default: &Option<FieldDefault>| match default {
        None
        | Some(FieldDefault::Expr(Expr {
            kind: ExprKind::None,
            ..
        })) => {
            let none = Expr {
                kind: ExprKind::None,
                ty: Type::None,
                at: field.at.clone(),
            };
            one_default(exprs, field, &FieldDefault::Expr(none))
        }
        Some(default) => one_default(exprs, field, default),
    };
    match &field.default {
        PerFormat {
            hf: None,
            gguf: None,
        } => None,
        both => Some(exprs.per_format(both, print)),
    }
}

fn one_default(exprs: &Exprs, field: &Field, default: &FieldDefault) -> TokenStream {
    let ty = field.ty;
    let borrowed = only_words(exprs, field);
    match (default, element(ty)) {
        (FieldDefault::RowsOfEmbedding, _) if matches!(ty, Type::OptNumber) => {
            quote!(self.0.rows_of_embedding().map(Some))
        }
        (FieldDefault::RowsOfEmbedding, _) => quote!(self.0.rows_of_embedding()),
        (FieldDefault::Expr(expr), Some(_)) if expr.kind == ExprKind::None => empty(ty),
        (FieldDefault::Expr(expr), Some(element)) => each_layer(exprs, expr, element, borrowed),
        (FieldDefault::Expr(expr), None) => {
            text_default(expr, ty).unwrap_or_else(|| exprs.to(expr, ty).result())
        }
        (FieldDefault::List(items), _) if items.is_empty() => empty(ty),
        (FieldDefault::List(items), element) => {
            let element = element.unwrap_or(Type::Number);
            let items = items.iter().map(|item| match exprs.words(item) {
                Some(word) if borrowed => word,
                _ => exprs.to(item, element).value(),
            });
            match ty {
                Type::OneOrEach => quote!(Ok(OneOrEach::from(vec![#(#items),*]))),
                _ => quote!(Ok(vec![#(#items),*])),
            }
        }
    }
}

/// A list whose default is computed layer by layer.
fn each_layer(exprs: &Exprs, expr: &Expr, element: Type, borrowed: bool) -> TokenStream {
    let body = match exprs.words(expr) {
        Some(words) if borrowed => quote!(Ok(#words)),
        _ => exprs.to(expr, element).result(),
    };
    let i = if super::mentions(&body, "i") {
        quote!(i)
    } else {
        quote!(_)
    };
    let layers = exprs.idents().field("num_layers");
    quote!(per_layer(self.#layers()?, |#i| #body))
}

fn empty(ty: Type) -> TokenStream {
    match ty {
        Type::Strs => quote!(Ok(Vec::<&str>::new())),
        Type::Bools => quote!(Ok(Vec::<bool>::new())),
        Type::OneOrEach => quote!(Ok(OneOrEach::from(Vec::new()))),
        _ => quote!(Ok(Vec::<f64>::new())),
    }
}

/// Whether the strings of a list's default are literals in both formats, so that they need not be owned.
fn only_words(exprs: &Exprs, field: &Field) -> bool {
    let words = |default: &Option<FieldDefault>| match default {
        Some(FieldDefault::Expr(expr)) => {
            expr.kind == ExprKind::None || exprs.words(expr).is_some()
        }
        Some(FieldDefault::List(items)) => items.iter().all(|item| exprs.words(item).is_some()),
        _ => true,
    };
    words(&field.default.hf) && words(&field.default.gguf)
}

/// A string literal as an owned string.
fn word(expr: &Expr) -> Option<TokenStream> {
    match &expr.kind {
        ExprKind::Str(text) => Some(quote!(#text.into())),
        _ => None,
    }
}

fn text_default(expr: &Expr, ty: Type) -> Option<TokenStream> {
    let word = word(expr)?;
    match ty {
        Type::Str => Some(quote!(Ok(#word))),
        Type::OptStr => Some(quote!(Ok(Some(#word)))),
        _ => None,
    }
}

fn let_method(exprs: &Exprs, idents: &Idents, item: &Let) -> TokenStream {
    let (ident, per_layer) = idents.named(&item.name);
    let i = per_layer.then(|| quote!(i: usize));
    let ty = rust_type(item.expr.ty);
    let body = exprs.to(&item.expr, item.expr.ty).result();
    let text = doc(&format!(
        "`let {}`: `{}`.",
        item.name,
        doc::spec(&item.expr)
    ));
    quote! {
        #text
        pub fn #ident(&self, #i) -> Result<#ty> {
            #body
        }
    }
}

fn element(ty: Type) -> Option<Type> {
    match ty {
        Type::Numbers => Some(Type::Number),
        Type::Bools => Some(Type::Bool),
        Type::Strs => Some(Type::Str),
        _ => None,
    }
}

fn rust_type(ty: Type) -> TokenStream {
    match ty {
        Type::Number => quote!(f64),
        Type::Bool => quote!(bool),
        Type::Str | Type::Config => quote!(Arc<str>),
        Type::OptNumber | Type::None => quote!(Option<f64>),
        Type::OptBool => quote!(Option<bool>),
        Type::OptStr => quote!(Option<Arc<str>>),
        Type::Numbers => quote!(Arc<[f64]>),
        Type::Bools => quote!(Arc<[bool]>),
        Type::Strs => quote!(Arc<[Arc<str>]>),
        Type::OneOrEach => quote!(OneOrEach),
    }
}
