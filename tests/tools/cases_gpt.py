"""Golden cases of gpt2 and gpt-oss."""
from make_goldens import Case


def gpt2(**more):
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 1, "eos_token_id": 1} | more
    return {key: value for key, value in config.items() if value is not ...}


def without_root(tensors):
    """openai-community/gpt2's own names, with the causal-mask buffers of its time."""
    plain = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    layers = {name.split(".")[1] for name in plain if name.startswith("h.")}
    ones = next(iter(plain.values())).new_ones(1, 1, 64, 64)
    return plain | {f"h.{i}.attn.bias": ones.tril() for i in sorted(layers)}


GPT2 = [
    Case("gpt2-plain", gpt2(), tokens=24, embed=0.5, store="f32"),
    Case("gpt2-no-root-buffers", gpt2(), tokens=24, embed=0.5, edit=without_root),
    Case("gpt2-all-positions", gpt2(n_positions=40), tokens=40, embed=0.5),
    Case("gpt2-n-inner-relu", gpt2(n_inner=40, activation_function="relu"), tokens=24, embed=0.5),
    Case("gpt2-n-inner-null", gpt2(n_inner=None, activation_function="gelu", layer_norm_epsilon=1e-3), tokens=24, embed=0.5),
    Case("gpt2-unscaled", gpt2(scale_attn_weights=False), tokens=24, embed=0.5, gain=0.7),
    Case("gpt2-inverse-layer", gpt2(scale_attn_by_inverse_layer_idx=True, n_layer=3), tokens=24, embed=0.5),
    Case("gpt2-3-heads-untied", gpt2(n_embd=30, n_head=3, tie_word_embeddings=False), tokens=24, embed=0.5),
    Case("gpt2-sharded", gpt2(), tokens=24, embed=0.5, shards=3),
]

MXFP4 = {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}}


def yarn(original=4096, **more):
    return {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": original, "rope_type": "yarn", "truncate": False} | more


def gpt_oss(scaling=yarn(64), v5=False, **more):
    layers = more.get("num_hidden_layers", 2)
    config = {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2,
        "experts_per_token": 2, "attention_bias": True, "hidden_act": "silu", "rms_norm_eps": 1e-5, "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2) + ["sliding_attention"] * (layers % 2), "swiglu_limit": 7.0,
        "max_position_embeddings": 131072, "initial_context_length": 4096, "tie_word_embeddings": False, "eos_token_id": 2, "pad_token_id": 1}
    if v5:
        config |= {"rope_parameters": scaling | {"rope_theta": 150000}, "dtype": "bfloat16"}
    else:
        config |= {"rope_theta": 150000, "rope_scaling": scaling, "torch_dtype": "bfloat16"}
    return {key: value for key, value in (config | more).items() if value is not ...}


SMALL = {"sliding_window": 9}
GPT_OSS = [
    Case("gpt-oss-f32", gpt_oss(**SMALL), tokens=40, store="f32"),
    Case("gpt-oss-bf16-v5", gpt_oss(v5=True, **SMALL), tokens=40),
    Case("gpt-oss-mxfp4", gpt_oss(**SMALL, **MXFP4), tokens=40, mxfp4=True),
    Case("gpt-oss-mxfp4-wide", gpt_oss(**SMALL, **MXFP4, hidden_size=64, intermediate_size=96, num_hidden_layers=1), tokens=40, mxfp4=True),
    Case("gpt-oss-mxfp4-sharded", gpt_oss(v5=True, **SMALL, **MXFP4, hidden_size=64), tokens=40, mxfp4=True, shards=3),
    Case("gpt-oss-mxfp4-4-layers", gpt_oss(**SMALL, **MXFP4, num_hidden_layers=4), tokens=48, mxfp4=True),
    Case("gpt-oss-mxfp4-clamped", gpt_oss(**SMALL, **MXFP4, swiglu_limit=0.8), tokens=40, mxfp4=True),
    Case("gpt-oss-clamped-alpha", gpt_oss(v5=True, **SMALL, swiglu_limit=1.5, swiglu_alpha=1.2), tokens=40),
    Case("gpt-oss-limit-7-reached", gpt_oss(**SMALL, num_hidden_layers=2), tokens=40, gain=3.0),
    Case("gpt-oss-not-square", gpt_oss(**SMALL, hidden_size=48, intermediate_size=24), tokens=40),
    Case("gpt-oss-full-first", gpt_oss(v5=True, layer_types=["full_attention", "sliding_attention"], sliding_window=7), tokens=40),
    Case("gpt-oss-layer-types-absent", gpt_oss(layer_types=..., sliding_window=8), tokens=40),
    Case("gpt-oss-no-attention-bias", gpt_oss(attention_bias=False, **SMALL), tokens=40),
    Case("gpt-oss-top-1-of-8", gpt_oss(num_local_experts=8, num_experts_per_tok=1, experts_per_token=1, **SMALL), tokens=40),
    Case("gpt-oss-rope-absent", gpt_oss(rope_theta=..., rope_scaling=..., **SMALL), tokens=40),
    Case("gpt-oss-truncate", gpt_oss(yarn(64, truncate=True), **SMALL), tokens=40),
    Case("gpt-oss-one-token", gpt_oss(**MXFP4), tokens=1, mxfp4=True),
    Case("gpt-oss-window-127", gpt_oss(**MXFP4), tokens=127, mxfp4=True),
    Case("gpt-oss-window-128", gpt_oss(**MXFP4), tokens=128, mxfp4=True),
    Case("gpt-oss-window-129", gpt_oss(**MXFP4), tokens=129, mxfp4=True),
    Case("gpt-oss-t300", gpt_oss(yarn(256), v5=True), tokens=300),
    Case("gpt-oss-t700-beyond-original", gpt_oss(yarn(512), **MXFP4, head_dim=64, num_attention_heads=2, num_key_value_heads=1), tokens=700, mxfp4=True),
    Case("gpt-oss-t4095-beyond-original", gpt_oss(yarn(1024), **MXFP4), tokens=4095, last=8, mxfp4=True),
    Case("gpt-oss-t4097-beyond-original", gpt_oss(yarn(4096), **MXFP4), tokens=4097, last=8, mxfp4=True),
    Case("gpt-oss-t520-8-heads", gpt_oss(yarn(4096), num_attention_heads=8, num_key_value_heads=1), tokens=520),
]

CASES = GPT2 + GPT_OSS
