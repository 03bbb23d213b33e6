#!/usr/bin/env python3
"""Makes GGUF golden cases out of safetensors ones: the same numbers, named and laid out as llama.cpp's converter does.

    python3 -m pip install gguf torch safetensors numpy
    python3 tests/tools/make_gguf_goldens.py

A case holds `model.gguf` and the `expected.safetensors` of its source. What conversion changes: rows of q and k are
permuted to adjacent pairs (llama only), 1 is added to gemma's norm weights, GPT-2's matrices are transposed, experts are
stacked, gpt-oss' gate and up are taken apart and its blocks repacked, llama3 and longrope factors become tensors.
"""
import json
import math
import pathlib
import shutil

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
BF16, F32, MXFP4 = gguf.GGMLQuantizationType.BF16, gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.MXFP4
CASES = {
    "llama-gqa-tied-v5": "llama", "llama-llama3-v4": "llama", "llama-yarn-v4": "llama", "llama-9-heads-3-kv": "llama", "mistral-window-null": "llama",
    "qwen2-mha-yarn": "qwen2", "qwen3-plain-v4": "qwen3", "qwen3moe-renorm-v4": "qwen3moe", "gemma3-scalar-is-head-dim": "gemma3", "olmo2-gqa-v5": "olmo2",
    "phi3-longrope-long": "phi3", "phi3-longrope-short": "phi3", "phi3-partial-v5": "phi3", "gpt2-plain": "gpt2", "gpt-oss-mxfp4": "gpt-oss", "gpt-oss-not-square": "gpt-oss",
    "gpt-oss-t4097-beyond-original": "gpt-oss",
}
LLAMA = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
LAYER = {
    "llama": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA,
    "qwen3moe": LLAMA | {"mlp.gate": "ffn_gate_inp"},
    "gemma3": LLAMA | {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"},
    "olmo2": LLAMA | {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"},
    "phi3": LLAMA | {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"},
    "gpt2": {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
    "gpt-oss": LLAMA | {"post_attention_layernorm": "post_attention_norm", "mlp.router": "ffn_gate_inp"},
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
           "transformer.ln_f": "output_norm"}


def adjacent(rows, heads):
    """Half-split pairs of each head become adjacent ones."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).transpose(1, 2).reshape(rows.shape)


def repack(blocks, scales):
    """gpt-oss blocks as ggml's: the scale, then element j beside element j + 16."""
    nibbles = torch.stack([blocks & 15, blocks >> 4], -1).flatten(-2)
    packed = nibbles[..., :16] | (nibbles[..., 16:] << 4)
    return torch.cat([scales[..., None], packed], -1).flatten(-2)


def experts_of_gpt_oss(name, t, out):
    """Takes gate and up apart. Plain experts are stored [in, out] and turned."""
    base = name.split(".mlp.experts.")[0].replace("model.layers", "blk")
    kind = name.rsplit(".", 1)[1]
    split = lambda x: {"gate": x[:, 0::2], "up": x[:, 1::2]}
    if kind.endswith("_bias"):
        parts = split(t) if kind.startswith("gate_up") else {"down": t}
        out.update({f"{base}.ffn_{p}_exps.bias": (x, F32) for p, x in parts.items()})
    elif kind.endswith(("_proj", "_blocks")):
        packed = kind.endswith("_blocks")
        rows = t if packed else t.transpose(1, 2)
        parts = split(rows) if kind.startswith("gate_up") else {"down": rows}
        out.update({f"{base}.ffn_{p}_exps.weight": (x, MXFP4 if packed else BF16) for p, x in parts.items()})


def tensors_of(arch, config, tensors):
    out = {}
    for name, t in tensors.items():
        if ".mlp.experts." in name and arch == "gpt-oss":
            if name.endswith("_blocks"):
                t = repack(t, tensors[name.replace("_blocks", "_scales")])
            experts_of_gpt_oss(name, t, out)
            continue
        if ".mlp.experts." in name:
            continue
        stem, kind = name.rsplit(".", 1) if not name.endswith("sinks") else (name, "")
        if stem in OUTSIDE:
            new = f"{OUTSIDE[stem]}.{kind}"
        elif name.endswith("sinks"):
            new = f"blk.{name.split('.')[2]}.attn_sinks.weight"
        else:
            layer, rest = stem.removeprefix("model.layers.").removeprefix("transformer.h.").split(".", 1)
            new = f"blk.{layer}.{LAYER[arch][rest]}.{kind}"
        if arch == "llama" and ".attn_q." in new:
            t = adjacent(t, config["num_attention_heads"])
        if arch == "llama" and ".attn_k." in new:
            t = adjacent(t, config.get("num_key_value_heads", config["num_attention_heads"]))
        if arch == "gemma3" and "norm" in new:
            t = t.float() + 1
        if arch == "gpt2" and t.dim() == 2 and new.startswith("blk"):
            t = t.T
        out[new] = (t, F32 if t.dim() == 1 or t.dtype == torch.float32 else BF16)
    for i in range(config.get("num_hidden_layers", 0)) if arch == "qwen3moe" else []:
        for part in ("gate", "up", "down"):
            stack = torch.stack([tensors[f"model.layers.{i}.mlp.experts.{e}.{part}_proj.weight"] for e in range(config["num_experts"])])
            out[f"blk.{i}.ffn_{part}_exps.weight"] = (stack, BF16)
    return out


def llama3_factors(config, s, dim):
    def factor(j):
        wavelength = 2 * math.pi * config["rope_theta"] ** (2 * j / dim)
        low, high = s["original_max_position_embeddings"] / s["low_freq_factor"], s["original_max_position_embeddings"] / s["high_freq_factor"]
        if wavelength < high:
            return 1.0
        if wavelength > low:
            return s["factor"]
        smooth = (s["original_max_position_embeddings"] / wavelength - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
        return 1 / ((1 - smooth) / s["factor"] + smooth)
    return torch.tensor([factor(j) for j in range(dim // 2)])


def rope(w, arch, config, dim, out):
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    w.add_rope_freq_base(float(scaling.get("rope_theta", config.get("rope_theta", 1e6 if arch == "gemma3" else 1e4))))
    rotated = int(dim * scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)))
    w.add_rope_dimension_count(rotated)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "llama3":
        out["rope_freqs.weight"] = (llama3_factors(config, scaling, dim), F32)
    elif kind == "longrope":
        original = config["original_max_position_embeddings"]
        for which in ("short", "long"):
            out[f"rope_factors_{which}.weight"] = (torch.tensor(scaling[which + "_factor"]), F32)
        stretch = config["max_position_embeddings"] / original
        w.add_rope_scaling_orig_ctx_len(original)
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0)
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(scaling["factor"])
        w.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        if "beta_fast" in scaling:
            w.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])


def metadata(w, arch, config, out):
    get = lambda *keys: next((config[k] for k in keys if config.get(k) is not None), None)
    hidden, heads = get("hidden_size", "n_embd"), get("num_attention_heads", "n_head")
    dim = get("head_dim") or hidden // heads
    w.add_context_length(get("max_position_embeddings", "n_positions"))
    w.add_embedding_length(hidden)
    w.add_block_count(get("num_hidden_layers", "n_layer"))
    w.add_feed_forward_length(get("intermediate_size", "n_inner") or 4 * hidden)
    w.add_head_count(heads)
    if arch == "gpt2":
        w.add_layer_norm_eps(get("layer_norm_epsilon"))
        return
    w.add_head_count_kv(get("num_key_value_heads") or heads)
    w.add_layer_norm_rms_eps(get("rms_norm_eps"))
    w.add_key_length(dim)
    w.add_value_length(dim)
    w.add_vocab_size(get("vocab_size"))
    if experts := get("num_experts", "num_local_experts"):
        w.add_expert_count(experts)
        w.add_expert_used_count(get("num_experts_per_tok"))
        w.add_expert_feed_forward_length(get("moe_intermediate_size", "intermediate_size"))
    if arch in ("gemma3", "gpt-oss"):
        w.add_sliding_window(get("sliding_window"))
    if arch == "phi3":
        w.add_sliding_window(get("sliding_window") or 0)
    rope(w, arch, config, dim, out)


def make(source, arch):
    config = json.loads((GOLDEN / source / "config.json").read_text())
    tensors = load_file(GOLDEN / source / "model.safetensors")
    folder = GOLDEN.parent / "golden-gguf" / source
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    w = gguf.GGUFWriter(folder / "model.gguf", arch)
    out = tensors_of(arch, config, tensors)
    metadata(w, arch, config, out)
    for name, (t, kind) in out.items():
        if kind == MXFP4:
            w.add_tensor(name, t.contiguous().numpy(), raw_dtype=MXFP4)
        elif kind == BF16:
            w.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(t.float().numpy()), BF16), raw_dtype=BF16)
        else:
            w.add_tensor(name, np.ascontiguousarray(t.float().numpy()))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    shutil.copy(GOLDEN / source / "expected.safetensors", folder)
    print(f"{folder.name:34} {sum(f.stat().st_size for f in folder.iterdir()) / 1000:6.1f} kB")


if __name__ == "__main__":
    for source, arch in CASES.items():
        make(source, arch)
