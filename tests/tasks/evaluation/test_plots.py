from pathlib import Path

import pytest
from matplotlib.image import imread

from tasks.evaluation.changes import sort_changes
from tasks.evaluation.drawing import draw_plots
from tasks.evaluation.intervals import bound_splits
from tasks.evaluation.plots import COLORS, plot_changes, plot_loss, plot_metrics
from tasks.evaluation.predictions import Prediction
from tasks.records.handles import Arm
from tests.tasks.evaluation.rows import make_row, make_rows

HISTORY = [
    {"step": 10, "loss": 2.0},
    {"step": 20, "loss": 1.0},
    {"step": 20, "eval_loss": 1.2},
]


def count_color(path: Path, color: str) -> int:
    """Count the pixels of exactly one colour."""
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((pixels == wanted).all(axis=-1).sum())


@pytest.fixture
def arms() -> dict[Arm, dict[str, list[Prediction]]]:
    return {
        "finetuned": {"test": make_rows([1.0] * 30 + [0.0] * 10)},
        "baseline": {"test": make_rows([0.0] * 20 + [1.0] * 20)},
    }


def test_every_plot_of_a_run_is_drawn(
    arms: dict[Arm, dict[str, list[Prediction]]], tmp_path: Path
) -> None:
    intervals = {
        arm: bound_splits(splits, ["exact_match", "nll"], num_resamples=1000)
        for arm, splits in arms.items()
    }
    plots = draw_plots(
        tmp_path, intervals=intervals, predictions=arms, history=HISTORY, best_step=20
    )
    assert list(plots) == [
        "Metrics by arm", "Loss", "Won and lost against the baseline", "Answer lengths",
    ]  # fmt: skip
    for path in plots.values():
        assert imread(path).shape[0] > 400
    assert count_color(plots["Loss"], COLORS["finetuned"]) > 50
    assert count_color(plots["Answer lengths"], COLORS["baseline"]) > 500


def test_higher_bars_fill_more_of_the_picture(tmp_path: Path) -> None:
    areas = []
    for share in (0.25, 0.75):
        rows = make_rows([1.0] * int(40 * share) + [0.0] * int(40 * (1 - share)))
        bounds = bound_splits({"test": rows}, ["exact_match"], num_resamples=1000)["test"]
        path = tmp_path / f"{share}.png"
        plot_metrics(path, {"finetuned": bounds}, split="test", num_rows=40)
        areas.append(count_color(path, COLORS["finetuned"]))
    assert 2.5 < areas[1] / areas[0] < 3.5


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_loss(tmp_path / name, HISTORY, best_step=None)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_texts_have_no_answer_plots(tmp_path: Path) -> None:
    texts = {"scores": {}, "prediction": "", "num_new_tokens": 0}
    arms: dict[Arm, dict[str, list[Prediction]]] = {
        "finetuned": {"test": make_rows([0.0] * 10, **texts)},
        "baseline": {"test": [make_row(n, **texts, nll_sum=30.0) for n in range(10)]},
    }
    intervals = {arm: bound_splits(s, ["exact_match", "nll"]) for arm, s in arms.items()}
    plots = draw_plots(tmp_path, intervals=intervals, predictions=arms)
    assert list(plots) == ["Metrics by arm", "Won and lost against the baseline"]


def test_unchanged_examples_alone_can_be_drawn(tmp_path: Path) -> None:
    rows = make_rows([1.0] * 3)
    plot_changes(tmp_path / "x.png", sort_changes(rows, rows), opponent="champion", split="dev")
    assert (tmp_path / "x.png").stat().st_size > 5_000
