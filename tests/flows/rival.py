"""One of two publishers at once: the flow's own loop around the real lock and the real registry.

Run: python -m tests.flows.rival SEED BASE_FOLDER FOLDER_OF_SIGNS NUM_RIVALS
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.schema import PublishConfig, RunConfig
from flows import finetune
from tasks.evaluation.looks import Look, record_look
from tasks.formatting.rendering.renderer import load_renderer
from tasks.formatting.rows.examples import read_examples
from tasks.publishing.candidates import Candidate, ChampionRecord
from tasks.publishing.publish import publish_candidate
from tasks.records.digests import digest_folder
from tasks.records.handles import Decision, Evaluation, PinnedModel, Publication
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder
from tasks.tracking.runs import open_run
from tests.tasks.publishing.conftest import NAME, SETTINGS, Workshop, bind, make_candidate

SECONDS = 300


def enter_workshop(base_folder: Path) -> Workshop:
    """Find the session's candidates in this process's HONE_HOME."""
    home = Path(os.environ["HONE_HOME"])
    base = PinnedModel(
        name=str(base_folder), revision=digest_folder(base_folder)[:40], location=str(base_folder)
    )
    examples = read_examples(home / "formatted" / "examples" / "test.jsonl")
    return Workshop(home, base, examples, load_renderer(base_folder, None, "messages"))


def wait_for_rivals(signs: Path, seed: int, num_rivals: int) -> None:
    """Say that this publisher is ready, and wait until all are."""
    (signs / f"{seed}.ready").touch()
    end = time.monotonic() + SECONDS
    while len(list(signs.glob("*.ready"))) < num_rivals:
        assert time.monotonic() < end, "the rivals did not come"
        time.sleep(0.02)


class Stages:
    """The stages before publishing, answered by what the session's workshop holds."""

    def __init__(self, candidate: Candidate, signs: Path, seed: int, num_rivals: int) -> None:
        self.candidate = candidate
        self.rivals = signs, seed, num_rivals
        self.opponents: list[str | None] = []

    def evaluate(self, arm: Any, *_: Any) -> Evaluation:
        found = self.candidate.evaluations["finetuned"]
        return found.model_copy(update={"arm": arm})

    def take_look(self, config: RunConfig, *_: Any) -> Look:
        return record_look(NAME, "ab" * 32, self.candidate.trained.digest, alpha=config.gate.alpha)

    def decide(self, *arguments: Any) -> Decision:
        champion: ChampionRecord | None = arguments[5]
        version = champion.version if champion else None
        self.opponents.append(version)
        self.candidate = bind(self.candidate, champion_version=version)
        if len(self.opponents) == 1:
            wait_for_rivals(*self.rivals)  # all have decided against no champion
        return self.candidate.decision

    def publish(self, decision: Decision, *_: Any, **__: Any) -> Publication:
        candidate = replace(self.candidate, decision=decision)
        return publish_candidate(candidate, open_run("hone", candidate.run), SETTINGS)


def main(seed: int, base_folder: Path, signs: Path, num_rivals: int) -> None:
    """Publish the candidate of a seed; print the versions it was decided against, and its own."""
    workshop = enter_workshop(base_folder)
    candidate = make_candidate(workshop, workshop.home, seed=seed)
    stages = Stages(candidate, signs, seed, num_rivals)
    for name in ("evaluate", "take_look", "decide", "publish"):
        setattr(finetune, name, getattr(stages, name))
    results = StageResults()
    finetune.decide_and_publish(
        RunConfig(publish=PublishConfig(name=NAME)),
        RunFolder(path=f"outputs/runs/{candidate.run}"), candidate.data, candidate.formatted,
        candidate.trained, results, None, None,
    )  # fmt: skip
    publication = results.publication
    assert publication is not None
    json.dump({"opponents": stages.opponents, "version": publication.version}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
