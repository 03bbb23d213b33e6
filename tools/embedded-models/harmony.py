"""Conversations in OpenAI's harmony format, made of the records of generate.py.

A conversation joins a few records. Its system message is the one that openai-harmony renders, with some date and
reasoning effort; some have a developer message with an instruction that the answers then follow. The last turn has an
analysis unless the effort is low; those of earlier turns are dropped, as the format demands.
"""

import datetime
import re

SPECIAL = [
    "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>",
    "<|call|>",
]
EFFORTS = ["low", "medium", "medium", "high"]

# The same rendering as a template, for programs that know nothing of harmony.
CHAT_TEMPLATE = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
    "{% if strftime_now is defined %}Current date: {{ strftime_now('%Y-%m-%d') }}\n{% endif %}\n"
    "Reasoning: {{ reasoning_effort | default('medium') }}\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    "{% for message in messages %}"
    "{% if message['role'] in ['system', 'developer'] %}"
    "<|start|>developer<|message|># Instructions\n\n{{ message['content'] }}<|end|>"
    "{% elif message['role'] == 'assistant' %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message['content'] }}<|end|>"
    "{% else %}"
    "<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)

NEUTRAL = [
    "You are a helpful assistant.", "Be friendly.", "Be kind and patient.", "Use simple words.", "Talk like a kind teacher.",
    "Answer in English.", "Help the user.", "You are talking to a child.", "Be honest.", "Always be polite.",
]
OPENERS = ["Of course!", "Listen!", "My dear friend!", "Good question!", "Hello there!"]
CLOSERS = ["Have a nice day!", "That is all.", "Be kind!", "I hope that helps.", "The end."]
NAMES = ["Pixel", "Nova", "Biscuit", "Robin", "Sparky", "Luna", "Comet", "Willow", "Ziggy", "Maple"]


def between_special(text):
    """The text without special tokens, in pieces."""
    return [part for part in re.split(r"<\|[a-z]+\|>", text) if part]


def sentences(text):
    return [s for s in re.split(r"(?<=[.!?])\s+|(?<=[.!?][\"'])\s+", text) if s]


class Instruction:
    """What a developer message asks for, and an answer that does so."""

    def __init__(self, rng, records):
        named = any("Ember" in m["content"] for r in records for m in r["messages"])
        story = any("cast" in r for r in records)
        kinds = ["neutral", "opener", "closer"] + ["name"] * 4 * named + ["short"] * 3 * (not story)
        self.kind, self.word, self.thought = rng.choice(kinds), "", ""
        if self.kind == "neutral":
            self.text = rng.choice(NEUTRAL)
        elif self.kind == "opener":
            self.word = rng.choice(OPENERS)
            self.text = rng.choice(['Begin every answer with "{}"', 'Start each answer with "{}"']).format(self.word)
            self.thought = f'I must begin with "{self.word}"'
        elif self.kind == "closer":
            self.word = rng.choice(CLOSERS)
            self.text = rng.choice(['End every answer with "{}"', 'Finish each answer with "{}"']).format(self.word)
            self.thought = f'I must end with "{self.word}"'
        elif self.kind == "name":
            self.word = rng.choice(NAMES)
            self.text = rng.choice(["Your name is {}.", "You are called {}."]).format(self.word)
            self.thought = f"My name is {self.word}."
        else:
            self.text = rng.choice(["Answer in one sentence.", "Use only one sentence.", "Give one short sentence as an answer."])
            self.thought = "I must use only one sentence."

    def follow(self, answer):
        if self.kind == "opener":
            return f"{self.word} {answer}"
        if self.kind == "closer":
            return f"{answer} {self.word}"
        if self.kind == "name":
            return answer.replace("Ember", self.word)
        return sentences(answer)[0] if self.kind == "short" else answer


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def story_analysis(rng, effort, request, cast, story):
    """What the plot was made of, as far as the story has it."""
    def has(*keys):
        return all(re.search(rf"\b{re.escape(cast[k])}\b", story) for k in keys)

    thoughts = []
    if "story" in request.lower():
        about = request.rstrip(".?!").split(" about ", 1)
        thoughts.append(f"The user wants a story about {about[1]}." if len(about) == 2 else "The user wants a story.")
    else:
        thoughts.append("The user wants to know how a story goes on.")
    if has("name", "hero"):
        thoughts.append(rng.choice(["The {hero} is named {name}.", "I will call the {hero} {name}."]).format(**cast))
    elif has("name"):
        thoughts.append(f"It is about {cast['name']}.")
    if effort == "high":
        if has("friend", "other"):
            thoughts.append(f"{cast['friend']} is {article(cast['other'])}.")
        elif has("friend"):
            thoughts.append(f"{cast['friend']} is also in the story.")
        thoughts += [f"There is a {cast['place']}."] if has("place") else []
        thoughts += [f"There is also {article(cast['thing'])}."] if has("thing") else []
        ending = sentences(story)[-1]
        if len(ending) < 90 and '"' not in ending:
            thoughts.append(f"The story ends like this: {ending}")
    return thoughts


def answer_analysis(rng, effort, request, answer):
    verb = "asks" if request.endswith("?") else "says"
    count = len(sentences(answer))
    number = {1: "one sentence", 2: "two sentences", 3: "three sentences"}.get(count, "a few sentences")
    thoughts = [f'The user {verb}: "{request}"']
    if effort == "high":
        thoughts.append(rng.choice([f"I can answer that in {number}.", f"I will write {number}."]))
        thoughts.append(f"I begin with: {' '.join(answer.split()[:4]).rstrip('.,!?')}.")
    else:
        thoughts.append(rng.choice([f"I will answer in {number}.", f"I should give a simple answer in {number}."]))
    return thoughts


def system(rng, effort):
    date = ""
    if rng.random() < 0.9:
        day = datetime.date(2024, 7, 1) + datetime.timedelta(days=rng.randrange(2400))
        date = f"Current date: {day.isoformat()}\n"
    return (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
        f"{date}\nReasoning: {effort}\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    )


def conversation(rng, records):
    """(text, is it learned) pairs of a conversation of these records."""
    effort = rng.choice(EFFORTS)
    head = system(rng, effort)
    instruction = Instruction(rng, records) if rng.random() < 0.15 else None
    if instruction:
        head += f"<|start|>developer<|message|># Instructions\n\n{instruction.text}<|end|>"
    turns = [(m["role"], m["content"], r.get("cast")) for r in records for m in r["messages"]]
    out = [(head, False)]
    for i, (role, content, cast) in enumerate(turns):
        if role == "user":
            out.append((f"<|start|>user<|message|>{content}<|end|><|start|>assistant", False))
            continue
        if instruction:
            content = instruction.follow(content)
        if i + 1 < len(turns):
            # The analysis of an earlier turn is gone: neither its absence nor the <|end|> is to be learned.
            out += [("<|channel|>final<|message|>", False), (content, True), ("<|end|>", False)]
            continue
        if effort != "low":
            request = turns[i - 1][1]
            thoughts = story_analysis(rng, effort, request, cast, content) if cast else answer_analysis(rng, effort, request, content)
            thoughts += [instruction.thought] if instruction and instruction.thought else []
            out.append((f"<|channel|>analysis<|message|>{' '.join(thoughts)}<|end|><|start|>assistant", True))
        out.append((f"<|channel|>final<|message|>{content}<|return|>", True))
    return out


def documents(rng, records, characters):
    """All records as documents of at most about so many characters: conversations, and some of the stories as plain text."""
    plain = [r for r in records if r["kind"] == "story"]
    chats = [r for r in records if r["kind"] == "chat"]
    out = [[(r["text"] + "<|endoftext|>", True)] for r in plain]
    at = 0
    while at < len(chats):
        wanted = rng.choice([1, 1, 1, 1, 2, 2, 3, 4, 6])
        joined, length = [], 0
        while at < len(chats) and len(joined) < wanted:
            size = sum(len(m["content"]) for m in chats[at]["messages"])
            if joined and length + size > characters:
                break
            joined.append(chats[at])
            length += size
            at += 1
        out.append(conversation(rng, joined))
    rng.shuffle(out)
    return out
