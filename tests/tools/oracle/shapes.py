"""Every tensor that a spec asks for with a config.json: name -> (shape, role). Written from the reference, apart from the
interpreter: that it reads exactly these tensors is checked for every case."""
import numpy as np
import interp
from interp import FN


class Ask:
    """Collects tensors of one model; roles tell how large random values should be."""

    def __init__(self, spec, raw, vocab, gate_per_head=False):
        self.tokens = interp.Model.tmpl(_Column(spec), spec["embed"]["tokens"])
        root = spec.get("root", {}).get("hf", [""])[0]
        self.m = interp.Model(spec, raw, {root + self.tokens + ".weight": np.zeros((vocab, 1))})
        self.spec, self.vocab, self.gate_per_head, self.out = spec, vocab, gate_per_head, {}

    def add(self, name, shape, role):
        self.out[name] = (tuple(shape), role)

    def linear(self, name, rows, cols, bias=False, transposed=False):
        self.add(name + ".weight", (cols, rows) if transposed else (rows, cols), ("matrix", cols))
        if bias:
            self.add(name + ".bias", (rows,), ("bias",))

    def norm(self, options, layer):
        base = {k: v for k, v in self.spec["norm"].items() if not isinstance(v, (list, dict))}
        options = {**base, **(options if isinstance(options, dict) else {"name": options})}
        name = self.m.tmpl(options.get("name"))
        if name is None:
            return
        name = self.m.full(name, layer)
        self.add(name + ".weight", (self.m.H,), ("norm", self.m.val(options.get("shift"), None, 0)))
        if self.m.val(options.get("bias")):
            self.add(name + ".bias", (self.m.H,), ("bias",))

    def calls(self, e, env):
        if not isinstance(e, tuple):
            return
        if e[0] == "if":
            yield from self.calls(e[2] if self.m.ev(e[1], env) else e[3], env)
        elif e[0] == "call":
            if e[1] not in FN:
                yield e[1]
            for argument in e[2]:
                yield from self.calls(argument, env)
        else:
            for part in e[1:]:
                yield from self.calls(part, env)

    def model(self):
        m, spec = self.m, self.spec
        embed, head = spec["embed"], spec["head"]
        self.add(m.root + self.tokens + ".weight", (self.vocab, m.H), ("embed",))
        if isinstance(embed.get("positions"), list):
            rows = int(m.cfg("max_positions")) + int(m.val(embed.get("offset"), None, 0))
            self.add(m.root + m.tmpl(embed["positions"]) + ".weight", (rows, m.H), ("embed",))
        if "norm" in embed:
            self.norm(embed["norm"], None)
        for i in range(m.L):
            for _, _, e in m.steps:
                for name in self.calls(e, m.env(i, {"x": None})):
                    if name in spec["norm"]:
                        self.norm(spec["norm"][name], i)
                    else:
                        table = spec[name]
                        getattr(self, "k_" + table.get("kind", name))(table, i)
        self.norm(head["norm"], None)
        tied = m.pick(head.get("tied", "tie_embeddings"))
        out = m.root + m.tmpl(head["out"])
        if tied == "absent(out)" or not m.val(tied):
            self.add(out + ".weight", (self.vocab, m.H), ("matrix", m.H))
        if m.val(head.get("bias"), None, False):
            self.add(out + ".bias", (self.vocab,), ("bias",))
        factors = m.pick(spec.get("rope", {}).get("freq_factors"))
        if factors:
            self.add(factors + ".weight", (m.D(0) // 2,), ("factor",))
        return self.out

    def k_gqa(self, t, i):
        m, H = self.m, self.m.H
        D, heads = m.D(i), int(m.val(t.get("heads", "num_heads"), i))
        kv, Dv = int(m.val(t.get("kv_heads", "num_kv_heads"), i)), int(m.val(t.get("v_head_dim"), i, D))
        bias, transposed = m.val(t.get("bias"), i, False), m.val(t.get("transposed"), i, False)
        name = lambda k: m.full(m.key(t, k), i)
        rows = {"q": heads * D, "k": kv * D, "v": kv * Dv, "gate": heads * D}
        if m.key(t, "qkv"):
            parts = [word for word in rows if word in m.pick(t["rows"]).replace("(", " ").replace(")", " ").split()]
            self.linear(name("qkv"), sum(rows[p] for p in parts), H, bias, transposed)
        else:
            for part in "qkv":
                if m.key(t, part):
                    self.linear(name(part), rows[part], H, bias, transposed)
        self.linear(name("o"), H, heads * Dv, m.val(t.get("o_bias"), i, bias), transposed)
        norm = t.get("qk_norm")
        if isinstance(norm, dict) and m.val(norm.get("on"), i, True):
            self.qk_norm(norm, i, D, {"q": heads, "k": kv})
        sinks = t.get("sinks")
        if sinks is not None and m.val(sinks.get("on") if isinstance(sinks, dict) else None, i, True):
            self.add(m.full(m.tmpl(sinks), i), (heads,), ("sinks",))
        gate = t.get("out_gate")
        if gate and "name" in gate:
            self.linear(m.full(m.tmpl(gate["name"]), i), heads * (1 if self.gate_per_head else Dv), H)

    def qk_norm(self, norm, i, D, heads):
        m = self.m
        shift = m.val(norm.get("shift", self.spec["norm"].get("shift")), None, 0)
        for part, count in heads.items():
            if part not in norm:
                continue
            name = m.full(m.tmpl(norm[part]), i)
            shape = {"head": (D,), "per_head": (count, D), "whole": (count * D,)}[norm["scope"]]
            for h in range(count) if "{h}" in name else [None]:
                full = name.replace("{h}", str(h))
                self.add(full + ".weight", (D,) if h is not None else shape, ("norm", shift))
                if m.val(norm.get("bias")):
                    self.add(full + ".bias", shape, ("bias",))

    def k_glu(self, t, i, gated=True):
        m, H = self.m, self.m.H
        I, bias, transposed = int(m.val(t.get("inter", "intermediate_size"), i)), m.val(t.get("bias"), i, False), m.val(t.get("transposed"), i, False)
        name = lambda k: m.full(m.key(t, k), i)
        if m.key(t, "gate_up"):
            self.linear(name("gate_up"), 2 * I, H, bias, transposed)
        else:
            for part in ("gate", "up") if gated else ("up",):
                self.linear(name(part), I, H, bias, transposed)
        self.linear(name("down"), H, I, bias, transposed)

    def k_fc(self, t, i):
        self.k_glu(t, i, gated=False)

    def k_moe(self, t, i):
        m, H, r, f = self.m, self.m.H, t["router"], t["hf"]
        E, I, bias = int(m.val(t.get("experts", "num_experts"), i)), int(m.val(t["inter"], i)), m.val(t.get("bias"), i, False)
        self.linear(m.full(m.tmpl(r["name"]), i), E, H, m.val(r.get("bias"), i, False))
        if "select_bias" in r:
            self.add(m.full(m.tmpl(r["select_bias"]), i), (E,), ("select",))
        for part, rows, cols in (("gate", I, H), ("up", I, H), ("gate_up", 2 * I, H), ("down", H, I)):
            if part not in f:
                continue
            if "{e}" in f[part]:
                for e in range(E):
                    self.linear(m.full(f[part].replace("{e}", str(e)), i), rows, cols, bias)
                continue
            P = m.full(f[part], i)
            plain = self.spec.get("storage", {}).get(f.get("storage"), {}).get("plain", {"weight": "{P}.weight", "bias": "{P}.bias"})
            shape = (E * rows, cols) if plain.get("flat") else (E, rows, cols)
            if plain.get("transposed") or P.endswith(plain.get("transposed_only", "\0")):
                shape = (E * cols, rows) if plain.get("flat") else (E, cols, rows)
            self.add(plain["weight"].replace("{P}", P), shape, ("matrix", cols))
            if bias:
                self.add(plain["bias"].replace("{P}", P), (E, rows), ("bias",))
        shared = t.get("shared")
        if shared and m.val(shared.get("on"), i, True):
            self.k_glu(shared, i)
            if "out_gate" in shared:
                self.linear(m.full(m.tmpl(shared["out_gate"]), i), 1, H)


class _Column:
    def __init__(self, spec):
        self.col = spec["formats"].index("hf")


def shapes(spec, raw, vocab, gate_per_head=False):
    """name -> (shape, role) of every tensor."""
    return Ask(spec, raw, vocab, gate_per_head).model()
