from __future__ import annotations

from pathlib import Path

from tasks.formatting.examples import Example
from tasks.formatting.rendering import load_renderer
from tasks.publishing.probes import choose_probes
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


def test_texts_are_continued_from_their_first_half(workshop: Workshop, tmp_path: Path) -> None:
    example = Example("a", "a", (), "def add(a, b): return a + b", "train.txt:1")
    write_jsonl(tmp_path / "p.jsonl", [{"id": "a", "prediction": "", "ended": False}])
    [probe] = choose_probes([example], tmp_path / "p.jsonl", 1)
    assert (probe.text, probe.prediction) == ("def add(a, b)", None)
    renderer = load_renderer(workshop.base.location, None, "text")
    assert renderer.decode(probe.render(renderer)) == "def add(a, b)"
    assert probe.model_input == {"text": "def add(a, b)"}
