//! The checked architecture: everything a spec says, resolved, typed and ready to print.
//!
//! `extends` and the prelude are merged, defaults of the language are filled in, parts that no step calls are gone,
//! expressions are parsed and typed, and every value is split by file format. Code generation reads this and nothing else.
//!
//! Conventions: an option that is off in the language's own words is `Expr::is_none` / the literal `false` / the literal
//! default, so that codegen prints nothing for it. What the reference calls "absent in that format" is the key's default.

mod components;
mod expr;

pub(crate) use crate::source::At;
pub use components::*;
pub use expr::*;

/// A value for each file format. A format that the spec does not serve repeats the other's value.
#[derive(Clone, Debug, PartialEq)]
pub struct PerFormat<T> {
    /// config.json and safetensors.
    pub hf: T,
    /// GGUF.
    pub gguf: T,
}

/// A tensor or projection name as the checkpoint spells it, per format, still with placeholders; and where the spec says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// `None`: this format has no such name (the key is absent there).
    pub names: PerFormat<Option<String>>,
    /// The line that asks for it.
    pub at: At,
}

/// One architecture.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// File stem: `gpt_oss`.
    pub stem: String,
    /// The comment lines at the top of the file, without `#`; the generated module's doc.
    pub doc: Vec<String>,
    /// Files this was read from: itself, then its ancestors.
    pub files: Vec<String>,
    /// Formats it serves.
    pub formats: Vec<Format>,
    /// config.json `architectures`.
    pub hf_names: Vec<String>,
    /// GGUF `general.architecture`.
    pub gguf_names: Vec<String>,
    /// Condition of each format; `None` where there is none.
    pub when: PerFormat<Option<Expr>>,
    /// Alternative prefixes of the whole model.
    pub roots: PerFormat<Vec<String>>,
    /// Tensors that may be present.
    pub ignore: PerFormat<Vec<String>>,
    /// Config fields that something in this architecture may read (transitively), in order of declaration, prelude first.
    pub fields: Vec<Field>,
    /// Named expressions that something reads, in order of declaration.
    pub lets: Vec<Let>,
    /// `[embed]`.
    pub embed: Embed,
    /// Prefix of a layer's tensors.
    pub layer_prefix: Name,
    /// The wiring of a layer.
    pub steps: Vec<Step>,
    /// Norm instances that some step calls, in order of first call.
    pub norms: Vec<NormInstance>,
    /// Components that some step calls, in order of first call.
    pub components: Vec<Component>,
    /// `[head]`.
    pub head: Head,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// config.json and safetensors.
    Hf,
    /// GGUF.
    Gguf,
}

impl Format {
    /// The format of a column's name.
    pub(crate) fn named(word: &str) -> Option<Self> {
        match word {
            "hf" => Some(Self::Hf),
            "gguf" => Some(Self::Gguf),
            _ => None,
        }
    }
}

/// The name of its column.
impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hf => "hf",
            Self::Gguf => "gguf",
        })
    }
}

/// `[embed]`.
#[derive(Clone, Debug)]
pub struct Embed {
    /// Token table `[vocab_size, hidden_size]`.
    pub tokens: Name,
    /// Factor; literal 1 = none.
    pub scale: Value,
    /// Learned positions and the offset of their table.
    pub positions: Option<(Name, Value)>,
    /// Norm after all that.
    pub norm: Option<NormInstance>,
}

/// `[head]`.
#[derive(Clone, Debug)]
pub struct Head {
    /// Final norm.
    pub norm: NormInstance,
    /// Projection to the vocabulary.
    pub out: Name,
    /// Whether the embedding serves instead.
    pub tied: PerFormat<Tied>,
    /// `<out>.bias`.
    pub bias: Value,
    /// Factor of the logits.
    pub scale: Value,
    /// Cap of the logits.
    pub softcap: Value,
}

/// When the head uses the embedding matrix.
#[derive(Clone, Debug, PartialEq)]
pub enum Tied {
    /// As an expression says.
    Expr(Expr),
    /// When the file has no `<out>.weight`.
    AbsentOut,
}

/// Kinds of norm; `l2` of the language is `Rms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Root mean square.
    Rms,
    /// Layer norm.
    Layer,
}

/// Options of a norm.
#[derive(Clone, Debug, PartialEq)]
pub struct NormOptions {
    /// Kind.
    pub kind: NormKind,
    /// Epsilon.
    pub eps: Value,
    /// Added to the weight.
    pub shift: Value,
    /// Whether it has a bias.
    pub bias: Value,
}

/// A norm with its weight.
#[derive(Clone, Debug)]
pub struct NormInstance {
    /// Name in steps (`norm` for the head's, `embed_norm` for the embedding's).
    pub ident: String,
    /// Weight; `None` = no weight, no bias, no tensor.
    pub name: Option<Name>,
    /// Options.
    pub options: NormOptions,
}

/// A component table that some step calls.
#[derive(Clone, Debug)]
pub struct Component {
    /// Table name: `attn`, `mlp`, `moe`, `lightning`.
    pub ident: String,
    /// What it is.
    pub kind: ComponentKind,
    /// Its table.
    pub at: At,
}

/// The kinds of component.
#[derive(Clone, Debug)]
pub enum ComponentKind {
    /// Grouped-query attention.
    Gqa(Box<Gqa>),
    /// MLP, `glu` or `fc`.
    Mlp(Box<Mlp>),
    /// Mixture of experts.
    Moe(Box<Moe>),
}

/// One step of the wiring.
#[derive(Clone, Debug)]
pub struct Step {
    /// The text, for a comment or doc.
    pub text: String,
    /// Variable on the left.
    pub var: String,
    /// Operator.
    pub op: StepOp,
    /// Right side. For `Mul` a number.
    pub expr: StepExpr,
    /// Where it stands.
    pub at: At,
}

/// Assignment operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOp {
    /// `=`
    Set,
    /// `+=`
    Add,
    /// `*=`
    Mul,
}

/// A tensor-valued expression of a step (or a number where `Number` says so).
#[derive(Clone, Debug, PartialEq)]
pub enum StepExpr {
    /// The residual stream or a variable.
    Var(String),
    /// A norm instance.
    Norm(String, Box<StepExpr>),
    /// A component.
    Component(String, Box<StepExpr>),
    /// a + b
    Add(Box<StepExpr>, Box<StepExpr>),
    /// a - b
    Sub(Box<StepExpr>, Box<StepExpr>),
    /// number · tensor (a division is a product with `1 / n`; a negation one with -1)
    Scale(Expr, Box<StepExpr>),
    /// Choice by a per-layer constant.
    If(Expr, Box<StepExpr>, Box<StepExpr>),
    /// A plain number (right side of `*=`).
    Number(Expr),
}
