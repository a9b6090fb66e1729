import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import EvaluationConfig
from tasks.evaluation.evaluate import evaluate_model
from tasks.evaluation.harm_suite import check_tasks, name_set, read_samples, run_suite
from tasks.evaluation.predictions import read_splits
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example
from tasks.records.observer import SilentObserver

TASK = """\
task: little_facts
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    rows = [
        {"question": f"The function {name} returns", "choices": [" a", " qqqq zz"], "answer": n % 2}
        for n, name in enumerate(("len", "abs", "max", "min"))
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "little_facts.yaml").write_text(TASK.format(file=folder / "rows.jsonl"))
    return folder


def configure(folder: Path, **changes: Any) -> EvaluationConfig:
    values: dict[str, Any] = {
        "lm_eval_tasks": ("little_facts",), "lm_eval_path": str(folder), "max_new_tokens": 4
    }  # fmt: skip
    return EvaluationConfig(**(values | changes))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets keeps what it read of the rows' file."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


@pytest.mark.usefixtures("own_cache")
def test_a_task_is_one_more_evaluation_set(
    tiny_base: Any, renderer: Renderer, examples: list[Example], folder: Path, tmp_path: Path
) -> None:
    metrics = evaluate_model(
        tiny_base, renderer, {"test": examples[:2]}, tmp_path / "out",
        evaluation=configure(folder), kind="messages", observer=SilentObserver(),
    )  # fmt: skip
    rows = read_splits(tmp_path / "out")["lm_eval_little_facts"]
    assert len({row.id for row in rows}) == 4
    scores = [row.scores["acc"] for row in rows]
    assert scores == [1, 0, 1, 0]  # " a" is likelier than nonsense, and right every other time
    assert metrics["lm_eval_little_facts"] == {"acc": 0.5}
    assert "acc" not in metrics["test"]
    assert rows[0].prompt == "The function len returns"
    assert rows[0].origin == "little_facts:0"


@pytest.mark.usefixtures("own_cache")
def test_fewer_examples_and_the_same_ids_for_every_model(
    tiny_base: Any, renderer: Renderer, folder: Path
) -> None:
    evaluation = configure(folder, lm_eval_limit=2)
    first = run_suite(tiny_base, renderer.tokenizer, evaluation)[name_set("little_facts")]
    again = run_suite(tiny_base, renderer.tokenizer, evaluation)[name_set("little_facts")]
    assert first == again
    assert len(first) == 2


def test_unknown_tasks_and_tasks_without_scores_are_refused() -> None:
    with pytest.raises(RequestError, match="no task arc_eazy; allowed: arc_easy"):
        check_tasks(["arc_eazy"], ["arc_easy", "piqa"])
    samples = [{"doc_id": 0, "metrics": ["word_perplexity"], "word_perplexity": (1.0, 2)}]
    with pytest.raises(RequestError, match="wikitext gives word_perplexity"):
        read_samples("wikitext", samples)


def test_acc_may_guard_where_tasks_are_asked_for(folder: Path) -> None:
    assert {"acc", "acc_norm"} <= set(configure(folder).metric_names)
    assert not {"acc", "acc_norm"} & set(EvaluationConfig().metric_names)
