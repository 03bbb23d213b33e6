"""What the training of all embedded models has in common: rounding, the loop, the held-out loss."""

import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from corpus import pack


def q4_0(w):
    """What is left of a matrix after a trip through GGUF's Q4_0 (blocks of 32, 4 bits, one scale)."""
    blocks = w.reshape(-1, 32)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = extreme / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    levels = (blocks * inverse + 8.5).floor().clamp(0, 15) - 8
    return (levels * scale.half().float()).reshape(w.shape)


def mxfp4(w):
    """What is left of a tensor after a trip through MXFP4: along the last dimension, blocks of 32 share a power of two."""
    blocks = w.unflatten(-1, (-1, 32))
    largest = blocks.abs().amax(-1, keepdim=True)
    exponent = torch.ceil(torch.log2((largest / 7).clamp(min=2.0**-100)))
    scaled = blocks * torch.exp2(-exponent)
    size = scaled.abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    rounded = (torch.round(size / step) * step).clamp(max=6.0)
    return (rounded * scaled.sign() * torch.exp2(exponent)).flatten(-2)


def straight_through(w, rounding):
    """The rounded tensor; the gradient passes the rounding by."""
    return w + (rounding(w.detach()) - w.detach())


def next_token_loss(logits, targets):
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)


@torch.no_grad()
def held_out_loss(model, tokens, targets, device, batch=64):
    """Mean over the learned tokens, in nats."""
    total = count = 0
    for at in range(0, len(tokens), batch):
        x, y = tokens[at : at + batch].to(device).long(), targets[at : at + batch].to(device).long()
        n = (y != -100).sum().item()
        total += next_token_loss(model(input_ids=x, use_cache=False).logits, y).item() * n
        count += n
    return total / count


def add_arguments(parser, **defaults):
    parser.add_argument("--data", required=True, type=Path, nargs="+", help="folders with text.jsonl")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--tokenizer", type=Path, help="use this tokenizer.json in place of a new one")
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--kv-heads", type=int)
    parser.add_argument("--inter", type=int)
    parser.add_argument("--context", type=int)
    parser.add_argument("--batch", type=int, help="rows of `context` tokens a step")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=1e9, help="shorten the schedule to end about so long after the start")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(**defaults)


class Corpus:
    """Encoded documents, a part of them held out, packed into rows anew for each epoch."""

    def __init__(self, ids, learned, held_out, args, device, started):
        self.ids, self.learned, self.device = ids[held_out:], learned[held_out:], device
        self.args, self.rng = args, random.Random(args.seed)
        self.test = pack(ids[:held_out], learned[:held_out], args.context, self.rng)
        torch.save({"tokens": self.test[0], "targets": self.test[1]}, args.out / "held_out.pt")
        self.facts = {
            "documents": len(ids), "held_out_documents": held_out, "training_tokens": sum(map(len, self.ids)),
        }
        print(f"{self.facts}, {time.time() - started:.0f} s", flush=True)
        self.rows, self.at, self.epoch = None, 0, 0

    def batch(self):
        if self.rows is None or self.at + self.args.batch > len(self.rows[0]):
            self.rows = [part.to(self.device) for part in pack(self.ids, self.learned, self.args.context, self.rng)]
            self.at, self.epoch = 0, self.epoch + 1
        part = slice(self.at, self.at + self.args.batch)
        self.at += self.args.batch
        return [rows[part].long() for rows in self.rows]


def fit(model, losses, corpus, args, device, started):
    """AdamW with a cosine schedule. `losses(tokens, targets)` gives the loss to learn from. Returns facts about the run."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.95), fused=device.type == "cuda",
    )
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    steps, step, log, timer = args.steps, 0, [], None
    while step < steps:
        x, y = corpus.batch()
        warm = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        with autocast:
            loss = losses(x, y)
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
            steps = min(steps, step + int((args.seconds - (time.time() - started)) / per_step))
            print(f"{per_step * 1000:.1f} ms a step, {steps} steps", flush=True)
        if step % 500 == 0 or step == steps:
            log.append((step, round(loss.item(), 4)))
            print(f"step {step} of {steps}, epoch {corpus.epoch}, loss {log[-1][1]}, {time.time() - started:.0f} s", flush=True)
    return corpus.facts | {
        "weights": sum(p.numel() for p in model.parameters()), "steps": steps, "tokens_per_step": args.batch * args.context,
        "epochs": round(steps * args.batch / len(corpus.rows[0]), 2), "log": log,
        "arguments": {k: str(v) for k, v in vars(args).items()}, "seconds": round(time.time() - started),
    }


def save_facts(facts, folder):
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
