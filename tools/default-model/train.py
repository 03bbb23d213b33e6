#!/usr/bin/env python3
"""Trains the default model on the text of generate.py: its tokenizer first, then its weights.

    python3 train.py --data data --out model --hidden 192 --layers 9 --heads 6 --kv-heads 2 --inter 544

OUT gets tokenizer.json, a Hugging Face checkpoint (config.json, model.safetensors, ..) and training.json.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def spans(record):
    """A record as (text, is it learned) pairs. The user's turns and the turns' headers are only read."""
    if record["kind"] == "story":
        return [(record["text"] + "<|im_end|>", True), ("\n<|endoftext|>", False)]
    out = []
    for message in record["messages"]:
        out.append((f"<|im_start|>{message['role']}\n", False))
        out.append((message["content"] + "<|im_end|>", message["role"] == "assistant"))
        out.append(("\n", False))
    return out + [("<|endoftext|>", False)]


def read_records(folders):
    """The records of all folders, each text once (but for the hand-written ones, which repeat on purpose)."""
    seen, records = set(), []
    for folder in folders:
        with open(folder / "text.jsonl", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                key = record["text"] if record["kind"] == "story" else record["messages"][-1]["content"]
                if len(key) > 200 and key in seen:
                    continue
                seen.add(key)
                records.append(record)
    return records


def make_tokenizer(records, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (text.replace("<|im_end|>", "") for r in records for text, learned in spans(r) if learned)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, records):
    """Two lists with one array per document: tokens, and whether each is learned."""
    documents = [spans(r) for r in records]
    flat = [text for document in documents for text, _ in document]
    tokens = []
    for at in range(0, len(flat), 200_000):
        tokens += [e.ids for e in tokenizer.encode_batch(flat[at : at + 200_000])]
    ids, learned, at = [], [], 0
    for document in documents:
        parts = tokens[at : at + len(document)]
        at += len(document)
        ids.append(np.concatenate([np.array(p, dtype=np.int16) for p in parts]))
        learned.append(np.concatenate([np.full(len(p), on) for p, (_, on) in zip(parts, document)]))
    return ids, learned


def pack(ids, learned, length, rng):
    """Rows of `length` + 1 tokens and their targets. Each row begins with the beginning of a document."""
    order = list(range(len(ids)))
    rng.shuffle(order)
    rows, masks, row, mask = [], [], [], []
    filled = 0
    for i in order:
        row.append(ids[i])
        mask.append(learned[i])
        filled += len(ids[i])
        if filled > length:  # the rest of the last document is left out
            rows.append(np.concatenate(row)[: length + 1])
            masks.append(np.concatenate(mask)[: length + 1])
            row, mask, filled = [], [], 0
    tokens = torch.from_numpy(np.stack(rows).astype(np.int64))
    targets = torch.where(torch.from_numpy(np.stack(masks)), tokens, -100)
    return tokens[:, :-1].to(torch.int16), targets[:, 1:].to(torch.int16)


def q4_0(w):
    """What is left of a matrix after a trip through GGUF's Q4_0 (blocks of 32, 4 bits, one scale)."""
    blocks = w.reshape(-1, 32)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = extreme / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    levels = (blocks * inverse + 8.5).floor().clamp(0, 15) - 8
    return (levels * scale.half().float()).reshape(w.shape)


class RoundedLinear(torch.nn.Linear):
    """A matrix that is trained as it will be stored; the gradient passes the rounding by."""

    def forward(self, x):
        w = self.weight
        return F.linear(x, w + (q4_0(w.detach()) - w.detach()))


def losses(model, tokens, targets):
    logits = model(input_ids=tokens, use_cache=False).logits
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)


@torch.no_grad()
def held_out_loss(model, tokens, targets, device, batch=64):
    """Mean over the learned tokens, in nats."""
    total = count = 0
    for at in range(0, len(tokens), batch):
        x, y = tokens[at : at + batch].to(device).long(), targets[at : at + batch].to(device).long()
        n = (y != -100).sum().item()
        total += losses(model, x, y).item() * n
        count += n
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, nargs="+", help="folders with text.jsonl")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--tokenizer", type=Path, help="use this tokenizer.json in place of a new one")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=9)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--inter", type=int, default=544)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128, help="rows of `context` tokens a step")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=1e9, help="shorten the schedule to end in about this time")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--round", choices=["none", "q4_0"], default="none", help="train the matrices as so rounded")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    rng = random.Random(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.time()

    records = read_records(args.data)
    rng.shuffle(records)
    held_out = max(20, len(records) // 100)
    if args.tokenizer:
        tokenizer = Tokenizer.from_file(str(args.tokenizer))
    else:
        tokenizer = make_tokenizer(records[held_out : held_out + 150_000], args.vocab)
    tokenizer.save(str(args.out / "tokenizer.json"))
    ids, learned = encode(tokenizer, records)
    num_tokens = sum(map(len, ids[held_out:]))
    print(f"{len(records)} documents, {num_tokens:,} tokens, {time.time() - started:.0f} s", flush=True)
    test = pack(ids[:held_out], learned[:held_out], args.context, rng)
    torch.save({"tokens": test[0], "targets": test[1]}, args.out / "held_out.pt")

    config = LlamaConfig(
        vocab_size=args.vocab, hidden_size=args.hidden, intermediate_size=args.inter, num_hidden_layers=args.layers,
        num_attention_heads=args.heads, num_key_value_heads=args.kv_heads, head_dim=args.hidden // args.heads,
        max_position_embeddings=args.context, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=2, pad_token_id=0, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        initializer_range=0.02,
    )
    model = LlamaForCausalLM(config).to(device)
    if args.round == "q4_0":
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.__class__ = RoundedLinear
    num_weights = sum(p.numel() for p in model.parameters())
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.95), fused=device.type == "cuda",
    )
    step_losses = torch.compile(losses) if device.type == "cuda" else losses
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    # Each epoch packs the documents anew, so that they do not keep their neighbours.
    tokens, targets, at, epoch = None, None, 0, 0
    steps, step, log = args.steps, 0, []
    timer = None
    while step < steps:
        if tokens is None or at + args.batch > len(tokens):
            tokens, targets = pack(ids[held_out:], learned[held_out:], args.context, rng)
            tokens, targets = tokens.to(device), targets.to(device)
            at, epoch = 0, epoch + 1
        x, y = tokens[at : at + args.batch].long(), targets[at : at + args.batch].long()
        at += args.batch
        warm = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        with autocast:
            loss = step_losses(model, x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step == 20:
            loss.item()
            timer = time.time()
        if step == 120 and args.seconds < 1e9:
            loss.item()
            per_step = (time.time() - timer) / 100
            steps = min(steps, int((args.seconds - (time.time() - started)) / per_step))
            print(f"{per_step * 1000:.1f} ms a step, {steps} steps", flush=True)
        if step % 500 == 0 or step == steps:
            log.append((step, round(loss.item(), 4)))
            print(f"step {step} of {steps}, epoch {epoch}, loss {log[-1][1]}, {time.time() - started:.0f} s", flush=True)

    model.eval()
    result = held_out_loss(model, *test, device)
    print(f"held-out loss {result:.4f} nats a token ({num_weights:,} weights)")
    model.generation_config.eos_token_id = [2, 0]
    model.to(torch.float32).save_pretrained(args.out)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE, model_max_length=args.context,
    )
    fast.save_pretrained(args.out)
    facts = {
        "weights": num_weights, "documents": len(records), "training_tokens": num_tokens, "steps": steps,
        "tokens_per_step": args.batch * args.context, "epochs": round(steps * args.batch / len(tokens), 2),
        "held_out_documents": held_out, "held_out_loss": result, "round": args.round, "log": log,
        "arguments": {k: str(v) for k, v in vars(args).items()}, "seconds": round(time.time() - started),
    }
    (args.out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")

    for prompt in ["Once upon a time", "<|im_start|>user\nTell me a story about a brave fox.<|im_end|>\n<|im_start|>assistant\n",
                   "<|im_start|>user\nWhat is a telescope?<|im_end|>\n<|im_start|>assistant\n"]:
        start = torch.tensor([tokenizer.encode(prompt).ids], device=device)
        out = model.generate(start, max_new_tokens=200, do_sample=True, temperature=0.7, top_k=0, pad_token_id=0)
        print("---", tokenizer.decode(out[0].tolist(), skip_special_tokens=False))


if __name__ == "__main__":
    main()
