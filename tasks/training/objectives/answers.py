"""The judged answers of a split: rejected ones beside the chosen, or a label for each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from configs.errors import RequestError
from tasks.formatting.rendering.renderer import IGNORE_INDEX, Renderer, TokenizedExample
from tasks.formatting.rows.examples import Example, read_examples
from tasks.records.digests import digest_value
from tasks.training.tokens import TokenSplit

WHERE = "training.objective"
SHOWN_ROWS = 5


@dataclass(frozen=True)
class Answer:
    """A conversation as tokens, its answer marked by labels, as supervised training has it."""

    input_ids: list[int]
    labels: list[int]

    @cached_property
    def start(self) -> int:
        """The place of the first trained token; the prompt is what stands before it."""
        return next(i for i, label in enumerate(self.labels) if label != IGNORE_INDEX)

    @property
    def prompt(self) -> list[int]:
        """The tokens before the answer."""
        return self.input_ids[: self.start]


@dataclass(frozen=True)
class JudgedSplit:
    """A tokenised split with what was judged of each of its examples.

    Attributes:
        split: The tokens of the chosen answers, or of all answers that have a label.
        rejected: The rejected answer of each example; empty for labelled answers.
        labels: Whether each answer is desired; empty for pairs.
    """

    split: TokenSplit
    rejected: tuple[Answer, ...] = ()
    labels: tuple[bool, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of the tokens and of what was judged."""
        judged = hashlib.sha256(repr(self.labels).encode())
        for answer in self.rejected:
            judged.update(repr((answer.input_ids, answer.labels)).encode())
        return digest_value([self.split.digest, judged.hexdigest()])

    def count_tokens(self, indices: Iterable[int]) -> int:
        """Return the tokens that training on some examples passes through the model.

        Each prompt comes with two answers: chosen and rejected, or its own and a foreign one.
        """
        lengths = self.split.lengths
        second = [len(answer.input_ids) for answer in self.rejected] or lengths
        return sum(lengths[index] + second[index] for index in indices)

    @cached_property
    def longest_tokens(self) -> int:
        """Tokens of the longest answer with its prompt."""
        return max([*self.split.lengths, *(len(answer.input_ids) for answer in self.rejected)])

    def read_answers(self, indices: Sequence[int]) -> list[Answer]:
        """Return the chosen or the labelled answers of some examples."""
        found = self.split.dataset[list(indices)]
        columns = zip(found["input_ids"], found["labels"], strict=True)
        return [Answer(ids, labels) for ids, labels in columns]


def judge_split(
    formatted: Path, split: TokenSplit, renderer: Renderer, *, objective: str, max_length: int
) -> JudgedSplit:
    """Return a split with its rejected answers, or with its labels.

    Args:
        formatted: The folder that formatting wrote.
        split: A tokenised split of it.
        renderer: What rendered the split.
        objective: `dpo`, `orpo` or `kto`.
        max_length: Longest conversation in tokens.

    Raises:
        RequestError: The rows do not hold what the objective learns from, or a rejected answer is
            too long or has another prompt than the chosen one.
    """
    examples = read_examples(formatted / "examples" / f"{split.name}.jsonl")
    assert [example.id for example in examples] == split.ids, "examples and tokens differ"
    check_judged(examples, objective)
    if objective == "kto":
        return JudgedSplit(split, labels=tuple(bool(example.label) for example in examples))
    rejected = _render_rejected(examples, renderer)
    judged = JudgedSplit(split, rejected=tuple(rejected))
    _check_lengths(examples, rejected, max_length)
    _check_prompts(examples, judged)
    return judged


def check_judged(examples: Sequence[Example], objective: str) -> None:
    """Refuse rows that do not hold what an objective learns from.

    Raises:
        RequestError: Naming the rows without a rejected answer, or without a label.
    """
    if objective == "kto":
        _check_labelled(examples)
    else:
        _check_pairs(examples, objective)


def _check_labelled(examples: Sequence[Example]) -> None:
    without = [example for example in examples if example.label is None]
    if without:
        raise RequestError(
            where=WHERE,
            message=f"kto learns from labelled answers; {_describe(without, examples)} have none",
            allowed="rows with prompt, completion and label (data.format: kto)",
            hint="for rows with chosen and rejected answers: dpo or orpo",
        )


def check_labels(judged: JudgedSplit) -> None:
    """Refuse training answers that are all desired, or none of which is.

    Raises:
        RequestError: There is nothing to tell apart.
    """
    if judged.labels and len(set(judged.labels)) == 1:
        kind = "desired" if judged.labels[0] else "undesired"
        raise RequestError(
            where=WHERE,
            message=f"all {len(judged.labels)} training answers are {kind}: kto learns to tell "
            "desired answers from undesired ones",
            allowed="rows with label: true and rows with label: false",
        )


def _check_pairs(examples: Sequence[Example], objective: str) -> None:
    without = [example for example in examples if not example.rejected]
    if without:
        raise RequestError(
            where=WHERE,
            message=f"{objective} learns from pairs of answers; {_describe(without, examples)} "
            "have no rejected answer",
            allowed="rows with chosen and rejected (data.format: preference)",
            hint="for labelled answers: kto; for answers alone: sft",
        )


def _render_rejected(examples: Sequence[Example], renderer: Renderer) -> list[Answer]:
    """Return the rejected answers as the renderer of the chosen ones writes them."""
    whole = [
        replace(example, messages=example.messages[: example.rejected_at] + example.rejected)
        for example in examples
    ]
    answers = []
    for example, tokens in zip(examples, renderer.render_examples(whole), strict=True):
        if not isinstance(tokens, TokenizedExample):
            raise RequestError(where=example.origin, message=f"the rejected answer: {tokens}")
        if not tokens.num_trained:
            found = "no token of the rejected answer would be compared"
            raise RequestError(where=example.origin, message=found)
        answers.append(Answer(tokens.input_ids, tokens.labels))
    return answers


def _check_lengths(
    examples: Sequence[Example], rejected: Sequence[Answer], max_length: int
) -> None:
    lengths = [len(answer.input_ids) for answer in rejected]
    overlong = [e for e, n in zip(examples, lengths, strict=True) if n > max_length]
    if overlong:
        raise RequestError(
            where="training.max_length",
            message=f"the rejected answers of {_describe(overlong, examples)} are too long, the "
            f"longest with its prompt has {max(lengths)} tokens",
            allowed=f"up to {max_length}",
            hint="raise it, or take these rows out: an answer is never cut to be compared",
        )


def _check_prompts(examples: Sequence[Example], judged: JudgedSplit) -> None:
    chosen = judged.read_answers(range(len(examples)))
    pairs = zip(examples, chosen, judged.rejected, strict=True)
    different = [example for example, a, b in pairs if a.prompt != b.prompt]
    if different:
        raise RequestError(
            where=WHERE,
            message=f"in {_describe(different, examples)} the chat template writes the prompt of "
            "the rejected answer otherwise than that of the chosen one",
            hint="let both be the answer to the same turns, one assistant turn each",
        )


def _describe(some: Sequence[Example], examples: Sequence[Example]) -> str:
    shown = ", ".join(example.origin for example in some[:SHOWN_ROWS])
    more = ", ..." if len(some) > SHOWN_ROWS else ""
    return f"{len(some)} of {len(examples)} rows ({shown}{more})"
