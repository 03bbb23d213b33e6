//! The checked architecture: everything a spec says, resolved, typed and ready to print.
//!
//! `extends` and the prelude are merged, defaults of the language are filled in, parts that no step calls are gone,
//! expressions are parsed and typed, and every value is split by file format. Code generation reads this and nothing else.
//!
//! Conventions: an option that is off in the language's own words is `Expr::is_none` / the literal `false` / the literal
//! default, so that codegen prints nothing for it. What the reference calls "absent in that format" is the key's default.

pub(crate) use crate::source::At;

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

/// Where the query, key and value rows come from in one format.
#[derive(Clone, Debug, PartialEq)]
pub enum QkvSource {
    /// `q`, `k`, and `v` unless it is k's output.
    Split {
        /// `q`
        q: String,
        /// `k`
        k: String,
        /// `v`; `None`: the values are k's output.
        v: Option<String>,
    },
    /// One matrix.
    Fused {
        /// `qkv`
        name: String,
        /// Row layout; parts of `q`, `k`, `v`, `gate`.
        rows: Rows,
    },
}

/// Row layout of a fused matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Parts in file order: `q`, `k`, `v`, `gate`, `up`.
    pub parts: Vec<String>,
    /// How often the sequence of slices repeats.
    pub groups: Groups,
}

/// Group count of a row layout.
#[derive(Clone, Debug, PartialEq)]
pub enum Groups {
    /// `"a b"`: blocks.
    Blocks,
    /// `"(a b)*n"`.
    Count(Expr),
    /// `"(a b)*"`: as many as the first part has rows.
    Interleaved,
}

/// `kind = "gqa"`.
#[derive(Clone, Debug)]
pub struct Gqa {
    /// Query heads.
    pub heads: Value,
    /// Key/value heads.
    pub kv_heads: Value,
    /// Width of q and k heads.
    pub head_dim: Value,
    /// Width of v heads; `None`: as `head_dim`.
    pub v_head_dim: Option<Value>,
    /// Projections in, per format (`None`: the spec does not serve that format).
    pub qkv: PerFormat<Option<QkvSource>>,
    /// Where the projections are named (q or qkv; k; v): for error messages, in the order q/qkv, k, v.
    pub qkv_at: Vec<At>,
    /// Projection out.
    pub o: Name,
    /// Bias of q, k, v.
    pub bias: Value,
    /// Bias of o (already `bias` if not given).
    pub o_bias: Value,
    /// Stored [in, out].
    pub transposed: Value,
    /// Norm of q and k.
    pub qk_norm: Option<QkNorm>,
    /// Clamp of q, k, v.
    pub clip: Value,
    /// Factor of the scores; none = 1/sqrt(head_dim).
    pub scale: Value,
    /// Cap of the scores.
    pub softcap: Value,
    /// Alibi slopes.
    pub alibi: Value,
    /// Sliding window.
    pub window: Value,
    /// Chunked attention.
    pub chunk: Value,
    /// Sinks: name and the layers that have them.
    pub sinks: Option<(Name, Value)>,
    /// Temperature of q by position.
    pub q_temperature: Option<QTemperature>,
    /// Factor of v.
    pub v_scale: Value,
    /// Gate of the attention output.
    pub out_gate: Option<OutGate>,
    /// The model's `[rope]`.
    pub rope: Option<Rope>,
}

/// `qk_norm`.
#[derive(Clone, Debug)]
pub struct QkNorm {
    /// `head`, `per_head` or `whole`.
    pub scope: Scope,
    /// Weight of q's.
    pub q: Option<Name>,
    /// Weight of k's.
    pub k: Option<Name>,
    /// Layers that have it.
    pub on: Value,
    /// After rope instead of before.
    pub after_rope: bool,
    /// Options (kind, eps, shift inherited from `[norm]`; bias not).
    pub options: NormOptions,
}

/// Scope of a qk-norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One weight [head_dim] for all heads.
    Head,
    /// A weight for each head.
    PerHead,
    /// Over all heads at once.
    Whole,
}

/// `q_temperature`.
#[derive(Clone, Debug)]
pub struct QTemperature {
    /// Scale.
    pub scale: Value,
    /// Floor.
    pub floor: Value,
    /// Layers that have it.
    pub on: Value,
    /// Positions count from 1.
    pub from_one: bool,
}

/// `out_gate`.
#[derive(Clone, Debug)]
pub struct OutGate {
    /// Projection; `None` where the rows of `qkv` carry it.
    pub name: Option<Name>,
    /// Activation (a language word).
    pub act: String,
}

/// `[rope]`.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Base.
    pub theta: Value,
    /// Layers that rotate.
    pub on: Value,
    /// Rotated share; ignored when `dim` is given.
    pub partial: Value,
    /// Rotated leading dimensions.
    pub dim: Option<Value>,
    /// Adjacent pairs instead of halves.
    pub adjacent: PerFormat<bool>,
    /// Minus the angle.
    pub reverse: bool,
    /// Where scaling comes from: expression of type Config / None (`if sliding { none } else { config }`).
    pub scaling: Expr,
    /// `scaling.default`.
    pub scaling_default: Vec<(String, Param)>,
    /// The other literal keys of `scaling`: fill gaps, or (without `from`) a fixed scaling.
    pub scaling_params: Vec<(String, Param)>,
    /// `scaling` is a table without `from`: `scaling_params` is the scaling.
    pub scaling_fixed: bool,
    /// Tensors that divide the frequencies: one, or short and long.
    pub freq_factors: PerFormat<Vec<String>>,
    /// Where `freq_factors` stands.
    pub at: At,
}

/// A literal parameter of a rope scaling.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A number.
    Number(f64),
    /// A bool.
    Bool(bool),
    /// A word.
    Word(String),
    /// A list of numbers.
    Numbers(Vec<f64>),
}

/// Activation of an MLP.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful exist, and codegen matches on them"
)]
pub enum MlpAct {
    /// One function (per format, since a FIELD may be a table per format).
    Word(PerFormat<Word>),
    /// `clamped_swiglu`.
    Clamped {
        /// alpha
        alpha: Value,
        /// limit
        limit: Value,
        /// up_shift
        up_shift: f64,
    },
}

/// Where gate and up come from in one format.
#[derive(Clone, Debug, PartialEq)]
pub enum GateUpSource {
    /// Separate projections; `fc` has no gate.
    Split {
        /// `gate`
        gate: Option<String>,
        /// `up`
        up: String,
    },
    /// One matrix.
    Fused {
        /// `gate_up`
        name: String,
        /// Row layout.
        rows: Rows,
    },
}

/// `kind = "glu"` or `"fc"`, and `moe.shared`.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Gated (`glu`) or plain (`fc`).
    pub gated: bool,
    /// Activation.
    pub act: MlpAct,
    /// Width.
    pub inter: Value,
    /// Projections in.
    pub gate_up: PerFormat<Option<GateUpSource>>,
    /// Where they are named: gate (or gate_up) first, then up.
    pub gate_up_at: Vec<At>,
    /// Projection out.
    pub down: Name,
    /// Bias of all projections.
    pub bias: Value,
    /// Stored [in, out].
    pub transposed: Value,
}

/// `[moe]`.
#[derive(Clone, Debug)]
pub struct Moe {
    /// Number of experts.
    pub experts: Value,
    /// Experts per token.
    pub top: Value,
    /// Width of one expert.
    pub inter: Value,
    /// Activation.
    pub act: MlpAct,
    /// Bias of the experts' projections.
    pub bias: Value,
    /// Where the experts are, per format.
    pub source: PerFormat<Option<ExpertSource>>,
    /// Router.
    pub router: Router,
    /// MLP that every token passes.
    pub shared: Option<Shared>,
}

/// Names of the experts in one format. `{e}` = one projection per expert, else stacked.
#[derive(Clone, Debug)]
pub struct ExpertSource {
    /// gate and up.
    pub gate_up: GateUpSource,
    /// down.
    pub down: String,
    /// Spelling of stacked names.
    pub storage: Option<Storage>,
    /// Where this stands.
    pub at: At,
}

/// `[storage.<name>]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Its name.
    pub name: String,
    /// `plain.weight`, with `{P}`.
    pub weight: String,
    /// `plain.bias`.
    pub bias: Option<String>,
    /// `plain.transposed`.
    pub transposed: bool,
    /// `plain.transposed_only`.
    pub transposed_only: Option<String>,
    /// `plain.flat`.
    pub flat: bool,
    /// `mxfp4`: blocks, scales, bias.
    pub mxfp4: Option<Mxfp4Storage>,
}

/// `storage.<name>.mxfp4`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mxfp4Storage {
    /// `blocks`
    pub blocks: String,
    /// `scales`
    pub scales: String,
    /// `bias`
    pub bias: Option<String>,
}

/// `moe.router`.
#[derive(Clone, Debug)]
pub struct Router {
    /// Projection [experts, hidden_size].
    pub name: Name,
    /// Its bias.
    pub bias: Value,
    /// Score function.
    pub score: PerFormat<Word>,
    /// `over = "selected"`.
    pub over_selected: bool,
    /// Cap of the router's logits.
    pub softcap: Value,
    /// Bias for choosing only.
    pub select_bias: Option<Name>,
    /// Group-limited choice.
    pub groups: Option<RouterGroups>,
    /// Divide by the sum.
    pub renorm: Value,
    /// Added to that sum.
    pub renorm_eps: f64,
    /// Factor of the weights.
    pub scale: Value,
    /// Weight the input instead of the output.
    pub apply_input: bool,
    /// Where the router's table stands.
    pub at: At,
}

/// `moe.router.groups`.
#[derive(Clone, Debug)]
pub struct RouterGroups {
    /// Number of groups.
    pub count: Value,
    /// How many are kept.
    pub keep: Value,
    /// `top2_sum` instead of `max`.
    pub top2_sum: bool,
    /// Layers that have it.
    pub on: Value,
}

/// `moe.shared`.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The MLP.
    pub mlp: Mlp,
    /// Layers that have it.
    pub on: Value,
    /// Gate [1, hidden_size].
    pub out_gate: Option<Name>,
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
