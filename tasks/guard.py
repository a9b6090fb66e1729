"""Guard a lakeFS branch: read what a merge would bring as a run would, and accept or refuse it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from configs.errors import HoneError, RequestError
from configs.schema import DataConfig
from tasks.push import validate_source
from tasks.records.digests import digest_value
from tasks.records.handles import Record, RowCounts
from tasks.versioning.commits import find_branch_head, list_objects, read_commit
from tasks.versioning.lakefs_client import LakeFSPath, open_client, parse_uri
from tasks.versioning.uploads import is_left_alone

if TYPE_CHECKING:
    from lakefs.client import Client

LOG = logging.getLogger("hone")
NUM_REMEMBERED = 32  # answers; a hook that is asked again finds the one that was begun
WHERE = "merge"

Outcome = Literal["accepted", "refused", "failed"]


class Merge(BaseModel):
    """What lakeFS tells of a merge; whatever else it tells is not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_max_length=1024)

    event_type: Literal["pre-merge"]
    repository_id: str = Field(min_length=1)
    branch_id: str = Field(min_length=1)
    source_ref: str = Field(min_length=1)
    merge_source: str = ""
    commit_id: str = ""
    """The merge's own commit, where the server makes it before it asks."""


class MergeAnswer(Record):
    """What the guard says of a merge."""

    outcome: Outcome
    commit: str
    """What was read."""
    message: str
    rows: RowCounts | None = None
    problems: tuple[str, ...] = ()
    """`file:line: what is wrong` of the first broken rows, as the ledger has them."""

    def describe(self) -> str:
        """Return the answer for a person."""
        return "\n".join([f"hone: {self.message}", *(f"  - {text}" for text in self.problems)])


class MergeGuard:
    """Answers for one branch; one merge is read after another.

    Args:
        data: How the rows are read; `data.source` names the branch.

    Raises:
        RequestError: `data.source` is not on lakeFS, or no lakeFS server is configured.
    """

    def __init__(self, data: DataConfig) -> None:
        self.place = parse_uri(data.source)
        open_client()  # refused now, and not at the first merge
        self._data = data
        self._pool = ThreadPoolExecutor(1, "hone-guard")
        self._answers: OrderedDict[str, Future[MergeAnswer]] = OrderedDict()
        self._lock = threading.Lock()

    def watches(self, merge: Merge) -> bool:
        """Tell whether a merge is into the branch that is guarded."""
        return (merge.repository_id, merge.branch_id) == (self.place.repository, self.place.ref)

    def ask(self, merge: Merge, wait_seconds: float | None) -> MergeAnswer | None:
        """Return the answer to a merge, or None while it is read.

        Whatever goes wrong on the way is an answer that refuses: broken rows never pass because
        hone failed.

        Args:
            merge: The merge.
            wait_seconds: How long to wait for the answer; None: until it is there.
        """
        try:
            answer = self._begin(merge)
            is_done = bool(wait([answer], wait_seconds).done)
            return answer.result() if is_done else None
        except Exception as err:  # noqa: BLE001 - any failure refuses
            return _explain_failure(err, merge)

    def close(self) -> None:
        """Read nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, merge: Merge) -> Future[MergeAnswer]:
        """Return the answer that was begun to a merge of the same files, or begin one."""
        client = open_client()
        found = self._locate(client, merge)
        wanted, held = _list_data(client, found), self._list_held(client)
        if wanted == held:
            done: Future[MergeAnswer] = Future()
            message = f"accepted: nothing changes below {self.place.path or 'the top'}"
            done.set_result(MergeAnswer(outcome="accepted", commit=found.ref, message=message))
            return done
        key = digest_value(wanted)
        with self._lock:
            answer = self._answers.get(key)
            if answer is None or _has_failed(answer):
                answer = self._pool.submit(self._read, found)
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > NUM_REMEMBERED:
                self._answers.popitem(last=False)
        return answer

    def _locate(self, client: Client, merge: Merge) -> LakeFSPath:
        """Return the merge's result, or the branch that is merged where a server has no result."""
        place = self.place
        if merge.commit_id:
            try:
                read_commit(client, place.repository, merge.commit_id, WHERE)
            except RequestError as err:
                LOG.warning("guard: the merge's commit is not there, its source is read: %s", err)
            else:
                return replace(place, ref=merge.commit_id)
        commit = read_commit(client, place.repository, merge.source_ref, WHERE).id
        return replace(place, ref=commit)

    def _list_held(self, client: Client) -> list[tuple[str, str]]:
        head = find_branch_head(client, self.place.repository, self.place.ref, WHERE)
        return _list_data(client, replace(self.place, ref=head)) if head else []

    def _read(self, found: LakeFSPath) -> MergeAnswer:
        LOG.info("guard: reading %s", found.uri)
        try:
            rows = validate_source(found.uri.rstrip("/"), self._data)
        except RequestError as err:
            answer = MergeAnswer(
                outcome="refused",
                commit=found.ref,
                message=_say(err),
                problems=err.problems or ((err.where,) if err.where else ()),
            )
        else:
            counts = f"{rows.kept} kept + {rows.invalid} invalid + {rows.filtered} filtered"
            message = f"accepted: {rows.read} rows read = {counts}"
            answer = MergeAnswer(outcome="accepted", commit=found.ref, message=message, rows=rows)
        LOG.info("guard: %s: %s", found.ref[:12], answer.message)
        return answer


def _say(err: HoneError) -> str:
    parts = [f"refused: {err.message}"]
    parts += [f"allowed: {err.allowed}"] if err.allowed else []
    parts += [err.hint] if err.hint else []
    return "; ".join(parts)


def _list_data(client: Client, place: LakeFSPath) -> list[tuple[str, str]]:
    """Return path and checksum of all that lies at or below a place."""
    objects = list_objects(client, place.repository, place.ref, place.path, WHERE)
    below = f"{place.path}/" if place.path else ""
    return [
        (found.path, found.checksum)
        for found in objects
        if (found.path == place.path or found.path.startswith(below))
        and not is_left_alone(found.path)
    ]


def _has_failed(answer: Future[MergeAnswer]) -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)


def _explain_failure(err: Exception, merge: Merge) -> MergeAnswer:
    if isinstance(err, HoneError):
        message = f"refused, the merge could not be read: {err}"
    else:
        LOG.error("guard: %s", merge.source_ref, exc_info=err)
        message = f"refused, hone failed ({type(err).__name__}); the guard's log says why"
    return MergeAnswer(
        outcome="failed", commit=merge.commit_id or merge.source_ref, message=message
    )
