from __future__ import annotations

from pathlib import Path

from tasks.formatting.rendering.renderer import load_renderer
from tasks.formatting.rows.examples import Example, Message, ToolCall
from tasks.publishing.probes import Probe, choose_probes, render_input
from tasks.records.writing import write_jsonl

from .conftest import Workshop


def test_probes_are_the_same_in_any_order(workshop: Workshop) -> None:
    predictions = workshop.home / "evaluate-1" / "predictions" / "test.jsonl"
    probes = choose_probes(workshop.examples, predictions, 3)
    assert choose_probes(workshop.examples[::-1], predictions, 3) == probes
    assert len(choose_probes(workshop.examples, predictions, 100)) == len(workshop.examples)


def test_a_probe_is_rendered_like_the_evaluated_prompt(workshop: Workshop) -> None:
    predictions = workshop.home / "evaluate-1" / "predictions" / "test.jsonl"
    by_id = {example.id: example for example in workshop.examples}
    for probe in choose_probes(workshop.examples, predictions, 8):
        expected = workshop.renderer.render_prompt(by_id[probe.id])
        assert probe.render(workshop.renderer) == expected


def test_a_probe_keeps_tool_calls_and_tools(workshop: Workshop, tmp_path: Path) -> None:
    template = tmp_path / "calls.jinja"
    template.write_text(
        "{{ tools | tojson }}{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{{ m.tool_calls | tojson if m.tool_calls }}{{ m.tool_call_id }}<|im_end|>\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
    )
    renderer = load_renderer(workshop.base.location, str(template), "messages")
    messages = (
        Message("user", "Add."),
        Message("assistant", "", (ToolCall("add", '{"a": 1}', "c1"),), is_trained=False),
        Message("tool", "1", tool_call_id="c1"),
        Message("assistant", "One."),
    )
    tools = '[{"type": "function", "function": {"name": "add"}}]'
    example = Example("a", "a", messages, "", "train.jsonl:1", tools=tools)
    write_jsonl(tmp_path / "p.jsonl", [{"id": "a", "prediction": "One.", "ended": True}])
    [probe] = choose_probes([example], tmp_path / "p.jsonl", 1)
    assert Probe.model_validate_json(probe.model_dump_json()).model_input == probe.model_input
    assert probe.render(renderer) == renderer.render_prompt(example)
    # A table of turns, such as a data frame, fills what a turn does not have with null.
    empty = {"tool_calls": None, "tool_call_id": None, "name": None}
    table = {**probe.model_input, "messages": [{**empty, **m} for m in probe.messages]}
    assert render_input(renderer, table) == renderer.render_prompt(example)


def test_texts_are_continued_from_their_first_half(workshop: Workshop, tmp_path: Path) -> None:
    example = Example("a", "a", (), "def add(a, b): return a + b", "train.txt:1")
    write_jsonl(tmp_path / "p.jsonl", [{"id": "a", "prediction": "", "ended": False}])
    [probe] = choose_probes([example], tmp_path / "p.jsonl", 1)
    assert (probe.text, probe.prediction) == ("def add(a, b)", None)
    renderer = load_renderer(workshop.base.location, None, "text")
    assert renderer.decode(probe.render(renderer)) == "def add(a, b)"
    assert probe.model_input == {"text": "def add(a, b)"}
