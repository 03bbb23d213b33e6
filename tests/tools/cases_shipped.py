"""Golden cases of the shipped architectures but gpt2 and gpt-oss (cases_gpt.py)."""
import torch

from make_goldens import Case


def base(architecture, model_type, **more):
    """A config.json of a tiny checkpoint; `None` values stay as JSON nulls, `...` removes a key."""
    config = {
        "architectures": [architecture], "model_type": model_type, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "silu",
    } | more
    return {key: value for key, value in config.items() if value is not ...}


def llama(**more):
    return base("LlamaForCausalLM", "llama", **more)


def v4(theta=10000.0, scaling=None, dtype="float32"):
    return {"rope_theta": theta, "rope_scaling": scaling, "torch_dtype": dtype, "transformers_version": "4.51.0"}


def v5(theta=10000.0, kind="default", **scaling):
    return {"rope_parameters": {"rope_theta": theta, "rope_type": kind, **scaling}, "dtype": "float32", "transformers_version": "5.2.0"}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
SHORT = [1.0, 1.05, 1.2, 1.5]
LONG = [1.0, 2.5, 6.0, 14.0]



def with_head(tensors):
    """A tied checkpoint that stores its head all the same; nothing may read it."""
    return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] * 3}


def with_inv_freq(tensors):
    """Buffers that files of 2023 carry."""
    return tensors | {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(2)}


LLAMA = [
    Case("llama-mha-v4", llama(num_key_value_heads=4, head_dim=None, **v4()), store="f32"),
    Case("llama-gqa-tied-v5", llama(tie_word_embeddings=True, **v5(500000.0)), tokens=33, store="f32"),
    Case("llama-kv-heads-absent", llama(num_key_value_heads=..., rope_theta=..., rms_norm_eps=..., tie_word_embeddings=...)),
    Case("llama-mqa-5-heads-bf16", llama(hidden_size=30, num_attention_heads=5, num_key_value_heads=1, intermediate_size=50, **v4(dtype="bfloat16"))),
    Case("llama-7-heads-f16", llama(hidden_size=42, num_attention_heads=7, num_key_value_heads=7, intermediate_size=38, **v5()), store="f16"),
    Case("llama-9-heads-3-kv", llama(hidden_size=36, num_attention_heads=9, num_key_value_heads=3, head_dim=8, **v4(100000.0))),
    Case("llama-biases", llama(attention_bias=True, mlp_bias=True, pretraining_tp=1, **v4()), store="f32"),
    Case("llama-attention-bias-tied", llama(attention_bias=True, tie_word_embeddings=True, **v5())),
    Case("llama-mlp-bias", llama(mlp_bias=True, **v5())),
    Case("llama-head-dim-16-of-8", llama(hidden_size=24, num_attention_heads=3, num_key_value_heads=3, head_dim=16, **v4())),
    Case("llama-head-dim-4-of-8", llama(head_dim=4, **v5())),
    Case("llama-gelu", llama(hidden_act="gelu", **v4())),
    Case("llama-gelu-tanh", llama(hidden_act="gelu_pytorch_tanh", **v4())),
    Case("llama-relu", llama(hidden_act="relu", **v5())),
    Case("llama-linear-v4", llama(**v4(scaling={"type": "linear", "factor": 4.0})), tokens=40),
    Case("llama-linear-v5", llama(**v5(kind="linear", factor=2.5)), tokens=40),
    Case("llama-dynamic-within", llama(max_position_embeddings=64, **v4(scaling={"type": "dynamic", "factor": 2.0})), tokens=40),
    Case("llama-dynamic-at-length", llama(max_position_embeddings=40, **v4(scaling={"rope_type": "dynamic", "factor": 2.0})), tokens=40),
    Case("llama-dynamic-beyond-v4", llama(max_position_embeddings=16, **v4(scaling={"type": "dynamic", "factor": 2.0})), tokens=61),
    Case("llama-dynamic-beyond-v5", llama(max_position_embeddings=24, **v5(kind="dynamic", factor=4.0)), tokens=25),
    Case("llama-llama3-v4", llama(head_dim=16, **v4(500000.0, {"rope_type": "llama3", **LLAMA3})), tokens=80),
    Case("llama-llama3-v5-tied", llama(head_dim=16, tie_word_embeddings=True, **v5(10000.0, "llama3", **LLAMA3)), tokens=80),
    Case("llama-yarn-v4", llama(head_dim=16, **v4(scaling={"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64})), tokens=100),
    Case("llama-yarn-v5", llama(head_dim=16, max_position_embeddings=256, **v5(10000.0, "yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0)), tokens=90),
    Case("llama-yarn-no-truncate", llama(head_dim=16, **v5(150000.0, "yarn", factor=32.0, original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0, truncate=False)), tokens=90),
    Case("llama-yarn-attention-factor", llama(head_dim=16, **v4(scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "attention_factor": 1.25})), tokens=50),
    Case("llama-yarn-mscale", llama(head_dim=16, **v5(10000.0, "yarn", factor=16.0, original_max_position_embeddings=32, mscale=0.7, mscale_all_dim=1.3)), tokens=50),
    Case("llama-yarn-original-absent", llama(head_dim=16, max_position_embeddings=48, **v4(scaling={"rope_type": "yarn", "factor": 4.0})), tokens=50),
    Case("llama-longrope-short", llama(max_position_embeddings=256, **v5(kind="longrope", short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=32)), tokens=32),
    Case("llama-longrope-long", llama(max_position_embeddings=256, **v5(kind="longrope", short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=32)), tokens=33),
    Case("llama-longrope-attention-factor", llama(max_position_embeddings=256, **v4(scaling={"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "original_max_position_embeddings": 16, "attention_factor": 1.1, "factor": 16.0})), tokens=40),
    Case("llama-sharded", llama(num_hidden_layers=3, **v4(dtype="float16")), shards=3, store="f16"),
    Case("llama-sharded-tied-bf16", llama(tie_word_embeddings=True, **v5()), shards=2),
    Case("llama-tied-with-head", llama(tie_word_embeddings=True, **v4()), edit=with_head),
    Case("llama-inv-freq-buffers", llama(**v4()), edit=with_inv_freq),
    Case("llama-one-token", llama(**v4()), tokens=1),
    Case("llama-long", llama(num_hidden_layers=1, max_position_embeddings=1024, **v4()), tokens=600, last=40),
]



def mistral(**more):
    return base("MistralForCausalLM", "mistral", **more)


MISTRAL = [
    Case("mistral-window-absent", mistral(**v4())),
    Case("mistral-window-null", mistral(sliding_window=None, **v4()), tokens=40),
    Case("mistral-window-16-below", mistral(sliding_window=16, **v4()), tokens=15),
    Case("mistral-window-16-at", mistral(sliding_window=16, **v4()), tokens=16),
    Case("mistral-window-16-above", mistral(sliding_window=16, **v4()), tokens=17, store="f32"),
    Case("mistral-window-5-several", mistral(sliding_window=5, num_hidden_layers=3, **v5(1e6)), tokens=73),
    Case("mistral-window-1", mistral(sliding_window=1, **v5()), tokens=12),
    Case("mistral-window-64-of-200", mistral(sliding_window=64, head_dim=12, num_hidden_layers=1, **v4(1e6)), tokens=200),
    Case("mistral-mqa-3-heads-tied", mistral(sliding_window=8, hidden_size=24, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True, **v4()), tokens=30),
    Case("mistral-head-dim-10", mistral(sliding_window=None, head_dim=10, **v5(1e8)), shards=2),
]


def qwen2(**more):
    return base("Qwen2ForCausalLM", "qwen2", rms_norm_eps=1e-6, **more)


QWEN2 = [
    Case("qwen2-window-unused", qwen2(use_sliding_window=False, sliding_window=4, max_window_layers=0, **v4(1e6, dtype="bfloat16")), tokens=24),
    Case("qwen2-tied", qwen2(tie_word_embeddings=True, **v4(1e6)), tokens=24, store="f32"),
    Case("qwen2-upper-layers-slide", qwen2(num_hidden_layers=3, use_sliding_window=True, sliding_window=6, max_window_layers=1, **v4()), tokens=30),
    Case("qwen2-layer-types", qwen2(num_hidden_layers=3, use_sliding_window=True, sliding_window=7, layer_types=["sliding_attention", "full_attention", "sliding_attention"], **v5()), tokens=30),
    Case("qwen2-window-null", qwen2(use_sliding_window=False, sliding_window=None, **v5()), tokens=24),
    Case("qwen2-layer-types-unused", qwen2(use_sliding_window=False, sliding_window=None, layer_types=["full_attention", "full_attention"], **v5()), tokens=24),
    Case("qwen2-7-heads-1-kv", qwen2(hidden_size=42, num_attention_heads=7, num_key_value_heads=1, intermediate_size=40, **v4()), tokens=24),
    Case("qwen2-mha-yarn", qwen2(num_key_value_heads=4, max_position_embeddings=64, **v4(1e6, {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32})), tokens=70),
    Case("qwen2-dynamic", qwen2(max_position_embeddings=20, **v5(1e4, "dynamic", factor=3.0)), tokens=50),
    Case("qwen2-sharded", qwen2(**v5(1e6)), tokens=24, shards=4),
]


def qwen3(**more):
    return base("Qwen3ForCausalLM", "qwen3", **({"rms_norm_eps": 1e-6, "head_dim": 8} | more))


QWEN3 = [
    Case("qwen3-plain-v4", qwen3(attention_bias=False, use_sliding_window=False, sliding_window=None, max_window_layers=2, **v4(1e6, dtype="bfloat16")), tokens=24),
    Case("qwen3-tied-head-dim-16", qwen3(head_dim=16, tie_word_embeddings=True, **v5(1e6)), tokens=24),
    Case("qwen3-bias", qwen3(attention_bias=True, **v4(1e6)), tokens=24, store="f32"),
    Case("qwen3-head-dim-absent", qwen3(head_dim=..., hidden_size=16, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=1, intermediate_size=24, **v4(1e6)), tokens=24),
    Case("qwen3-upper-layers-slide", qwen3(num_hidden_layers=3, use_sliding_window=True, sliding_window=6, max_window_layers=2, **v4()), tokens=30),
    Case("qwen3-layer-types", qwen3(num_hidden_layers=3, use_sliding_window=True, sliding_window=9, layer_types=["full_attention", "sliding_attention", "full_attention"], **v5()), tokens=27),
    Case("qwen3-mha-5-heads", qwen3(hidden_size=20, num_attention_heads=5, num_key_value_heads=5, head_dim=6, **v5()), tokens=24),
    Case("qwen3-mqa-yarn", qwen3(num_key_value_heads=1, head_dim=16, **v4(1e6, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32})), tokens=60),
    Case("qwen3-dynamic-yarn-v5", qwen3(head_dim=16, max_position_embeddings=128, **v5(1e6, "yarn", factor=2.0, original_max_position_embeddings=64, attention_factor=1.0)), tokens=66),
]


def qwen3_moe(**more):
    return base("Qwen3MoeForCausalLM", "qwen3_moe", **({
        "rms_norm_eps": 1e-6, "head_dim": 8, "moe_intermediate_size": 16, "num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": True,
        "decoder_sparse_step": 1, "mlp_only_layers": []} | more))


QWEN3_MOE = [
    Case("qwen3moe-renorm-v4", qwen3_moe(use_sliding_window=False, sliding_window=None, max_window_layers=2, **v4(1e6, dtype="bfloat16")), tokens=24),
    Case("qwen3moe-no-renorm", qwen3_moe(norm_topk_prob=False, **v5(1e6)), tokens=24, store="f32"),
    Case("qwen3moe-renorm-absent", qwen3_moe(norm_topk_prob=..., mlp_only_layers=..., decoder_sparse_step=..., **v5()), tokens=24),
    Case("qwen3moe-mlp-only-layers", qwen3_moe(num_hidden_layers=3, mlp_only_layers=[1], **v4(1e6)), tokens=24),
    Case("qwen3moe-sparse-step-2", qwen3_moe(num_hidden_layers=4, decoder_sparse_step=2, norm_topk_prob=False, **v4(1e6)), tokens=24),
    Case("qwen3moe-step-and-list", qwen3_moe(num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3], **v5(1e6)), tokens=24),
    Case("qwen3moe-all-dense", qwen3_moe(num_hidden_layers=2, mlp_only_layers=[0, 1], **v5(1e6)), tokens=24),
    Case("qwen3moe-window", qwen3_moe(use_sliding_window=True, sliding_window=6, mlp_only_layers=None, **v4(1e6)), tokens=24),
    Case("qwen3moe-top-1", qwen3_moe(num_experts_per_tok=1, norm_topk_prob=False, **v5(1e6)), tokens=24),
    Case("qwen3moe-top-all", qwen3_moe(num_experts=4, num_experts_per_tok=4, **v5(1e6)), tokens=24),
    Case("qwen3moe-bias-tied-3-heads", qwen3_moe(num_attention_heads=3, num_key_value_heads=1, attention_bias=True, tie_word_embeddings=True, **v5(1e6)), tokens=24),
    Case("qwen3moe-sharded-yarn", qwen3_moe(head_dim=16, num_hidden_layers=1, **v4(1e6, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32})), tokens=60, shards=3),
]


def gemma3(**more):
    config = base("Gemma3ForCausalLM", "gemma3_text", **({
        "hidden_act": ..., "hidden_activation": "gelu_pytorch_tanh", "head_dim": 8, "query_pre_attn_scalar": 12, "rms_norm_eps": 1e-6,
        "sliding_window": 6, "num_hidden_layers": 3, "tie_word_embeddings": ..., "intermediate_size": 40} | more))
    return config


def gemma_v4(**more):
    return {"rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "rope_scaling": None, "sliding_window_pattern": 3, "torch_dtype": "bfloat16"} | more


def gemma_v5(full=None, sliding=None, types=("sliding_attention", "sliding_attention", "full_attention")):
    return {"layer_types": list(types), "dtype": "float32", "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1000000.0} | (full or {}),
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0} | (sliding or {})}}


def gemma3_image():
    """The language part nested in text_config, as in gemma-3-4b and larger."""
    return {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "hidden_size": 99, "mm_tokens_per_image": 4, "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
        "text_config": gemma3(**gemma_v4(rope_scaling={"rope_type": "linear", "factor": 8.0}), architectures=...)}


def beside_images(tensors):
    extra = {"vision_tower.vision_model.post_layernorm.weight": torch.ones(8), "multi_modal_projector.mm_soft_emb_norm.weight": torch.ones(8)}
    return {"language_model." + name: t for name, t in tensors.items()} | extra


GEMMA3 = [
    Case("gemma3-v4", gemma3(**gemma_v4()), tokens=30, embed=0.3, store="f32"),
    Case("gemma3-v4-linear", gemma3(**gemma_v4(rope_scaling={"rope_type": "linear", "factor": 8.0}), num_attention_heads=4, num_key_value_heads=1), tokens=40, embed=0.3),
    Case("gemma3-v4-local-theta", gemma3(**gemma_v4(rope_theta=50000.0, rope_local_base_freq=500.0)), tokens=40, embed=0.3),
    Case("gemma3-v5", gemma3(**gemma_v5()), tokens=30, embed=0.3),
    Case("gemma3-v5-linear", gemma3(**gemma_v5({"rope_type": "linear", "factor": 8.0})), tokens=40, embed=0.3),
    Case("gemma3-v5-both-scaled", gemma3(**gemma_v5({"rope_type": "linear", "factor": 8.0}, {"rope_theta": 3000.0, "rope_type": "linear", "factor": 2.0})), tokens=40, embed=0.3),
    Case("gemma3-default-pattern-6", gemma3(num_hidden_layers=6, hidden_size=16, intermediate_size=20, num_attention_heads=2, num_key_value_heads=1, sliding_window=9, rope_theta=1000000.0), tokens=25, embed=0.3),
    Case("gemma3-window-below", gemma3(**gemma_v4(sliding_window_pattern=2), sliding_window=16), tokens=15, embed=0.3),
    Case("gemma3-window-at", gemma3(**gemma_v4(sliding_window_pattern=2), sliding_window=16), tokens=16, embed=0.3),
    Case("gemma3-window-above", gemma3(**gemma_v4(sliding_window_pattern=2), sliding_window=16), tokens=17, embed=0.3),
    Case("gemma3-untied", gemma3(**gemma_v5(types=["full_attention", "sliding_attention", "full_attention"]), tie_word_embeddings=False), tokens=30, embed=0.3),
    Case("gemma3-bias-gelu", gemma3(**gemma_v5(), attention_bias=True, hidden_activation="gelu"), tokens=30, embed=0.3),
    Case("gemma3-3-heads-head-dim-12", gemma3(**gemma_v4(), hidden_size=36, num_attention_heads=3, num_key_value_heads=3, head_dim=12), tokens=30, embed=0.3, shards=2),
    Case("gemma3-softcap", gemma3(**gemma_v4(), attn_logit_softcapping=None, final_logit_softcapping=5.0), tokens=30, embed=0.3),
    Case("gemma3-image-model", gemma3_image(), tokens=30, embed=0.3, edit=beside_images),
    Case("gemma3-scalar-is-head-dim", gemma3(num_hidden_layers=6, hidden_size=16, intermediate_size=20, num_attention_heads=2, num_key_value_heads=1, query_pre_attn_scalar=8, sliding_window=9), tokens=25, embed=0.3),
    Case("gemma3-long", gemma3(**gemma_v4(), sliding_window=64, max_position_embeddings=1024), tokens=300, embed=0.3),
]


def olmo2(**more):
    return base("Olmo2ForCausalLM", "olmo2", **({"rms_norm_eps": 1e-6} | more))


OLMO2 = [
    Case("olmo2-mha-v4", olmo2(num_key_value_heads=4, **v4(500000.0)), tokens=24, store="f32"),
    Case("olmo2-gqa-v5", olmo2(**v5(500000.0)), tokens=24),
    Case("olmo2-kv-absent-tied", olmo2(num_key_value_heads=..., tie_word_embeddings=True, **v5()), tokens=24),
    Case("olmo2-bias", olmo2(attention_bias=True, **v4()), tokens=24),
    Case("olmo2-6-heads-3-kv", olmo2(hidden_size=36, num_attention_heads=6, num_key_value_heads=3, **v5()), tokens=24),
    Case("olmo2-yarn", olmo2(**v5(500000.0, "yarn", factor=8.0, original_max_position_embeddings=32)), tokens=70),
    Case("olmo2-eps-absent", olmo2(rms_norm_eps=..., **v4()), tokens=24),
]


def phi3(**more):
    return base("Phi3ForCausalLM", "phi3", **({"pad_token_id": None, "original_max_position_embeddings": 32} | more))


PHI_SCALING = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
PHI3 = [
    Case("phi3-4k-v4", phi3(num_key_value_heads=4, sliding_window=2047, **v4()), tokens=24, store="f32"),
    Case("phi3-gqa-window", phi3(sliding_window=7, **v5()), tokens=30),
    Case("phi3-window-null", phi3(sliding_window=None, **v4()), tokens=24),
    Case("phi3-longrope-short", phi3(**v4(scaling=PHI_SCALING)), tokens=32),
    Case("phi3-longrope-long", phi3(**v4(scaling=PHI_SCALING)), tokens=33),
    Case("phi3-longrope-long-v5", phi3(**v5(1e4, "longrope", short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=32)), tokens=60),
    Case("phi3-longrope-same-length", phi3(max_position_embeddings=32, **v4(scaling=PHI_SCALING)), tokens=20),
    Case("phi3-partial-v4", phi3(partial_rotary_factor=0.75, tie_word_embeddings=True, **v4(scaling={"type": "longrope", "short_factor": SHORT[:3], "long_factor": LONG[:3]})), tokens=40),
    Case("phi3-partial-v5", phi3(hidden_size=48, num_attention_heads=3, num_key_value_heads=1, **v5(1e4, partial_rotary_factor=0.5)), tokens=40),
    Case("phi3-partial-truncated", phi3(hidden_size=40, num_attention_heads=4, num_key_value_heads=2, partial_rotary_factor=0.65, **v4()), tokens=24),
    Case("phi3-sharded", phi3(sliding_window=16, **v4()), tokens=17, shards=2),
]

CASES = LLAMA + MISTRAL + QWEN2 + QWEN3 + QWEN3_MOE + GEMMA3 + OLMO2 + PHI3
