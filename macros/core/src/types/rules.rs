//! Which types options take, operators join and functions are called by.

use crate::ir::{Function, Type};

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Number,
    OptNumber,
    Bool,
    OptBool,
    Str,
    Scaling,
}

impl Want {
    pub(super) fn accepts(self, ty: Type) -> bool {
        match self {
            Self::Number => is_number(ty),
            Self::OptNumber => is_number(ty) || ty == Type::None,
            Self::Bool => matches!(ty, Type::Bool | Type::OptBool),
            Self::OptBool => matches!(ty, Type::Bool | Type::OptBool | Type::None),
            Self::Str => matches!(ty, Type::Str | Type::OptStr),
            Self::Scaling => matches!(ty, Type::Config | Type::None),
        }
    }

    /// Whether a field of this type may stand for a word.
    pub(crate) fn accepts_word(ty: Type) -> bool {
        Self::Str.accepts(ty)
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::OptNumber => "a number or none",
            Self::Bool => "a bool",
            Self::OptBool => "a bool or none",
            Self::Str => "a string",
            Self::Scaling => "`config` or `none`",
        }
    }
}

/// Whether arithmetic takes it (what may be none or a list is checked when a file is loaded).
pub(crate) fn is_number(ty: Type) -> bool {
    matches!(ty, Type::Number | Type::OptNumber | Type::OneOrEach)
}

pub(crate) fn describe(ty: Type) -> &'static str {
    match ty {
        Type::Number => "a number",
        Type::Bool => "a bool",
        Type::Str => "a string",
        Type::OptNumber => "a number or none",
        Type::OptBool => "a bool or none",
        Type::OptStr => "a string or none",
        Type::None => "none",
        Type::Numbers => "a list of numbers",
        Type::Bools => "a list of bools",
        Type::Strs => "a list of strings",
        Type::OneOrEach => "a number or a list of numbers",
        Type::Config => "`config`",
    }
}

/// The common type of two branches.
pub(super) fn unify(a: Type, b: Type) -> Option<Type> {
    use Type::{Bool, Config, None as Nothing, Number, OneOrEach, OptBool, OptNumber, OptStr, Str};
    Some(match (a, b) {
        (a, b) if a == b => a,
        (Number, OneOrEach) | (OneOrEach, Number) => Number,
        (Nothing | OptNumber, Number | OptNumber | OneOrEach) => OptNumber,
        (Number | OptNumber | OneOrEach, Nothing | OptNumber) => OptNumber,
        (Nothing | OptBool, Bool | OptBool) | (Bool | OptBool, Nothing | OptBool) => OptBool,
        (Nothing | OptStr, Str | OptStr) | (Str | OptStr, Nothing | OptStr) => OptStr,
        (Nothing, Config) | (Config, Nothing) => Config,
        _ => return None,
    })
}

/// What a list holds.
pub(super) fn element(ty: Type) -> Option<Type> {
    match ty {
        Type::Numbers | Type::OneOrEach => Some(Type::Number),
        Type::Bools => Some(Type::Bool),
        Type::Strs => Some(Type::Str),
        _ => None,
    }
}

/// Whether `==` may compare them; none compares with everything but lists.
pub(super) fn comparable(a: Type, b: Type) -> bool {
    let base = |ty| match ty {
        Type::Number | Type::OptNumber | Type::OneOrEach => Some(0),
        Type::Bool | Type::OptBool => Some(1),
        Type::Str | Type::OptStr => Some(2),
        _ => None,
    };
    match (a, b) {
        (Type::None, Type::None) => true,
        (Type::None, other) | (other, Type::None) => base(other).is_some(),
        _ => base(a).is_some() && base(a) == base(b),
    }
}

pub(crate) fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sqrt" => Function::Sqrt,
        "ln" => Function::Ln,
        "floor" => Function::Floor,
        "min" => Function::Min,
        "max" => Function::Max,
        "len" => Function::Len,
        "contains" => Function::Contains,
        "at" => Function::At,
        _ => return None,
    })
}

pub(super) const FUNCTIONS: [&str; 8] =
    ["sqrt", "ln", "floor", "min", "max", "len", "contains", "at"];
