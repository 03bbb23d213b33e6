"""Golden cases of the specs in tests/specs: other architectures of transformers, each with what is peculiar to it."""
from cases_shipped import base, v4, v5
from make_goldens import Case


def case(name, architecture, model_type, tokens=24, embed=1.0, gain=1.0, shards=1, **more):
    small = {"hidden_size": 24, "intermediate_size": 32, "vocab_size": 48}
    return Case(name, base(architecture, model_type, **(small | more)), tokens, embed=embed, gain=gain, shards=shards)


def bare(name, architecture, model_type, config, tokens=24, **options):
    """A config.json that shares no key with Llama's."""
    return Case(name, {"architectures": [architecture], "model_type": model_type, "vocab_size": 48} | config, tokens, **options)


NEOX = ("GPTNeoXForCausalLM", "gpt_neox")
FALCON = ("FalconForCausalLM", "falcon")
GPT_STYLE = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 1}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
DEEPSEEK = MOE | {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "n_shared_experts": 2, "first_k_dense_replace": 1, "norm_topk_prob": True, "routed_scaling_factor": 2.5, "head_dim": 8}
BLOOM = {"hidden_size": 24, "n_layer": 2}
MPT = {"d_model": 24, "n_layers": 2, "max_seq_len": 64}
LLAMA4 = {"head_dim": 8, "num_hidden_layers": 4, "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 28, "intermediate_size": 20, "attention_chunk_size": 7,
          "floor_scale": 5, "attn_scale": 0.3, "pad_token_id": 0}
YARN3 = {"factor": 4.0, "original_max_position_embeddings": 8, "llama_4_scaling_beta": 0.4, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}
YARN_OLMO = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "attention_factor": 1.2}

DENSE = [
    case("spec-gpt-neox", *NEOX, num_key_value_heads=..., rotary_pct=0.5, hidden_act="gelu", num_attention_heads=3, **v4()),
    case("spec-gpt-neox-sequential", *NEOX, num_key_value_heads=..., use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new", **v5(partial_rotary_factor=0.7)),
    case("spec-falcon-40b", *FALCON, new_decoder_architecture=True, num_kv_heads=2, alibi=False, bias=False),
    case("spec-falcon-7b", *FALCON, multi_query=True, parallel_attn=True, num_kv_heads=4, alibi=False, bias=False),
    case("spec-falcon-rw", *FALCON, multi_query=False, parallel_attn=False, alibi=False, bias=True, num_attention_heads=3),
    bare("spec-bloom", "BloomForCausalLM", "bloom", BLOOM | {"n_head": 4}),
    bare("spec-bloom-6-heads", "BloomForCausalLM", "bloom", BLOOM | {"n_head": 6}, tokens=40),
    bare("spec-mpt", "MptForCausalLM", "mpt", MPT | {"n_heads": 4}),
    bare("spec-mpt-clipped-scaled", "MptForCausalLM", "mpt", MPT | {"n_heads": 4, "attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.4}}),
    bare("spec-mpt-3-heads", "MptForCausalLM", "mpt", MPT | {"n_heads": 3}),
    case("spec-cohere", "CohereForCausalLM", "cohere", use_qk_norm=True, logit_scale=0.25, tie_word_embeddings=..., **v4()),
    case("spec-cohere-plain", "CohereForCausalLM", "cohere", use_qk_norm=False, tie_word_embeddings=..., **v5(8000000.0)),
    case("spec-cohere2", "Cohere2ForCausalLM", "cohere2", num_hidden_layers=4, sliding_window=6, tie_word_embeddings=..., **v4(50000.0)),
    case("spec-granite", "GraniteForCausalLM", "granite", embedding_multiplier=6.0, attention_multiplier=0.2, residual_multiplier=0.4, logits_scaling=3.0, **v4()),
    case("spec-starcoder2", "Starcoder2ForCausalLM", "starcoder2", sliding_window=7, hidden_act="gelu_pytorch_tanh", tie_word_embeddings=..., **v4()),
    case("spec-starcoder2-no-bias", "Starcoder2ForCausalLM", "starcoder2", sliding_window=None, use_bias=False, tie_word_embeddings=False, **v5()),
    case("spec-stablelm", "StableLmForCausalLM", "stablelm", use_qkv_bias=True, partial_rotary_factor=0.5, num_attention_heads=3, num_key_value_heads=1, **v4()),
    case("spec-stablelm-head-norms", "StableLmForCausalLM", "stablelm", qk_layernorm=True, use_parallel_residual=True, hidden_size=48, **v5(partial_rotary_factor=0.34)),
    case("spec-gemma2", "Gemma2ForCausalLM", "gemma2", head_dim=8, sliding_window=6, query_pre_attn_scalar=10, attn_logit_softcapping=4.0, final_logit_softcapping=6.0, tie_word_embeddings=..., hidden_act=..., embed=0.4, **v4()),
    case("spec-gemma2-caps-null", "Gemma2ForCausalLM", "gemma2", head_dim=8, sliding_window=6, attn_logit_softcapping=None, final_logit_softcapping=None, tie_word_embeddings=..., hidden_act=..., embed=0.4, layer_types=["full_attention", "sliding_attention"], **v5()),
    case("spec-glm", "GlmForCausalLM", "glm", head_dim=8, attention_bias=True, pad_token_id=0, **v4()),
    case("spec-glm4", "Glm4ForCausalLM", "glm4", head_dim=12, attention_bias=False, pad_token_id=0, **v5(partial_rotary_factor=0.5)),
    case("spec-nemotron", "NemotronForCausalLM", "nemotron", hidden_size=32, norm_eps=1e-4, hidden_act="relu2", attention_bias=True, **v5(partial_rotary_factor=0.5)),
    case("spec-phi", "PhiForCausalLM", "phi", qk_layernorm=True, num_key_value_heads=4, hidden_size=32, hidden_act="gelu_new", **v4()),
    case("spec-phi-gqa", "PhiForCausalLM", "phi", hidden_act="gelu_new", hidden_size=32, **v5(partial_rotary_factor=0.8)),
    bare("spec-gptj", "GPTJForCausalLM", "gptj", GPT_STYLE | {"rotary_dim": 4, "tie_word_embeddings": False}),
    bare("spec-codegen", "CodeGenForCausalLM", "codegen", GPT_STYLE | {"n_head": 4, "rotary_dim": 4, "tie_word_embeddings": False}),
    case("spec-opt", "OPTForCausalLM", "opt", ffn_dim=32, num_key_value_heads=..., word_embed_proj_dim=24, tie_word_embeddings=..., max_position_embeddings=40, num_attention_heads=3, activation_function="relu", embed=0.5, pad_token_id=1, tokens=40),
    bare("spec-gpt-bigcode", "GPTBigCodeForCausalLM", "gpt_bigcode", GPT_STYLE | {"multi_query": True}, embed=0.5),
    case("spec-ernie4-5", "Ernie4_5ForCausalLM", "ernie4_5", use_bias=True, head_dim=8, tie_word_embeddings=..., **v4()),
    case("spec-hunyuan-alpha", "HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", head_dim=8, max_position_embeddings=16, **v4(scaling={"type": "dynamic", "alpha": 50.0, "factor": 1.0, "mscale": 1.0, "mscale_all_dim": 0.0, "beta_fast": 32, "beta_slow": 1}), tokens=40),
    case("spec-exaone4", "Exaone4ForCausalLM", "exaone4", head_dim=8, num_hidden_layers=4, sliding_window=6, sliding_window_pattern=4, **v5(1000000.0)),
    case("spec-exaone4-no-window", "Exaone4ForCausalLM", "exaone4", head_dim=8, num_hidden_layers=2, sliding_window=None, sliding_window_pattern=None, layer_types=["full_attention"] * 2, **v5(kind="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
    case("spec-smollm3", "SmolLM3ForCausalLM", "smollm3", num_hidden_layers=4, tie_word_embeddings=..., pad_token_id=0, **v4(100000.0)),
    case("spec-smollm3-list", "SmolLM3ForCausalLM", "smollm3", num_hidden_layers=3, no_rope_layers=[0, 1, 1], tie_word_embeddings=False, pad_token_id=0, **v5()),
    case("spec-arcee", "ArceeForCausalLM", "arcee", hidden_act="relu2", mlp_bias=True, pad_token_id=0, **v5(kind="yarn", factor=4.0, original_max_position_embeddings=16)),
    case("spec-persimmon", "PersimmonForCausalLM", "persimmon", hidden_act="relu2", num_key_value_heads=..., **v5(partial_rotary_factor=0.75)),
    case("spec-olmo-clipped", "OlmoForCausalLM", "olmo", clip_qkv=0.7, rms_norm_eps=..., **v4()),
    case("spec-olmo", "OlmoForCausalLM", "olmo", clip_qkv=None, num_attention_heads=3, num_key_value_heads=3, **v5()),
    case("spec-olmo3", "Olmo3ForCausalLM", "olmo3", num_hidden_layers=4, sliding_window=7, **v4(500000.0, YARN_OLMO)),
    case("spec-olmo3-nested", "Olmo3ForCausalLM", "olmo3", num_hidden_layers=4, sliding_window=7, rope_parameters={"full_attention": YARN_OLMO | {"rope_theta": 70000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 3000.0}}),
    case("spec-seed-oss", "SeedOssForCausalLM", "seed_oss", head_dim=10, attention_bias=True, attention_out_bias=True, **v4()),
    case("spec-helium", "HeliumForCausalLM", "helium", head_dim=6, rms_norm_eps=1e-8, **v5()),
    case("spec-ministral3", "Ministral3ForCausalLM", "ministral3", head_dim=16, sliding_window=None, **v5(10000.0, "yarn", **YARN3), tokens=50),
]

SPARSE = [
    case("spec-granitemoe", "GraniteMoeForCausalLM", "granitemoe", num_local_experts=4, num_experts_per_tok=2, intermediate_size=16, embedding_multiplier=4.0, attention_multiplier=0.3, residual_multiplier=0.5, logits_scaling=2.0, **v4()),
    case("spec-granitemoe-shared", "GraniteMoeSharedForCausalLM", "granitemoeshared", num_local_experts=4, num_experts_per_tok=2, intermediate_size=16, shared_intermediate_size=20, **v5()),
    case("spec-olmoe", "OlmoeForCausalLM", "olmoe", num_experts=4, num_experts_per_tok=2, intermediate_size=16, clip_qkv=0.9, **v4()),
    case("spec-mixtral", "MixtralForCausalLM", "mixtral", num_local_experts=4, num_experts_per_tok=2, intermediate_size=16, sliding_window=9, **v4(1000000.0)),
    case("spec-qwen2-moe", "Qwen2MoeForCausalLM", "qwen2_moe", num_experts=4, shared_expert_intermediate_size=20, num_hidden_layers=3, mlp_only_layers=[1], **MOE, **v4()),
    case("spec-qwen2-moe-renorm", "Qwen2MoeForCausalLM", "qwen2_moe", num_experts=4, shared_expert_intermediate_size=20, norm_topk_prob=True, qkv_bias=False, decoder_sparse_step=2, **MOE, **v5()),
    case("spec-ernie4-5-moe", "Ernie4_5_MoeForCausalLM", "ernie4_5_moe", moe_num_experts=4, moe_k=2, moe_intermediate_size=16, moe_num_shared_experts=2, num_hidden_layers=3, moe_layer_start_index=1, hidden_size=32, tie_word_embeddings=..., **v4()),
    case("spec-hunyuan-moe", "HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", head_dim=8, num_experts=4, moe_topk=[1, 3], intermediate_size=16, **v5()),
    case("spec-hunyuan-moe-top-2", "HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", head_dim=8, num_experts=4, moe_topk=2, intermediate_size=16, **v4()),
    case("spec-dots1-groups", "Dots1ForCausalLM", "dots1", **DEEPSEEK, **v4()),
    case("spec-dots1-one-group", "Dots1ForCausalLM", "dots1", **(DEEPSEEK | {"n_group": 1, "topk_group": 1, "n_shared_experts": 1, "norm_topk_prob": False, "first_k_dense_replace": 0}), sliding_window=6, max_window_layers=1, layer_types=["full_attention", "sliding_attention"], **v5()),
    case("spec-glm4-moe", "Glm4MoeForCausalLM", "glm4_moe", attention_bias=True, use_qk_norm=True, partial_rotary_factor=0.5, **DEEPSEEK, **v4()),
    case("spec-llama4", "Llama4ForCausalLM", "llama4_text", interleave_moe_layer_step=2, **LLAMA4, **v4(500000.0)),
    case("spec-llama4-lists", "Llama4ForCausalLM", "llama4_text", **(LLAMA4 | {"num_hidden_layers": 3, "moe_layers": [0], "no_rope_layers": [1, 0, 1], "use_qk_norm": False, "num_experts_per_tok": 2}), **v5(kind="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
    bare("spec-dbrx", "DbrxForCausalLM", "dbrx", {"d_model": 24, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "tie_word_embeddings": False,
         "attn_config": {"clip_qkv": 0.8, "kv_n_heads": 2, "rope_theta": 10000.0}, "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "ffn_act_fn": {"name": "silu"}}}),
    case("spec-minimax-m2", "MiniMaxM2ForCausalLM", "minimax_m2", head_dim=16, rotary_dim=8, num_local_experts=4, num_experts_per_tok=2, intermediate_size=16, **v4(5000000.0)),
    case("spec-flex-olmo", "FlexOlmoForCausalLM", "flex_olmo", pad_token_id=0, num_experts=4, num_experts_per_tok=2, intermediate_size=16, **v4()),
    case("spec-afmoe", "AfmoeForCausalLM", "afmoe", head_dim=8, num_experts=4, num_shared_experts=1, num_dense_layers=1, num_hidden_layers=4, sliding_window=6, route_scale=1.7, mup_enabled=True, embed=0.4, **MOE, **v4()),
]

CASES = DENSE + SPARSE
