"""What Python's jinja2, set up as transformers does, makes of the templates beside this script.

    pip install jinja2 && python runtime/tests/chat/make.py
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime.fromtimestamp(1_709_211_599, datetime.timezone.utc)


class Generation(jinja2.ext.Extension):
    """{% generation %} without the bookkeeping that training needs."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.If(jinja2.nodes.Const(True), body, [], []).set_lineno(line)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
)
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = NOW.strftime


def m(role, content):
    return {"role": role, "content": content}


USER = m("user", "Hello, who are you?")
ANSWER = m("assistant", "  I am a model.\n")
CONVERSATIONS = {
    "one": [USER],
    "system": [m("system", "  Be brief. "), USER],
    "two": [USER, ANSWER, m("user", "\nYou're sure? <b>\"é\" & 中文</b> 🎉\n\n")],
    "long": [m("system", "S"), USER, ANSWER, m("user", "a"), m("assistant", "<think>\nhm\n</think>\n\nb"), m("user", "c")],
    "answered": [USER, m("assistant", "<think>\nhm\n</think>\n\nyes")],
    "wrong order": [ANSWER, USER],
    "tool": [USER, ANSWER, m("tool", "{\"x\": 1}"), m("assistant", "done")],
    "empty text": [m("user", "")],
}

cases = []
for path in sorted((HERE / "templates").glob("*.jinja")):
    template = env.from_string(path.read_text())
    for name, messages in CONVERSATIONS.items():
        for add_generation_prompt in [True, False]:
            case = {"template": path.stem, "conversation": name, "add_generation_prompt": add_generation_prompt}
            try:
                case["prompt"] = template.render(
                    messages=messages,
                    add_generation_prompt=add_generation_prompt,
                    bos_token="<s>",
                    eos_token="</s>",
                    tools=None,
                    documents=None,
                )
            except jinja2.exceptions.TemplateError as error:
                case["refused"] = str(error)
            cases.append(case)

lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
conversations = json.dumps(CONVERSATIONS, ensure_ascii=False)
(HERE / "expected.json").write_text(f'{{"conversations": {conversations},\n"cases": [\n{lines}\n]}}\n')
