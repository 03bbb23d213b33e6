"""GGUF files: reading, writing, and the block types that the embedded models use."""

import struct

import numpy as np

ALIGNMENT = 32
F32, Q4_0, Q8_0, MXFP4 = 0, 2, 8, 39

# What the 4 bits of an MXFP4 element stand for; the upper half are the same numbers below zero.
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)
FP4 = np.concatenate([FP4, -FP4])

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read_gguf(path):
    """Returns (metadata, {name: float32 array}) of a GGUF file with F32, F16, Q8_0, Q4_0, Q4_1 and MXFP4 tensors."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    position = 0

    def read(fmt):
        nonlocal position
        size = struct.calcsize("<" + fmt)
        values = struct.unpack("<" + fmt, data[position : position + size].tobytes())
        position += size
        return values[0] if len(values) == 1 else values

    def string():
        nonlocal position
        size = read("Q")
        position += size
        return data[position - size : position].tobytes().decode("utf-8")

    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            kind, count = read("I"), read("Q")
            return [value(kind) for _ in range(count)]
        return read(_SCALARS[kind])

    if read("I") != 0x46554747:
        raise SystemExit(f"{path}: not a GGUF file")
    if (version := read("I")) != 3:
        raise SystemExit(f"{path}: GGUF version {version}, expected 3")
    num_tensors, num_keys = read("Q"), read("Q")
    meta = {}
    for _ in range(num_keys):
        key = string()
        meta[key] = value(read("I"))
    infos = []
    for _ in range(num_tensors):
        name = string()
        dims = [read("Q") for _ in range(read("I"))]
        infos.append((name, dims[::-1], read("I"), read("Q")))
    alignment = meta.get("general.alignment", 32)
    start = -(-position // alignment) * alignment

    tensors = {}
    for name, shape, kind, offset in infos:
        count = int(np.prod(shape))
        at = start + offset
        if kind in (0, 1):
            dtype = np.dtype(np.float32 if kind == 0 else np.float16)
            flat = data[at : at + count * dtype.itemsize].view(dtype).astype(np.float32)
        elif kind == 8:  # Q8_0: scale, 32 signed bytes
            blocks = data[at : at + count // 32 * 34].reshape(-1, 34)
            scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            flat = scale * blocks[:, 2:].view(np.int8)
        elif kind == 2:  # Q4_0: scale, 16 bytes of nibbles (low ones first)
            blocks = data[at : at + count // 32 * 18].reshape(-1, 18)
            scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
            flat = scale * (nibbles.astype(np.float32) - 8)
        elif kind == 3:  # Q4_1: scale, minimum, 16 bytes of nibbles (low ones first)
            blocks = data[at : at + count // 32 * 20].reshape(-1, 20)
            pair = blocks[:, :4].copy().view(np.float16).astype(np.float32)
            nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
            flat = pair[:, :1] * nibbles + pair[:, 1:]
        elif kind == MXFP4:  # power of two, 16 bytes of nibbles (low ones first)
            blocks = data[at : at + count // 32 * 17].reshape(-1, 17)
            nibbles = np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], axis=1)
            flat = np.ldexp(FP4[nibbles], blocks[:, :1].astype(np.int32) - 127)
        else:
            raise SystemExit(f"{path}: tensor {name} has the unsupported type {kind}")
        tensors[name] = flat.reshape(shape)
    return meta, tensors


def quantize_q8_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = blocks * inverse
    levels = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)  # C's roundf
    return np.concatenate([scale.astype(np.float16).view(np.uint8), levels.view(np.uint8)], axis=1).tobytes()


def quantize_q4_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = extreme / -8
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    levels = np.clip(np.floor(blocks * inverse + 8.5), 0, 15).astype(np.uint8)
    packed = levels[:, :16] | levels[:, 16:] << 4
    return np.concatenate([scale.astype(np.float16).view(np.uint8), packed], axis=1).tobytes()


def quantize_mxfp4(w):
    """The scale is the least power of two that clips nothing above 7 of its units to 6, as in `training.mxfp4`."""
    blocks = w.reshape(-1, 32).astype(np.float32)
    fraction, exponent = np.frexp(np.abs(blocks).max(axis=1, keepdims=True) / 7)
    exponent = np.clip(np.where(fraction == 0.5, exponent - 1, exponent), -127, 127)
    scaled = np.ldexp(blocks, -exponent)
    size = np.abs(scaled)
    step = np.where(size < 2, 0.5, np.where(size < 4, 1, 2)).astype(np.float32)
    rounded = np.minimum(np.round(size / step) * step, 6)
    levels = np.searchsorted(FP4[:8], rounded).astype(np.uint8) | np.where((scaled < 0) & (rounded > 0), 8, 0).astype(np.uint8)
    packed = levels[:, :16] | levels[:, 16:] << 4
    return np.concatenate([(exponent + 127).astype(np.uint8), packed], axis=1).tobytes()


QUANTIZE = {
    F32: lambda w: w.astype(np.float32).tobytes(),
    Q4_0: quantize_q4_0,
    Q8_0: quantize_q8_0,
    MXFP4: quantize_mxfp4,
}


class U32(int):
    """An integer that GGUF stores in 32 bits, unlike a token type (i32)."""


def encode_value(value):
    """(type, bytes) of a metadata value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, U32):
        return 4, struct.pack("<I", value)
    if isinstance(value, int):
        return 5, struct.pack("<i", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        data = value.encode()
        return 8, struct.pack("<Q", len(data)) + data
    items = [encode_value(v) for v in value]
    return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(data for _, data in items)


def write_gguf(path, meta, tensors):
    """tensors: (name, shape, type, bytes)."""
    def string(text):
        return struct.pack("<Q", len(text.encode())) + text.encode()

    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(meta))]
    for key, value in meta.items():
        kind, data = encode_value(value)
        head.append(string(key) + struct.pack("<I", kind) + data)
    offset = 0
    for name, shape, kind, data in tensors:
        dims = shape[::-1]
        head.append(string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset))
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    body = b"".join(head)
    with open(path, "wb") as out:
        out.write(body + bytes(-len(body) % ALIGNMENT))
        for _, _, _, data in tensors:
            out.write(data + bytes(-len(data) % ALIGNMENT))


def vocabulary(tokenizer):
    """(tokens by id, their types, merges, {token: id}) of a tokenizer.json, as GGUF metadata have them."""
    tokens = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {t["id"] for t in tokenizer["added_tokens"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    types = [3 if i in special else 1 for _, i in tokens]
    return [token for token, _ in tokens], types, merges, {token: U32(i) for token, i in tokens}
