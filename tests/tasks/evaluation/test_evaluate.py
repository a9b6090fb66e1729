import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import EvaluationConfig
from tasks.evaluation.evaluate import evaluate_model, select_samples
from tasks.evaluation.metrics import compute_metrics
from tasks.evaluation.predict import describe_prompt, join_scored_text
from tasks.evaluation.predictions import read_splits
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, Message, ToolCall, digest_prompt
from tasks.records.observer import SilentObserver
from tests.tasks.evaluation.conftest import TINY_BASE

EVALUATION = EvaluationConfig(max_new_tokens=8, per_device_eval_batch_size=8)
SETTINGS: dict[str, Any] = {"kind": "messages", "observer": SilentObserver()}


def test_files_hold_what_is_returned(
    tiny_base: Any, renderer: Renderer, examples: list[Example], tmp_path: Path
) -> None:
    splits = {"test": examples[:12], "adversarial": examples[12:]}
    metrics = evaluate_model(
        tiny_base, renderer, splits, tmp_path, evaluation=EVALUATION, **SETTINGS
    )
    predictions = read_splits(tmp_path)
    for name, rows in splits.items():
        assert [p.id for p in predictions[name]] == [e.id for e in rows]
        assert [p.origin for p in predictions[name]] == [e.origin for e in rows]
        expected = compute_metrics(predictions[name], EVALUATION.metrics)
        assert set(expected) == set(EVALUATION.metrics)
        assert metrics[name] == expected | {"tokens_per_second": metrics[name]["tokens_per_second"]}
        assert metrics[name]["tokens_per_second"] > 0
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert all("tokens_per_second" not in values for values in stored.values())
    first = predictions["test"][0]
    assert (first.prompt, first.reference) == ("What does str.split do?", "It is str.split.")
    assert first.fields == {"kind": "explain"}
    assert first.prompt_digest == digest_prompt(examples[0].messages, "")
    assert first.num_bytes == len(first.reference)
    timing = json.loads((tmp_path / "timing.json").read_text())
    new_tokens = sum(p.num_new_tokens for rows in predictions.values() for p in rows)
    assert timing["num_new_tokens"] == new_tokens


def test_a_second_evaluation_writes_the_same_bytes(
    tiny_base: Any, renderer: Renderer, examples: list[Example], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        evaluate_model(
            tiny_base, renderer, {"test": examples[:6]}, tmp_path / name,
            evaluation=EVALUATION, **SETTINGS,
        )  # fmt: skip
    for file in ("predictions/test.jsonl", "metrics.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_text_rows_are_only_scored(tiny_base: Any, examples: list[Example], tmp_path: Path) -> None:
    texts = [Example(e.id, e.group, (), f"{e.prompt[0].content} é", e.origin) for e in examples[:5]]
    renderer = load_renderer(TINY_BASE, None, "text")
    settings = SETTINGS | {"kind": "text"}
    metrics = evaluate_model(
        tiny_base, renderer, {"test": texts}, tmp_path, evaluation=EVALUATION, **settings
    )
    assert set(metrics["test"]) == {"nll", "perplexity"}
    for example, row in zip(texts, read_splits(tmp_path)["test"], strict=True):
        assert (row.reference, row.prediction, row.scores) == (example.text, "", {})
        assert row.num_bytes == len(example.text.encode())
        assert row.num_tokens >= 5
        assert row.nll_sum > 0


def test_samples_are_chosen_by_hash_and_keep_their_order(examples: list[Example]) -> None:
    chosen = select_samples(examples, 7)
    assert len(chosen) == 7
    assert chosen == [example for example in examples if example in chosen]
    assert select_samples(examples[::-1], 7) == chosen[::-1]
    assert {e.id for e in select_samples(examples, 4)} < {e.id for e in chosen}
    assert select_samples(examples, None) == select_samples(examples, 999) == examples


def test_conversations_are_described_for_people() -> None:
    turns = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Ho"))
    assert describe_prompt(turns[:2]) == "system: Be brief.\nuser: Hi"
    assert describe_prompt(turns[1:2]) == "Hi"
    example = Example(
        "a", "a", (*turns, Message("user", "?"), Message("assistant", "!")), "", "x:1"
    )
    assert join_scored_text(example) == "Ho!"


def test_calls_are_lines_of_json_and_untrained_turns_are_not_scored() -> None:
    call = Message("assistant", "", (ToolCall("add", '{"a": 1}'),))
    turns = (Message("user", "Hi"), call, Message("tool", "1"), Message("assistant", "One."))
    written = '{"name": "add", "arguments": {"a": 1}}'
    assert describe_prompt(turns[:3]) == f"user: Hi\nassistant: {written}\ntool: 1"
    example = Example("a", "a", turns, "", "x:1")
    assert join_scored_text(example) == f"{written}One."
    untrained = replace(example, messages=(turns[0], replace(call, is_trained=False), *turns[2:]))
    assert join_scored_text(untrained) == "One."


def test_a_called_tool_is_compared_in_the_template_s_words(
    tiny_base: Any, examples: list[Example], tmp_path: Path
) -> None:
    template = tmp_path / "calls.jinja"
    template.write_text(
        "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{%- for c in m.tool_calls or [] -%}<call>{{ c.function | tojson }}</call>{%- endfor -%}"
        "<|im_end|>\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
    )
    renderer = load_renderer(TINY_BASE, str(template), "messages")
    call = Message("assistant", "", (ToolCall("add", '{"a": 1}'),))
    example = replace(examples[0], messages=(Message("user", "Add."), call))
    evaluate_model(
        tiny_base, renderer, {"test": [example]}, tmp_path, evaluation=EVALUATION, **SETTINGS
    )
    [prediction] = read_splits(tmp_path)["test"]
    assert prediction.reference == '<call>{"name": "add", "arguments": {"a": 1}}</call>'


def test_a_row_that_does_not_fit_names_its_origin(
    tiny_base: Any, renderer: Renderer, examples: list[Example], tmp_path: Path
) -> None:
    long_turns = (Message("user", "word " * 2000), Message("assistant", "yes"))
    rows = [*examples[:2], replace(examples[3], messages=long_turns, origin="test.jsonl:4")]
    with pytest.raises(RequestError) as caught:
        evaluate_model(
            tiny_base, renderer, {"test": rows}, tmp_path, evaluation=EVALUATION, **SETTINGS
        )
    assert caught.value.problems[0].startswith("test.jsonl:4: ")
    assert not list(tmp_path.iterdir())
