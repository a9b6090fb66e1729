from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.publishing import local, registry
from tasks.publishing.candidates import Candidate
from tasks.publishing.publish import publish_candidate
from tasks.tracking.runs import TrackedRun
from tasks.publishing.publish import AcceptanceSettings

SETTINGS = AcceptanceSettings(
    num_probes=6, max_logit_difference=1e-4, max_new_tokens=24, batch_size=8
)

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


def test_x(candidate: Candidate, run: TrackedRun, home: Path) -> None:
    t = time.time()
    publication = publish_candidate(candidate, run, SETTINGS)
    print("seconds", time.time() - t)
    print(publication)
    for p in sorted(home.rglob("*")):
        if p.is_file() and "mlart" in str(p) or "artifacts/models" in str(p):
            print(p.relative_to(home))
    print((home / publication.path / "README.md").read_text())
    print((home / publication.path / "acceptance.json").read_text())
