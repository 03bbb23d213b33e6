#!/usr/bin/env python3
"""Generates the training text of the embedded models: short stories and short chats.

The text is written by a teacher, SmolLM2-135M-Instruct (Apache-2.0), read from its GGUF file. The seeds of
each text (words, requests, first words of a story) come from words.py. Each text that survives the filters
becomes one line of OUT/text.jsonl: {"kind": "story", "text": ..} or {"kind": "chat", "messages": [..]}; a story
asked for in a chat also has its "cast", the words that its plot was made of.

    python3 generate.py --teacher SmolLM2-135M-Instruct.Q4_1.gguf --out data --seconds 480

A teacher this small loses its thread after a few sentences. So a text is written in stages: given words (an
opening, "One day, ..", "In the end, ..", or the user's next turn), then a few sentences of the teacher's, and
so on. The plot is thereby the script's, the sentences are the teacher's.

The sampler keeps a fixed number of slots busy. A slot holds one text; given words are fed one token per step
through the same code that generates, so there is no separate prefill, every step has the same shape, and on
a GPU one captured graph serves the whole run. A finished slot gets the next text.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import words as W
from gguf import read_gguf

# ---------------------------------------------------------------- the teacher's file

def teacher_tokenizer(meta):
    """The tokenizer that the metadata describes: byte-level BPE, digits one by one."""
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, meta["tokenizer.ggml.token_type"]) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


# Tokens outside this set are never sampled: the small model's vocabulary is for plain English prose,
# and without these characters the teacher can write neither Markdown nor code.
_PLAIN = re.compile(r"[A-Za-z0-9 .,!?'\"\-:;()\n]+")


# ---------------------------------------------------------------- the teacher's forward pass


def decode_attention_reference(q, k, v, positions):
    """q [B, H, G, D]; k, v [B, H, T, D]; slot b sees the positions 0 ..= positions[b]."""
    mask = torch.arange(k.shape[2], device=k.device)[None, :] <= positions[:, None]
    # The G query heads of one key/value head take the place of query positions.
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])


try:
    import triton
    import triton.language as tl

    @triton.jit
    def _decode_attention_kernel(
        q_ptr, k_ptr, v_ptr, pos_ptr, out_ptr, length, scale,
        H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    ):
        # One program per slot and key/value head. The query heads are padded to the 16 rows of a matrix
        # instruction; only the filled part of the cache is read, which is why this kernel exists.
        pair = tl.program_id(0).to(tl.int64)
        end = tl.load(pos_ptr + pair // H) + 1
        rows = tl.arange(0, 16)
        d = tl.arange(0, D)
        q_at = (pair * G + rows[:, None]) * D + d[None, :]
        q = tl.load(q_ptr + q_at, mask=rows[:, None] < G, other=0.0)
        best = tl.full([16], float("-inf"), tl.float32)
        total = tl.zeros([16], tl.float32)
        acc = tl.zeros([16, D], tl.float32)
        for start in range(0, end, BLOCK):
            t = start + tl.arange(0, BLOCK)
            at = pair * length * D + t[:, None] * D + d[None, :]
            k = tl.load(k_ptr + at, mask=t[:, None] < end, other=0.0)
            v = tl.load(v_ptr + at, mask=t[:, None] < end, other=0.0)
            s = tl.dot(q, tl.trans(k)) * scale
            s = tl.where(t[None, :] < end, s, float("-inf"))
            new_best = tl.maximum(best, tl.max(s, 1))
            p = tl.exp(s - new_best[:, None])
            decay = tl.exp(best - new_best)
            total = total * decay + tl.sum(p, 1)
            acc = acc * decay[:, None] + tl.dot(p.to(v.dtype), v)
            best = new_best
        tl.store(out_ptr + q_at, (acc / total[:, None]).to(q.dtype), mask=rows[:, None] < G)

    def decode_attention_triton(q, k, v, positions):
        slots, kv_heads, group, dim = q.shape
        out = torch.empty_like(q)
        _decode_attention_kernel[(slots * kv_heads,)](
            q, k, v, positions, out, k.shape[2], dim**-0.5, H=kv_heads, G=group, D=dim, BLOCK=64
        )
        return out

except ImportError:
    decode_attention_triton = None


def rms_norm(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def before_attention(x, norm, wqkv, cos, sin, shape, eps):
    heads, kv_heads, dim = shape
    qkv = F.linear(rms_norm(x, norm, eps), wqkv).view(x.shape[0], heads + 2 * kv_heads, dim)
    qk, v = qkv.split([heads + kv_heads, kv_heads], dim=1)
    # llama.cpp's files pair neighbouring dimensions for the rotation.
    a, b = qk.float().unflatten(-1, (dim // 2, 2)).unbind(-1)
    c, s = cos[:, None, :], sin[:, None, :]
    qk = torch.stack([a * c - b * s, b * c + a * s], -1).flatten(-2).to(x.dtype)
    q, k = qk.split([heads, kv_heads], dim=1)
    return q.reshape(x.shape[0], kv_heads, heads // kv_heads, dim).contiguous(), k.contiguous(), v.contiguous()


def after_attention(x, attended, wo, norm, w_gate_up, w_down, eps):
    x = x + F.linear(attended.flatten(1), wo)
    gate, up = F.linear(rms_norm(x, norm, eps), w_gate_up).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, w_down)


def sample(logits, temperature, min_p, noise):
    """Picks from the tokens with at least min_p times the best probability (an exponential race)."""
    p = torch.softmax(logits.float() / temperature[:, None], -1)
    p = torch.where(p < min_p * p.amax(-1, keepdim=True), 0.0, p)
    return (p / noise).argmax(-1)


class Teacher:
    """A Llama decoder over `slots` texts of at most `length` tokens, one token per slot and step."""

    def __init__(self, meta, tensors, tokenizer, slots, length, device, min_p, repeat_penalty):
        self.device, self.slots, self.length = device, slots, length
        self.min_p, self.repeat_penalty = min_p, repeat_penalty
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        heads, kv_heads = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
        dim = meta["llama.rope.dimension_count"]
        self.shape, self.eps = (heads, kv_heads, dim), meta["llama.attention.layer_norm_rms_epsilon"]
        self.attend = decode_attention_triton if device.type == "cuda" else decode_attention_reference

        def load(*names):
            return torch.from_numpy(np.concatenate([tensors[n + ".weight"] for n in names])).to(device, dtype)

        self.embed, self.norm = load("token_embd"), load("output_norm")
        self.layers = [
            (
                load(f"blk.{i}.attn_norm"),
                load(*(f"blk.{i}.attn_{n}" for n in "qkv")),
                load(f"blk.{i}.attn_output"),
                load(f"blk.{i}.ffn_norm"),
                load(f"blk.{i}.ffn_gate", f"blk.{i}.ffn_up"),
                load(f"blk.{i}.ffn_down"),
            )
            for i in range(meta["llama.block_count"])
        ]
        self.end = tokenizer.token_to_id("<|im_end|>")
        plain = [i for i in range(len(self.embed)) if _PLAIN.fullmatch(tokenizer.decode([i], skip_special_tokens=False))]
        self.plain = torch.tensor(plain + [self.end], device=device)
        self.head = self.embed[self.plain].contiguous()

        frequency = meta["llama.rope.freq_base"] ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float64) / dim)
        angles = torch.arange(length, device=device)[:, None] * frequency
        self.cos, self.sin = angles.cos().float(), angles.sin().float()
        cache = (len(self.layers), slots, kv_heads, length, dim)
        self.k, self.v = (torch.zeros(cache, device=device, dtype=dtype) for _ in range(2))
        ends = [re.search(r"[.!?][\"']?$", tokenizer.decode([i])) is not None for i in range(len(self.embed))]
        self.ends_sentence = torch.tensor(ends, device=device)
        self.index_in_plain = torch.full((len(self.embed),), len(self.plain) - 1, device=device)
        self.index_in_plain[self.plain] = torch.arange(len(self.plain), device=device)
        # The state of the slots. text[position] is the next token to be fed; what lies below `given` is not
        # sampled; `sentences` counts down to the end of the stage.
        self.text = torch.zeros(slots, length, device=device, dtype=torch.long)
        self.given = torch.ones(slots, device=device, dtype=torch.long)
        self.position = torch.zeros(slots, device=device, dtype=torch.long)
        self.sentences = torch.zeros(slots, device=device, dtype=torch.long)
        self.done = torch.ones(slots, device=device, dtype=torch.bool)
        self.temperature = torch.ones(slots, device=device)
        self.noise = torch.empty(slots, len(self.plain), device=device)
        self.rows = torch.arange(slots, device=device)
        self.columns = torch.arange(length, device=device)
        self.graph = None

    def forward(self, tokens, positions):
        cos, sin = self.cos[positions], self.sin[positions]
        x = self.embed[tokens]
        for i, (norm1, wqkv, wo, norm2, w_gate_up, w_down) in enumerate(self.layers):
            q, k, v = self.before(x, norm1, wqkv, cos, sin, self.shape, self.eps)
            self.k[i][self.rows, :, positions] = k
            self.v[i][self.rows, :, positions] = v
            attended = self.attend(q, self.k[i], self.v[i], positions)
            x = self.after(x, attended, wo, norm2, w_gate_up, w_down, self.eps)
        return F.linear(rms_norm(x, self.norm, self.eps), self.head)

    def discourage_repeats(self, logits):
        """Makes a token less likely for each time that it has followed the last three tokens before."""
        t, at = self.text, self.position[:, None]
        last = [t.gather(1, (at - n).clamp_(min=0)) for n in (2, 1, 0)]
        same = (t[:, :-3] == last[0]) & (t[:, 1:-2] == last[1]) & (t[:, 2:-1] == last[2])
        same &= self.columns[3:] <= at
        return logits.scatter_add_(1, self.index_in_plain[t[:, 3:]], same.to(logits.dtype) * -self.repeat_penalty)

    def step(self):
        logits = self.forward(self.text[self.rows, self.position], self.position)
        logits = self.discourage_repeats(logits)
        sampled = self.plain[self.sample(logits, self.temperature, self.min_p, self.noise.exponential_())]
        following = (self.position + 1).clamp_(max=self.length - 1)
        forced = following < self.given
        token = torch.where(forced | self.done, self.text[self.rows, following], sampled)
        self.text[self.rows, following] = token
        self.position.copy_(torch.where(self.done, self.position, following))
        self.sentences -= (self.ends_sentence[token] & ~forced & ~self.done).long()
        self.done |= ~forced & ((token == self.end) | (self.sentences == 0))
        self.done |= self.position == self.length - 1

    def prepare(self):
        """Compiles the step; on a GPU also captures it, since its many small kernels are launch-bound."""
        self.before, self.after, self.sample = before_attention, after_attention, sample
        if self.device.type != "cuda":
            return
        self.before, self.after, self.sample = (torch.compile(f) for f in (before_attention, after_attention, sample))
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()
        torch.cuda.synchronize()

    def run(self, steps):
        for _ in range(steps):
            self.graph.replay() if self.graph else self.step()

    def finished(self):
        """The slots that hold a finished text, and those texts' tokens (prompt included)."""
        slots = self.done.nonzero()[:, 0]
        text, end = self.text[slots].cpu().numpy(), self.position[slots].cpu().numpy()
        return slots.tolist(), [row[: n + 1].tolist() for row, n in zip(text, end)]

    def feed(self, slots, starts, tokens, sentences, temperatures):
        """Gives each slot tokens from the position `start` on, after which it writes so many sentences."""
        text = self.text[torch.tensor(slots, device=self.device)].cpu()
        for row, start, new in zip(text, starts, tokens):
            row[start : start + len(new)] = torch.tensor(new)
        at = torch.tensor(slots, device=self.device)
        self.text[at] = text.to(self.device)
        self.given[at] = torch.tensor([s + len(t) for s, t in zip(starts, tokens)], device=self.device)
        # A start above 0 continues a text whose last token has not been fed yet.
        self.position[at] = torch.tensor([max(s - 1, 0) for s in starts], device=self.device)
        self.sentences[at] = torch.tensor(sentences, device=self.device)
        self.temperature[at] = torch.tensor(temperatures, device=self.device)
        self.done[at] = False


# ---------------------------------------------------------------- what to ask

# The teacher was tuned with this system prompt, and does best with it.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def articles(text):
    return re.sub(r"\b([Aa]) (?=[aeiou]|hon(?:est|or))", r"\1n ", text)


def header(role, content):
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


class Text:
    """A text in the making: stages still to come as (given words, sentences to write), and what is written."""

    def __init__(self, kind, prompt, request, stages, temperature):
        self.kind, self.prompt, self.request, self.temperature = kind, prompt, request, temperature
        self.cast = {}
        self.stages = stages
        self.written = []  # a story's text in pieces, or a chat's turns
        self.stage_start = 0

    def story_text(self):
        return "".join(self.written).strip()


class Seeds:
    """Draws what to write about."""

    def __init__(self, seed, story_share, follow_up):
        self.random, self.story_share, self.follow_up = random.Random(seed), story_share, follow_up

    def draw(self):
        return self.story() if self.random.random() < self.story_share else self.chat()

    def story(self):
        choose = self.random.choice
        hero, other = (choose(W.ANIMALS if self.random.random() < 0.55 else W.PEOPLE) for _ in range(2))
        name, friend = self.random.sample(W.NAMES, 2)
        place, place2 = self.random.sample(W.PLACES, 2)
        words = {"hero": hero, "other": other, "name": name, "friend": friend, "place": place, "place2": place2,
                 "verb": choose(W.VERBS), "thing": choose(W.OBJECTS), "who": f"a {choose(W.ADJECTIVES)} {hero}"}
        words["new_thing"] = f"{choose(W.THING_ADJECTIVES)} {words['thing']}"

        # A friend is first mentioned where the friend is introduced.
        plot = [choose(W.OPENINGS), choose(W.EVENTS)]
        known = any("{friend}" in part for part in plot)

        def part_of(options):
            return choose([o for o in options if known or "{friend}" not in o])

        if self.random.random() < 0.6:
            plot.append(part_of(W.TURNS))
        plot.append(part_of(W.ENDINGS))
        gap = choose([" ", "\n\n"])
        counts = [self.random.randint(1, 2)] + [self.random.randint(1, 3) for _ in plot[1:-1]] + [self.random.randint(1, 2)]
        stages = [((gap if i else "") + articles(part.format(**words)), n) for i, (part, n) in enumerate(zip(plot, counts))]
        request = articles(choose(W.STORY_REQUESTS).format(**words))
        asked = f"Write a short story for children about {words['who']} named {name}. {choose(W.FEATURES)}"
        prompt = header("system", SYSTEM) + header("user", articles(asked.strip())) + "<|im_start|>assistant\n"
        text = Text("story", prompt, request, stages, 0.6)
        text.cast = words
        return text

    def question(self):
        choose = self.random.choice
        lists = {"topic": W.TOPICS, "animal": W.ANIMALS, "object": W.OBJECTS, "place": W.PLACES,
                 "profession": W.PROFESSIONS, "activity": W.ACTIVITIES, "feeling": W.FEELINGS, "word": W.ADJECTIVES,
                 "verb": W.VERBS, "plain": [""]}
        kind = self.random.choices(list(W.QUESTIONS), weights=[W.WEIGHTS[k] for k in W.QUESTIONS])[0]
        return articles(choose(W.QUESTIONS[kind]).format(x=choose(lists[kind])))

    def chat(self):
        turns = [self.question()]
        while len(turns) < 3 and self.random.random() < self.follow_up:
            turns.append(self.random.choice(W.FOLLOW_UPS))
        stages = [(turn, self.random.choice([2, 2, 3, 3])) for turn in turns]
        return Text("chat", header("system", SYSTEM), None, stages, 0.4)

    def next_stage(self, text):
        """Takes the text's next stage: the words to feed, and how many sentences to write behind them."""
        given, sentences = text.stages.pop(0)
        if text.kind == "chat":
            before = "<|im_end|>\n" if text.written else text.prompt
            text.written.append(("user", given))
            return before + header("user", given) + "<|im_start|>assistant\n", sentences
        if "".join(text.written).count('"') % 2:
            given = '"' + given  # the stage ended inside of somebody's words
        first = not text.written
        text.written.append(given)
        return (text.prompt if first else "") + given, sentences


# ---------------------------------------------------------------- what to keep

_UNWANTED = re.compile(
    r"SmolLM|Hugging|language model|\bAI\b|artificial|assistant|as a child|I'm sorry, but|I cannot|"
    r"Here is|Here's|Title:|[Tt]he story|don't have (?:personal|the ability)|\bsorry (?:for|to hear)|"
    r"testament|to this question|question has been|[Gg]reat question|personal experience|my friend[.,!]|glad you|been debated|"
    r"\n *(?:\d+[.)]|-) |(?:^|[.!?] )\d+\.$",
)


def problem(text, kind):
    """Why a story, a part of one or an answer is not kept, or None."""
    words = text.lower().split()
    shortest, longest = {"story": (40, 260), "part": (3, 260), "chat": (5, 110)}[kind]
    if not shortest <= len(words) <= longest:
        return "length"
    if not (text[0].isupper() or text[0] in "\"'") or text[-1] not in ".!?\"" or text.endswith("..."):
        return "ends"
    if _UNWANTED.search(text):
        return "unwanted"
    if text.count("\n") > 12 or any(len(w) > 18 for w in words) or sum(c.isdigit() for c in text) > 12:
        return "form"
    if kind != "part" and text.count('"') % 2:
        return "quotes"
    # Loops are the usual failure of a small teacher.
    runs = Counter(zip(*(words[i:] for i in range(4))))
    if runs and max(runs.values()) > 2:
        return "repeats"
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", text) if len(s) > 12]
    if len(sentences) != len(set(sentences)):
        return "repeats"
    if len(words) > 40 and len(set(words)) < 0.45 * len(words):
        return "dull"
    return None


def hand_written_chats(rng, count):
    for _ in range(count):
        turns = []
        for questions, answers in rng.sample(W.HAND_WRITTEN, rng.choice([1, 1, 1, 2, 3])):
            turns += [("user", rng.choice(questions)), ("assistant", rng.choice(answers))]
        yield turns


# ---------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, type=Path, help="SmolLM2-135M-Instruct as a GGUF file")
    parser.add_argument("--out", required=True, type=Path, help="folder for text.jsonl and statistics.json")
    parser.add_argument("--seconds", type=float, default=480, help="how long to generate")
    parser.add_argument("--texts", type=int, default=10**9, help="stop after so many kept texts")
    parser.add_argument("--slots", type=int, default=1536, help="texts written at a time")
    parser.add_argument("--length", type=int, default=448, help="most tokens of one text, its prompt included")
    parser.add_argument("--stories", type=float, default=0.45, help="share of the prompts that ask for a story")
    parser.add_argument("--plain", type=float, default=0.4, help="share of the stories that nobody asks for")
    parser.add_argument("--follow-up", type=float, default=0.3, help="chance that a chat goes on for another turn")
    parser.add_argument("--min-p", type=float, default=0.07)
    parser.add_argument("--repeat-penalty", type=float, default=3.0, help="taken off a logit that would repeat 4 tokens")
    parser.add_argument("--hand-written", type=float, default=0.02, help="hand-written chats per kept text")
    parser.add_argument("--check-every", type=int, default=16, help="steps between two looks at finished slots")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed + 1)
    meta, tensors = read_gguf(args.teacher)
    tokenizer = teacher_tokenizer(meta)
    teacher = Teacher(meta, tensors, tokenizer, args.slots, args.length, device, args.min_p,
                      args.repeat_penalty)
    del tensors
    seeds = Seeds(args.seed, args.stories, args.follow_up)
    args.out.mkdir(parents=True, exist_ok=True)
    counts, seen = Counter(), set()
    texts = [None] * args.slots

    def write(out, record):
        out.write(json.dumps(record) + "\n")

    def chat_record(turns):
        return {"kind": "chat", "messages": [{"role": role, "content": content} for role, content in turns]}

    def finish(text, out):
        if text.kind == "story":
            story = text.story_text()
            reason, key = problem(story, "story"), story[:120]
        else:
            turns = text.written[: len(text.written) // 2 * 2]
            reason, key = (None, " ".join(c for _, c in turns)[:200]) if turns else ("empty", "")
        if reason is None and key in seen:
            reason = "duplicate"
        if reason is not None:
            counts[f"{text.kind} dropped: {reason}"] += 1
            return
        seen.add(key)
        if text.kind == "chat":
            write(out, chat_record(turns))
        elif rng.random() < args.plain:
            write(out, {"kind": "story", "text": story})
        else:
            write(out, chat_record([("user", text.request), ("assistant", story)]) | {"cast": text.cast})
        counts[f"{text.kind} kept"] += 1
        counts["kept"] += 1
        counts["characters"] += len(key) if text.kind == "chat" else len(story)

    def advance(text, piece, complete, out):
        """Takes what the teacher wrote in a stage. Returns whether the text goes on."""
        if text.kind == "story":
            text.written.append(piece.rstrip())
            reason = problem(text.story_text(), "part") if complete else "unfinished"
            if reason is not None:
                counts[f"story dropped: {reason}"] += 1
                return False
        else:
            answer = piece.strip()
            reason = problem(answer, "chat") if complete else "unfinished"
            if reason is None and any(answer == content for _, content in text.written):
                reason = "repeats"
            if reason is None:
                text.written.append(("assistant", answer))
            else:  # the turns before this one may still be kept
                counts[f"answer dropped: {reason}"] += 1
                text.stages = []
        if text.stages:
            return True
        finish(text, out)
        return False

    started = time.time()
    teacher.prepare()
    print(f"ready after {time.time() - started:.0f} s", flush=True)
    started = last = time.time()
    with open(args.out / "text.jsonl", "w", encoding="utf-8") as out:
        done = [(slot, None, True) for slot in range(args.slots)]
        while time.time() - started < args.seconds and counts["kept"] < args.texts:
            slots, starts, given, sentences = [], [], [], []
            pieces = tokenizer.decode_batch([tokens for _, tokens, _ in done if tokens is not None])
            pieces = iter(pieces)
            for slot, tokens, complete in done:
                text = texts[slot]
                if tokens is not None:
                    counts["teacher tokens"] += len(tokens)
                if text is None or not advance(text, next(pieces), complete, out):
                    text = texts[slot] = seeds.draw()
                    text.stage_start = 0
                words, count = seeds.next_stage(text)
                slots.append(slot)
                starts.append(text.stage_start)
                given.append(words)
                sentences.append(count)
            given = [e.ids for e in tokenizer.encode_batch(given)]
            for i, slot in enumerate(slots):
                given[i] = given[i][: args.length - 2 - starts[i]]
                texts[slot].stage_start = starts[i] + len(given[i])
            if slots:
                teacher.feed(slots, starts, given, sentences, [texts[s].temperature for s in slots])
            teacher.run(args.check_every)
            done = []
            for slot, tokens in zip(*teacher.finished()):
                text = texts[slot]
                body = tokens[text.stage_start :]
                complete = len(tokens) < args.length
                if body and body[-1] == teacher.end:
                    body = body[:-1]
                done.append((slot, body, complete))
                text.stage_start += len(body)
            if time.time() - last > 20:
                last = time.time()
                print(f"{last - started:.0f} s: {counts['kept']} texts, {counts['teacher tokens']:,} teacher tokens, "
                      f"{counts['characters']:,} characters", flush=True)
        # A few hand-written ones, for the small talk that comes first and for what the model is.
        for turns in hand_written_chats(rng, max(10, int(counts["kept"] * args.hand_written))):
            write(out, chat_record(turns))
            counts["hand-written"] += 1
    counts["seconds"] = int(time.time() - started)
    (args.out / "statistics.json").write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")
    print(json.dumps(dict(sorted(counts.items())), indent=1))


if __name__ == "__main__":
    main()
