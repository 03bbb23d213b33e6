"""Runs a golden case through the interpreter: finds the spec by config.json, as the engine does."""
import json
import os
import pathlib
import sys

import numpy as np
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import interp                                                   # noqa: E402  (the oracle's own flat import style)

ROOT = HERE.parent.parent.parent
SPECS = [ROOT / "model-spec", ROOT / "tests" / "specs", ROOT / "macros" / "core" / "tests" / "specs"]
SPECS += [pathlib.Path(p) for p in os.environ.get("INFERNO_SPECS", "").split(":") if p]      # drafts elsewhere


class Anything(dict):
    """A checkpoint that has every tensor: enough to choose a spec."""

    def __contains__(self, name):
        return True


def tensors_of(folder):
    """Every tensor of the checkpoint as numpy, floats widened to f32."""
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        for name, t in load_file(path).items():
            tensors[name] = t.float().numpy() if t.is_floating_point() else t.numpy()
    return tensors


def spec_of(raw, tensors):
    """The spec that serves this config.json: by architecture, then by `when`."""
    plain, conditional = [], []
    specs = [interp.load_spec(path) for folder in SPECS for path in sorted(folder.glob("[!_]*.toml"))]
    specs = [spec for spec in specs if "hf" in spec["formats"]]
    known = {name for spec in specs for name in spec.get("architectures", [])}
    name = next((name for name in raw["architectures"] if name in known), None)
    for spec in specs:
        if name in spec.get("architectures", []):
            when = spec.get("when")
            when = when.get("hf") if isinstance(when, dict) else when
            (conditional if when else plain).append((spec, when))
    for spec, when in conditional:
        if interp.condition(spec, raw, tensors, when):
            return spec
    if not plain:
        raise LookupError(f"no spec serves {raw['architectures']}")
    return plain[0][0]


def judge(folder):
    """(max relative error against expected.safetensors, tensors nothing read)."""
    raw, tensors = json.loads((folder / "config.json").read_text()), tensors_of(folder)
    expected = load_file(folder / "expected.safetensors")
    model = interp.Model(spec_of(raw, tensors), raw, tensors)
    theirs = expected["logits"].numpy().astype(np.float64)
    ours = model(expected["input_ids"].numpy())[-len(theirs):]
    return np.abs(ours - theirs).max() / np.abs(theirs).max(), model.unused()
