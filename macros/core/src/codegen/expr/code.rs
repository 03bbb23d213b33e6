//! Rust expressions with what is needed to put them together.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::ir::Type;

/// How tightly an expression binds, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    Or,
    And,
    Compare,
    Sum,
    Product,
    Cast,
    Unary,
    Postfix,
}

/// A Rust expression.
#[derive(Clone)]
pub(in crate::codegen) struct Code {
    pub(super) tokens: TokenStream,
    /// The expression is `tokens` and a `?`.
    pub(super) fallible: bool,
    pub(super) binding: Binding,
    /// Only literals, so that rustc may not know the type of number.
    pub(super) literal: bool,
}

impl Code {
    pub(super) fn new(tokens: TokenStream, binding: Binding) -> Self {
        Self {
            tokens,
            fallible: false,
            binding,
            literal: false,
        }
    }

    pub(super) fn atom(tokens: TokenStream) -> Self {
        Self::new(tokens, Binding::Postfix)
    }

    pub(super) fn literal(tokens: TokenStream) -> Self {
        Self {
            literal: true,
            ..Self::atom(tokens)
        }
    }

    pub(super) fn fallible(tokens: TokenStream) -> Self {
        Self {
            fallible: true,
            ..Self::atom(tokens)
        }
    }

    /// The value, in a function that returns a `Result`.
    pub(in crate::codegen) fn value(&self) -> TokenStream {
        let tokens = &self.tokens;
        if self.fallible {
            quote!(#tokens?)
        } else {
            tokens.clone()
        }
    }

    /// The `Result` of the value: no `Ok(..?)`.
    pub(in crate::codegen) fn result(&self) -> TokenStream {
        let tokens = &self.tokens;
        if self.fallible {
            tokens.clone()
        } else {
            quote!(Ok(#tokens))
        }
    }

    /// Whether `result` needs a function around it, because a `?` stands inside.
    pub(in crate::codegen) fn inner_question(&self) -> bool {
        has_question(self.tokens.clone())
    }

    pub(super) fn within(&self, binding: Binding) -> TokenStream {
        let value = self.value();
        if self.binding < binding {
            quote!((#value))
        } else {
            value
        }
    }
}

fn has_question(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        proc_macro2::TokenTree::Punct(punct) => punct.as_char() == '?',
        proc_macro2::TokenTree::Group(group) => has_question(group.stream()),
        _ => false,
    })
}

/// A number as a literal of type f64.
pub(in crate::codegen) fn float(value: f64) -> TokenStream {
    let size = if value.is_finite() {
        let short = format!("{:?}", value.abs()).parse::<Literal>();
        let literal = short.unwrap_or_else(|_| Literal::f64_unsuffixed(value.abs()));
        quote!(#literal)
    } else if value.is_nan() {
        quote!(f64::NAN)
    } else {
        quote!(f64::INFINITY)
    };
    if value < 0.0 { quote!(-#size) } else { size }
}

/// What an operand must be at least, where equal binding needs parentheses.
pub(super) fn tighter(binding: Binding) -> Binding {
    match binding {
        Binding::Or => Binding::And,
        Binding::And => Binding::Compare,
        Binding::Compare => Binding::Sum,
        Binding::Sum => Binding::Product,
        Binding::Product => Binding::Cast,
        _ => Binding::Postfix,
    }
}

/// `a.method(b)`, from left to right; a function of f64 where rustc would not know the type of a literal.
pub(super) fn fold(mut numbers: impl Iterator<Item = Code>, method: &TokenStream) -> Code {
    let Some(first) = numbers.next() else {
        return none(Type::Number);
    };
    let mut rest = numbers.peekable();
    if rest.peek().is_none() {
        return apply(&first, method, None);
    }
    rest.fold(first, |a, b| apply(&a, method, Some(b.value())))
}

pub(super) fn apply(receiver: &Code, method: &TokenStream, argument: Option<TokenStream>) -> Code {
    if receiver.literal {
        let receiver = receiver.value();
        return Code::atom(quote!(f64::#method(#receiver, #argument)));
    }
    let receiver = receiver.within(Binding::Postfix);
    Code::atom(quote!(#receiver.#method(#argument)))
}

/// An element of a list; a string is borrowed from it.
pub(super) fn owned(element: Code, list: Type) -> Code {
    if list != Type::Strs {
        return element;
    }
    let element = element.value();
    Code::atom(quote!(Arc::<str>::from(#element)))
}

/// `none` where a value of type `ty` is wanted: a load error for a number, off for a bool.
pub(super) fn none(ty: Type) -> Code {
    match ty {
        Type::Number => Code::fallible(quote!(number(None))),
        Type::Bool => Code::literal(quote!(false)),
        Type::Str => Code::atom(quote!(Arc::<str>::from("none"))),
        Type::Numbers | Type::Bools | Type::Strs => Code::atom(quote!(Arc::from([]))),
        Type::OneOrEach => Code::atom(quote!(OneOrEach::None)),
        _ => Code::atom(quote!(None)),
    }
}

/// `code` of type `from` as `to`.
pub(super) fn convert(code: Code, from: Type, to: Type) -> Code {
    let value = code.value();
    let receiver = code.within(Binding::Postfix);
    match (from, to) {
        (from, to) if from == to => code,
        (Type::OptNumber, Type::Number) => Code::fallible(quote!(number(#value))),
        (Type::OneOrEach, Type::Number) => Code::fallible(quote!(#receiver.number())),
        (Type::OneOrEach, Type::OptNumber) => Code::fallible(quote!(#receiver.optional())),
        (Type::Number, Type::OneOrEach) => Code::atom(quote!(OneOrEach::One(#value))),
        (Type::OptNumber, Type::OneOrEach) => Code::atom(quote!(OneOrEach::from(#value))),
        (Type::Number, Type::OptNumber)
        | (Type::Bool, Type::OptBool)
        | (Type::Str, Type::OptStr) => Code::atom(quote!(Some(#value))),
        (Type::OptBool, Type::Bool) => Code::atom(quote!(#receiver.unwrap_or(false))),
        (Type::OptStr, Type::Str) => Code::atom(quote!(#receiver.unwrap_or_else(|| "none".into()))),
        (Type::None, to) => none(to),
        // The checker has refused every other pair.
        _ => code,
    }
}

pub(super) fn base(ty: Type) -> Type {
    match ty {
        Type::OptNumber | Type::OneOrEach => Type::Number,
        Type::OptBool => Type::Bool,
        Type::OptStr => Type::Str,
        ty => ty,
    }
}

pub(super) fn optional_of(ty: Type) -> Type {
    match base(ty) {
        Type::Number => Type::OptNumber,
        Type::Bool => Type::OptBool,
        Type::Str => Type::OptStr,
        ty => ty,
    }
}

pub(super) fn is_list(ty: Type) -> bool {
    matches!(ty, Type::Numbers | Type::Bools | Type::Strs)
}
