"""Golden cases of the shipped architectures but gpt2 and gpt-oss (cases_gpt.py)."""
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

LLAMA = [
    Case("llama-mha-v4", llama(num_key_value_heads=4, head_dim=None, **v4())),
    Case("llama-gqa-tied-v5", llama(tie_word_embeddings=True, **v5(500000.0)), tokens=33),
    Case("llama-kv-heads-absent", llama(num_key_value_heads=..., rope_theta=..., rms_norm_eps=..., tie_word_embeddings=...)),
    Case("llama-mqa-5-heads-bf16", llama(hidden_size=30, num_attention_heads=5, num_key_value_heads=1, intermediate_size=50, **v4(dtype="bfloat16")), store="bf16"),
    Case("llama-7-heads-f16", llama(hidden_size=42, num_attention_heads=7, num_key_value_heads=7, intermediate_size=38, **v5()), store="f16"),
    Case("llama-9-heads-3-kv", llama(hidden_size=36, num_attention_heads=9, num_key_value_heads=3, head_dim=8, **v4(100000.0))),
    Case("llama-biases", llama(attention_bias=True, mlp_bias=True, pretraining_tp=1, **v4())),
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
    Case("llama-llama3-v5-tied", llama(head_dim=16, tie_word_embeddings=True, **v5(10000.0, "llama3", **LLAMA3)), tokens=80, store="bf16"),
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
    Case("llama-sharded-tied-bf16", llama(tie_word_embeddings=True, **v5()), shards=2, store="bf16"),
    Case("llama-one-token", llama(**v4()), tokens=1),
    Case("llama-long", llama(num_hidden_layers=1, max_position_embeddings=1024, **v4()), tokens=600, last=40),
]

CASES = LLAMA
