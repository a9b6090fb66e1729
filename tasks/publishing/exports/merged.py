"""Merged weights in safetensors: loaded by plain transformers, vLLM, TGI, and their like."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RunError
from tasks.publishing.exports import reload
from tasks.publishing.exports.comparison import ExportRefused, Reference
from tasks.publishing.exports.sources import (
    ExportSource,
    load_whole,
    write_companions,
)
from tasks.records.writing import read_json, write_json

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def check_source(source: ExportSource) -> None:
    """Take every model."""


def write_files(source: ExportSource, renderer: Renderer, folder: Path) -> tuple[str, ...]:
    """Write the merged weights, in the precision of the source, with all that goes along.

    Args:
        source: What is exported.
        renderer: Its renderer.
        folder: An empty folder.

    Returns:
        What a user should know; nothing here.
    """
    from tasks.training.devices import detect_device

    model = load_whole(source, renderer, dtype=source.dtype, device=detect_device().kind)
    model.save_pretrained(str(folder))
    write_companions(model, renderer, folder)
    return ()


def measure_files(folder: Path, reference: Reference) -> list[Any]:
    """Return the logits of the folder, loaded by transformers alone in a fresh process.

    Raises:
        ExportRefused: Its own template renders a conversation otherwise than in training.
        RunError: The process failed.
    """
    from safetensors.torch import load_file

    from tasks.training.devices import detect_device

    with tempfile.TemporaryDirectory(prefix="hone-export-") as temporary:
        asked, answered = Path(temporary) / "request.json", Path(temporary) / "answer.json"
        logits = Path(temporary) / "logits.safetensors"
        request = {
            "folder": str(folder),
            "device": detect_device().kind,
            "prompts": reference.prompts,
            "logits": str(logits),
            "messages": reference.conversation,
        }
        write_json(asked, request)
        _run_fresh(asked, answered)
        answer, found = read_json(answered), load_file(logits)
    if answer["rendered"] not in (None, reference.prompts[0]):
        raise ExportRefused(
            message="transformers renders a conversation with it otherwise than hone does",
            hint="nothing was written; this is not expected: please report it",
        )
    return [found[str(number)] for number in range(len(reference.prompts))]


def _run_fresh(asked: Path, answered: Path) -> None:
    """Run the process with nothing of hone but its script."""
    done = subprocess.run(
        [sys.executable, reload.__file__, str(asked), str(answered)],
        cwd=asked.parent,
        env=os.environ | OFFLINE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunError(
            where="hone export",
            message=f"the merged weights could not be loaded again: {done.stderr[-2000:]}",
            hint="nothing was written",
        )
