"""Prepare to do a training again from what is recorded about it, and compare what comes of it."""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.errors import HoneError, RequestError
from configs.schema import RunConfig
from tasks.explain import Explanation
from tasks.publishing.registry import find_version_folder
from tasks.records.digests import digest_files, list_files
from tasks.records.entries import find_entry, read_entry
from tasks.records.environment import Environment, list_differences
from tasks.records.handles import DataVersion, Evaluation, FormattedData, Record, TrainedModel
from tasks.records.home import find_home, resolve_in_home, use_home
from tasks.records.writing import write_json
from tasks.start import find_start
from tasks.tracking.provenance import ASSIGNMENTS, fetch_record
from tasks.tracking.revision import find_code_revision
from tasks.tracking.runs import flatten_config
from tasks.tracking.store import open_client
from tasks.train import describe_training
from tasks.training.weight_distance import WeightDistance, measure_distance
from tasks.version import version
from tasks.versioning.base_models import pin_base
from tasks.versioning.comparison import list_stored
from tasks.versioning.lakefs_client import SCHEME, pin_uri

LOG = logging.getLogger("hone")
FOLDER = "outputs/reproductions"
HUB_REVISION = re.compile(r"^(hf://[^@]+)@[^/]+")
# On a GPU sums are taken in another order each time. What is left of that after a training:
MAX_RELATIVE_DISTANCE = 0.05
MAX_NLL_DIFFERENCE = 0.02


@dataclass(frozen=True)
class Repetition:
    """A training that is to be done again: with what, and where."""

    chain: Explanation
    config: RunConfig
    """The recorded one, its data and base pinned; it is tracked nowhere."""
    home: Path
    """The HONE_HOME that it has for itself, so that no cache answers it."""


class FileFacts(Record):
    """A file of the model: as it was recorded, and as it came out again."""

    expected: str | None
    found: str | None

    @property
    def is_equal(self) -> bool:
        """Whether it is the same, byte for byte."""
        return self.expected == self.found


class Reproduction(Record):
    """What came of doing a training again."""

    model: str
    equal: bool
    how: str
    """`bytes`, `bounds` (on a GPU), or `none`."""
    files: dict[str, FileFacts]
    stages: dict[str, bool | None]
    """Whether data, formatted data, training and answers have the recorded digests; None where
    none is recorded."""
    distance: WeightDistance | None
    """Of the weights; None where they are equal, or where the recorded ones cannot be had."""
    nll: tuple[float, float] | None
    """On the test set: as it was recorded, and now."""
    bounds: dict[str, float]
    """What counts as equal on a GPU."""
    differences: dict[str, tuple[str, str]]
    """What of code, settings and environment is not as it was: then, and now."""
    device: str
    path: str
    """The HONE_HOME of the repetition, relative to this one."""
    notes: tuple[str, ...]


def prepare_repetition(chain: Explanation) -> Repetition:
    """Return what has to be done to train a model again.

    Raises:
        RequestError: Its configuration, data commit or base is not recorded, or the base is gone.
    """
    if not chain.config or not chain.data or not chain.base or not chain.files:
        links = {
            "the configuration": chain.config,
            "the data commit": chain.data,
            "the base model": chain.base,
            "the digests of its files": chain.files,
        }
        missing = ", ".join(name for name, found in links.items() if not found)
        raise RequestError(
            where=chain.model,
            message=f"not recorded: {missing}",
            hint="only what says what it was made from can be made again",
        )
    config = RunConfig.model_validate(chain.config)
    check_base(chain, config)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    return Repetition(chain, pin_config(chain, config), find_home() / FOLDER / name)


def pin_config(chain: Explanation, config: RunConfig) -> RunConfig:
    """Return a configuration that reads exactly the recorded data and base, and is not tracked."""
    assert chain.data, "checked before"
    assert chain.base, "checked before"
    source, commit = config.data.source, chain.data.commit
    changes: dict[str, dict[str, Any]] = {
        "data": {
            "source": pin_source(source, source, commit),
            "eval_sources": {
                name: pin_source(other, source, commit)
                for name, other in config.data.eval_sources.items()
            },
        },
        "model": {"model_revision": chain.base.revision},  # a folder has none: it is compared
        "tracking": {"report_to": ()},
    }
    sections = {
        name: getattr(config, name).model_copy(update=update) for name, update in changes.items()
    }
    return config.model_copy(update=sections)


def pin_source(uri: str, main: str, commit: str) -> str:
    """Return a source at the recorded commit, where it is of the repository that this names.

    >>> pin_source("hf://org/chats@main", "hf://org/chats@main", "4f2a")
    'hf://org/chats@4f2a'
    >>> pin_source("data/rows.jsonl", "data/rows.jsonl", "4f2a")
    'data/rows.jsonl'
    """
    if uri.startswith(SCHEME) and main.startswith(SCHEME):
        is_same_ref = uri.split("/")[2:4] == main.split("/")[2:4]
        return pin_uri(uri, commit) if is_same_ref else uri
    if uri.startswith("hf://") and HUB_REVISION.sub(r"\1", uri) == HUB_REVISION.sub(r"\1", main):
        return HUB_REVISION.sub(rf"\1@{commit}", uri)
    return uri


def check_base(chain: Explanation, config: RunConfig) -> None:
    """Refuse to train on another base than the recorded one.

    Raises:
        RequestError: The base is gone, or it has changed.
    """
    assert chain.base, "checked before"
    found = pin_base(config.model.model_name_or_path, chain.base.revision)
    if found.revision != chain.base.revision:
        raise RequestError(
            where=f"base model {chain.base.name}",
            message=f"it is at {found.revision[:12]} now; "
            f"the model was trained on {chain.base.revision[:12]}",
            hint="bring that version of the base model back",
        )


def bring_data(repetition: Repetition) -> DataVersion:
    """Read the recorded data commit, from its source or from HONE_HOME's store.

    Raises:
        RequestError: Neither has it.
    """
    expected = repetition.chain.data
    assert expected, "checked before"
    problem = ""
    try:
        with use_home(repetition.home):
            found = version(repetition.config.data, repetition.config.model)
        if found.commit == expected.commit:
            return found
        problem = f"the source is at {found.commit[:12]} now"
    except RequestError as err:
        problem = err.message
    for stored in list_stored():
        if stored.commit == expected.commit and stored.source == expected.source:
            LOG.info("reproduce: %s; commit %s is in the store", problem, expected.commit[:12])
            return _copy_stored(stored, repetition.home)
    raise RequestError(
        where=f"data commit {expected.commit[:12]} of {expected.source}",
        message=f"it is gone: {problem}, and HONE_HOME's store does not hold it",
        hint="bring that version of the data back, or use the HONE_HOME that read it",
    )


def _copy_stored(stored: DataVersion, home: Path) -> DataVersion:
    shutil.copytree(stored.folder, home / stored.path, dirs_exist_ok=True)
    with use_home(home):
        found = read_entry(home / stored.path, DataVersion)
    if found is None:
        raise RequestError(
            where=stored.path, message="the stored data is damaged", hint="see the log"
        )
    return found.model_copy(update={"commit": stored.commit})


def bring_adapter(repetition: Repetition) -> None:
    """Bring the version that the training started from, if it did, to where it is done again."""
    start = find_start(repetition.config)
    if start:
        place = start.folder.relative_to(find_home())
        shutil.copytree(start.folder, repetition.home / place, dirs_exist_ok=True)


def bring_assignments(repetition: Repetition) -> str:
    """Let the rows have the splits that they had; return what is not known about them."""
    from tasks.formatting.splits.stored_splits import find_store

    chain, config = repetition.chain, repetition.config
    assert chain.data, "checked before"
    with use_home(repetition.home):
        target = find_store(chain.data.source, config.data.split_version).file
    target.parent.mkdir(parents=True, exist_ok=True)
    run = resolve_in_home(chain.run.path) if chain.run.path else None
    if run and (run / "data" / ASSIGNMENTS).is_file():
        shutil.copyfile(run / "data" / ASSIGNMENTS, target)
        return ""
    if chain.run.mlflow_run_id:
        found = fetch_record(open_client(), chain.run.mlflow_run_id, ASSIGNMENTS, target.parent)
        if found:
            found.replace(target)
            return ""
    return "the splits that its rows had are not recorded: they were split anew"


def keep_memory_setting(
    repetition: Repetition, data: DataVersion, formatted: FormattedData
) -> None:
    """Let the training have the rows that it had, however much memory is free now."""
    if repetition.chain.memory_setting:
        entry = find_entry("train", describe_training(data, formatted, repetition.config))
        write_json(entry / "memory_setting.json", repetition.chain.memory_setting)


def compare_models(
    repetition: Repetition,
    data: DataVersion,
    formatted: FormattedData,
    trained: TrainedModel,
    evaluation: Evaluation,
    environment: Environment,
    note: str,
) -> Reproduction:
    """Compare what came out with what is recorded."""
    chain = repetition.chain
    with use_home(repetition.home):
        folder = trained.model_folder
        key = describe_training(data, formatted, repetition.config)
    found = digest_files(folder, list_files(folder))
    files = {
        name: FileFacts(expected=chain.files.get(name), found=found.get(name))
        for name in sorted(chain.files.keys() | found)
    }
    is_same = all(facts.is_equal for facts in files.values())
    notes = [note] if note else []
    distance = None if is_same else _measure(chain, folder, notes)
    nll = _read_nll(chain, evaluation)
    is_close = environment.device == "cuda" and _is_close(distance, nll)
    recorded = chain.evaluations.get("finetuned")
    return Reproduction(
        model=chain.model,
        equal=is_same or is_close,
        how="bytes" if is_same else "bounds" if is_close else "none",
        files=files,
        stages={
            "data": chain.data.commit == data.commit if chain.data else None,
            "formatted": chain.formatted.digest == formatted.digest if chain.formatted else None,
            "model": is_same,
            "answers": recorded.digest == evaluation.digest
            if recorded and recorded.digest
            else None,
        },
        distance=distance,
        nll=nll,
        bounds={"relative_distance": MAX_RELATIVE_DISTANCE, "nll_difference": MAX_NLL_DIFFERENCE},
        differences=list_changes(chain, key, environment),
        device=environment.device,
        path=repetition.home.relative_to(find_home()).as_posix(),
        notes=tuple(notes),
    )


def list_changes(
    chain: Explanation, key: dict[str, Any], environment: Environment
) -> dict[str, tuple[str, str]]:
    """Return what is not as it was: code, what determines the training, environment."""
    before = flatten_config(chain.training, "training.")
    now = flatten_config(json.loads(json.dumps(key)), "training.")
    pairs = {"code_revision": (str(chain.code.revision), find_code_revision())}
    pairs |= {name: (before[name], now.get(name, "absent")) for name in sorted(before)}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if chain.environment is None:
        return changed
    return changed | list_differences(chain.environment, environment)


def _measure(chain: Explanation, folder: Path, notes: list[str]) -> WeightDistance | None:
    """Return how far the weights lie from the recorded ones, where those can be had."""
    run = resolve_in_home(chain.run.path) / "model" if chain.run.path else None
    try:
        published = find_version_folder(chain.version.uri) if chain.version else None
    except HoneError as err:
        notes.append(str(err))
        published = None
    original = published or (run if run and run.is_dir() else None)
    if original is None:
        return None
    distance = measure_distance(original, folder)
    if distance is None:
        notes.append("the weights have not the same tensors as the recorded ones")
    return distance


def _read_nll(chain: Explanation, evaluation: Evaluation) -> tuple[float, float] | None:
    recorded = chain.evaluations.get("finetuned")
    before = recorded.metrics.get("test", {}).get("nll") if recorded else None
    now = evaluation.metrics.get("test", {}).get("nll")
    return None if before is None or now is None else (before, now)


def _is_close(distance: WeightDistance | None, nll: tuple[float, float] | None) -> bool:
    if distance is None or distance.relative > MAX_RELATIVE_DISTANCE:
        return False
    return nll is None or abs(nll[0] - nll[1]) <= MAX_NLL_DIFFERENCE
