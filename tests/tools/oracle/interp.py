"""Run a model spec in numpy (float64), HF safetensors format. Everything architecture-specific comes from the TOML;
this file is the 'runtime'. Its logits equal those of transformers on tiny random models."""
import tomllib, math, re, os
import numpy as np
from grammar import parse, parse_step
SPECS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'model-spec')    # the prelude and the parents of `extends`
erf = np.vectorize(math.erf)
sig = lambda x: 1 / (1 + np.exp(-x))
ACT = {'silu': lambda x: x * sig(x), 'swish': lambda x: x * sig(x), 'gelu': lambda x: x * .5 * (1 + erf(x / math.sqrt(2))), 'relu': lambda x: np.maximum(x, 0),
       'relu2': lambda x: np.maximum(x, 0) ** 2, 'sigmoid': sig, 'softplus': lambda x: np.log1p(np.exp(x)), 'identity': lambda x: x,
       'gelu_new': lambda x: .5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + .044715 * x ** 3)))}
ACT['gelu_pytorch_tanh'] = ACT['gelu_tanh'] = ACT['gelu_fast'] = ACT['gelu_new']
FN = {'sqrt': math.sqrt, 'min': min, 'max': max, 'ln': math.log, 'contains': lambda a, b: b in (a or []), 'len': len, 'floor': math.floor, 'at': lambda a, i: a[int(i)] if isinstance(a, list) else a}
def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True)); return e / e.sum(-1, keepdims=True)
SCORE = {'softmax': softmax, 'sigmoid': sig, 'sqrtsoftplus': lambda z: np.sqrt(np.log1p(np.exp(z)))}
def merge(a, b, depth=0):
    out = dict(a)
    for k, v in b.items():
        out[k] = {**a[k], **v} if depth == 0 and isinstance(v, dict) and isinstance(a.get(k), dict) else v
    return out
def load_spec(path):
    d = tomllib.load(open(path, 'rb'))
    if 'extends' in d:
        parent = os.path.join(os.path.dirname(os.path.abspath(path)), d['extends'] + '.toml')
        base = load_spec(parent if os.path.exists(parent) else os.path.join(SPECS, d['extends'] + '.toml'))
        for c in ('attn', 'mlp'):                # a component of another kind inherits nothing; another spelling of its weights replaces the old
            if c in d and d[c].get('kind', base[c]['kind']) != base[c]['kind']: base[c] = {k: v for k, v in base[c].items() if c == 'mlp' and k == 'act'}
            for new, old in (('qkv', 'q k v'), ('gate_up', 'gate up'), ('q', 'qkv rows')):
                if new in d.get(c, {}): base[c] = {k: v for k, v in base[c].items() if k not in old.split()}
        d = merge(base, d)
    return d
def split_rows(layout, W, parts):
    """'q k v' | '(q k v)*n' | '(gate up)*': rows of W (axis 0) -> {part: rows}; parts gives each part's total row count."""
    m = re.fullmatch(r'\(([\w ]+)\)\*(\d*)', layout); names = (m[1] if m else layout).split()
    g = 1 if not m else int(m[2]) if m[2] else parts[names[0]]
    sizes = [parts[n] // g for n in names]; X = W.reshape(g, sum(sizes), *W.shape[1:]); out, p = {}, 0
    for n, s in zip(names, sizes): out[n] = X[:, p:p + s].reshape(g * s, *W.shape[1:]); p += s
    return out
LUT = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
def mxfp4(blocks, scales):                       # [.., n, 16] u8, [.., n] u8 -> [.., 32 n]
    v = np.stack([LUT[blocks & 15], LUT[blocks >> 4]], -1).reshape(*blocks.shape[:-1], 32)
    return (v * np.exp2(scales.astype(int) - 127.)[..., None]).reshape(*blocks.shape[:-2], -1)

class Model:
    def __init__(s, spec, raw, tensors, fmt='hf'):
        s.d, s.fmt, s.t, s.used, s.memo = spec, fmt, tensors, set(), {}
        s.col = spec['formats'].index(fmt)
        raw = raw.get('text_config', raw); rp = raw.get('rope_parameters') or {}
        s.nested = rp if any(isinstance(v, dict) for v in rp.values()) else None
        s.raw, s.scaling = raw, raw.get('rope_scaling') or (None if s.nested else rp) or None
        s.fields = {k: dict(v) for k, v in tomllib.load(open(SPECS + '/_prelude.toml', 'rb'))['config'].items()}
        for k, v in spec.get('config', {}).items(): s.fields[k] = {**s.fields.get(k, {}), **(v if isinstance(v, dict) else {'default': v})}
        s.lets = {k: parse(v) for k, v in spec['layers'].get('let', {}).items()}
        s.steps = [parse_step(x) for x in spec['layers']['steps']]
        s.parts = {k for k, v in spec.items() if isinstance(v, dict) and k not in ('norm', 'config', 'layers', 'embed', 'head', 'storage', 'rope', 'root', 'ignore')}
        roots = spec.get('root', {}).get(fmt, ['']); s.root = ''
        s.root = next(r for r in roots if r + s.tmpl(spec['embed']['tokens']) + '.weight' in tensors)
        s.L, s.H, s.D = int(s.cfg('num_layers')), int(s.cfg('hidden_size')), lambda i: int(s.val(s.d['attn'].get('head_dim', 'head_dim'), i))
    # -- values
    def pick(s, v, d=None): return v.get(s.fmt, d) if isinstance(v, dict) and v and set(v) <= {'hf', 'gguf'} else (d if v is None else v)
    def cfg(s, n):
        if n in s.memo: return s.memo[n]
        f = s.fields.get(n)
        if f is None: raise NameError(n)
        ks = f.get('hf', n); v = None
        for k in [ks] if isinstance(ks, str) else ks:
            v = s.raw
            for part in k.split('.'): v = v.get(part, ...) if isinstance(v, dict) else ...
            if v is None and f.get('type', '').endswith('?'): s.memo[n] = None; return None     # an optional field set to null is off
            if v is not None and v is not ...: break
            v = None
        if v is None:
            if 'default' not in f: raise KeyError(f'config field {n} has no value and no default')
            d = s.pick(f['default']); t = f.get('type', '')
            if d == 'rows(embed.tokens)': v = s.t[s.root + s.tmpl(s.d['embed']['tokens']) + '.weight'].shape[0]
            elif t in ('[str]', '[int]', '[float]', '[bool]') and isinstance(d, str): v = [s.ev(parse(d), s.env(j)) for j in range(int(s.cfg('num_layers')))]
            elif isinstance(d, str) and t not in ('act', 'str') and n != 'hidden_act': v = s.ev(parse(d), s.env(None))
            else: v = d
        s.memo[n] = v; return v
    def env(s, i, extra=None):
        def look(n):
            if extra and n in extra: return extra[n]
            if n == 'i' and i is not None: return i
            if n == 'config': return 'config'
            return s.ev(s.lets[n], look) if n in s.lets else s.cfg(n)
        return look
    def ev(s, e, env, call=None):
        k = e[0]; r = lambda x: s.ev(x, env, call)
        if k == 'lit': return int(e[1]) if isinstance(e[1], float) and e[1].is_integer() else e[1]
        if k == 'var': return {'none': None, 'true': True, 'false': False}[e[1]] if e[1] in ('none', 'true', 'false') else env(e[1])
        if k == 'neg': return -r(e[1])
        if k == 'not': return not r(e[1])
        if k == 'if': return r(e[2] if r(e[1]) else e[3])
        if k == 'idx': return r(e[1])[int(r(e[2]))]
        if k == 'call': return FN[e[1]](*[r(a) for a in e[2]]) if e[1] in FN else call(e[1], *[r(a) for a in e[2]])
        o, a = e[1], r(e[2])
        if o == '&&': return a and r(e[3])
        if o == '||': return a or r(e[3])
        b = r(e[3])
        return {'+': lambda: a + b, '-': lambda: a - b, '*': lambda: a * b, '/': lambda: a / b, '%': lambda: a % b, '==': lambda: a == b, '!=': lambda: a != b,
                '<': lambda: a < b, '<=': lambda: a <= b, '>': lambda: a > b, '>=': lambda: a >= b}[o]()
    def val(s, v, i=None, d=None):
        v = s.pick(v, d); return s.ev(parse(v), s.env(i)) if isinstance(v, str) else v
    def word(s, v, i=None):                      # an enum-typed key: a variant name, or a config field of that type
        v = s.pick(v); return s.cfg(v) if isinstance(v, str) and v in s.fields else v
    # -- tensors
    def tmpl(s, v):
        v = v['name'] if isinstance(v, dict) and 'name' in v else v
        return (v[s.col] if s.col < len(v) else None) if isinstance(v, list) else v if isinstance(v, str) else None
    def key(s, t, k): return s.tmpl(t[k]) if k in t else s.tmpl(t.get(s.fmt, {}).get(k))
    def full(s, nm, i): return s.root + (s.d['layers']['prefix'][s.col].replace('{i}', str(i)) if i is not None else '') + nm
    def get(s, nm): s.used.add(nm); return s.t[nm].astype(np.float64) if s.t[nm].dtype.kind == 'f' else s.t[nm]
    def lin(s, nm, i, bias=False, tr=False):
        nm = s.full(nm, i); W = s.get(nm + '.weight')
        return (W.T if tr else W), (s.get(nm + '.bias') if bias else None)
    # -- norms
    def norm1(s, x, o, w, b, D=None):
        kind = o.get('kind', 'rms'); eps = s.val(o.get('eps', s.d['norm'].get('eps', 'rms_norm_eps')))
        if kind == 'layer': x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
        if w is not None: x = x * (w + s.val(o.get('shift', s.d['norm'].get('shift')), None, 0))
        return x if b is None else x + b
    def norm(s, n, x, i):
        o = s.d['norm'].get(n) if i is not None else s.d['head']['norm']; base = {k: v for k, v in s.d['norm'].items() if not isinstance(v, list)}
        o = {**base, **(o if isinstance(o, dict) else {'name': o})}; nm = s.tmpl(o.get('name'))
        if nm is None: return s.norm1(x, o, None, None)
        nm = s.full(nm, i)
        return s.norm1(x, o, s.get(nm + '.weight'), s.get(nm + '.bias') if s.val(o.get('bias')) else None)
    # -- rope
    def rope(s, i, T, head_dim):
        r = s.d.get('rope')
        if r is None or s.val(r.get('on'), i, True) is False: return None
        sc = None
        if s.nested:
            sc = s.nested[s.cfg('layer_types')[i]]; theta = sc.get('rope_theta') or s.val(r['theta'], i)
        else:
            theta = s.val(r['theta'], i); w = r.get('scaling'); w = w if isinstance(w, dict) else {'from': w}
            f = w.get('from'); f = s.val(f, i) if isinstance(f, str) else f
            if f == 'config': sc = s.scaling if s.scaling and (s.scaling.get('rope_type') or s.scaling.get('type')) else w.get('default')
        sc = {**(r['scaling'] if isinstance(r.get('scaling'), dict) else {}), **(sc or {})}
        if 'original' in sc: sc.setdefault('original_max_position_embeddings', sc['original'])
        part = s.val(r.get('partial', 'partial_rotary_factor'), i)
        dim = int(s.val(r['dim'], i)) if 'dim' in r else int(head_dim * part)
        kind = s.word(sc.get('rope_type') or sc.get('type') or 'default'); mx = lambda: s.cfg('max_positions')
        inv = theta ** -(np.arange(0, dim, 2) / dim); att = 1.0; pos = np.arange(T)
        if kind == 'linear': inv = inv / sc['factor']
        elif kind == 'dynamic' and sc.get('alpha'): inv = (theta * sc['alpha'] ** (dim / (dim - 2))) ** -(np.arange(0, dim, 2) / dim)
        elif kind == 'dynamic': inv = (theta * (sc['factor'] * max(T, mx()) / mx() - sc['factor'] + 1) ** (dim / (dim - 2))) ** -(np.arange(0, dim, 2) / dim)
        elif kind == 'llama3':
            o, lo, hi, f = sc['original_max_position_embeddings'], sc['low_freq_factor'], sc['high_freq_factor'], sc['factor']
            wl = 2 * math.pi / inv; sm = (o / wl - lo) / (hi - lo)
            inv = np.where(wl > o / lo, inv / f, np.where(wl < o / hi, inv, (1 - sm) * inv / f + sm * inv))
        elif kind == 'yarn':
            f = sc['factor']; o = sc.get('original_max_position_embeddings') or mx()
            cor = lambda rot: dim * math.log(o / (rot * 2 * math.pi)) / (2 * math.log(theta))
            lo, hi = cor(sc.get('beta_fast') or 32), cor(sc.get('beta_slow') or 1)
            if sc.get('truncate', True): lo, hi = math.floor(lo), math.ceil(hi)
            lo, hi = max(lo, 0), min(hi, dim - 1); hi = hi + .001 if lo == hi else hi
            keep = 1 - np.clip((np.arange(dim // 2) - lo) / (hi - lo), 0, 1)
            inv = inv / f * (1 - keep) + inv * keep
            ms = lambda m: 1.0 if f <= 1 else .1 * m * math.log(f) + 1
            a, b = sc.get('mscale'), sc.get('mscale_all_dim')
            att = sc.get('attention_factor') or (ms(a) / ms(b) if a and b else ms(1))
        elif kind == 'longrope':
            o = sc.get('original_max_position_embeddings') or s.raw.get('original_max_position_embeddings'); f = mx() / o
            inv = inv / np.array(sc['long_factor' if T > o else 'short_factor']); att = sc.get('attention_factor') or (math.sqrt(1 + math.log(f) / math.log(o)) if f > 1 else 1.0)
        elif kind == 'proportional': inv = np.concatenate([theta ** -(np.arange(0, dim, 2) / head_dim) / sc.get('factor', 1), np.zeros(head_dim // 2 - dim // 2)])
        elif kind != 'default': raise NotImplementedError(kind)
        ff = s.pick(r.get('freq_factors'))
        if ff and ff + '.weight' in s.t: inv = inv / s.get(ff + '.weight')
        a = np.outer(pos, inv) * (-1 if r.get('reverse') else 1); return np.cos(a) * att, np.sin(a) * att
    def rot(s, x, cs, pairs):                    # x [T, heads, D]
        if cs is None: return x
        c, n = cs[0][:, None], cs[1][:, None]; d = 2 * c.shape[-1]; y = x.copy()
        a, b = (slice(0, d // 2), slice(d // 2, d)) if pairs == 'half' else (slice(0, d, 2), slice(1, d, 2))
        y[..., a] = x[..., a] * c - x[..., b] * n; y[..., b] = x[..., b] * c + x[..., a] * n
        return y
    # -- components
    def call(s, name, x, i):
        if name in s.d['norm']: return s.norm(name, x, i)
        t = s.d[name]; return getattr(s, 'k_' + t.get('kind', name))(x, t, i)
    def mask(s, T, w, chunk):
        q, k = np.arange(T)[:, None], np.arange(T)[None]; m = k <= q
        if w is not None: m &= k > q - w
        if chunk is not None: m &= k // chunk == q // chunk
        return m
    def attend(s, q, k, v, t, i, scale):         # [T, heads, D] -> [T, heads * Dv]
        T, g = len(q), q.shape[1] // k.shape[1]
        k, v = np.repeat(k, g, 1), np.repeat(v, g, 1)
        z = np.einsum('qhd,khd->hqk', q, k) * scale
        cap = s.val(t.get('softcap'), i)
        if cap: z = cap * np.tanh(z / cap)
        if s.val(t.get('alibi'), i): 
            n = q.shape[1]; p = 2 ** math.floor(math.log2(n)); sl = [2 ** (-8 * (j + 1) / p) for j in range(p)] + [2 ** (-4 * (2 * j + 1) / p) for j in range(n - p)]
            z = z + np.array(sl)[:, None, None] * np.arange(T)[None, None]
        z = np.where(s.mask(T, s.val(t.get('window'), i), s.val(t.get('chunk'), i)), z, -np.inf)
        snk = t.get('sinks')
        if snk is not None and s.val(snk.get('on') if isinstance(snk, dict) else None, i, True):
            w = np.broadcast_to(s.get(s.full(s.tmpl(snk), i))[:, None, None], (z.shape[0], T, 1)); p = softmax(np.concatenate([z, w], -1))[..., :-1]
        else: p = softmax(z)
        return np.einsum('hqk,khd->qhd', p, v).reshape(T, -1)
    def k_gqa(s, x, t, i):
        T, D = len(x), s.D(i); Hq, Hk = int(s.val(t.get('heads', 'num_heads'), i)), int(s.val(t.get('kv_heads', 'num_kv_heads'), i)); Dv = int(s.val(t.get('v_head_dim'), i, D))
        b, tr = s.val(t.get('bias'), i, False), s.val(t.get('transposed'), i, False)
        if s.key(t, 'qkv'):
            W, B = s.lin(s.key(t, 'qkv'), i, b, tr); n = {'q': Hq * D, 'k': Hk * D, 'v': Hk * Dv, 'gate': Hq * D}
            lay = re.sub(r'\*(\w+)$', lambda m: '*' + str(int(s.val(m[1], i))), s.pick(t['rows'])); P = split_rows(lay, W, n); PB = split_rows(lay, B, n) if b else {}
            y = {k: x @ P[k].T + (PB[k] if b else 0) for k in P}
        else:
            y = {}
            for k in 'qkv':
                nm = s.key(t, k)
                if nm is None: y[k] = y['k']; continue
                W, B = s.lin(nm, i, b, tr); y[k] = x @ W.T + (B if b else 0)
        c = s.val(t.get('clip'), i)
        qn = t.get('qk_norm'); qn = qn if isinstance(qn, dict) and s.val(qn.get('on'), i, True) else None
        def qknorm(q, k):
            out = []
            for a, z in (('q', q), ('k', k)):
                o = {**{x_: v for x_, v in s.d['norm'].items() if not isinstance(v, list)}, **qn}; nm = s.tmpl(qn[a]) if a in qn else None; w = bb = None
                if o.get('kind') == 'l2': o = {**o, 'kind': 'rms'}
                if nm and '{h}' in nm: w = np.stack([s.get(s.full(nm.replace('{h}', str(h)), i) + '.weight') for h in range(z.shape[1])])
                elif nm:
                    w = s.get(s.full(nm, i) + '.weight'); bb = s.get(s.full(nm, i) + '.bias') if s.val(qn.get('bias')) else None
                if qn['scope'] == 'whole': out.append(s.norm1(z.reshape(T, -1), o, w, bb).reshape(z.shape))
                else: out.append(s.norm1(z, o, w, bb))
            return out
        q, k, v = y['q'].reshape(T, Hq, D), y['k'].reshape(T, Hk, D), y['v'].reshape(T, Hk, Dv)
        if qn and qn.get('when', 'before_rope') == 'before_rope': q, k = qknorm(q, k)
        if c: q, k, v = (np.clip(z, -c, c) for z in (q, k, v))
        cs = s.rope(i, T, D); pr = s.pick(s.d['rope'].get('pairs', 'half')) if 'rope' in s.d else None
        q, k = s.rot(q, cs, pr), s.rot(k, cs, pr)
        if qn and qn.get('when') == 'after_rope': q, k = qknorm(q, k)
        qt = t.get('q_temperature')
        if qt and s.val(qt.get('on'), i, True):
            p = np.arange(T) + (1 if qt.get('from_one') else 0); q = q * (1 + s.val(qt['scale'], i) * np.log1p(np.floor(p / s.val(qt['floor'], i))))[:, None, None]
        vs = s.val(t.get('v_scale'), i)
        if vs: v = v * vs
        sc = s.val(t.get('scale'), i); y2 = s.attend(q, k, v, t, i, D ** -.5 if sc is None else sc)
        og = t.get('out_gate')
        if og:
            g = y['gate'] if 'gate' in y else x @ s.lin(s.tmpl(og['name']), i)[0].T
            g = ACT[og.get('act', 'sigmoid')](g); y2 = (y2.reshape(T, Hq, Dv) * g.reshape(T, Hq, -1)).reshape(T, -1)
        W, B = s.lin(s.key(t, 'o'), i, s.val(t.get('o_bias'), i, b), tr); return y2 @ W.T + (0 if B is None else B)
    def act(s, t, i, inter=None):
        a = t['act']
        if isinstance(a, dict) and a.get('fn') == 'clamped_swiglu':
            al, lm, sh = s.val(a['alpha']), s.val(a['limit']), a.get('up_shift', 0)
            return lambda g, u: (np.clip(u, -lm, lm) + sh) * (lambda g: g * sig(al * g))(np.minimum(g, lm))
        f = ACT[s.word(a)]; return lambda g, u: f(g) * u
    def k_glu(s, x, t, i):
        b, tr = s.val(t.get('bias'), i, False), s.val(t.get('transposed'), i, False); I = int(s.val(t.get('inter', 'intermediate_size'), i))
        if s.key(t, 'gate_up'):
            W, B = s.lin(s.key(t, 'gate_up'), i, b, tr); P = split_rows(t.get('rows', 'gate up'), W, {'gate': I, 'up': I}); g, u = x @ P['gate'].T, x @ P['up'].T
            if b: B = split_rows(t.get('rows', 'gate up'), B, {'gate': I, 'up': I}); g, u = g + B['gate'], u + B['up']
        else:
            (G, gb), (U, ub) = s.lin(s.key(t, 'gate'), i, b, tr), s.lin(s.key(t, 'up'), i, b, tr); g, u = x @ G.T + (gb if b else 0), x @ U.T + (ub if b else 0)
        h = s.act(t, i)(g, u); W, B = s.lin(s.key(t, 'down'), i, b, tr); return h @ W.T + (B if b else 0)
    def k_fc(s, x, t, i):
        b, tr = s.val(t.get('bias'), i, False), s.val(t.get('transposed'), i, False)
        (U, ub), (W, B) = s.lin(s.key(t, 'up'), i, b, tr), s.lin(s.key(t, 'down'), i, b, tr)
        return ACT[s.word(t['act'])](x @ U.T + (ub if b else 0)) @ W.T + (B if b else 0)
    def experts(s, t, i, E, I):
        f = t.get(s.fmt, {}); st = s.d.get('storage', {}).get(f.get('storage'), {'plain': {'weight': '{P}.weight', 'bias': '{P}.bias'}}); b = s.val(t.get('bias'), i, False)
        def one(nm, e):
            if '{e}' in nm: W, B = s.lin(nm.replace('{e}', str(e)), i, b); return W, B
            nm = s.full(nm, i); r = lambda k: k.replace('{P}', nm); mx, pl = st.get('mxfp4'), st['plain']
            if mx and r(mx['blocks']) in s.t: s.used |= {r(mx['blocks']), r(mx['scales'])}; W = mxfp4(s.t[r(mx['blocks'])][e], s.t[r(mx['scales'])][e])
            else: W = s.get(r(pl['weight'])); W = W.reshape(E, -1, W.shape[-1]) if pl.get('flat') else W; W = W[e]; W = W.T if (pl.get('transposed') or (nm.endswith(pl.get('transposed_only', '\0')))) else W
            return W, (s.get(r(pl['bias']))[e] if b else None)
        def ex(e):
            if 'gate_up' in f:
                W, B = one(f['gate_up'], e); n = {'gate': I, 'up': I}; P = split_rows(f.get('rows', 'gate up'), W, n); PB = split_rows(f.get('rows', 'gate up'), B, n) if b else {}
                return (P['gate'], PB.get('gate')), (P['up'], PB.get('up')), one(f['down'], e)
            return one(f['gate'], e), one(f['up'], e), one(f['down'], e)
        return ex
    def k_moe(s, x, t, i):
        E, K, I = int(s.val(t.get('experts', 'num_experts'), i)), int(s.val(t.get('top', 'experts_per_token'), i)), int(s.val(t['inter'], i)); r = t['router']
        W, B = s.lin(s.tmpl(r['name']), i, s.val(r.get('bias'), i, False)); z = x @ W.T + (0 if B is None else B); f = SCORE[s.word(r['score'])]; zc = s.val(r.get('softcap'), i)
        if zc: z = zc * np.tanh(z / zc)
        p = f(z) if r.get('over', 'all') == 'all' else z; ch = p
        sb = r.get('select_bias')
        if sb: ch = p + s.get(s.full(s.tmpl(sb), i)).reshape(-1)
        g = r.get('groups')
        if g and s.val(g['count'], i) and s.val(g.get('on'), i, True):
            n, keep = int(s.val(g['count'], i)), int(s.val(g['keep'], i)); c = ch.reshape(len(x), n, -1)
            sc = c.max(-1) if g['rank'] == 'max' else np.sort(c, -1)[..., -2:].sum(-1)
            ok = np.zeros((len(x), n), bool); np.put_along_axis(ok, np.argsort(-sc, -1)[:, :keep], True, -1); ch = np.where(np.repeat(ok, E // n, 1), ch, -np.inf)
        sel = np.argsort(-ch, -1, kind='stable')[:, :K]; w = np.take_along_axis(p, sel, -1)
        if r.get('over', 'all') == 'selected': w = f(w)
        if s.val(r.get('renorm'), i, False): w = w / (w.sum(-1, keepdims=True) + r.get('renorm_eps', 0))
        w = w * s.val(r.get('scale'), i, 1.0); ex, act, out = s.experts(t, i, E, I), s.act(t, i), np.zeros_like(x)
        for e in range(E):
            G, U, Dn = ex(e)
            for n, j in zip(*np.where(sel == e)):
                xi = x[n] * w[n, j] if r.get('apply') == 'input' else x[n]; a = lambda P, v: v @ P[0].T + (0 if P[1] is None else P[1])
                y = a(Dn, act(a(G, xi), a(U, xi))); out[n] += y if r.get('apply') == 'input' else y * w[n, j]
        sh = t.get('shared')
        if sh and s.val(sh.get('on'), i, True):
            y = s.k_glu(x, {'act': t['act'], **sh}, i); g = sh.get('out_gate')
            out = out + (y * sig(x @ s.lin(s.tmpl(g), i)[0].T) if g else y)
        return out
    def k_mla(s, x, t, i):
        T, H = len(x), int(s.cfg('num_heads')); R, N, V = (int(s.val(t[k], i)) for k in ('rope', 'nope', 'v_dim')); rk = int(s.val(t['kv_rank'], i)); L = lambda k, y: y @ s.lin(s.key(t, k), i)[0].T
        nrm = lambda k, y: s.norm1(y, {'eps': t.get('norm_eps', 1e-6)}, s.get(s.full(s.key(t, k), i) + '.weight'), None)
        q = (L('q_up', nrm('q_norm', L('q_down', x))) if s.val(t['q_rank'], i) else L('q', x)).reshape(T, H, N + R)
        c = L('kv_down', x); kv = L('kv_up', nrm('kv_norm', c[:, :rk])).reshape(T, H, N + V)
        cs = s.rope(i, T, R); pr = s.pick(s.d['rope']['pairs']); kr = s.rot(c[:, None, rk:], cs, pr)
        q = np.concatenate([q[..., :N], s.rot(q[..., N:], cs, pr)], -1); k = np.concatenate([kv[..., :N], np.repeat(kr, H, 1)], -1)
        scale = (N + R) ** -.5; sc = s.scaling or {}
        if s.val(t.get('mscale'), i, True) and sc.get('mscale_all_dim') and sc.get('factor', 1) > 1: scale *= (.1 * sc['mscale_all_dim'] * math.log(sc['factor']) + 1) ** 2
        return L('o', s.attend(q, k, kv[..., N:], t, i, scale))
    def k_lightning(s, x, t, i):                 # MiniMax-01 linear attention, one token at a time: state [H, D, D]
        T, H, D = len(x), int(s.cfg('num_heads')), s.D(i); P = split_rows(f'(q k v)*{H}', s.lin(s.key(t, 'qkv'), i)[0], dict.fromkeys('qkv', H * D)); f = ACT[s.word(t['act'])]
        q, k, v = (f(x @ P[n].T).reshape(T, H, D) for n in 'qkv')
        sl = (2 ** (-8 / H)) ** (np.arange(H) + 1) * (1 - i / (s.L - 1 + 1e-5) + 1e-5); S, out = np.zeros((H, D, D)), []
        for n in range(T): S = S * np.exp(-sl)[:, None, None] + k[n][:, :, None] * v[n][:, None]; out.append(np.einsum('hd,hde->he', q[n], S).reshape(-1))
        y = s.norm1(np.stack(out), {'eps': t.get('norm_eps', 1e-6)}, s.get(s.full(s.key(t, 'norm'), i) + '.weight'), None)
        return (sig(x @ s.lin(s.key(t, 'gate'), i)[0].T) * y) @ s.lin(s.key(t, 'o'), i)[0].T
    # -- whole model
    def __call__(s, ids):
        e = s.d['embed']; E = s.get(s.root + s.tmpl(e['tokens']) + '.weight'); x = E[ids] * s.val(e.get('scale'), None, 1.0)
        if isinstance(e.get('positions'), list): x = x + s.get(s.root + s.tmpl(e['positions']) + '.weight')[np.arange(len(ids)) + s.val(e.get('offset'), None, 0)]
        if 'norm' in e:
            o = {**{k: v for k, v in s.d['norm'].items() if not isinstance(v, list)}, **(e['norm'] if isinstance(e['norm'], dict) else {'name': e['norm']})}; nm = s.tmpl(o.get('name'))
            x = s.norm1(x, o, s.get(s.root + nm + '.weight') if nm else None, s.get(s.root + nm + '.bias') if nm and s.val(o.get('bias')) else None)
        for i in range(s.L):
            loc = {'x': x}
            for n, op, ex in s.steps:
                v = s.ev(ex, s.env(i, loc), lambda f, a: s.call(f, a, i)); loc[n] = v if op == '=' else loc[n] + v if op == '+=' else loc[n] * v
            x = loc['x']
        h = s.d['head']; x = s.norm('norm', x, None); t = s.pick(h.get('tied', 'tie_embeddings')); tied = s.out() + '.weight' not in s.t if t == 'absent(out)' else s.val(t)
        W = E if tied else s.get(s.out() + '.weight'); b = s.get(s.out() + '.bias') if s.val(h.get('bias'), None, False) else 0
        z = (x @ W.T + b) * s.val(h.get('scale'), None, 1.0); c = s.val(h.get('softcap'))
        return c * np.tanh(z / c) if c else z
    def out(s):                                  # the head may sit outside the root prefix
        n = s.tmpl(s.d['head']['out']); return s.root + n if s.root + n + '.weight' in s.t else n
    def unused(s):
        pats = [re.escape(p).replace(r'\{i\}', r'\d+').replace(r'\{num_layers\}', str(s.L)).replace(r'\*', '.*') for p in s.d.get('ignore', {}).get(s.fmt, [])]
        tied = s.out() + '.weight'
        return sorted(k for k in s.t if k not in s.used and k != tied and not any(re.fullmatch(p, k) or re.fullmatch(re.escape(s.root) + p, k) for p in pats))
def condition(spec, raw, tensors, when):
    """`when` of a spec for a config.json: false if a field it needs is missing."""
    model = Model(spec, raw, tensors)
    try: return bool(model.ev(parse(when), model.env(None)))
    except KeyError: return False
