"""A real candidate: the tiny base with a small adapter, evaluated, decided upon."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from configs.schema import ModelConfig, RunConfig
from tasks.evaluation.generation import generate_answers
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, Message, digest_examples, write_examples
from tasks.publishing import history, local, model_versions, publish
from tasks.publishing.candidates import Candidate, digest_evidence
from tasks.publishing.model_versions import find_aliases, find_tags
from tasks.publishing.publish import AcceptanceSettings, publish_candidate
from tasks.records.digests import digest_folder, digest_value
from tasks.records.handles import (
    Check,
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    PinnedModel,
    RowCounts,
    SplitRecord,
    TrainedModel,
)
from tasks.records.home import find_project
from tasks.records.observer import SilentObserver
from tasks.records.writing import write_jsonl
from tasks.tracking.runs import TrackedRun, open_run
from tasks.tracking.store import open_client, prepare_database
from tasks.training.adapters import attach_adapter, write_adapter
from tasks.training.models import load_base

NAME = "tiny-test"
MAX_NEW_TOKENS = 24
CONFIG = RunConfig(model=ModelConfig(lora_r=4, dtype="float32")).model_dump(mode="json")
SETTINGS = AcceptanceSettings(
    num_probes=6, max_logit_difference=1e-4, max_new_tokens=MAX_NEW_TOKENS, batch_size=8
)
QUESTIONS = ("len", "sorted", "print", "zip", "list", "dict", "open", "range")


@dataclass(frozen=True)
class Workshop:
    """What the candidates of a test session are made from."""

    home: Path
    base: PinnedModel
    examples: list[Example]
    renderer: Renderer


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases") / "tiny-base"
    shutil.copytree(find_project() / "data" / "tiny-base", folder)
    return folder


@pytest.fixture(scope="session")
def workshop(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a home with an empty MLflow store and two candidates; tests get copies of it."""
    home = tmp_path_factory.mktemp("workshop")
    examples = [
        Example(
            id=digest_value(word)[:16],
            group=word,
            messages=(Message("user", f"What is {word}?"), Message("assistant", "A function.")),
            text="",
            origin=f"test.jsonl:{number}",
        )
        for number, word in enumerate(QUESTIONS, 1)
    ]
    base = PinnedModel(
        name=str(base_folder), revision=digest_folder(base_folder)[:40], location=str(base_folder)
    )
    renderer = load_renderer(base_folder, None, "messages")
    workshop = Workshop(home, base, examples, renderer)
    for split in ("train", "test"):
        write_examples(home / "formatted" / "examples" / f"{split}.jsonl", examples)
    (home / "config.yaml").write_text("purpose: test\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_database()
    for seed in (1, 2):
        train_and_evaluate(workshop, seed)
    return workshop


def train_and_evaluate(workshop: Workshop, seed: int) -> None:
    """Write an adapter that changes the base a little, and its answers."""
    import torch

    torch.manual_seed(seed)
    model = attach_adapter(
        load_base(workshop.base.location, dtype="float32"), ModelConfig(lora_r=4)
    ).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    folder = workshop.home / f"train-{seed}" / "model"
    write_adapter(model, folder, name="tiny-base", revision=workshop.base.revision)
    workshop.renderer.save(folder)
    prompts = [workshop.renderer.render_prompt(example) for example in workshop.examples]
    answers = generate_answers(
        model,
        workshop.renderer,
        prompts,
        max_new_tokens=MAX_NEW_TOKENS,
        batch_size=8,
        observer=SilentObserver(),
    )
    rows = [
        {"id": example.id, "prediction": answer.text, "ended": answer.ended}
        for example, answer in zip(workshop.examples, answers, strict=True)
    ]
    write_jsonl(workshop.home / f"evaluate-{seed}" / "predictions" / "test.jsonl", rows)
    write_jsonl(workshop.home / "evaluate-base" / "predictions" / "test.jsonl", rows[:0])


@pytest.fixture
def home(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a HONE_HOME of its own with the session's candidates."""
    home = tmp_path / "home"
    shutil.copytree(workshop.home, home)
    enter_home(monkeypatch, home)
    return home


@pytest.fixture
def run(home: Path) -> TrackedRun:
    return open_run("hone", "20260101T000000Z-abcdef")


@pytest.fixture(scope="session")
def published(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish the first candidate for real, once, into a home that tests must not change.

    The first attempt is cut off before the alias moves, the second one goes on from there.
    """
    home = tmp_path_factory.mktemp("published") / "home"
    shutil.copytree(workshop.home, home)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(patch, home)
        candidate = make_candidate(workshop, home, seed=1)
        run = open_run("hone", candidate.run)

        def be_killed(*_: object) -> None:
            raise KeyboardInterrupt

        with patch.context() as cut:
            cut.setattr(history, "move_champion", be_killed)
            with pytest.raises(KeyboardInterrupt):
                publish_candidate(candidate, run, SETTINGS)
        assert find_aliases(run.client, NAME) == {"challenger": "1"}
        publication = publish_candidate(candidate, run, SETTINGS)
        assert publication.version == "1"
    return home


@pytest.fixture
def published_home(published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter the session's home with one published version, to look at it."""
    enter_home(monkeypatch, published)
    return published


@pytest.fixture(scope="session")
def succeeded(
    workshop: Workshop, published: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Publish the second candidate in place of the first, in a home that tests must not change."""
    home = tmp_path_factory.mktemp("succeeded") / "home"
    shutil.copytree(published, home)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(patch, home)
        successor = make_candidate(workshop, home, seed=2, champion="1")
        publish_candidate(successor, open_run("hone", successor.run), SETTINGS)
    return home


@pytest.fixture
def two_versions(succeeded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a home of its own in which version 2 replaced version 1."""
    home = tmp_path / "home"
    shutil.copytree(succeeded, home)
    enter_home(monkeypatch, home)
    return home


@pytest.fixture
def registered_folder(published_home: Path) -> Path:
    """Find the MLflow model of the published version."""
    model_id = find_tags(open_client(), NAME, "1")["hone.model_id"]
    [folder] = published_home.rglob(f"mlartifacts/**/models/{model_id}")
    return folder / "artifacts"


def enter_home(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.setenv("HONE_HOME", str(home))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "HONE_BASE_MODEL"):
        patch.delenv(name, raising=False)


@pytest.fixture
def candidate(workshop: Workshop, home: Path) -> Candidate:
    return make_candidate(workshop, home, seed=1)


@pytest.fixture
def successor(workshop: Workshop, home: Path) -> Candidate:
    """Another model, decided upon when version 1 was the champion."""
    return make_candidate(workshop, home, seed=2, champion="1")


def make_candidate(
    workshop: Workshop, home: Path, seed: int, champion: str | None = None
) -> Candidate:
    split = SplitRecord(
        rows=8, groups=8, tokens=80, trained_tokens=40, digest=digest_examples(workshop.examples)
    )
    formatted = FormattedData(
        path="formatted",
        digest="f" * 64,
        kind="messages",
        rows=RowCounts(read=10, kept=8, invalid=1, filtered=1),
        splits={"test": split},
        template_digest=workshop.renderer.digest,
        primary_metrics=("exact_match",),
    )
    model = home / f"train-{seed}" / "model"
    trained = TrainedModel(
        path=f"train-{seed}",
        digest=digest_folder(model),
        base=workshop.base,
        method="lora",
        dtype="float32",
        template_digest=workshop.renderer.digest,
        num_parameters=1_100_000,
        num_trainable_parameters=30_000,
        num_bytes=120_000,
        num_steps=12,
        best_step=10,
        metrics={"train_loss": 0.5, "eval_loss": 0.6},
    )
    evaluations = {
        arm: Evaluation(
            path=path,
            digest=digest_folder(home / path / "predictions"),
            arm=arm,
            model_digest=digest,
            template_digest="t",
            metrics={"test": {"exact_match": value, "nll": 1 - value / 2}},
        )
        for arm, path, digest, value in (
            ("baseline", "evaluate-base", workshop.base.revision, 0.0),
            ("finetuned", f"evaluate-{seed}", trained.digest, 0.75),
        )
    }
    data = DataVersion(
        path="data",
        digest="d" * 64,
        source="data/flowroll",
        commit="c" * 64,
        num_files=3,
        num_bytes=1000,
        base=workshop.base,
    )
    unbound = Candidate(
        name=NAME,
        data=data,
        formatted=formatted,
        trained=trained,
        evaluations=evaluations,
        decision=make_decision(trained.digest, champion),
        evidence={
            "config": home / "config.yaml",
            "data": formatted.folder / "examples",
            "model": model,
            "predictions/baseline": home / "evaluate-base" / "predictions",
            "predictions/finetuned": home / f"evaluate-{seed}" / "predictions",
        },
        config=CONFIG,
        run="20260101T000000Z-abcdef",
        code_revision="abc123-dirty.456",
        intervals={"test": {"exact_match": {"value": 0.75, "lower": 0.5, "upper": 1.0}}},
    )
    return bind(unbound, evidence=digest_evidence(unbound.evidence))


def register_without_test(candidate: Candidate, run: TrackedRun, *_: Any) -> str:
    """Register as publishing does, but without the fresh process, which has tests of its own."""
    with publish._make_staging(candidate.name) as staging:
        lineage = local.build_artefact(candidate, staging / "model")
        model_id = model_versions.create_logged_model(run, candidate.name)
        version = model_versions.register_version(
            run, candidate, lineage, staging / "model", model_id
        )
        local.copy_artefact(staging / "model", candidate.name, version)
    return version


def make_decision(candidate_digest: str, champion: str | None) -> Decision:
    check = Check(
        opponent="baseline",
        split="test",
        metric="exact_match",
        role="primary",
        rows=8,
        groups=8,
        candidate=0.75,
        opponent_value=0.0,
        improvement=0.75,
        lower=0.4,
        upper=0.9,
        threshold=0.0,
        passed=True,
    )
    return Decision(
        path="decide",
        digest="",
        verdict="better",
        reasons=("exact_match improves by 0.75 on test.",),
        checks=(check,),
        model_name=NAME,
        candidate_digest=candidate_digest,
        champion_version=champion,
        evidence={},
        look=1,
        alpha=0.0152,
        smallest_detectable_gain={"exact_match": 0.2},
    )


def bind(candidate: Candidate, **changes: Any) -> Candidate:
    """Return the candidate with a changed decision, its digest made to fit."""
    decision = candidate.decision.model_copy(update=changes)
    content = decision.model_dump(mode="json", exclude={"path", "digest"})
    return replace(
        candidate, decision=decision.model_copy(update={"digest": digest_value(content)})
    )
