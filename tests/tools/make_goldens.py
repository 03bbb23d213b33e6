#!/usr/bin/env python3
"""Makes the golden cases of tests/golden from Hugging Face transformers.

    python3 -m pip install torch transformers safetensors numpy
    python3 tests/tools/make_goldens.py                 # every case
    python3 tests/tools/make_goldens.py llama gpt-oss   # the cases whose names begin so
    python3 tests/tools/make_goldens.py --check         # also compare each case with the numpy oracle
    python3 tests/tools/make_goldens.py --bf16 gpt-oss  # only say how far transformers in bf16 is from itself in f32

A case is a folder with `config.json`, `model*.safetensors` and `expected.safetensors` (`input_ids` I64 [T], `logits` f32
[n, vocab] of the last n positions). Logits come from transformers' own model in f32 on the CPU with eager attention. The
tables are in the files `cases_*.py`; a case's seed is a hash of its name, so that a run makes the same bytes again.
"""
import argparse
import importlib
import json
import math
import os
import pathlib
import sys
import tempfile
import zlib

os.environ["TQDM_DISABLE"] = "1"

import torch
import transformers
from safetensors.torch import load_file, save_file

TOOLS = pathlib.Path(__file__).resolve().parent
GOLDEN = TOOLS.parent / "golden"
TABLES = ["cases_shipped", "cases_gpt", "cases_specs"]
CASE_LIMIT = 300_000
TOTAL_LIMIT = 15_000_000
STORE = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class Case:
    """One row of a table: the literal config.json, and how the checkpoint is made and stored."""

    def __init__(self, name, config, tokens=20, last=None, store="bf16", shards=1, gain=1.0, embed=1.0, mxfp4=False, edit=None):
        self.name, self.config, self.tokens = name, config, tokens
        self.last = last or min(tokens, 16)
        self.store, self.shards, self.gain, self.embed = STORE[store], shards, gain, embed
        self.mxfp4, self.edit = mxfp4, edit
        self.seed = zlib.crc32(name.encode())


def build(folder):
    """transformers' model for the config.json in `folder`, in f32 with eager attention."""
    config = transformers.AutoConfig.from_pretrained(folder)
    if text := getattr(config, "text_config", None):           # an image model: its language part is what is compared
        text.architectures, config = [config.architectures[0].replace("ConditionalGeneration", "CausalLM")], text
    model_class = getattr(transformers, config.architectures[0])
    model = model_class._from_config(config, attn_implementation="eager", dtype=torch.float32)
    return model.eval()


def randomize(model, case):
    """Weights large enough that attention is far from uniform and that every layer changes the logits."""
    rng = torch.Generator().manual_seed(case.seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=rng)
        if "embed" in name or name.endswith(("wte.weight", "wpe.weight")):
            value = case.embed * noise
        elif p.dim() == 1 and ("norm" in name or ".ln_" in name or "layernorm" in name) and not name.endswith("bias"):
            value = p.data + 0.3 * noise
        elif p.dim() == 1 or "bias" in name:                   # also the routers' choosing biases
            value = (1.0 if "sinks" in name else 0.3) * noise
        else:
            fan_in = math.sqrt(p.shape[-1] * p.shape[-2]) if p.dim() == 3 else p.shape[-1]
            strong = any(part in name for part in ("q_proj", "k_proj", "qkv", "query", "c_attn"))
            value = case.gain * (1.6 if strong else 1.2) / math.sqrt(fan_in) * noise
        p.data.copy_(value)


LUT = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def mxfp4_experts(model, case):
    """Replaces gpt-oss experts by MXFP4 ones. Returns the packed tensors; the model gets their exact values."""
    rng = torch.Generator().manual_seed(case.seed ^ 1)
    packed = {}
    for name, p in model.named_parameters():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        experts, width, out = p.shape
        blocks = torch.randint(0, 256, (experts, out, width // 32, 16), generator=rng, dtype=torch.uint8)
        around = 127 - round(math.log2(2.5 * math.sqrt(width)))
        scales = torch.randint(around - 1, around + 2, (experts, out, width // 32), generator=rng, dtype=torch.uint8)
        nibbles = torch.stack([blocks & 15, blocks >> 4], -1).flatten(-2)      # low nibble is element 2j
        values = LUT[nibbles.long()] * torch.exp2(scales.float() - 127)[..., None]
        p.data.copy_(values.flatten(-2).transpose(1, 2))
        packed[name + "_blocks"], packed[name + "_scales"] = blocks, scales
    return packed


def tensors_of(model, case):
    """The checkpoint as transformers saves it, in the case's float type."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            tensors |= load_file(path)
    return {name: t.to(case.store).contiguous() if t.is_floating_point() else t for name, t in sorted(tensors.items())}


def write_checkpoint(folder, tensors, shards):
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for s in range(shards):
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        part = {n: tensors[n] for n in names[s::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def prepare(case, folder):
    """The model with the weights that the file will hold, the packed ones of them, the prompt."""
    model = build(folder)
    randomize(model, case)
    packed = mxfp4_experts(model, case) if case.mxfp4 else {}
    for p in model.parameters():                               # what the file will hold, back in f32
        p.data.copy_(p.data.to(case.store).float())
    vocab = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, vocab, (case.tokens,), generator=torch.Generator().manual_seed(case.seed ^ 2))
    return model, packed, ids


@torch.no_grad()
def run(model, ids, last):
    return model(input_ids=ids[None], use_cache=False).logits[0, -last:].float()


def bf16_error(case):
    """max |bf16 - f32| / max |f32| of the logits: what activations in bf16 cost in transformers itself."""
    model, _, ids = prepare(case, GOLDEN / case.name)
    exact = run(model, ids, case.last)
    rounded = run(model.to(torch.bfloat16), ids, case.last)
    error = (rounded - exact).abs().max() / exact.abs().max()
    same = (rounded.argmax(-1) == exact.argmax(-1)).float().mean()
    print(f"{case.name:34} T {case.tokens:4}  bf16 rel err {error:.1e}  same argmax {same:.2f}")


def make(case):
    folder = GOLDEN / case.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "config.json").write_text(json.dumps(case.config, indent=1) + "\n")
    model, packed, ids = prepare(case, folder)
    logits = run(model, ids, case.last)
    tensors = tensors_of(model, case)
    if case.edit:                                              # other spellings of the same checkpoint
        tensors = case.edit(tensors)
    for name in packed:
        tensors.pop(name.rsplit("_", 1)[0], None)
    write_checkpoint(folder, tensors | packed, case.shards)
    save_file({"input_ids": ids, "logits": logits.contiguous()}, folder / "expected.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= CASE_LIMIT, f"{case.name}: {size} bytes"
    top2 = logits.topk(2, -1).values
    print(f"{case.name:34} T {case.tokens:4}  max |logit| {logits.abs().max():6.2f}  std {logits.std():5.2f}  {size / 1000:6.1f} kB")
    assert torch.isfinite(logits).all() and top2.std() > 0, case.name


def check(case):
    """Compares the case with the numpy oracle (float64); its spec is found as the engine finds it."""
    from oracle.judge import judge
    error, unused = judge(GOLDEN / case.name)
    bound = 2e-5 if case.tokens <= 256 else 1e-4               # transformers' f32 angles; as in tests/src/golden
    verdict = "ok  " if error < bound and not unused else "FAIL"
    print(f"  {verdict} oracle {case.name} rel err {error:.1e}" + (f" unused {unused[:4]}" if unused else ""))
    return verdict == "ok  "


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of case names; all without")
    parser.add_argument("--check", action="store_true", help="compare with the numpy oracle")
    parser.add_argument("--bf16", action="store_true", help="measure what bf16 costs transformers, and make nothing")
    parser.add_argument("--keep", action="store_true", help="do not make the cases again, only check those there")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    sys.path.insert(0, str(TOOLS))
    cases = [c for table in TABLES if (TOOLS / f"{table}.py").exists() for c in importlib.import_module(table).CASES]
    names = [c.name for c in cases]
    assert len(names) == len(set(names)), "two cases share a name"
    chosen = [c for c in cases if not options.names or c.name.startswith(tuple(options.names))]
    bad = []
    if options.bf16:
        return [bf16_error(case) for case in chosen]
    for case in chosen:
        if not options.keep:
            make(case)
        if options.check and not check(case):
            bad.append(case.name)
    total = sum(f.stat().st_size for f in GOLDEN.rglob("*") if f.is_file())
    print(f"{len(chosen)} cases; tests/golden holds {total / 1e6:.1f} MB" + (f"; oracle disagrees: {bad}" if bad else ""))
    assert total <= TOTAL_LIMIT
    sys.exit(bool(bad))


if __name__ == "__main__":
    sys.modules["make_goldens"] = sys.modules["__main__"]      # the tables import Case from here
    main()
