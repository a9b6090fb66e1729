from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.publishing.exports.comparison import (
    ExportRefused,
    Reference,
    ask_model,
    compare_logits,
    record_reference,
)
from tasks.publishing.exports.export import check_target, export_model
from tasks.publishing.exports.sources import ExportSource, load_whole
from tasks.records.digests import digest_file
from tasks.records.writing import read_json
from tasks.training.adapters import attach_adapter, write_adapter
from tasks.training.models import load_base
from tests.tasks.publishing.conftest import Workshop

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


@pytest.fixture(scope="module")
def merged(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exports") / "merged"
    report = export_model(source, "merged", target)
    assert report.max_logit_difference < 1e-4
    assert report.tolerance == 1e-3
    assert report.num_bytes > 4_000_000
    return target


def test_merged_weights_are_what_plain_transformers_loads(
    merged: Path, reference: Reference
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(merged).eval()
    tokenizer = AutoTokenizer.from_pretrained(merged)
    rendered = tokenizer.apply_chat_template(
        reference.conversation, add_generation_prompt=True, return_dict=False
    )
    assert rendered == reference.prompts[0]
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([rendered])).logits[0]
    assert float((found - reference.logits[0]).abs().max()) < 1e-4
    ends = model.generation_config.eos_token_id
    assert model.generation_config.do_sample is False
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in ends


def test_an_export_says_what_it_is_and_leaves_nothing_else(
    merged: Path, source: ExportSource
) -> None:
    record = read_json(merged / "hone_export.json")
    assert record["source_digest"] == source.digest
    assert record["files"]["model.safetensors"] == digest_file(merged / "model.safetensors")
    assert [path.name for path in merged.parent.iterdir()] == ["merged"]
    assert (merged / "chat_template.jinja").is_file()


def test_what_is_beyond_the_tolerance_is_refused_and_removed(
    source: ExportSource, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match="largest difference of logits"):
        export_model(source, "torchscript", tmp_path / "export", tolerance=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_torchscript_says_what_it_is(source: ExportSource, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "hone_export.json").write_text("{}")
    (tmp_path / "export" / "old").write_text("of an earlier export")
    report = export_model(source, "torchscript", tmp_path / "export")
    assert report.max_logit_difference <= 1e-3
    assert "deprecated" in report.notes[0]
    assert "pickle" in report.notes[1]
    assert not (tmp_path / "export" / "old").exists()


def test_another_model_is_noticed(reference: Reference) -> None:
    other = [logits + 0.01 for logits in reference.logits]
    assert compare_logits(reference, other) == pytest.approx(0.01, rel=0.01)
    other[0] = other[0] * float("nan")
    assert compare_logits(reference, other) == float("inf")


def test_what_is_no_export_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(RequestError, match="was not made by hone export"):
            check_target(target)


def test_an_adapter_on_4_bits_is_merged_into_their_values(
    source: ExportSource, workshop: Workshop, tmp_path: Path
) -> None:
    """Merged into the original weights it would be another model."""
    import torch

    settings = ModelConfig(method="qlora", lora_r=4)
    base = load_base(workshop.base.location, dtype="float32", method="qlora", model=settings)
    adapted = attach_adapter(base, settings)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    folder = tmp_path / "adapter"
    write_adapter(adapted, folder, name="tiny-base", revision=workshop.base.revision)
    workshop.renderer.save(folder)
    quantised = replace(source, folder=folder, tokenizer_folder=folder, method="qlora",
                        settings=settings)  # fmt: skip
    report = export_model(quantised, "torchscript", tmp_path / "export")
    assert report.max_logit_difference < 1e-3
    expected = record_reference(quantised, workshop.renderer)
    original = replace(quantised, method="lora")
    other = load_whole(original, workshop.renderer, dtype="float32")
    found = [ask_model(other, prompt) for prompt in expected.prompts]
    assert compare_logits(expected, found) > 0.05


@pytest.mark.slow
def test_onnx_takes_any_number_of_rows_and_tokens(
    source: ExportSource, reference: Reference, tmp_path: Path
) -> None:
    import numpy as np
    import onnxruntime

    report = export_model(source, "onnx", tmp_path / "export")
    assert report.max_logit_difference < 1e-3
    session = onnxruntime.InferenceSession(str(tmp_path / "export" / "model.onnx"))
    short, long = sorted(reference.prompts, key=len)[:2]
    missing = len(long) - len(short)
    ids = np.array([[0] * missing + short, long], dtype=np.int64)
    mask = np.array([[0] * missing + [1] * len(short), [1] * len(long)], dtype=np.int64)
    [found] = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    for row, prompt in zip(found, (short, long), strict=True):
        expected = reference.logits[reference.prompts.index(prompt)]
        assert np.abs(row[-len(prompt) :] - expected.numpy()).max() < 1e-3
