from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import HoneError, RequestError, RunError
from tasks.publishing import hub as library
from tasks.publishing.candidates import Lineage
from tasks.publishing.hub import HubCopy, check_login, list_shown, upload_version
from tasks.records.handles import PinnedModel

from .upload_server import TOKEN, Fault, UploadHub, serve

REPO = "lab/tiny-test"
CARD = "---\nlibrary_name: peft\n---\n\n# tiny-test\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_REPO_ID", raising=False)
    with serve(UploadHub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return write_version(tmp_path / "models" / "tiny-test" / "1", b"weights of version 1")


def write_version(folder: Path, weights: bytes, name: str = "adapter_model.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(weights)
    files = {"adapter_config.json": "{}", "chat_template.jinja": "{{ x }}", "README.md": CARD}
    kept = {"config.yaml": "data: {source: /home/ada/rows}\n", "training_prompts.txt": "abc\n"}
    for file, text in {**files, **kept, "metrics.json": "{}", "tokenizer.json": "{}"}.items():
        (folder / file).write_text(text)
    lineage = Lineage(
        name="tiny-test",
        candidate_digest="c" * 64,
        model_files=("adapter_config.json", name, "chat_template.jinja", "tokenizer.json"),
        base=PinnedModel(name="tiny", revision="r" * 40, location="/home/ada/tiny"),
        method="lora",
        dtype="float32",
        kind="messages",
        template_digest="t",
        data_source="/home/ada/rows",
        data_commit="c",
        splits={},
        run="run",
        code_revision="abc",
        decision_digest="d" * 64,
        replaces=None,
        versions={},
    )
    (folder / "lineage.json").write_text(lineage.model_dump_json())
    return folder


def upload(folder: Path, repo: str = REPO, *, is_private: bool = True) -> HubCopy:
    return upload_version(folder, folder.name, repo, is_private=is_private)


def test_a_version_is_one_commit_with_card_and_tag(hub: UploadHub, version: Path) -> None:
    copy = upload(version)
    repository = hub.repositories[REPO]
    assert repository.private
    assert copy == HubCopy(repo=REPO, commit=repository.main, tag="v1", url=f"{hub.url}/{REPO}")
    assert repository.tags == {"v1": repository.main}
    assert list(repository.messages.values()) == ["initial commit", "Version 1"]
    files = repository.commits[repository.main]
    assert set(files) == {
        ".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors",
        "chat_template.jinja", "metrics.json", "tokenizer.json",
    }  # fmt: skip
    assert files["adapter_model.safetensors"] == b"weights of version 1"
    assert files["README.md"] == CARD.encode()
    assert not any(b"/home/ada" in content for content in files.values())


def test_again_uploads_and_commits_nothing(hub: UploadHub, version: Path) -> None:
    first = upload(version)
    hub.requests.clear()
    assert upload(version) == first
    assert not {"object", "commit", "tag", "batch"} & set(hub.requests)


def test_the_next_version_replaces_the_weights_of_the_last(hub: UploadHub, version: Path) -> None:
    first = upload(version)
    second = write_version(version.parent / "2", b"whole model", "model.safetensors")
    copy = upload(second)
    repository = hub.repositories[REPO]
    assert repository.tags == {"v1": first.commit, "v2": copy.commit}
    assert "adapter_model.safetensors" not in repository.commits[copy.commit]
    assert "adapter_model.safetensors" in repository.commits[first.commit]
    back = upload(version)  # as a rollback does
    assert repository.main == back.commit not in {first.commit, copy.commit}
    assert repository.commits[back.commit] == repository.commits[first.commit]
    assert repository.tags["v1"] == first.commit


def test_public_when_asked_and_never_by_accident(hub: UploadHub, version: Path) -> None:
    upload(version, is_private=False)
    assert not hub.repositories[REPO].private
    with pytest.raises(RequestError, match="the repository is public, and the version is to be pr"):
        upload(version)
    hub.repositories[REPO].private = True
    with pytest.raises(RequestError, match="is private, and the version is to be public"):
        upload(version, is_private=False)


def test_a_tag_of_another_model_stays(hub: UploadHub, version: Path) -> None:
    upload(version)
    other = write_version(version.parents[1] / "other" / "1", b"other weights")
    with pytest.raises(RequestError, match="the tag names another model: adapter_model"):
        upload(other)
    assert list(hub.repositories[REPO].messages.values()) == ["initial commit", "Version 1"]


KINDS = (
    "create",
    "info",
    "refs",
    "preupload",
    "batch",
    "object",
    "verify",
    "commit",
    "paths",
    "tag",
)


REFUSALS = [(k, s) for k in ("create", "preupload", "commit", "tag") for s in (401, 403, 409)]


@pytest.mark.parametrize(
    ("kind", "fault"), [*((kind, "cut") for kind in KINDS), ("commit", 500), *REFUSALS]
)
def test_whatever_fails_is_one_clear_error_and_again_is_enough(
    hub: UploadHub, version: Path, kind: str, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults[kind] = [fault] * 30
    caplog.set_level(logging.DEBUG)
    is_taken_as_existing = kind == "create" and fault == 409  # what the hub says of one that is
    with pytest.raises(HoneError) as caught:
        upload(version)
    if not is_taken_as_existing:
        expected = RequestError if fault in {401, 403} else RunError
        assert isinstance(caught.value, expected), caught.value
    assert caught.value.__cause__ is None
    assert TOKEN not in f"{caught.value} {caplog.text}"
    hub.faults.clear()
    copy = upload(version)
    repository = hub.repositories[REPO]
    assert repository.tags == {"v1": copy.commit}
    assert sorted(repository.messages.values()) == ["Version 1", "initial commit"]


@pytest.mark.parametrize("fault", [503, "cut"])
def test_a_hiccup_of_the_store_is_no_failure(hub: UploadHub, version: Path, fault: Fault) -> None:
    hub.faults = {"object": [fault], "preupload": [fault]}
    upload(version)
    assert hub.repositories[REPO].tags.keys() == {"v1"}


def test_a_rival_commit_meanwhile_is_noticed(
    hub: UploadHub, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(version)
    second = write_version(version.parent / "2", b"weights of version 2")
    real = library._find_tag

    def commit_meanwhile(*arguments: object) -> str | None:
        repository = hub.repositories[REPO]
        repository.commit({**repository.commits[repository.main], "x": b"x"}, "rival")
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as rival:
        rival.setattr(library, "_find_tag", commit_meanwhile)
        with pytest.raises(RunError, match="somebody else writes to it at the same time"):
            upload(second)
    upload(second)
    assert set(hub.repositories[REPO].tags) == {"v1", "v2"}


def test_bytes_that_arrived_damaged_get_no_tag(hub: UploadHub, version: Path) -> None:
    hub.damages_objects = True
    with pytest.raises(RunError, match=r"the hub holds another adapter_model.safetensors"):
        upload(version)
    assert hub.repositories[REPO].tags == {}


def test_a_server_that_is_away(
    hub: UploadHub, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(RunError, match="the hub does not answer"):
        upload(version)
    assert time.monotonic() - started < 60


def test_wrong_requests_are_refused_before_anything_is_done(
    hub: UploadHub, version: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RequestError, match="no repository on the hub is named"):
        check_login(None)
    monkeypatch.setenv("HF_REPO_ID", REPO)
    check_login(None)
    with pytest.raises(RequestError, match="not a name of a repository"):
        upload(version, "not a name")
    hub.faults["whoami"] = [500]
    check_login(None)
    assert "the hub failed (HTTP 500)" in caplog.text
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(RequestError, match="does not accept the token") as caught:
        check_login(None)
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RequestError, match="needs a token with write access"):
        check_login(None)
    assert hub.repositories == {}


def test_what_goes_to_the_hub_is_chosen_by_name(version: Path) -> None:
    assert {"config.yaml", "lineage.json", "training_prompts.txt"}.isdisjoint(list_shown(version))
    assert "decision.json" not in json.dumps(sorted(list_shown(version)))  # there is none here
