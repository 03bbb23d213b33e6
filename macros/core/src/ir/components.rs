//! What components are made of.

use super::{At, Expr, Name, NormOptions, PerFormat, Value, Word};

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
    /// One weight `[head_dim]` for all heads.
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
