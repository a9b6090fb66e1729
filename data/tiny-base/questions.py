"""Questions and answers made from the documents: what a name does, and exercises on its words."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from corpus import Document, first_sentence

Message = dict[str, str]
Pair = tuple[str, str]

MAX_SENTENCE_CHARS = 120
MIN_WORD_COUNT = 3
SYSTEM_PROMPTS = (
    "Answer questions about the Python standard library.",
    "You are a helpful assistant.",
    "Answer briefly.",
)
SYSTEM_FRACTION = 0.15
FOLLOW_UP_FRACTION = 0.1
ORDINALS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Material:
    """What questions are made of: described things, their functions, and frequent words."""

    documents: tuple[Document, ...]
    functions: tuple[str, ...]
    words: tuple[str, ...]


def ask_questions(documents: Sequence[Document], rng: random.Random) -> Iterator[list[Message]]:
    """Yield conversations about randomly drawn documents, without end.

    Args:
        documents: What the questions are about.
        rng: The source of every choice, so that a seed fixes the conversations.
    """
    material = gather_material(documents)
    while True:
        messages: list[Message] = []
        if rng.random() < SYSTEM_FRACTION:
            messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        for _ in range(2 if rng.random() < FOLLOW_UP_FRACTION else 1):
            kinds, weights = zip(*KINDS.items(), strict=True)
            question, answer = rng.choices(kinds, weights)[0](material, rng)
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        yield messages


def gather_material(documents: Sequence[Document]) -> Material:
    """Select what questions can be made of, in an order that the documents alone fix."""
    described = tuple(d for d in documents if len(first_sentence(d.text)) <= MAX_SENTENCE_CHARS)
    names = {d.name.rsplit(".", maxsplit=1)[-1] for d in described if d.parameters}
    counts = Counter(w for d in documents for w in re.findall(r"\b[a-z]{3,9}\b", d.text))
    return Material(
        documents=described,
        functions=tuple(sorted(name for name in names if name.isalpha())),
        words=tuple(sorted(word for word, count in counts.items() if count >= MIN_WORD_COUNT)),
    )


def _describe(material: Material, rng: random.Random) -> Pair:
    document = rng.choice(material.documents)
    templates = ("What does {} do?", "Describe {}.", "What is {}?", "Explain {}.")
    name = document.signature if document.parameters and rng.random() < 0.5 else document.name
    return rng.choice(templates).format(name), first_sentence(document.text)


def _repeat(material: Material, rng: random.Random) -> Pair:
    document = rng.choice(material.documents)
    sentence = first_sentence(document.text)
    return rng.choice(
        (
            (f"Repeat: {sentence}", sentence),
            (f"Quote this: {sentence}", f'"{sentence}"'),
            (f"What is the last word of: {sentence}", sentence.split()[-1]),
            (f"Which name is described? {document.name}: {sentence}", document.name),
        )
    )


def _draw_function(material: Material, rng: random.Random) -> str:
    name = rng.choice(material.functions)
    return rng.choice((name, name.upper(), name.upper()))


def _draw_name(material: Material, rng: random.Random) -> str:
    words = rng.choices(material.words, k=rng.choice((1, 2, 2)))
    name = " ".join(words)
    return rng.choice((name.title(), name.title(), name.upper(), "_".join(words)))


def _draw_arguments(material: Material, rng: random.Random) -> list[str]:
    """Draw one to four different arguments: mostly names, some numbers."""
    drawn = [
        str(rng.randint(0, rng.choice((12, 99))))
        if rng.random() < 0.3
        else _draw_name(material, rng)
        for _ in range(rng.randint(1, len(ORDINALS)))
    ]
    return list(dict.fromkeys(drawn))


def _write_call(material: Material, rng: random.Random) -> Pair:
    name, values = _draw_function(material, rng), _draw_arguments(material, rng)
    listed = rng.choice((", ", " and ", " then ", " with ")).join(values)
    templates = ("Call {} with {}.", "Write a call of {} on {}.", "Apply {} to {}.", "{}: {}")
    return rng.choice(templates).format(name, listed), _format_call(name, values)


def _write_reordered(material: Material, rng: random.Random) -> Pair:
    name, values = _draw_function(material, rng), _draw_arguments(material, rng)
    order = rng.sample(range(len(values)), len(values))
    facts = ", ".join(f"{ORDINALS[index]} {values[index]}" for index in order)
    return f"Write {name} with {facts}.", _format_call(name, values)


def _explain_call(material: Material, rng: random.Random) -> Pair:
    name, values = _draw_function(material, rng), _draw_arguments(material, rng)
    templates = ("Explain {}", "What does {} say?", "Describe the call {}.", "Read {}")
    answer = f"Call of {name} with {' and '.join(values)}."
    return rng.choice(templates).format(_format_call(name, values)), answer


def _pick_argument(material: Material, rng: random.Random) -> Pair:
    name, values = _draw_function(material, rng), _draw_arguments(material, rng)
    index = rng.randrange(len(values))
    return f"What is the {ORDINALS[index]} argument of {_format_call(name, values)}?", values[index]


def _repair_call(material: Material, rng: random.Random) -> Pair:
    whole = _format_call(_draw_function(material, rng), _draw_arguments(material, rng))
    broken = rng.choice(
        (
            whole.removesuffix(")"),
            whole.replace(", ", "; "),
            whole.replace("(", "[").replace(")", "]"),
            whole.replace(", ", " "),
            whole,
        )
    )
    return rng.choice(("Repair {}", "Correct this call: {}", "Fix {}")).format(broken), whole


def _look_up(material: Material, rng: random.Random) -> Pair:
    values = _draw_arguments(material, rng)
    keys = rng.sample(material.words, len(values))
    facts = ", ".join(f"{key} is {value}" for key, value in zip(keys, values, strict=True))
    index = rng.randrange(len(values))
    return f"When {facts}: what is {keys[index]}?", values[index]


def _find_common(material: Material, rng: random.Random) -> Pair:
    pool = rng.sample(material.words, 4)
    first, second = (rng.sample(pool, rng.randint(1, 3)) for _ in range(2))
    common = [word for word in first if word in second]
    question = f"Which of {', '.join(first)} are also in {', '.join(second)}?"
    return question, ", ".join(common) or "none"


def _compute(_material: Material, rng: random.Random) -> Pair:
    """Ask what a documented function returns, and let the function answer."""
    numbers = [rng.randint(0, rng.choice((5, 9, 20))) for _ in range(rng.randint(2, 4))]
    left, right = rng.randint(0, 30), rng.randint(0, 15)
    return rng.choice(
        (
            (f"What is {left} + {right}?", str(left + right)),
            (f"What is {left} - {right}?", str(left - right)),
            (f"sum({numbers})", str(sum(numbers))),
            (f"max({numbers})", str(max(numbers))),
            (f"len({numbers})", str(len(numbers))),
            (f"list(reversed({numbers}))", str(numbers[::-1])),
        )
    )


def _format_call(name: str, values: Sequence[str]) -> str:
    return f"{name}({', '.join(values)})"


KINDS: dict[Callable[[Material, random.Random], Pair], float] = {
    _describe: 2,
    _repeat: 2,
    _write_call: 2,
    _write_reordered: 1,
    _explain_call: 2,
    _pick_argument: 1,
    _repair_call: 2,
    _look_up: 1,
    _find_common: 1,
    _compute: 2,
}
