"""From the texts of generate.py to rows of tokens."""

import json

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


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


def make_tokenizer(texts, size, special, pre_tokenizer, ignore_merges=False):
    """A byte-level BPE; the ids of `special` come first."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, documents):
    """Of documents as lists of (text, is it learned): one array of tokens each, and whether each token is learned."""
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
