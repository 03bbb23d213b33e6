#!/usr/bin/env python3
"""Writes a checkpoint of train_llama.py as one GGUF file, and checks what the quantization costs.

    python3 export_llama.py --model model --gguf default-model.gguf --type q8_0 --license apache-2.0

With --hf, also writes the checkpoint for other programs to compare with: the float weights in Hugging Face's
layout, and expected.safetensors with the logits that the stored (dequantized) weights give for a fixed text.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from gguf import F32, Q4_0, Q8_0, QUANTIZE, U32, read_gguf, vocabulary, write_gguf
from train_llama import CHAT_TEMPLATE
from training import held_out_loss

SAMPLE = (
    "<|im_start|>user\nTell me a story about a brave fox.<|im_end|>\n<|im_start|>assistant\nOnce upon a time, there was "
    "a brave fox named Lily. She lived in a small forest with her family. One day, Lily found a golden key near the "
    "river. \"What is that?\" asked Lily. She looked at the key for a long time. Then she met an old owl named Tom. "
    "Tom was wise and kind. \"This key opens a door in the mountain,\" said Tom. \"But the way is long, and you must "
    "not be afraid.\" Lily smiled. She was not afraid. She walked through the forest, over the bridge and up the hill. "
    "At last, she saw a little door. Lily opened it with the golden key. Behind the door was a warm room with a big "
    "table, and at the table sat all of her friends. They had made a cake for her birthday. Lily was very happy. From "
    "that day on, she and Tom were best friends.<|im_end|>\n"
)


def to_gguf_rows(w, heads):
    """llama.cpp rotates neighbouring rows of a head, Hugging Face rows half a head apart."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def from_gguf_rows(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def tensor_names(layers):
    """(GGUF name, Hugging Face name) of every tensor."""
    yield "token_embd.weight", "model.embed_tokens.weight"
    yield "output_norm.weight", "model.norm.weight"
    parts = [
        ("attn_norm", "input_layernorm"), ("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"), ("attn_output", "self_attn.o_proj"), ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"), ("ffn_down", "mlp.down_proj"),
    ]
    for i in range(layers):
        for ours, theirs in parts:
            yield f"blk.{i}.{ours}.weight", f"model.layers.{i}.{theirs}.weight"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder that train_llama.py wrote")
    parser.add_argument("--gguf", required=True, type=Path)
    parser.add_argument("--type", choices=["q8_0", "q4_0"], default="q8_0", help="of the matrices; the embedding is q8_0")
    parser.add_argument("--name", default="Inferno Ember")
    parser.add_argument("--license", default="apache-2.0")
    parser.add_argument("--description", default="A very small model that writes short stories and small talk in English.")
    parser.add_argument("--rows", type=int, default=10**9, help="most rows of the held-out text to measure on")
    parser.add_argument("--hf", type=Path, help="folder for the checkpoint to compare with")
    args = parser.parse_args()

    model = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    config, state = model.config, model.state_dict()
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    matrix_type = {"q8_0": Q8_0, "q4_0": Q4_0}[args.type]

    def heads_of(name):
        return next((n for part, n in heads.items() if f".{part}." in name), None)

    tensors = []
    for ours, theirs in tensor_names(config.num_hidden_layers):
        w = state[theirs].numpy()
        if n := heads_of(ours):
            w = to_gguf_rows(w, n)
        kind = F32 if w.ndim == 1 else Q8_0 if ours.startswith("token_embd") else matrix_type
        tensors.append((ours, w.shape, kind, QUANTIZE[kind](np.ascontiguousarray(w))))

    tokenizer = json.loads((args.model / "tokenizer.json").read_text())
    tokens, types, merges, ids = vocabulary(tokenizer)
    head_dim = config.hidden_size // config.num_attention_heads
    meta = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": args.name,
        "general.description": args.description,
        "general.license": args.license,
        "general.languages": ["en"],
        "general.file_type": U32(7 if args.type == "q8_0" else 2),
        "general.quantization_version": U32(2),
        "llama.vocab_size": U32(config.vocab_size),
        "llama.context_length": U32(config.max_position_embeddings),
        "llama.embedding_length": U32(config.hidden_size),
        "llama.block_count": U32(config.num_hidden_layers),
        "llama.feed_forward_length": U32(config.intermediate_size),
        "llama.attention.head_count": U32(config.num_attention_heads),
        "llama.attention.head_count_kv": U32(config.num_key_value_heads),
        "llama.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "llama.rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "llama.rope.dimension_count": U32(head_dim),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.eos_token_id": ids["<|im_end|>"],
        "tokenizer.ggml.eot_token_id": ids["<|im_end|>"],
        "tokenizer.ggml.padding_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    write_gguf(args.gguf, meta, tensors)
    print(f"{args.gguf}: {args.gguf.stat().st_size:,} bytes, {sum(w.numel() for w in model.parameters()):,} weights")

    # Read the file back as any other, and let the model run on what is in it.
    read_meta, read_tensors = read_gguf(args.gguf)
    assert list(read_meta) == list(meta) and [n for n, *_ in tensors] == list(read_tensors)
    stored = {}
    for ours, theirs in tensor_names(config.num_hidden_layers):
        w = read_tensors[ours]
        if n := heads_of(ours):
            w = from_gguf_rows(w, n)
        error = np.linalg.norm(w - state[theirs].numpy()) / np.linalg.norm(state[theirs].numpy())
        assert error < (0.01 if args.type == "q8_0" or w.ndim == 1 else 0.2), f"{ours} is off by {error}"
        stored[theirs] = torch.from_numpy(np.ascontiguousarray(w))
    held_out = torch.load(args.model / "held_out.pt")
    sample = held_out["tokens"][: args.rows], held_out["targets"][: args.rows]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"held-out text: {len(sample[0])} of {len(held_out['tokens'])} rows")
    print(f"held-out loss, float weights:  {held_out_loss(model.to(device), *sample, device):.4f} nats a token")
    float_state = {k: v.clone().cpu() for k, v in model.state_dict().items()}
    model.load_state_dict(stored, strict=False)
    model.tie_weights()
    print(f"held-out loss, stored weights: {held_out_loss(model, *sample, device):.4f} nats a token")

    if args.hf:
        args.hf.mkdir(parents=True, exist_ok=True)
        encoded = Tokenizer.from_file(str(args.model / "tokenizer.json")).encode(SAMPLE).ids[:200]
        with torch.no_grad():
            logits = model.cpu()(input_ids=torch.tensor([encoded])).logits[0].contiguous()
        save_file({"input_ids": torch.tensor(encoded), "logits": logits.float()}, args.hf / "expected.safetensors")
        model.load_state_dict(float_state)
        model.tie_weights()
        model.save_pretrained(args.hf)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
            shutil.copy(args.model / name, args.hf / name)
        print(f"{args.hf}: {len(encoded)} tokens, mean loss {F.cross_entropy(logits[:-1], torch.tensor(encoded[1:])):.4f}")


if __name__ == "__main__":
    main()
