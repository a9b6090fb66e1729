"""Training from formatted data to a model that loads: every method, every record, every guard."""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig

from configs.errors import RequestError, RunError
from configs.schema import ModelConfig, TrainingConfig
from tasks.formatting.rendering.renderer import Renderer
from tasks.training.collator import pack_row
from tasks.training.loss import compute_token_losses
from tasks.training.models import load_base, load_trained
from tasks.training.result import TrainingResult
from tasks.training.train import train_model

from .conftest import LORA, TRAINING, make_examples, write_formatted

IDS = torch.arange(5, 25).unsqueeze(0)


class Recorder:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.progress: list[tuple[int, int, str]] = []
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.texts: dict[str, str] = {}

    def report_progress(self, done: int, total: int, unit: str) -> None:
        self.progress.append((done, total, unit))

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def report_text(self, name: str, text: str) -> None:
        self.texts[name] = text


def change(config: Any, **fields: Any) -> Any:
    return type(config).model_validate(config.model_dump() | fields)


def run(
    formatted: Path,
    base: Path,
    out: Path,
    model: ModelConfig = LORA,
    training: TrainingConfig = TRAINING,
    **others: Any,
) -> TrainingResult:
    return train_model(
        formatted=formatted,
        base_location=base,
        out=out,
        model=model,
        training=training,
        base_revision="abc",
        **others,
    )


def read_history(result: TrainingResult) -> list[dict[str, float]]:
    return [json.loads(line) for line in result.history_path.read_text().splitlines()]


def compute_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def load_pairs(formatted: Path) -> list[tuple[list[int], list[int]]]:
    """Return input_ids and labels of the validation examples."""
    from datasets import load_from_disk

    dataset = load_from_disk(str(formatted / "tokens" / "validation"))
    return list(zip(dataset["input_ids"], dataset["labels"], strict=True))


@pytest.fixture(scope="module")
def trained(
    formatted: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingResult, Recorder]:
    out, observer = tmp_path_factory.mktemp("trained"), Recorder()
    return out, run(formatted, base, out, observer=observer), observer


def test_training_learns_and_counts_examples(
    trained: tuple[Path, TrainingResult, Recorder],
) -> None:
    """42 examples, 2 x 2 a step, 2 epochs: 22 steps, whatever the packing."""
    _, result, _ = trained
    history = read_history(result)
    losses = [record["loss"] for record in history if "loss" in record]
    assert result.num_steps == 22
    assert losses[-1] < 0.8 * losses[0]
    assert history[-1]["epoch"] == 2.0
    assert [r["step"] for r in history if "eval_loss" in r] == [11, 22]
    assert [r["step"] for r in history if "loss" in r] == [4, 8, 11, 12, 16, 20, 22]


@pytest.mark.parametrize("method", ["lora", "rslora"])
def test_a_training_from_an_adapter_begins_at_its_loss(
    trained: tuple[Path, TrainingResult, Recorder],
    formatted: Path,
    base: Path,
    tmp_path: Path,
    method: str,
) -> None:
    out, result, _ = trained
    still = change(TRAINING, learning_rate=0.0, max_steps=1, logging_steps=1)
    if method == "rslora":  # another scale makes another model of the same weights
        model = change(LORA, use_rslora=True)
        other = run(formatted, base, tmp_path, model, still, init_adapter=out / "model")
        assert other.metrics["eval_loss"] != pytest.approx(result.metrics["eval_loss"], rel=1e-3)
        return
    again = run(formatted, base, tmp_path / "warm", training=still, init_adapter=out / "model")
    assert again.metrics["eval_loss"] == pytest.approx(result.metrics["eval_loss"], rel=1e-5)
    cold = run(formatted, base, tmp_path / "cold", training=still)
    assert cold.metrics["eval_loss"] > 1.2 * again.metrics["eval_loss"]
    before = load_file(out / "model" / "adapter_model.safetensors")
    after = load_file(tmp_path / "warm" / "model" / "adapter_model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_of_other_modules_is_no_start(
    trained: tuple[Path, TrainingResult, Recorder], formatted: Path, base: Path, tmp_path: Path
) -> None:
    for changed in ({"lora_r": 8}, {"lora_target_modules": ("q_proj",)}):
        with pytest.raises(RequestError) as caught:
            run(
                formatted,
                base,
                tmp_path,
                change(LORA, **changed),
                init_adapter=trained[0] / "model",
            )
        assert caught.value.where == "training.init_adapter"


def test_result_is_that_of_the_best_step(trained: tuple[Path, TrainingResult, Recorder]) -> None:
    out, result, _ = trained
    evals = {r["step"]: r["eval_loss"] for r in read_history(result) if "eval_loss" in r}
    assert result.best_step == min(evals, key=evals.__getitem__)
    assert result.metrics["eval_loss"] == evals[result.best_step]
    assert result.metrics["perplexity"] == pytest.approx(math.exp(evals[result.best_step]))
    assert result.metrics["tokens_per_second"] > 0
    best = load_file(out / "checkpoints" / "best" / "adapter_model.safetensors")
    published = load_file(out / "model" / "adapter_model.safetensors")
    assert all(torch.equal(best[name], published[name]) for name in best)


def test_model_folder_has_the_shape_of_every_tool(
    trained: tuple[Path, TrainingResult, Recorder],
) -> None:
    out, result, _ = trained
    names = {path.name for path in (out / "model").iterdir()}
    assert names >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.json",
    }
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".md"))}
    assert result.num_bytes == (out / "model" / "adapter_model.safetensors").stat().st_size
    assert json.loads((out / "model" / "adapter_config.json").read_text())["revision"] == "abc"


def test_observer_hears_of_everything(trained: tuple[Path, TrainingResult, Recorder]) -> None:
    out, _, observer = trained
    assert observer.progress == [(step, 22, "step") for step in range(1, 23)]
    assert {step for step, metrics in observer.metrics if "eval_loss" in metrics} == {11, 22}
    assert all(
        "tokens_per_second" in metrics for _, metrics in observer.metrics if "loss" in metrics
    )
    assert "**Answer**" in observer.texts["samples-22"]
    assert "## Step 11" in (out / "samples.md").read_text()


@pytest.mark.parametrize("packing", [True, False])
def test_first_loss_and_gradient_are_hugging_faces(
    base: Path, formatted: Path, tmp_path: Path, packing: bool
) -> None:
    """All token losses of the step over their number: one padded batch, computed plainly."""
    from datasets import load_from_disk

    from tasks.training.plan import plan_training

    training = change(TRAINING, max_steps=1, logging_steps=1, packing=packing, max_grad_norm=1e9)
    history = read_history(run(formatted, base, tmp_path, change(LORA, method="full"), training))
    dataset = load_from_disk(str(formatted / "tokens" / "train"))
    plan = plan_training([len(ids) for ids in dataset["input_ids"]], training)
    rows = [dataset[i] for i in plan.find_examples(1)]
    width = max(len(row["input_ids"]) for row in rows)
    model = load_base(base, dtype="float32")
    loss = model(
        input_ids=torch.tensor(
            [r["input_ids"] + [0] * (width - len(r["input_ids"])) for r in rows]
        ),
        attention_mask=torch.tensor(
            [[1] * len(r["labels"]) + [0] * (width - len(r["labels"])) for r in rows]
        ),
        labels=torch.tensor([r["labels"] + [-100] * (width - len(r["labels"])) for r in rows]),
    ).loss
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert history[0]["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert history[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_eval_loss_does_not_depend_on_the_rows(base: Path, formatted: Path, tmp_path: Path) -> None:
    losses = []
    for name, fields in {"packed": {}, "apart": {"packing": False}}.items():
        training = change(TRAINING, learning_rate=0, max_steps=1, **fields)
        losses.append(run(formatted, base, tmp_path / name, LORA, training).metrics["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora"},
    "lora on one block": {"method": "lora", "lora_layers_to_transform": (1,)},
    "full": {"method": "full"},
    "qlora": {"method": "qlora"},
    "qlora on 8 bits": {"method": "qlora", "load_in_8bit": True},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_loads(
    name: str, base: Path, formatted: Path, tmp_path: Path
) -> None:
    model = change(LORA, **METHODS[name])
    method = model.method
    training = change(TRAINING, learning_rate=3e-3 if method == "full" else 1e-2)
    result = run(formatted, base, tmp_path, model, training)
    losses = [r["eval_loss"] for r in read_history(result) if "eval_loss" in r]
    assert losses[-1] < losses[0]
    options = {"method": method, "dtype": "float32", "device": "cpu", "model": model}
    loaded = load_trained(tmp_path / "model", base, **options)
    pairs = load_pairs(formatted)
    with torch.no_grad():
        each = torch.cat([compute_token_losses(loaded, pack_row([pair])) for pair in pairs])
    # LLM.int8 keeps columns with outliers in 16 bits, and which they are depends on the whole row.
    tolerance = 2e-2 if model.load_in_8bit else 1e-4
    assert each.mean().item() == pytest.approx(result.metrics["eval_loss"], abs=tolerance)
    assert (result.num_parameters == result.num_trainable_parameters) == (method == "full")


def test_two_trainings_give_the_same_bytes(base: Path, formatted: Path, tmp_path: Path) -> None:
    model = change(LORA, lora_dropout=0.1, lora_modules_to_save=("embed_tokens",))
    results = [run(formatted, base, tmp_path / name, model) for name in "ab"]
    assert read_history(results[0]) == read_history(results[1])
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "model").iterdir()}
        for name in "ab"
    ]
    assert contents[0] == contents[1]


def test_base_in_16_bits_trains_whole_modules_in_32(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    """Checkpoints keep what is trained; the model, what is loaded: the two answer the same."""
    model = change(LORA, dtype="bfloat16", lora_modules_to_save=("embed_tokens",))
    result = run(formatted, base, tmp_path, model)
    losses = [r["eval_loss"] for r in read_history(result) if "eval_loss" in r]
    assert losses[-1] < losses[0]
    assert (tmp_path / "samples.md").is_file()
    folders = [tmp_path / "checkpoints" / "best", tmp_path / "model"]
    files = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    embeddings = [f["base_model.model.model.embed_tokens.weight"] for f in files]
    assert [e.dtype for e in embeddings] == [torch.float32, torch.bfloat16]
    assert torch.equal(embeddings[0].bfloat16(), embeddings[1])
    options = {"method": "lora", "dtype": "bfloat16", "device": "cpu"}
    loaded = [load_trained(folder, base, **options) for folder in folders]
    assert torch.equal(compute_logits(loaded[0]), compute_logits(loaded[1]))
    pairs = load_pairs(formatted)
    with torch.no_grad():
        each = torch.cat([compute_token_losses(loaded[1], pack_row([pair])) for pair in pairs])
    assert each.mean().item() == pytest.approx(result.metrics["eval_loss"], rel=0.02)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_model_generates_greedily_and_ends_where_it_was_trained_to(
    base: Path, formatted: Path, renderer: Renderer, tmp_path: Path, method: str
) -> None:
    """Whatever the base ships: its sampling is not what was evaluated."""
    other = Path(shutil.copytree(base, tmp_path / "base"))
    shipped = {"do_sample": True, "temperature": 0.6, "repetition_penalty": 9.0, "eos_token_id": 7}
    (other / "generation_config.json").write_text(json.dumps(shipped))
    training = change(TRAINING, max_steps=1)
    run(formatted, other, tmp_path / "out", change(LORA, method=method), training)
    config = GenerationConfig.from_pretrained(tmp_path / "out" / "model")
    assert not config.do_sample
    assert config.eos_token_id == [*renderer.end_token_ids, 7]
    assert config.pad_token_id == renderer.pad_token_id
    assert config.to_diff_dict().keys() <= {
        "do_sample", "eos_token_id", "pad_token_id", "transformers_version"
    }  # fmt: skip


def test_learning_rate_0_leaves_the_outputs_alone(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(TRAINING, learning_rate=0.0, max_steps=3)
    run(formatted, base, tmp_path, LORA, training)
    options = {"method": "lora", "dtype": "float32", "device": "cpu"}
    tuned = load_trained(tmp_path / "model", base, **options)
    assert torch.equal(compute_logits(tuned), compute_logits(load_base(base, dtype="float32")))


def test_early_stopping_keeps_the_best(base: Path, formatted: Path, tmp_path: Path) -> None:
    """A rate that destroys the model: it stops after one bad validation."""
    training = change(
        TRAINING, learning_rate=3.0, eval_steps=2, early_stopping_patience=1, max_grad_norm=1e9,
        num_train_epochs=10, warmup_ratio=0, lr_scheduler_type="constant",
    )  # fmt: skip
    result = run(formatted, base, tmp_path, LORA, training)
    evals = [r["eval_loss"] for r in read_history(result) if "eval_loss" in r]
    assert result.num_steps < 110
    assert evals[-1] >= min(evals[:-1])
    assert result.best_step < result.num_steps


def test_without_validation_the_last_step_counts(
    base: Path, renderer: Renderer, tmp_path: Path
) -> None:
    formatted = write_formatted(tmp_path / "data", renderer, {"train": make_examples(8, seed=3)})
    result = run(formatted, base, tmp_path / "out")
    assert result.best_step == result.num_steps == 4
    assert "eval_loss" not in result.metrics
    assert (tmp_path / "out" / "checkpoints" / "best").resolve().name == "checkpoint-4"


def test_loss_that_is_no_number_stops_with_step_and_rows(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(TRAINING, learning_rate=1e38, lr_scheduler_type="constant", warmup_ratio=0.0)
    with pytest.raises(RunError, match=r"step \d+: the .* is (nan|inf).*rows: \w+-\d+") as caught:
        run(formatted, base, tmp_path, LORA, training)
    assert "learning_rate" in caught.value.hint
    assert not (tmp_path / "model").exists()


def test_example_without_trained_tokens_is_refused(
    base: Path, formatted: Path, renderer: Renderer, tmp_path: Path
) -> None:
    from datasets import Dataset

    folder = write_formatted(tmp_path / "data", renderer, {"train": make_examples(3, seed=3)})
    columns = {"id": ["a", "b"], "input_ids": [[5, 6], [7, 8]], "labels": [[-100, 6], [-100] * 2]}
    Dataset.from_dict(columns).save_to_disk(str(folder / "tokens" / "validation"))
    with pytest.raises(RequestError, match=r"tokens/validation: 1 of 2 .* no trained token: b"):
        run(folder, base, tmp_path / "out")


def test_data_that_cannot_be_trained_on_is_refused(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"no training examples"):
        run(tmp_path, base, tmp_path / "out")
    with pytest.raises(RequestError, match=r"training.max_length.*tokens"):
        run(formatted, base, tmp_path / "out", training=change(TRAINING, max_length=8))
    assert not (tmp_path / "out").exists()


def test_finished_training_is_not_repeated(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = change(TRAINING, max_steps=4)
    first = run(formatted, base, tmp_path, training=training)
    adapter = (tmp_path / "model" / "adapter_model.safetensors").read_bytes()
    with caplog.at_level(logging.INFO, "hone"):
        second = run(formatted, base, tmp_path, training=training)
    assert "training is complete" in caplog.text
    assert (tmp_path / "model" / "adapter_model.safetensors").read_bytes() == adapter
    for measured in ("tokens_per_second", "validation_seconds"):
        del first.metrics[measured]
    assert second == first


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("training", {"gradient_checkpointing": "on"}),
        ("model", {"attn_implementation": "sdpa"}),
        ("model", {"attn_implementation": "eager"}),
        ("training", {"max_length": 100}),
    ],
)
def test_how_it_is_computed_does_not_change_the_losses(
    base: Path, formatted: Path, tmp_path: Path, section: str, fields: dict[str, Any]
) -> None:
    training, model = change(TRAINING, max_steps=8), LORA
    expected = read_history(run(formatted, base, tmp_path / "a", model, training))
    if section == "training":
        training = change(training, **fields)
    else:
        model = change(model, **fields)
    found = read_history(run(formatted, base, tmp_path / "b", model, training))
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_validation_loss_that_is_no_number_stops(
    base: Path, formatted: Path, renderer: Renderer, tmp_path: Path
) -> None:
    """It would be nobody's best, and the last step's weights would be taken."""
    training = change(
        TRAINING, learning_rate=1e38, max_steps=1, lr_scheduler_type="constant", warmup_ratio=0.0
    )
    with pytest.raises(RunError, match="step 1: the validation loss is nan"):
        run(formatted, base, tmp_path, LORA, training)
    assert not (tmp_path / "model").exists()
