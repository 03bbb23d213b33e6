//! Expressions of the language as Rust, evaluated as lazily as the language says.

mod code;

use proc_macro2::TokenStream;
use quote::quote;

use self::code::{Binding, base, convert, fold, is_list, none, optional_of, owned, tighter};
pub(super) use self::code::{Code, float};
use super::Idents;
use crate::ir::{BinaryOp, Expr, ExprKind, Function, PerFormat, Type, Value};

/// Where an expression is evaluated.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In a method of `Config`.
    Config,
    /// In a `load`, with `cfg` and `w` at hand.
    Load,
    /// In a function that has only `cfg`.
    Free,
}

/// Translates expressions for one place.
#[derive(Clone, Copy)]
pub(super) struct Exprs<'m> {
    idents: &'m Idents,
    place: Place,
}

impl<'m> Exprs<'m> {
    pub(super) fn new(idents: &'m Idents, place: Place) -> Self {
        Self { idents, place }
    }

    /// The module's identifiers.
    pub(super) fn idents(&self) -> &'m Idents {
        self.idents
    }

    fn cfg(&self) -> TokenStream {
        match self.place {
            Place::Config => quote!(self),
            Place::Load | Place::Free => quote!(cfg),
        }
    }

    /// One value for both formats, or a match on the format.
    pub(super) fn per_format<T>(
        &self,
        value: &PerFormat<T>,
        print: impl Fn(&T) -> TokenStream,
    ) -> TokenStream {
        let (hf, gguf) = (print(&value.hf), print(&value.gguf));
        let (hf_text, gguf_text) = (hf.to_string(), gguf.to_string());
        let format = match self.place {
            Place::Config => quote!(self.0.format()),
            Place::Load => quote!(w.format()),
            Place::Free => quote!(cfg.0.format()),
        };
        match (hf_text.as_str(), gguf_text.as_str()) {
            (a, b) if a == b || !self.idents.gguf => hf,
            _ if !self.idents.hf => gguf,
            ("true", "false") => quote!(#format == Format::Hf),
            ("false", "true") => quote!(#format == Format::Gguf),
            _ => quote! {
                match #format {
                    Format::Hf => #hf,
                    Format::Gguf => #gguf,
                }
            },
        }
    }

    /// A number, in a function that returns a `Result`.
    pub(super) fn number(&self, value: &Value) -> TokenStream {
        self.per_format(value, |e| self.to(e, Type::Number).value())
    }

    /// A number or none.
    pub(super) fn optional(&self, value: &Value) -> TokenStream {
        self.per_format(value, |e| self.to(e, Type::OptNumber).value())
    }

    /// A bool.
    pub(super) fn boolean(&self, value: &Value) -> TokenStream {
        self.per_format(value, |e| self.to(e, Type::Bool).value())
    }

    /// A condition.
    pub(super) fn condition(&self, expr: &Expr) -> TokenStream {
        self.to(expr, Type::Bool).value()
    }

    /// An expression as a value of type `ty`.
    pub(super) fn to(&self, expr: &Expr, ty: Type) -> Code {
        match &expr.kind {
            ExprKind::If(..) => Code::atom(self.branches(expr, ty)),
            ExprKind::None => none(ty),
            ExprKind::Not(inner) if ty == Type::Bool => self.not(inner),
            _ => convert(self.natural(expr), expr.ty, ty),
        }
    }

    /// `if`, with every branch as `ty`; `else if` where the language nests.
    fn branches(&self, expr: &Expr, ty: Type) -> TokenStream {
        let ExprKind::If(condition, yes, no) = &expr.kind else {
            return self.to(expr, ty).value();
        };
        let (condition, yes) = (self.condition(condition), self.to(yes, ty).value());
        let no = match &no.kind {
            ExprKind::If(..) => self.branches(no, ty),
            _ => {
                let no = self.to(no, ty).value();
                quote!({ #no })
            }
        };
        quote!(if #condition { #yes } else #no)
    }

    /// A field that holds a word, as `&str`.
    pub(super) fn text_field(&self, name: &str) -> TokenStream {
        let (cfg, method) = (self.cfg(), self.idents.field(name));
        match self.idents.field_type(name) {
            Type::OptStr => quote!(#cfg.#method()?.as_deref().unwrap_or("none")),
            _ => quote!(&#cfg.#method()?),
        }
    }

    /// String literals, chosen by conditions, as `&str`.
    pub(super) fn words(&self, expr: &Expr) -> Option<TokenStream> {
        match &expr.kind {
            ExprKind::Str(text) => Some(quote!(#text)),
            ExprKind::If(condition, yes, no) => {
                let (condition, yes, other) =
                    (self.condition(condition), self.words(yes)?, self.words(no)?);
                let other = if matches!(no.kind, ExprKind::If(..)) {
                    other
                } else {
                    quote!({ #other })
                };
                Some(quote!(if #condition { #yes } else #other))
            }
            _ => None,
        }
    }

    /// An expression in its own type.
    fn natural(&self, expr: &Expr) -> Code {
        let cfg = self.cfg();
        match &expr.kind {
            ExprKind::Number(value) => {
                let binding = if *value < 0.0 {
                    Binding::Unary
                } else {
                    Binding::Postfix
                };
                Code {
                    binding,
                    ..Code::literal(float(*value))
                }
            }
            ExprKind::Bool(value) => Code::literal(quote!(#value)),
            ExprKind::Str(text) => Code::atom(quote!(Arc::<str>::from(#text))),
            ExprKind::None | ExprKind::Config => none(expr.ty),
            ExprKind::Layer => Code::new(quote!(i as f64), Binding::Cast),
            ExprKind::Field(name) => {
                let method = self.idents.field(name);
                Code::fallible(quote!(#cfg.#method()))
            }
            ExprKind::Let(name) => {
                let (method, per_layer) = self.idents.named(name);
                let i = per_layer.then(|| quote!(i));
                Code::fallible(quote!(#cfg.#method(#i)))
            }
            ExprKind::Neg(inner) => {
                let code = self.to(inner, Type::Number);
                let inner = code.within(Binding::Postfix);
                Code {
                    literal: code.literal,
                    ..Code::new(quote!(-#inner), Binding::Unary)
                }
            }
            ExprKind::Not(inner) => self.not(inner),
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b),
            ExprKind::If(..) => Code::atom(self.branches(expr, expr.ty)),
            ExprKind::Index(list, index) => owned(self.index(list, index), list.ty),
            ExprKind::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    /// `!expr`, with the negation moved inside comparisons.
    fn not(&self, expr: &Expr) -> Code {
        match &expr.kind {
            ExprKind::Bool(value) => {
                let value = !value;
                Code::literal(quote!(#value))
            }
            ExprKind::Not(inner) => self.to(inner, Type::Bool),
            ExprKind::Binary(BinaryOp::Eq, a, b) => self.equal(a, b, false),
            ExprKind::Binary(BinaryOp::Ne, a, b) => self.equal(a, b, true),
            _ => {
                let inner = self.to(expr, Type::Bool).within(Binding::Unary);
                Code::new(quote!(!#inner), Binding::Unary)
            }
        }
    }

    fn binary(&self, op: BinaryOp, a: &Expr, b: &Expr) -> Code {
        let (ty, binding, sign) = match op {
            BinaryOp::Eq | BinaryOp::Ne => return self.equal(a, b, op == BinaryOp::Eq),
            BinaryOp::Rem => {
                let (a, b) = (
                    self.to(a, Type::Number).value(),
                    self.to(b, Type::Number).value(),
                );
                return Code::fallible(quote!(rem(#a, #b)));
            }
            BinaryOp::Or => (Type::Bool, Binding::Or, quote!(||)),
            BinaryOp::And => (Type::Bool, Binding::And, quote!(&&)),
            BinaryOp::Lt => (Type::Number, Binding::Compare, quote!(<)),
            BinaryOp::Le => (Type::Number, Binding::Compare, quote!(<=)),
            BinaryOp::Gt => (Type::Number, Binding::Compare, quote!(>)),
            BinaryOp::Ge => (Type::Number, Binding::Compare, quote!(>=)),
            BinaryOp::Add => (Type::Number, Binding::Sum, quote!(+)),
            BinaryOp::Sub => (Type::Number, Binding::Sum, quote!(-)),
            BinaryOp::Mul => (Type::Number, Binding::Product, quote!(*)),
            BinaryOp::Div => (Type::Number, Binding::Product, quote!(/)),
        };
        let (left, right) = (self.to(a, ty), self.to(b, ty));
        let literal = left.literal && right.literal;
        // `i as f64 < n` would begin a list of generic arguments.
        let cast = op == BinaryOp::Lt
            && left
                .value()
                .into_iter()
                .last()
                .is_some_and(|last| last.to_string() == "f64");
        let left = match binding {
            Binding::Compare if cast => {
                let left = left.value();
                quote!((#left))
            }
            Binding::Compare => left.within(tighter(binding)),
            _ => left.within(binding),
        };
        let right = right.within(tighter(binding));
        Code {
            literal,
            ..Code::new(quote!(#left #sign #right), binding)
        }
    }

    /// `a == b` (or `!=`) for any types.
    fn equal(&self, a: &Expr, b: &Expr, same: bool) -> Code {
        let sign = if same { quote!(==) } else { quote!(!=) };
        let (a, b) = if a.ty == Type::None { (b, a) } else { (a, b) };
        if b.ty == Type::None {
            return self.is_none(a, same);
        }
        let optional = |ty| {
            matches!(
                ty,
                Type::OptNumber | Type::OptBool | Type::OptStr | Type::OneOrEach
            )
        };
        let either = optional(a.ty) || optional(b.ty);
        let (left, right) = match base(a.ty) {
            Type::Str => (self.text(a, either), self.text(b, either)),
            ty => {
                let ty = if either { optional_of(ty) } else { ty };
                let above = tighter(Binding::Compare);
                (self.to(a, ty).within(above), self.to(b, ty).within(above))
            }
        };
        Code::new(quote!(#left #sign #right), Binding::Compare)
    }

    fn is_none(&self, a: &Expr, same: bool) -> Code {
        let test = if same {
            quote!(is_none)
        } else {
            quote!(is_some)
        };
        match a.ty {
            Type::OptNumber | Type::OptBool | Type::OptStr => {
                let a = self.natural(a).within(Binding::Postfix);
                Code::atom(quote!(#a.#test()))
            }
            Type::OneOrEach => {
                let a = self.to(a, Type::OptNumber).within(Binding::Postfix);
                Code::atom(quote!(#a.#test()))
            }
            _ => {
                let known = (a.ty == Type::None) == same;
                Code::literal(quote!(#known))
            }
        }
    }

    /// A string as `&str`, or as `Option<&str>`.
    fn text(&self, expr: &Expr, optional: bool) -> TokenStream {
        let text = match &expr.kind {
            ExprKind::Str(text) => quote!(#text),
            ExprKind::Index(list, index) => self.index(list, index).value(),
            _ if base(expr.ty) != Type::Str => quote!(""),
            _ => {
                let value = self.natural(expr).within(Binding::Postfix);
                if expr.ty == Type::OptStr {
                    return quote!(#value.as_deref());
                }
                quote!(&*#value)
            }
        };
        if optional { quote!(Some(#text)) } else { text }
    }

    /// A list, as what a method is called on.
    fn list(&self, list: &Expr) -> TokenStream {
        let value = self.natural(list).within(Binding::Postfix);
        if list.ty == Type::OneOrEach {
            quote!(#value.list()?)
        } else {
            value
        }
    }

    fn index(&self, list: &Expr, index: &Expr) -> Code {
        let (list, index) = (self.list(list), self.to(index, Type::Number).value());
        Code::fallible(quote!(at(&#list, #index)))
    }

    fn call(&self, function: Function, arguments: &[Expr]) -> Code {
        let numbers = || arguments.iter().map(|a| self.to(a, Type::Number));
        let method = match function {
            Function::Sqrt => quote!(sqrt),
            Function::Ln => quote!(ln),
            Function::Floor => quote!(floor),
            Function::Min => return fold(numbers(), &quote!(min)),
            Function::Max => return fold(numbers(), &quote!(max)),
            Function::Len | Function::Contains | Function::At => {
                return self.list_call(function, arguments);
            }
        };
        fold(numbers(), &method)
    }

    fn list_call(&self, function: Function, arguments: &[Expr]) -> Code {
        let [list, rest @ ..] = arguments else {
            return none(Type::Number);
        };
        match (function, rest) {
            (Function::At, [index]) if list.ty == Type::OneOrEach => {
                let (list, index) = (
                    self.natural(list).value(),
                    self.to(index, Type::Number).value(),
                );
                Code::fallible(quote!(at_or_one(&#list, #index)))
            }
            (Function::At, [index]) if is_list(list.ty) => owned(self.index(list, index), list.ty),
            (Function::At, _) => self.natural(list),
            (Function::Contains, [_]) if !is_list(list.ty) && list.ty != Type::OneOrEach => {
                Code::literal(quote!(false))
            }
            (Function::Contains, [item]) => {
                let values = self.list(list);
                let item = match list.ty {
                    Type::Strs => self.text(item, false),
                    Type::Bools => self.to(item, Type::Bool).value(),
                    _ => self.to(item, Type::Number).value(),
                };
                Code::atom(quote!(contains(&#values, #item)))
            }
            _ => {
                let list = self.list(list);
                Code::new(quote!(#list.len() as f64), Binding::Cast)
            }
        }
    }
}
