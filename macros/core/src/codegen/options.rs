//! Generated structs: fields with their docs and how `load` makes them; and options that may be off, literal or loaded.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::doc::doc;
use super::expr::{Exprs, float};
use super::mentions;
use crate::ir::{BinaryOp, Expr, ExprKind, Type, Value};

/// A field of a generated struct.
pub(super) struct Field {
    pub(super) name: Ident,
    pub(super) ty: TokenStream,
    pub(super) doc: String,
    /// The expression in `load`.
    pub(super) value: TokenStream,
}

impl Field {
    pub(super) fn new(
        name: &str,
        ty: TokenStream,
        doc: impl Into<String>,
        value: TokenStream,
    ) -> Self {
        Self {
            name: super::ident(name),
            ty,
            doc: doc.into(),
            value,
        }
    }

    /// Its declaration.
    pub(super) fn declare(&self) -> TokenStream {
        let (name, ty, text) = (&self.name, &self.ty, doc(&self.doc));
        quote!(#text #name: #ty)
    }

    /// Its initialisation.
    pub(super) fn init(&self) -> TokenStream {
        let (name, value) = (&self.name, &self.value);
        if *name == value.to_string() {
            quote!(#name)
        } else {
            quote!(#name: #value)
        }
    }
}

/// A generated struct with its `load` and `forward`.
pub(super) struct Struct {
    pub(super) name: Ident,
    pub(super) doc: String,
    pub(super) fields: Vec<Field>,
    /// What `load` binds first, where a later line mentions it.
    pub(super) lets: Vec<(Ident, TokenStream)>,
    pub(super) forward: TokenStream,
}

impl Struct {
    /// The items, and the arguments of `load`.
    pub(super) fn print(&self) -> (TokenStream, Vec<Ident>) {
        let (name, text) = (&self.name, doc(&self.doc));
        let fields = self.fields.iter().map(Field::declare);
        let inits = self.fields.iter().map(Field::init);
        let end = quote!(Ok(Self { #(#inits),* }));
        let body = bind(&self.lets, end);
        let (parameters, arguments) = parameters(&body);
        let forward = &self.forward;
        let items = quote! {
            #text
            #[derive(Debug)]
            pub struct #name { #(#fields),* }

            impl #name {
                fn load(#(#parameters),*) -> Result<Self> { #body }

                #forward
            }
        };
        (items, arguments)
    }
}

/// `end`, after those `lets` that it or a later one mentions.
pub(super) fn bind(lets: &[(Ident, TokenStream)], end: TokenStream) -> TokenStream {
    lets.iter().rev().fold(end, |body, (name, value)| {
        if mentions(&body, &name.to_string()) {
            quote!(let #name = #value; #body)
        } else {
            body
        }
    })
}

/// The parameters that a loading function's body needs, and the arguments to call it with.
pub(super) fn parameters(body: &TokenStream) -> (Vec<TokenStream>, Vec<Ident>) {
    let all = [
        ("cfg", quote!(cfg: &Config)),
        ("i", quote!(i: usize)),
        ("w", quote!(w: &mut Weights)),
    ];
    let used = all.into_iter().filter(|(name, _)| mentions(body, name));
    used.map(|(name, parameter)| (parameter, format_ident!("{name}")))
        .unzip()
}

/// An option of the forward pass.
pub(super) enum Setting {
    /// Off at every layer: print nothing.
    Off,
    /// Known in the spec.
    Literal(TokenStream),
    /// A field of the struct, of this type and loaded so.
    Loaded(TokenStream, TokenStream),
}

impl Setting {
    /// A number that may be none; `zero_is_off` where the language says so.
    pub(super) fn number(exprs: &Exprs, value: &Value, zero_is_off: bool) -> Self {
        let both = [&value.hf, &value.gguf];
        let off = |expr: &&Expr| match constant(expr) {
            Some(number) => zero_is_off && number == 0.0,
            None => expr.kind == ExprKind::None,
        };
        if both.iter().all(off) {
            return Self::Off;
        }
        if let (Some(hf), Some(gguf)) = (constant(&value.hf), constant(&value.gguf))
            && hf == gguf
        {
            return Self::Literal(float(hf));
        }
        if both.iter().all(|expr| expr.ty == Type::Number) {
            return Self::Loaded(quote!(f64), exprs.number(value));
        }
        Self::Loaded(quote!(Option<f64>), exprs.optional(value))
    }

    /// A bool.
    pub(super) fn boolean(exprs: &Exprs, value: &Value) -> Self {
        match (&value.hf.kind, &value.gguf.kind) {
            (ExprKind::Bool(false), ExprKind::Bool(false)) => Self::Off,
            (ExprKind::Bool(true), ExprKind::Bool(true)) => Self::Literal(quote!(true)),
            _ => Self::Loaded(quote!(bool), exprs.boolean(value)),
        }
    }

    /// Adds the field `name` where one is needed, and gives `.method(value)`.
    pub(super) fn call(
        self,
        fields: &mut Vec<Field>,
        name: &str,
        method: &str,
        doc: &str,
    ) -> TokenStream {
        let method = format_ident!("{method}");
        match self {
            Self::Off => quote!(),
            Self::Literal(value) => quote!(.#method(#value)),
            Self::Loaded(ty, value) => {
                let field = Field::new(name, ty, doc, value);
                let ident = field.name.clone();
                fields.push(field);
                quote!(.#method(self.#ident))
            }
        }
    }
}

/// A number known in the spec.
pub(super) fn constant(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(number) => Some(*number),
        ExprKind::Neg(inner) => constant(inner).map(|number| -number),
        ExprKind::Binary(op, a, b) => {
            let (a, b) = (constant(a)?, constant(b)?);
            match op {
                BinaryOp::Add => Some(a + b),
                BinaryOp::Sub => Some(a - b),
                BinaryOp::Mul => Some(a * b),
                BinaryOp::Div if b != 0.0 => Some(a / b),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a bool is this one in both formats, as a literal.
pub(super) fn always(value: &Value, what: bool) -> bool {
    [&value.hf, &value.gguf]
        .iter()
        .all(|expr| expr.kind == ExprKind::Bool(what))
}

/// A size: a literal, or checked when loaded.
pub(super) fn size(exprs: &Exprs, value: &Value, fallback: &str) -> TokenStream {
    exprs.per_format(value, |expr| one_size(exprs, expr, fallback))
}

/// A size out of one expression.
pub(super) fn one_size(exprs: &Exprs, expr: &Expr, fallback: &str) -> TokenStream {
    if let Some(literal) = constant(expr).and_then(whole) {
        return literal;
    }
    let what = match &expr.kind {
        ExprKind::Field(name) => name,
        _ => fallback,
    };
    let number = exprs.to(expr, Type::Number).value();
    quote!(size(#what, #number)?)
}

/// A literal size.
fn whole(number: f64) -> Option<TokenStream> {
    let fits = number.fract() == 0.0 && (1.0..=f64::from(i32::MAX)).contains(&number);
    fits.then(|| {
        let literal = proc_macro2::Literal::usize_unsuffixed(number as usize);
        quote!(#literal)
    })
}

/// A size that may be off.
pub(super) fn optional_size(exprs: &Exprs, value: &Value, what: &str) -> TokenStream {
    exprs.per_format(value, |expr| {
        match (&expr.kind, constant(expr).and_then(whole)) {
            (ExprKind::None, _) => quote!(None),
            (_, Some(literal)) => quote!(Some(#literal)),
            _ if expr.ty == Type::Number => {
                let size = one_size(exprs, expr, what);
                quote!(Some(#size))
            }
            _ => {
                let number = exprs.to(expr, Type::OptNumber).value();
                quote!(optional_size(#what, #number)?)
            }
        }
    })
}

/// `value` where `on`, as an `Option`; the field's type for a `ty`.
pub(super) fn switched(
    exprs: &Exprs,
    on: &Value,
    ty: TokenStream,
    value: TokenStream,
) -> (TokenStream, TokenStream) {
    if always(on, true) {
        return (ty, value);
    }
    let on = exprs.boolean(on);
    (
        quote!(Option<#ty>),
        quote!(if #on { Some(#value) } else { None }),
    )
}
