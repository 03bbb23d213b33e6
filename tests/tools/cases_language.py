"""Golden cases of the specs tests/specs/lang_*.toml and macros/core/tests/specs: (name, config.json, tokens, options of make_spec_goldens.make)."""
import torch


def config(architecture, **more):
    base = {"architectures": [f"Lang{architecture}ForCausalLM"], "vocab_size": 32, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu"} | more
    return {key: value for key, value in base.items() if value is not ...}


def case(name, architecture, tokens=24, options=None, **more):
    return f"lang-{name}", config(architecture, **more), tokens, options or {}


def wrapped(tensors):
    names = {n: n.removeprefix("wrapped.") for n in tensors}
    return {("deeply.wrapped." if names[n].startswith("model") else "") + names[n]: t for n, t in tensors.items()} | {
        "vision.patch.weight": torch.ones(3), "deeply.wrapped.model.layers.1.self_attn.inv_freq": torch.ones(4), "deeply.wrapped.model.layers.2.mtp.weight": torch.ones(2, 2)}


def plain_root(tensors):
    return {n.removeprefix("wrapped."): t for n, t in tensors.items()}


def without(part):
    return lambda tensors: {n: t for n, t in tensors.items() if part not in n}


MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "num_hidden_layers": 3}
YARN = {"rope_type": "yarn", "factor": 4.0}
FACTORS = {"short_factor": [1.0, 1.1, 1.3, 1.9], "long_factor": [1.0, 2.0, 5.0, 9.0]}

CASES = [
    case("norms", "Norms"),
    case("fused-gate", "FusedGate", num_attention_heads=6),
    case("v-is-k", "VIsK", attention_bias=True),
    case("v-dim-gate-by-head", "VDim", v_head_dim=12, options={"gate_per_head": True}),
    case("v-dim-gate-by-element", "VDim", v_head_dim=6, sink_layers=[0, 1]),
    case("rope-fixed", "RopeFixed", tokens=40),
    case("rope-default", "RopeDefault", tokens=40, head_dim=16),
    case("rope-default-gaps", "RopeDefault", tokens=40, head_dim=16, rope_scaling=YARN | {"original_max_position_embeddings": 24}),
    case("rope-default-typeless", "RopeDefault", tokens=40, head_dim=16, rope_scaling={"factor": 99.0}, rope_parameters={"rope_type": "linear", "factor": 3.0}),
    case("rope-default-other-kind", "RopeDefault", tokens=40, rope_parameters={"type": "linear", "factor": 3.0, "rope_theta": 500.0}),
    case("rope-layers-dynamic", "RopeLayers", tokens=40, num_hidden_layers=3, max_position_embeddings=16, rope_scaling={"type": "dynamic", "factor": 2.0}),
    case("rope-layers-longrope", "RopeLayers", tokens=40, num_hidden_layers=3, original_max_position_embeddings=16, rope_scaling={"type": "longrope", **FACTORS}),
    case("rope-layers-longrope-short", "RopeLayers", tokens=16, num_hidden_layers=3, original_max_position_embeddings=16, rope_scaling={"rope_type": "longrope", **FACTORS}),
    case("rope-layers-proportional", "RopeLayers", tokens=40, num_hidden_layers=3, partial_rotary_factor=0.5, rope_parameters={"rope_type": "proportional", "factor": 2.0, "rope_theta": 300.0}),
    case("rope-layers-nested", "RopeLayers", tokens=40, num_hidden_layers=3, rope_theta=77.0, rope_parameters={"local": {"rope_theta": 200.0, "rope_type": "linear", "factor": 2.0}, "global": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 1.0, "mscale_all_dim": 0.5}, "rope_type": "default"}),
    case("rope-layers-yarn-null", "RopeLayers", tokens=40, num_hidden_layers=3, max_position_embeddings=24, partial_rotary_factor=0.8, rope_scaling=YARN | {"original_max_position_embeddings": None, "beta_fast": None, "attention_factor": None}),
    case("freq-factors", "FreqFactors", tokens=40, rope_scaling={"type": "linear", "factor": 2.0}),
    case("freq-factors-absent", "FreqFactors", tokens=40, options={"edit": without("rope_freqs")}),
    case("everything", "Everything", tokens=40, num_hidden_layers=3, num_attention_heads=6),
    case("after-rope", "AfterRope", tokens=40, num_hidden_layers=3),
    case("two-kinds", "TwoKinds", num_hidden_layers=4),
    case("steps", "Steps", num_hidden_layers=3),
    case("attention-twice", "AttentionTwice"),
    case("moe-softcap", "MoeSoftcap", n_experts=[4, 6], topk=[1, 3], router_cap=1.2),
    case("moe-softcap-off", "MoeSoftcap", n_experts=[5, 3], topk=2, router_cap=0),
    case("moe-selected-sigmoid", "MoeSelected", n_group=3, **MOE),
    case("moe-selected-sqrtsoftplus", "MoeSelected", score_kind="sqrtsoftplus", **MOE),
    case("moe-selected-softmax", "MoeSelected", score_kind="softmax", n_group=0, **MOE),
    case("moe-fused", "MoeFused", **MOE),
    case("moe-stacked", "MoeStacked", **(MOE | {"num_experts": 8})),
    case("moe-stacked-4", "MoeStacked", **(MOE | {"num_experts": 4, "num_experts_per_tok": 2})),
    case("head-untied", "Head", cap=3.0),
    case("head-tied", "Head", options={"edit": without("lm_head.weight")}),
    case("config", "Config", architectures=["Unknown", "LangConfigForCausalLM"], hidden_size=99, text_config={
        "sizes": {"hidden": 16, "layers": 3, "none": None}, "n": None, "vocab_size": 32, "num_attention_heads": 4, "head_dim": None, "act": {"name": "gelu"}, "max_position_embeddings": 64,
        "nothing": None, "left": 1, "kinds": ["global", "local", "local", "unused"], "rms_norm_eps": 1, "per_layer_or_one": [1, 2, 3]}),
    case("rope-scaling-empty", "RopeLayers", tokens=40, rope_scaling={}, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 50.0}, rope_theta=9.0),
    case("rope-scaling-named-default", "RopeLayers", tokens=40, rope_scaling={"rope_type": "default"}, rope_parameters=None, rope_theta=9.0),
    case("rope-theta-null", "RopeLayers", tokens=40, rope_parameters={"rope_theta": None, "rope_type": None, "type": "linear", "factor": 2}, rope_theta=30),
    case("text-config-rope", "RopeLayers", tokens=40, rope_theta=1.0, rope_scaling={"type": "linear", "factor": 9.0}, text_config=config("RopeLayers", architectures=..., rope_theta=40.0, original_max_position_embeddings=16, rope_scaling={"type": "longrope", **FACTORS})),
    case("shapes", "Shapes", num_hidden_layers=3, num_attention_heads=..., num_key_value_heads=..., head_dim=..., heads=[4, 2, 8], kv_heads=[1, 2, 4], widths=[10, 24, 7]),
    *(case("act-" + act.replace("_", "-"), "Acts", hidden_act=act, num_hidden_layers=1) for act in
      ["silu", "swish", "gelu", "gelu_new", "gelu_tanh", "gelu_pytorch_tanh", "gelu_fast", "relu", "relu2", "sigmoid", "softplus", "identity"]),
    case("root-deep", "Root", options={"edit": wrapped}),
    case("root-none-tied", "Root", tie_word_embeddings=True, options={"edit": plain_root}),
    case("transposed", "Transposed", num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3),
    case("when-old", "When", layout="old"),
    case("when-new", "When", layout="new"),
    case("when-missing", "When"),
    case("chunk-8", "Chunk", tokens=33, num_hidden_layers=3, sliding_window=6),
    case("chunk-null", "Chunk", tokens=20, num_hidden_layers=3, attention_chunk_size=None, sliding_window=None),
    case("chunk-at", "Chunk", tokens=16, num_hidden_layers=3, sliding_window=16, attention_chunk_size=16),
]


def small(stem, tokens=20, options=None, **more):
    """One of the specs whose generated code is a snapshot."""
    architecture = "".join(word.capitalize() for word in stem.removesuffix("_2").split("_"))
    base = {"head_dim": 4, "sliding_window": 5, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "intermediate_size": 12}
    return case("small", "", tokens, options, **(base | {"architectures": [architecture]} | more))[1:], f"small-{stem.replace('_', '-')}"


SMALL = [
    small("alibi"), small("alibi_2", alibi=False), small("biases"), small("branch", num_hidden_layers=3), small("chunked", num_hidden_layers=3), small("fused_gate_up"),
    small("fused_qkv"), small("gated_rows"), small("head_options"), small("head_options_2", final_softcap=None, options={"edit": without("out.weight")}), small("k_as_v"),
    small("learned_positions", max_position_embeddings=30), small("moe_shared", num_hidden_layers=3), small("moe_stacked"), small("names", match=3.0), small("norm_options"),
    small("numbers_per_layer", heads_of=[4, 2], num_key_value_heads=4), small("numbers_per_layer_2", inter_of=[7, 9]), small("out_gate"), small("out_gate_2", options={"gate_per_head": True}),
    small("parallel_block"), small("qk_norm_heads"), small("qk_norm_heads_2", use_qk_norm=False), small("qk_norm_unweighted"), small("qk_norm_whole"), small("residual_scale"),
    small("rope_options", head_dim=8, rope_theta=100.0), small("sandwich_norms"), small("score_options", num_hidden_layers=3, clip_qkv=0.6, attn_cap=1.5), small("shared_branch", num_hidden_layers=3),
    small("sinks"), small("sliding_window", num_hidden_layers=3, rope_scaling={"type": "linear", "factor": 3.0}), small("tied_embeddings"), small("tiny"), small("tiny_2", variant="old"),
]
CASES += [(name, *rest) for rest, name in SMALL]
