#!/usr/bin/env python3
"""Writes a checkpoint of train_gpt_oss.py as one GGUF file, and what transformers computes from that file's weights.

    python3 export_gpt_oss.py --model model --gguf ember-oss.gguf --expected expected.safetensors

Experts are stored as MXFP4, the other matrices as Q8_0, vectors and routers as F32, named as llama.cpp names them.
`expected` is for tests: a row of held-out text as long as the context (input_ids, learned: which of its tokens the
model was to learn), the loss of each token given those before it (losses), and the logits at its last positions.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import GptOssForCausalLM

from gguf import F32, MXFP4, Q8_0, QUANTIZE, U32, read_gguf, vocabulary, write_gguf
from harmony import CHAT_TEMPLATE
from training import held_out_loss

LAST = 8

PARTS = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "post_attention_norm": "post_attention_layernorm", "ffn_gate_inp": "mlp.router",
}


def to_gguf(state, layers):
    """{GGUF name: array}. The experts' gate and up are taken apart, and their matrices are [experts, out, in]."""
    out = {"token_embd.weight": state["model.embed_tokens.weight"]}
    for i in range(layers):
        ours, theirs = f"blk.{i}", f"model.layers.{i}"
        for name, source in PARTS.items():
            for kind in ("weight", "bias"):
                if (w := state.get(f"{theirs}.{source}.{kind}")) is not None:
                    out[f"{ours}.{name}.{kind}"] = w
        out[f"{ours}.attn_sinks.weight"] = state[f"{theirs}.self_attn.sinks"]
        gate_up, bias = state[f"{theirs}.mlp.experts.gate_up_proj"], state[f"{theirs}.mlp.experts.gate_up_proj_bias"]
        for at, name in enumerate(("gate", "up")):
            out[f"{ours}.ffn_{name}_exps.weight"] = gate_up[..., at::2].swapaxes(1, 2)
            out[f"{ours}.ffn_{name}_exps.bias"] = bias[..., at::2]
        out[f"{ours}.ffn_down_exps.weight"] = state[f"{theirs}.mlp.experts.down_proj"].swapaxes(1, 2)
        out[f"{ours}.ffn_down_exps.bias"] = state[f"{theirs}.mlp.experts.down_proj_bias"]
    return out | {"output_norm.weight": state["model.norm.weight"], "output.weight": state["lm_head.weight"]}


def from_gguf(tensors, layers):
    out = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"],
           "lm_head.weight": tensors["output.weight"]}
    for i in range(layers):
        ours, theirs = f"blk.{i}", f"model.layers.{i}"
        for name, source in PARTS.items():
            for kind in ("weight", "bias"):
                if (w := tensors.get(f"{ours}.{name}.{kind}")) is not None:
                    out[f"{theirs}.{source}.{kind}"] = w
        out[f"{theirs}.self_attn.sinks"] = tensors[f"{ours}.attn_sinks.weight"]
        for kind, suffix in (("weight", ""), ("bias", "_bias")):
            pair = np.stack([tensors[f"{ours}.ffn_{name}_exps.{kind}"] for name in ("gate", "up")], axis=2)
            pair = pair.reshape(pair.shape[0], -1, *pair.shape[3:])
            down = tensors[f"{ours}.ffn_down_exps.{kind}"]
            turn = (lambda w: w.swapaxes(1, 2)) if kind == "weight" else (lambda w: w)
            out[f"{theirs}.mlp.experts.gate_up_proj{suffix}"] = turn(pair)
            out[f"{theirs}.mlp.experts.down_proj{suffix}"] = turn(down)
    return {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in out.items()}


def type_of(name, w):
    if w.ndim == 1 or name.endswith(".bias") or "ffn_gate_inp" in name:
        return F32
    return MXFP4 if "_exps" in name else Q8_0


def metadata(config, tokenizer, args):
    tokens, types, merges, ids = vocabulary(tokenizer)
    rope = config.rope_parameters
    return {
        "general.architecture": "gpt-oss",
        "general.type": "model",
        "general.name": args.name,
        "general.description": args.description,
        "general.license": "apache-2.0",
        "general.languages": ["en"],
        "general.file_type": U32(38),
        "general.quantization_version": U32(2),
        "gpt-oss.vocab_size": U32(config.vocab_size),
        "gpt-oss.context_length": U32(config.max_position_embeddings),
        "gpt-oss.embedding_length": U32(config.hidden_size),
        "gpt-oss.block_count": U32(config.num_hidden_layers),
        "gpt-oss.feed_forward_length": U32(config.intermediate_size),
        "gpt-oss.expert_feed_forward_length": U32(config.intermediate_size),
        "gpt-oss.expert_count": U32(config.num_local_experts),
        "gpt-oss.expert_used_count": U32(config.num_experts_per_tok),
        "gpt-oss.attention.head_count": U32(config.num_attention_heads),
        "gpt-oss.attention.head_count_kv": U32(config.num_key_value_heads),
        "gpt-oss.attention.key_length": U32(config.head_dim),
        "gpt-oss.attention.value_length": U32(config.head_dim),
        "gpt-oss.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "gpt-oss.attention.sliding_window": U32(config.sliding_window),
        "gpt-oss.rope.dimension_count": U32(config.head_dim),
        "gpt-oss.rope.freq_base": float(rope["rope_theta"]),
        "gpt-oss.rope.scaling.type": "yarn",
        "gpt-oss.rope.scaling.factor": float(rope["factor"]),
        "gpt-oss.rope.scaling.original_context_length": U32(rope["original_max_position_embeddings"]),
        "gpt-oss.rope.scaling.yarn_beta_fast": float(rope["beta_fast"]),
        "gpt-oss.rope.scaling.yarn_beta_slow": float(rope["beta_slow"]),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-4o",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": ids["<|startoftext|>"],
        "tokenizer.ggml.eos_token_id": ids["<|return|>"],
        "tokenizer.ggml.eot_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.eom_token_id": ids["<|call|>"],
        "tokenizer.ggml.padding_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def expect(model, tokens, targets, path):
    """What tests compare with: transformers' numbers for one row."""
    tokens = tokens.long()
    with torch.no_grad():
        logits = model.cpu()(input_ids=tokens[None], use_cache=False).logits[0].float()
    losses = F.cross_entropy(logits[:-1], tokens[1:], reduction="none")
    learned = (targets[:-1] != -100).to(torch.uint8)
    save_file({"input_ids": tokens, "learned": learned, "losses": losses, "logits": logits[-LAST:].contiguous()}, path)
    print(f"{path}: {len(tokens)} tokens, mean loss of the learned ones {losses[learned.bool()].mean():.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder that train_gpt_oss.py wrote")
    parser.add_argument("--gguf", required=True, type=Path)
    parser.add_argument("--expected", type=Path, help="safetensors file for tests")
    parser.add_argument("--name", default="Inferno Ember OSS")
    parser.add_argument("--description", default="A very small gpt-oss that writes short stories and small talk in English.")
    parser.add_argument("--rows", type=int, default=10**9, help="most rows of the held-out text to measure on")
    args = parser.parse_args()

    model = GptOssForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    config, layers = model.config, model.config.num_hidden_layers
    floats = {name: w.numpy() for name, w in to_gguf(model.state_dict(), layers).items()}
    tensors = [(name, w.shape, type_of(name, w), QUANTIZE[type_of(name, w)](np.ascontiguousarray(w))) for name, w in floats.items()]
    meta = metadata(config, json.loads((args.model / "tokenizer.json").read_text()), args)
    write_gguf(args.gguf, meta, tensors)
    print(f"{args.gguf}: {args.gguf.stat().st_size:,} bytes, {sum(w.numel() for w in model.parameters()):,} weights")

    # Read the file back as any other, and let transformers' own model run on what is in it.
    read_meta, stored = read_gguf(args.gguf)
    assert list(read_meta) == list(meta) and list(stored) == list(floats)
    for name, w in floats.items():
        error = np.linalg.norm(stored[name] - w) / max(np.linalg.norm(w), 1e-9)
        assert error < {F32: 1e-6, Q8_0: 0.01, MXFP4: 0.2}[type_of(name, w)], f"{name} is off by {error}"
    model.load_state_dict(from_gguf(stored, layers))
    held_out = torch.load(args.model / "held_out.pt")
    if args.expected:
        expect(model, held_out["tokens"][0], held_out["targets"][0], args.expected)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sample = held_out["tokens"][: args.rows], held_out["targets"][: args.rows]
    loss = held_out_loss(model.to(device), *sample, device, batch=16)
    print(f"held-out loss of {len(sample[0])} of {len(held_out['tokens'])} rows, weights as stored: {loss:.4f} nats a token")


if __name__ == "__main__":
    main()
