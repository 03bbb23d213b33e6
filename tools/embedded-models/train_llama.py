#!/usr/bin/env python3
"""Trains the small Llama "Ember" on the text of generate.py: its tokenizer first, then its weights.

    python3 train_llama.py --data data --out model --hidden 192 --layers 9 --heads 6 --kv-heads 2 --inter 544

OUT gets tokenizer.json, a Hugging Face checkpoint (config.json, model.safetensors, ..) and training.json.
"""

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from corpus import encode, make_tokenizer, read_records
from training import Corpus, add_arguments, fit, held_out_loss, next_token_loss, q4_0, save_facts, straight_through

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


class RoundedLinear(torch.nn.Linear):
    """A matrix that is trained as it will be stored."""

    def forward(self, x):
        return F.linear(x, straight_through(self.weight, q4_0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, vocab=4096, hidden=192, layers=9, heads=6, kv_heads=2, inter=544, context=512, batch=128)
    parser.add_argument("--round", choices=["none", "q4_0"], default="none", help="train the matrices as so rounded")
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.time()

    records = read_records(args.data)
    random.Random(args.seed).shuffle(records)
    documents = [spans(r) for r in records]
    held_out = max(20, len(documents) // 100)
    if args.tokenizer:
        tokenizer = Tokenizer.from_file(str(args.tokenizer))
    else:
        sample = documents[held_out : held_out + 150_000]
        texts = (text.replace("<|im_end|>", "") for d in sample for text, learned in d if learned)
        pre = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer = make_tokenizer(texts, args.vocab, SPECIAL, pre)
    tokenizer.save(str(args.out / "tokenizer.json"))
    corpus = Corpus(*encode(tokenizer, documents), held_out, args, device, started)

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

    def losses(x, y):
        return next_token_loss(model(input_ids=x, use_cache=False).logits, y)

    facts = fit(model, torch.compile(losses) if device.type == "cuda" else losses, corpus, args, device, started)
    model.eval()
    facts["held_out_loss"] = held_out_loss(model, *corpus.test, device)
    print(f"held-out loss {facts['held_out_loss']:.4f} nats a token ({facts['weights']:,} weights)")
    model.generation_config.eos_token_id = [2, 0]
    model.to(torch.float32).save_pretrained(args.out)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE, model_max_length=args.context,
    )
    fast.save_pretrained(args.out)
    save_facts(facts, args.out)

    for prompt in ["Once upon a time", "<|im_start|>user\nTell me a story about a brave fox.<|im_end|>\n<|im_start|>assistant\n",
                   "<|im_start|>user\nWhat is a telescope?<|im_end|>\n<|im_start|>assistant\n"]:
        start = torch.tensor([tokenizer.encode(prompt).ids], device=device)
        out = model.generate(start, max_new_tokens=200, do_sample=True, temperature=0.7, top_k=0, pad_token_id=0)
        print("---", tokenizer.decode(out[0].tolist(), skip_special_tokens=False))


if __name__ == "__main__":
    main()
