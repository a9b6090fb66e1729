from __future__ import annotations

from dataclasses import replace

import pytest

from configs.errors import RequestError, RunError
from tasks.publishing.candidates import Candidate, check_candidate, digest_evidence
from tasks.publishing.model_versions import find_aliases
from tasks.publishing.publish import publish_candidate
from tasks.tracking.runs import TrackedRun

from .conftest import NAME, SETTINGS, bind


def test_an_untouched_candidate_passes(candidate: Candidate) -> None:
    check_candidate(candidate)


EVIDENCE = ("config", "data", "model", "predictions/baseline", "predictions/finetuned")


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_changed_byte_is_refused(candidate: Candidate, run: TrackedRun, name: str) -> None:
    path = candidate.evidence[name]
    file = path if path.is_file() else min(path.iterdir())
    content = bytearray(file.read_bytes() or b"\0")
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(RunError, match=rf"changed: .*{name}"):
        check_candidate(candidate)
    with pytest.raises(RunError, match=rf"changed: .*{name}"):
        publish_candidate(candidate, run, SETTINGS)
    assert find_aliases(run.client, NAME) == {}


def test_every_piece_of_evidence_is_tried(candidate: Candidate) -> None:
    assert set(EVIDENCE) == set(candidate.evidence)


def test_missing_evidence_is_refused(candidate: Candidate) -> None:
    (candidate.evidence["config"]).unlink()
    assert digest_evidence(candidate.evidence)["config"] == "missing"
    with pytest.raises(RunError, match="changed: config"):
        check_candidate(candidate)


def test_evidence_that_the_decision_does_not_name_is_refused(candidate: Candidate) -> None:
    less = dict(candidate.evidence)
    del less["predictions/baseline"]
    with pytest.raises(RunError, match="changed: predictions/baseline"):
        check_candidate(replace(candidate, evidence=less))


def test_a_changed_decision_is_refused(candidate: Candidate) -> None:
    forged = candidate.decision.model_copy(update={"alpha": 0.5})
    with pytest.raises(RunError, match="changed: decision"):
        check_candidate(replace(candidate, decision=forged))


def test_a_decision_about_another_model_is_refused(candidate: Candidate) -> None:
    with pytest.raises(RunError, match="changed: candidate"):
        check_candidate(bind(candidate, candidate_digest="0" * 64))
    with pytest.raises(RequestError, match="about other, not about tiny-test"):
        check_candidate(bind(candidate, model_name="other"))
