"""Makes the small tokenizers of these tests and what Hugging Face `tokenizers` says about them.

    pip install tokenizers && python runtime/tests/tokenizer/make.py
"""

import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's the dog's day, isn't it?",
    "Once upon a time there was a little girl who lived in a village near the forest.",
    "def main():\n    print('hello world')\n    return 0\n",
    "12345 and 67890 are numbers; 3.14159 is another one.",
    "user assistant system Hello hello there then they them the",
] * 3
TEXTS = [
    "",
    "Hello world",
    "  two  spaces and\ttab\n\nlines ",
    "It's 2024, don't you'll we're I'M",
    "naïve café – déjà vu … 中文 日本語 한국어",
    "👩‍👩‍👧‍👦 🎉🏳️‍🌈 e\u0301",
    "def f(x):\n    return x**2 + 0x1F  # ok",
    "<|im_start|>user\nhi<|im_end|>",
    "<s>[INST] hi [/INST]</s>",
    "a <think>b</think> c",
    "\u00a0\u2003\ufeffzero\u200bwidth",
]


def byte_level():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    )
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<|tool|>", normalized=False, rstrip=True)])
    return t


def sentence_piece():
    seed = Tokenizer(models.BPE(byte_fallback=True))
    seed.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    seed.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=250, show_progress=False))
    trained = json.loads(seed.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [token for token, _ in sorted(trained["vocab"].items(), key=lambda item: item[1])]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(merge) for merge in trained["merges"]]
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    t.normalizer = seed.normalizer
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ["<unk>", "<s>", "</s>"]])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def unigram():
    letters = sorted({c for text in CORPUS for c in text if c not in " \n"})
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -3.0)]
    pieces += [(c, -6.0) for c in letters + ["<", ">", "/", "["] if c not in dict(pieces)]
    pieces += [(w, -4.0) for w in ["▁the", "▁Hello", "▁hello", "▁world", "the", "ello"]]
    pieces = list(dict(pieces).items())
    t = Tokenizer(models.Unigram(pieces, unk_id=0))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ["<unk>", "<s>", "</s>"]])
    return t


def expected(t):
    plain = Tokenizer.from_str(t.to_str())
    plain.encode_special_tokens = True
    cases = []
    for text in TEXTS:
        markup = t.encode(text, add_special_tokens=False).ids
        cases.append(
            {
                "text": text,
                "markup": markup,
                "plain": plain.encode(text, add_special_tokens=False).ids,
                "decoded": t.decode(markup, skip_special_tokens=False),
            }
        )
    return cases


def bomb():
    """Splits by a pattern whose matching takes quadratic time at every character."""
    t = Tokenizer(models.BPE({"a": 0}, []))
    t.pre_tokenizer = pre_tokenizers.Split(Regex("(?:a|b)*?(?:a|b)*?(?=z)|[a-z]"), "isolated")
    return t


for name, t in [("byte_level", byte_level()), ("sentence_piece", sentence_piece()), ("unigram", unigram())]:
    file = json.loads(t.to_str())
    (HERE / f"{name}.json").write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n")
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in expected(t))
    (HERE / f"{name}.expected.json").write_text(f"[\n{lines}\n]\n")
(HERE / "bomb.json").write_text(json.dumps(json.loads(bomb().to_str())) + "\n")
