"""A small adapter that changes its base, as something that can be exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.formatting.rendering.renderer import Renderer
from tasks.publishing.exports.comparison import Reference, record_reference
from tasks.publishing.exports.sources import ExportSource
from tasks.records.digests import digest_folder
from tests.tasks.publishing.conftest import Workshop


@pytest.fixture(scope="session")
def source(workshop: Workshop) -> ExportSource:
    folder = workshop.home / "train-1" / "model"
    return ExportSource(
        name="tiny-test",
        digest=digest_folder(folder),
        folder=folder,
        base=Path(workshop.base.location),
        revision=workshop.base.revision,
        method="lora",
        dtype="float32",
        kind="messages",
        tokenizer_folder=folder,
    )


@pytest.fixture(scope="session")
def renderer(source: ExportSource) -> Renderer:
    return source.load_renderer()


@pytest.fixture(scope="session")
def reference(source: ExportSource, renderer: Renderer) -> Reference:
    """Give what the source says to the probes."""
    return record_reference(source, renderer)
