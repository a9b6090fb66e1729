"""Probes: prompts on which the published artefact must do what the evaluated model did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.formatting.rows.examples import Example, message_from_dict, message_to_dict
from tasks.records.digests import digest_value
from tasks.records.handles import Record
from tasks.records.writing import read_jsonl

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer


class Probe(Record):
    """One prompt with what the evaluated model answered."""

    id: str
    messages: tuple[dict[str, Any], ...]
    """The prompt's turns as examples are stored; empty where the model continues plain text."""
    text: str
    """The beginning of a plain text; empty for a conversation."""
    prediction: str | None
    """The evaluated answer; None for plain text, which is evaluated by NLL alone."""
    ended: bool
    """Whether the evaluated answer ended by itself."""
    tools: str = ""
    """The tools that may be called, as a JSON list; empty when there are none."""

    def render(self, renderer: Renderer) -> list[int]:
        """Return the prompt's token ids."""
        return render_input(renderer, self.model_input)

    @property
    def model_input(self) -> dict[str, Any]:
        """The prompt as a row for the registered model."""
        if self.messages:
            tools = {"tools": self.tools} if self.tools else {}
            return {"messages": list(self.messages), **tools}
        return {"text": self.text}


def choose_probes(examples: Sequence[Example], predictions: Path, num_probes: int) -> list[Probe]:
    """Return probes among the evaluated examples, the same ones each time.

    Args:
        examples: The evaluation split.
        predictions: The evaluated model's answers to it, one JSON object a line.
        num_probes: How many; fewer where the split is smaller.
    """
    answers = {row["id"]: row for row in read_jsonl(predictions)}
    evaluated = [example for example in examples if example.id in answers]
    assert evaluated, f"{predictions} answers none of the examples"
    chosen = sorted(evaluated, key=lambda example: digest_value(example.id))[:num_probes]
    return [_make_probe(example, answers[example.id]) for example in chosen]


def _make_probe(example: Example, answer: dict[str, Any]) -> Probe:
    if example.messages:
        turns = tuple(message_to_dict(replace(m, is_trained=True)) for m in example.prompt)
        return Probe(
            id=example.id,
            messages=turns,
            text="",
            prediction=answer["prediction"],
            ended=answer["ended"],
            tools=example.tools,
        )
    beginning = example.text[: max(1, len(example.text) // 2)]
    return Probe(id=example.id, messages=(), text=beginning, prediction=None, ended=False)


def render_input(renderer: Renderer, row: Mapping[str, Any]) -> list[int]:
    """Return the token ids of a row as the registered model gets it.

    Args:
        renderer: The model's renderer.
        row: `messages`, a list of turns with `role` and `content` (and `tool_calls`, each with
            `name` and `arguments` as JSON), with `tools` as a JSON list; or `text`.
    """
    if renderer.chat_template is None:
        return renderer.render_prompt(Example("", "", (), row["text"], origin=""))
    turns = [message_from_dict(_drop_absent(turn)) for turn in row["messages"]]
    tools = row.get("tools")
    return renderer.encode_prompt(turns, tools if isinstance(tools, str) else "")


def _drop_absent(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn without the keys that a table of turns fills with null."""
    found = {key: value for key, value in turn.items() if value is not None}
    if "tool_calls" in found:
        found["tool_calls"] = [_drop_absent(call) for call in found["tool_calls"]]
    return found


def measure_logits(model: Any, prompts: Sequence[Sequence[int]]) -> Any:
    """Return the logits of the token after each prompt, shape (prompts, vocabulary), float32.

    One prompt at a time, so that no padding or batch shape plays into the figures.

    Args:
        model: A causal LM in eval mode.
        prompts: Token ids of each prompt.
    """
    import torch

    rows = []
    with torch.inference_mode():
        for prompt in prompts:
            input_ids = torch.tensor([list(prompt)], device=model.device)
            output = model(input_ids=input_ids, use_cache=False, logits_to_keep=1)
            rows.append(output.logits[0, -1].float().cpu())
    return torch.stack(rows)
