#!/usr/bin/env python3
"""Writes a checkpoint of train.py as one GGUF file, and checks what the quantization costs.

    python3 export.py --model model --gguf default-model.gguf --type q8_0 --license apache-2.0

With --hf, also writes the checkpoint for other programs to compare with: the float weights in Hugging Face's
layout, and expected.safetensors with the logits that the stored (dequantized) weights give for a fixed text.
"""

import argparse
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from generate import read_gguf
from train import CHAT_TEMPLATE, held_out_loss

ALIGNMENT = 32
F32, Q4_0, Q8_0 = 0, 2, 8

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


def quantize_q8_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = blocks * inverse
    levels = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)  # C's roundf
    return np.concatenate([scale.astype(np.float16).view(np.uint8), levels.view(np.uint8)], axis=1).tobytes()


def quantize_q4_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = extreme / -8
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    levels = np.clip(np.floor(blocks * inverse + 8.5), 0, 15).astype(np.uint8)
    packed = levels[:, :16] | levels[:, 16:] << 4
    return np.concatenate([scale.astype(np.float16).view(np.uint8), packed], axis=1).tobytes()


QUANTIZE = {F32: lambda w: w.astype(np.float32).tobytes(), Q4_0: quantize_q4_0, Q8_0: quantize_q8_0}


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


class U32(int):
    """An integer that GGUF stores in 32 bits, unlike a token type (i32)."""


def encode_value(value):
    """(type, bytes) of a metadata value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, U32):
        return 4, struct.pack("<I", value)
    if isinstance(value, int):
        return 5, struct.pack("<i", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        data = value.encode()
        return 8, struct.pack("<Q", len(data)) + data
    items = [encode_value(v) for v in value]
    return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(data for _, data in items)


def write_gguf(path, meta, tensors):
    """tensors: (name, shape, type, bytes)."""
    def string(text):
        return struct.pack("<Q", len(text.encode())) + text.encode()

    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(meta))]
    for key, value in meta.items():
        kind, data = encode_value(value)
        head.append(string(key) + struct.pack("<I", kind) + data)
    offset = 0
    for name, shape, kind, data in tensors:
        dims = shape[::-1]
        head.append(string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset))
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    body = b"".join(head)
    with open(path, "wb") as out:
        out.write(body + bytes(-len(body) % ALIGNMENT))
        for _, _, _, data in tensors:
            out.write(data + bytes(-len(data) % ALIGNMENT))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder that train.py wrote")
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
    vocab = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {t["id"] for t in tokenizer["added_tokens"]}
    ids = {token: U32(i) for token, i in vocab}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
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
        "tokenizer.ggml.tokens": [token for token, _ in vocab],
        "tokenizer.ggml.token_type": [3 if i in special else 1 for _, i in vocab],
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
