#!/usr/bin/env python3
"""Trains the small gpt-oss "Ember OSS" on the text of generate.py, rendered as harmony conversations.

    python3 train_gpt_oss.py --data data --out model

The model is transformers' GptOssForCausalLM in every respect; for training, two of its parts are replaced by
equivalents that a GPU can run fast: attention with sinks (flex attention), and the experts, which are all computed
for every token and are rounded to MXFP4 as they will be stored. OUT gets tokenizer.json, a Hugging Face checkpoint
(bf16 experts as transformers saves them, float32 masters) and training.json.
"""

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, pre_tokenizers
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface, GptOssConfig, GptOssForCausalLM, PreTrainedTokenizerFast
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP

import harmony
from corpus import encode, make_tokenizer, read_records
from training import Corpus, add_arguments, fit, held_out_loss, mxfp4, next_token_loss, save_facts, straight_through

# How o200k, the tokenizer of gpt-oss, cuts text into words.
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_masks(context, window, device):
    def causal(b, h, q, k):
        return q >= k

    def sliding(b, h, q, k):
        return (q >= k) & (q - k < window)

    return {name: create_block_mask(f, None, None, context, context, device=device)
            for name, f in (("full_attention", causal), ("sliding_attention", sliding))}


def flex_with_sinks(masks):
    """Attention as transformers calls it. Dropping a sink from the softmax equals scaling by sigmoid(lse - sink)."""
    def attend(module, query, key, value, attention_mask, scaling, s_aux, **_):
        query, key = query.to(value.dtype), key.to(value.dtype)
        out, aux = flex_attention(query, key, value, block_mask=masks[module.layer_type], scale=scaling, enable_gqa=True,
                                  return_aux=AuxRequest(lse=True))
        out = out * torch.sigmoid(aux.lse - s_aux[:, None])[..., None].to(out.dtype)
        return out.transpose(1, 2).contiguous(), None
    return attend


def plain_with_sinks(context, window, device):
    """The same with one more key, which a query extended by a 1 meets with the sink as score; its value is zero."""
    at = torch.arange(context, device=device)
    distance = at[:, None] - at[None, :]
    masks = {"full_attention": distance >= 0, "sliding_attention": (distance >= 0) & (distance < window)}
    masks = {name: F.pad(F.pad(mask, (1, 0), value=True), (0, 7)) for name, mask in masks.items()}

    def attend(module, query, key, value, attention_mask, scaling, s_aux, **_):
        query, key = query.to(value.dtype), key.to(value.dtype)
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        sink = (s_aux / scaling).to(key.dtype)[None, :, None, None].expand(key.shape[0], -1, 1, 1)
        # Eight more dimensions, of which the first counts; a key in front for the sink and seven behind for alignment.
        query = F.pad(F.pad(query, (0, 1), value=1.0), (0, 7))
        key = F.pad(key, (0, 8, 1, 7)) + F.pad(sink, (key.shape[-1], 7, 0, key.shape[-2] + 7))
        value = F.pad(value, (0, 8, 1, 7))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=masks[module.layer_type], scale=scaling)
        return out[..., :-8].transpose(1, 2).contiguous(), None
    return attend


class TrainedExperts(GptOssMLP):
    """All experts for all tokens as two matrix products, weighted by a router whose loads are kept even."""

    def forward(self, x):
        experts, router = self.experts, self.router
        with torch.autocast(x.device.type, enabled=False):
            scores = F.linear(x.float(), router.weight, router.bias)
            best, chosen = scores.topk(router.top_k, -1)
            weights = torch.zeros_like(scores).scatter(-1, chosen, best.softmax(-1))
            load = (weights > 0).float().flatten(0, -2).mean(0) / router.top_k
            self.imbalance = router.num_experts * (load * scores.softmax(-1).flatten(0, -2).mean(0)).sum()
        # [experts, in, out] is transposed for the rounding, which goes along `in`.
        gate_up = straight_through(experts.gate_up_proj.transpose(1, 2), mxfp4)
        down = straight_through(experts.down_proj.transpose(1, 2), mxfp4)
        shape = (*x.shape[:-1], router.num_experts, -1)
        gate = F.linear(x, gate_up[:, 0::2].flatten(0, 1)).view(shape) + experts.gate_up_proj_bias[:, 0::2]
        up = F.linear(x, gate_up[:, 1::2].flatten(0, 1)).view(shape) + experts.gate_up_proj_bias[:, 1::2]
        gate, up = gate.clamp(max=experts.limit), up.clamp(-experts.limit, experts.limit)
        inner = (up + 1) * gate * torch.sigmoid(experts.alpha * gate) * weights[..., None]
        out = F.linear(inner.flatten(-2), down.transpose(0, 1).flatten(1)) + weights @ experts.down_proj_bias
        return out.to(x.dtype), weights


@torch.no_grad()
def as_stored(state):
    """A state dict with its experts rounded to MXFP4."""
    def rounded(name, w):
        return mxfp4(w.transpose(1, 2)).transpose(1, 2).contiguous() if name.endswith(("gate_up_proj", "down_proj")) else w
    return {name: rounded(name, w) for name, w in state.items()}


def make_config(args):
    return GptOssConfig(
        vocab_size=args.vocab, hidden_size=args.hidden, intermediate_size=args.inter, num_hidden_layers=args.layers,
        num_attention_heads=args.heads, num_key_value_heads=args.kv_heads, head_dim=args.hidden // args.heads,
        num_local_experts=args.experts, num_experts_per_tok=args.top, sliding_window=args.window,
        max_position_embeddings=args.context, initial_context_length=args.original, rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": args.context / args.original, "beta_fast": 32.0, "beta_slow": 1.0,
            "original_max_position_embeddings": args.original, "truncate": False,
        },
        bos_token_id=0, eos_token_id=2, initializer_range=0.02,
    )


def usable_losses(model, balance, args, device):
    """The loss function in the fastest form that works here, found by trying."""
    def head_loss(hidden, y):
        return next_token_loss(model.lm_head(hidden), y)

    gpu = device.type == "cuda"
    x = torch.randint(args.vocab, (args.batch, args.context), device=device)
    for attention, compiled in [("flex", True), ("plain", True), ("plain", False)] if gpu else [("plain", False)]:
        if attention == "flex":
            attend = flex_with_sinks(make_masks(args.context, args.window, device))
        else:
            attend = plain_with_sinks(args.context, args.window, device)
        AttentionInterface.register("trained", attend)
        # Layer by layer: one compilation serves all layers of a kind.
        for layer in model.model.layers:
            layer.forward = torch.compile(type(layer).forward.__get__(layer)) if compiled else type(layer).forward.__get__(layer)
        head = torch.compile(head_loss) if compiled else head_loss

        def losses(x, y, head=head):
            loss = head(model.model(input_ids=x, use_cache=False).last_hidden_state, y)
            return loss + balance * sum(layer.mlp.imbalance for layer in model.model.layers) / args.layers

        try:
            started = time.time()
            for _ in range(2):
                with torch.autocast(device.type, torch.bfloat16, enabled=gpu):
                    loss = losses(x, x)
                loss.backward()
                model.zero_grad(set_to_none=True)
            print(f"attention: {attention}, compiled: {compiled}, first loss {loss.item():.3f}, {time.time() - started:.0f} s", flush=True)
            return losses
        except Exception as error:  # noqa: BLE001: whatever it is, the next form may do
            print(f"attention: {attention}, compiled: {compiled}: {type(error).__name__}: {str(error)[:500]}", flush=True)
            torch._dynamo.reset()
            model.zero_grad(set_to_none=True)
    raise SystemExit("no form of attention works")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, vocab=3328, hidden=192, layers=8, heads=6, kv_heads=2, inter=128, context=1024, batch=64)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--top", type=int, default=4, help="experts of a token")
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--original", type=int, default=256, help="length up to which YaRN leaves slow frequencies as they are")
    parser.add_argument("--balance", type=float, default=0.01, help="weight of the routers' imbalance in the loss")
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.time()

    records = read_records(args.data)
    rng = random.Random(args.seed)
    rng.shuffle(records)
    documents = harmony.documents(rng, records, characters=3 * args.context)
    held_out = max(20, len(documents) // 100)
    if args.tokenizer:
        tokenizer = Tokenizer.from_file(str(args.tokenizer))
    else:
        sample = documents[held_out : held_out + 100_000]
        texts = (part for d in sample for text, _ in d for part in harmony.between_special(text))
        pre = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(O200K), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer = make_tokenizer(texts, args.vocab, harmony.SPECIAL, pre, ignore_merges=True)
    tokenizer.save(str(args.out / "tokenizer.json"))
    corpus = Corpus(*encode(tokenizer, documents), held_out, args, device, started)


    AttentionInterface.register("trained", lambda *_, **__: None)
    AttentionMaskInterface.register("trained", lambda *_, **__: None)
    model = GptOssForCausalLM._from_config(make_config(args), attn_implementation="trained").to(device)
    for layer in model.model.layers:
        layer.mlp.__class__ = TrainedExperts
    losses = usable_losses(model, args.balance, args, device)
    facts = fit(model, losses, corpus, args, device, started)
    with torch.no_grad():
        uneven = [round(layer.mlp.imbalance.item(), 3) for layer in model.model.layers]
    print(f"imbalance of the routers (1: none): {uneven}")

    # From here on, everything is transformers' own.
    stock = GptOssForCausalLM(make_config(args)).to(device).eval()
    stock.load_state_dict(as_stored(model.state_dict()))
    model.to("cpu", torch.float32).save_pretrained(args.out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|startoftext|>", eos_token="<|return|>", pad_token="<|endoftext|>",
        chat_template=harmony.CHAT_TEMPLATE, model_max_length=args.context,
    ).save_pretrained(args.out)
    facts["held_out_loss"] = held_out_loss(stock, *corpus.test, device, batch=16)
    print(f"held-out loss {facts['held_out_loss']:.4f} nats a token ({facts['weights']:,} weights)", flush=True)
    save_facts(facts, args.out)


if __name__ == "__main__":
    main()
