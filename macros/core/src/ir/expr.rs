//! Config fields, and expressions over them.

use super::{At, PerFormat};

/// The type of a field or an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number (f64).
    Number,
    /// A bool.
    Bool,
    /// A string (fields of type `str` and `act`).
    Str,
    /// A number or none.
    OptNumber,
    /// A bool or none.
    OptBool,
    /// A string or none.
    OptStr,
    /// Only none.
    None,
    /// A list of numbers.
    Numbers,
    /// A list of bools.
    Bools,
    /// A list of strings.
    Strs,
    /// An untyped field: a number, or a list with one number per layer; none if its default is none. May stand wherever a
    /// number or a list is needed; what it must not be there is an error when a file is loaded.
    OneOrEach,
    /// Only in `rope.scaling`: the word `config` (or none).
    Config,
}

/// How a config field's value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An integral number.
    Int,
    /// Any number.
    Float,
    /// A bool.
    Bool,
    /// A string.
    Str,
    /// The name of an activation: a string to expressions.
    Act,
    /// A list of integers.
    Ints,
    /// A list of numbers.
    Floats,
    /// A list of bools.
    Bools,
    /// A list of strings.
    Strs,
    /// Untyped with an expression as default or none at all: a number or a list of numbers.
    OneOrEach,
}

/// A config field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name in expressions.
    pub name: String,
    /// How it is read.
    pub kind: FieldKind,
    /// `T?`: null in the file means none.
    pub optional: bool,
    /// Its type in expressions.
    pub ty: Type,
    /// Keys in config.json, dots enter tables; first present wins.
    pub hf_keys: Vec<String>,
    /// Metadata key behind `<general.architecture>.`.
    pub gguf_key: Option<String>,
    /// What holds when no key is there; `None` = required.
    pub default: PerFormat<Option<FieldDefault>>,
    /// Where it is declared.
    pub at: At,
}

/// A field's default.
#[derive(Clone, Debug)]
pub enum FieldDefault {
    /// The row count of the embedding.
    RowsOfEmbedding,
    /// An expression; for list fields evaluated for every layer (it may use `i`), else without `i`.
    Expr(Expr),
    /// A literal list.
    List(Vec<Expr>),
}

/// A named expression of `layers.let`.
#[derive(Clone, Debug)]
pub struct Let {
    /// Its name.
    pub name: String,
    /// Its value.
    pub expr: Expr,
    /// Whether it depends on the layer index, directly or through other lets.
    pub per_layer: bool,
}

/// A typed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its type.
    pub ty: Type,
    /// Where it starts in the spec.
    pub at: At,
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number(f64),
    /// A bool.
    Bool(bool),
    /// A string.
    Str(String),
    /// `none`.
    None,
    /// `config` in `rope.scaling`.
    Config,
    /// `i`, the layer.
    Layer,
    /// A config field.
    Field(String),
    /// A `let`.
    Let(String),
    /// `-a`.
    Neg(Box<Expr>),
    /// `!a`.
    Not(Box<Expr>),
    /// `a op b`.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `if c { a } else { b }`.
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `xs[k]`.
    Index(Box<Expr>, Box<Expr>),
    /// A function of the language.
    Call(Function, Vec<Expr>),
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`, floored
    Rem,
}

/// Functions of expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `sqrt(x)`
    Sqrt,
    /// `ln(x)`
    Ln,
    /// `floor(x)`
    Floor,
    /// `min(a, b, ..)`
    Min,
    /// `max(a, b, ..)`
    Max,
    /// `len(xs)`
    Len,
    /// `contains(xs, v)`
    Contains,
    /// `at(v, k)`
    At,
}

/// An option's value. Literals are `Expr`s of literal kind. An option that takes a number may hold an expression of type
/// `OptNumber` or `OneOrEach`: none, or a list, is then an error when a file is loaded.
pub type Value = PerFormat<Expr>;

/// A word that may come from a config field: an activation, a router score.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// The word itself, known to be valid.
    Literal(String),
    /// The value of a config field.
    Field(String),
}
