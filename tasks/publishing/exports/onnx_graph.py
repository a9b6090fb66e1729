"""ONNX by transformers' own exporter: any number of rows and tokens, run by onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.publishing.exports.comparison import Reference
from tasks.publishing.exports.sources import (
    ExportSource,
    load_whole,
    write_companions,
)
from tasks.records.extras import require_package

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
NOTES = ("the graph has no cache: it scores fast, but writes each token at the cost of all before",)
EXAMPLE = ((1, 1, 1), (0, 1, 1))  # more than one of each, or a size of one becomes a constant
AXES = ("batch", "sequence")


def check_source(source: ExportSource) -> None:  # noqa: ARG001 - the same for all formats
    """Refuse before anything is loaded.

    Raises:
        RequestError: A package is missing, with the extra that brings it.
    """
    for package in PACKAGES:
        require_package(package, where="--format onnx", needed_for="the export to ONNX")


def write_files(source: ExportSource, renderer: Renderer, folder: Path) -> tuple[str, ...]:
    """Write the merged model in float32 as `model.onnx` with its weights beside it.

    Args:
        source: What is exported.
        renderer: Its renderer.
        folder: An empty folder.

    Returns:
        What a user should know.
    """
    import torch
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    model = load_whole(source, renderer, dtype="float32")
    mask = torch.tensor(EXAMPLE)
    inputs = {"input_ids": mask, "attention_mask": mask.clone(), "use_cache": False}
    axes = {number: torch.export.Dim(name) for number, name in enumerate(AXES)}
    config = OnnxConfig(
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    with silence_exporter():
        exported = OnnxExporter().export(model, inputs, config=config)
        exported.save_pretrained(str(folder))
    write_companions(model, renderer, folder)
    return NOTES


def measure_files(folder: Path, reference: Reference) -> list[Any]:
    """Return the logits of the graph, run by onnxruntime on the processor."""
    import numpy as np
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    logits = []
    for prompt in reference.prompts:
        ids = np.array([prompt], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        [found] = session.run(["logits"], inputs)
        logits.append(torch.from_numpy(found[0]))
    return logits


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Keep the exporter's progress, and what it thinks of versions, off the terminal.

    Its result is compared with the source: that is what a user can act upon.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "transformers", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
