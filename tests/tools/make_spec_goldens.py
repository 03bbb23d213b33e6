#!/usr/bin/env python3
"""Makes golden cases of specs that no library implements; the numpy interpreter in oracle/ is their judge, in float64.

    python3 -m pip install numpy torch safetensors
    python3 tests/tools/make_spec_goldens.py            # every case of cases_language.py
    python3 tests/tools/make_spec_goldens.py alibi      # those whose names contain it

For one spec of your own:

    python3 tests/tools/make_spec_goldens.py --spec my.toml --config config.json --out DIR [--tokens 24] [--seed 1]
"""
import argparse
import json
import pathlib
import sys
import zlib

import numpy as np
import torch
from safetensors.torch import save_file

TOOLS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "oracle")]
import interp                                                   # noqa: E402
import judge                                                    # noqa: E402
from shapes import shapes                                       # noqa: E402

GOLDEN = TOOLS.parent / "golden"
STORE = {"bf16": torch.bfloat16, "f32": torch.float32, "f16": torch.float16}


def random_tensor(shape, role, rng):
    noise = rng.standard_normal(shape)
    match role:
        case ("matrix", fan_in): return noise * 1.4 / np.sqrt(fan_in)
        case ("norm", shift): return 1 - shift + 0.3 * noise
        case ("embed",) | ("sinks",): return noise
        case ("factor",): return 1 + np.abs(noise)
        case ("select",): return 0.5 * noise
        case ("bias",): return 0.3 * noise
    raise ValueError(role)


def make(folder, spec, config, tokens, seed, last=16, vocab=32, gate_per_head=False, store="bf16", edit=None):
    """Writes one case folder and returns its logits."""
    rng = np.random.default_rng(seed)
    inner = config.get("text_config", config)
    vocab = inner.get("vocab_size", vocab)
    asked = shapes(spec, config, vocab, gate_per_head)
    tensors = {}
    for name, (shape, role) in asked.items():
        tensors[name] = torch.from_numpy(random_tensor(shape, role, rng)).to(STORE[store]).contiguous()
    if edit:
        tensors = edit(tensors)
    ids = rng.integers(0, vocab, tokens)
    model = interp.Model(spec, config, {n: t.float().numpy() if t.is_floating_point() else t.numpy() for n, t in tensors.items()})
    logits = model(ids)
    assert not model.unused(), f"{folder.name}: nothing reads {model.unused()[:5]}"
    assert np.isfinite(logits).all(), folder.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(dict(sorted(tensors.items())), folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"input_ids": torch.from_numpy(ids), "logits": torch.from_numpy(logits[-last:]).float().contiguous()}, folder / "expected.safetensors")
    return logits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of case names; all without")
    parser.add_argument("--spec", type=pathlib.Path, help="a spec of your own")
    parser.add_argument("--config", type=pathlib.Path, help="its config.json")
    parser.add_argument("--out", type=pathlib.Path, help="where the case goes")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.spec:
        make(options.out, interp.load_spec(options.spec), json.loads(options.config.read_text()), options.tokens, options.seed)
        return
    from cases_language import CASES
    for name, config, tokens, more in CASES:
        if options.names and not any(part in name for part in options.names):
            continue
        spec = judge.spec_of(config, judge.Anything())
        folder = GOLDEN / name
        logits = make(folder, spec, config, tokens, zlib.crc32(name.encode()), **more)
        size = sum(f.stat().st_size for f in folder.iterdir()) / 1000
        print(f"{name:34} T {tokens:4}  max |logit| {np.abs(logits).max():6.2f}  std {logits.std():5.2f}  {size:6.1f} kB")


if __name__ == "__main__":
    main()
