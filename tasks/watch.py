"""Watch a lakeFS branch: put the hooks on it that start a retraining and refuse broken rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from string import Template
from typing import Any
from urllib.parse import urlsplit

import yaml

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.records.handles import Record
from tasks.records.home import find_project
from tasks.versioning.actions import put_actions
from tasks.versioning.lakefs_client import (
    LakeFSPath,
    find_endpoint,
    open_client,
    parse_uri,
)  # fmt: skip
from tasks.versioning.lakefs_endpoint import check_endpoint, is_loopback_address

TEMPLATES = "deployments/lakefs_actions"
COMMIT = "@COMMIT@"  # the hook writes the commit there
PREFECT_VARIABLE = "LAKEFSACTION_PREFECT_AUTHORIZATION"
GUARD_VARIABLE = "LAKEFSACTION_HONE_GUARD_TOKEN"
GUARD_PATH = "/merges"
WAIT_SECONDS = 20  # of the 30 that lakeFS gives a request of a lua hook
LONGEST_CHECK_SECONDS = 3600
BRANCH = re.compile(r"\w[-\w]*")
VARIABLE = re.compile(r"{{ ?ENV\.")


@dataclass(frozen=True)
class Trigger:
    """The deployment that a commit starts."""

    name: str
    id: str
    api: str
    """Prefect's API, as the lakeFS server reaches it."""
    needs_key: bool
    config: RunConfig
    """What a run of it does."""
    parameters: dict[str, Any]
    """Of the run, beside where its data lies."""


@dataclass(frozen=True)
class Guard:
    """The server that reads a merge before it is done."""

    address: str
    """As the lakeFS server reaches it."""
    needs_token: bool


class Watch(Record):
    """What a watched branch does, and what became of its action files."""

    repository: str
    branch: str
    commit: str
    """The branch's commit after it."""
    changed: bool
    written: tuple[str, ...]
    removed: tuple[str, ...]
    deployment: str = ""
    source: str = ""
    """What a run reads, with the commit in the place of the branch."""
    variables: tuple[str, ...] = ()
    """What the lakeFS server must have in its environment for the hooks to run."""


def watch_branch(
    repository: str, branch: str, trigger: Trigger, guard: Guard | None, where: str
) -> Watch:
    """Put the hooks on a branch; where they are there already, nothing is done.

    Args:
        repository: The lakeFS repository.
        branch: The branch.
        trigger: What a commit starts.
        guard: What reads a merge before it is done; without one its hook is taken away.
        where: The command, for errors.

    Raises:
        RequestError: No such repository or branch; the deployment reads something else; an address
            that the lakeFS server cannot reach; files that lakeFS refuses.
        RunError: The server is away.
    """
    place = find_place(trigger, repository, branch)
    client = open_client()
    for name, address in (("--prefect-url", trigger.api), ("--guard", guard and guard.address)):
        if address:
            _check_reach(name, address, find_endpoint(client))
    texts = {
        name_file("retrain", branch): render_retrain(branch, trigger, place),
        name_file("guard", branch): render_guard(branch, guard) if guard else None,
    }
    for name, text in texts.items():
        if text:
            check_action(name, text)
    change = put_actions(client, repository, branch, texts, where)
    needed = {PREFECT_VARIABLE: trigger.needs_key, GUARD_VARIABLE: guard and guard.needs_token}
    return Watch(
        repository=repository, branch=branch, commit=change.commit, changed=not change.is_empty,
        written=change.written, removed=change.removed, deployment=trigger.name,
        source=LakeFSPath(repository, "COMMIT", place.path).uri.rstrip("/"),
        variables=tuple(name for name, is_needed in needed.items() if is_needed),
    )  # fmt: skip


def unwatch_branch(repository: str, branch: str, where: str) -> Watch:
    """Take the hooks away from a branch.

    Raises:
        RequestError: No such repository or branch.
        RunError: The server is away.
    """
    texts = dict.fromkeys((name_file("retrain", branch), name_file("guard", branch)))
    change = put_actions(open_client(), repository, branch, texts, where)
    return Watch(
        repository=repository, branch=branch, commit=change.commit, changed=not change.is_empty,
        written=(), removed=change.removed,
    )  # fmt: skip


def find_place(trigger: Trigger, repository: str, branch: str) -> LakeFSPath:
    """Return where the runs of a deployment read, which must be the branch.

    Raises:
        RequestError: They read something else.
    """
    source = trigger.config.data.source
    place = parse_uri(source) if source.startswith("lakefs://") else None
    if place is None or (place.repository, place.ref) != (repository, branch):
        raise RequestError(
            where=f"{trigger.name}: data.source",
            message=f"its runs read {source}, not the branch {branch} of {repository}",
            allowed=f"lakefs://{repository}/{branch}/PATH",
            hint="name a preset that reads it (--preset), or the deployment of one (--deployment)",
        )
    return place


def name_file(kind: str, branch: str) -> str:
    """Return the name of an action file; a branch's own, since merges carry files elsewhere."""
    return f"hone-{kind}-{branch}.yaml"


def render_retrain(branch: str, trigger: Trigger, place: LakeFSPath) -> str:
    """Return the action that starts a run for what a commit brought."""
    source = LakeFSPath(place.repository, COMMIT, place.path).uri.rstrip("/")
    body = {
        "idempotency_key": f"{trigger.id}-{COMMIT}",  # the key is unique by flow, not deployment
        "parameters": trigger.parameters | {"overrides": {"data.source": source}},
    }
    return _render(
        "retrain", branch, {PREFECT_VARIABLE: "{}"} if trigger.needs_key else {},
        URL=f"{trigger.api.rstrip('/')}/deployments/{trigger.id}/create_flow_run",
        BODY=json.dumps(body), PATH=place.path,
    )  # fmt: skip


def render_guard(branch: str, guard: Guard) -> str:
    """Return the action that has a merge read before it is done."""
    return _render(
        "guard", branch, {GUARD_VARIABLE: "Bearer {}"} if guard.needs_token else {},
        URL=f"{guard.address.rstrip('/')}{GUARD_PATH}?wait={WAIT_SECONDS}",
        NUM_REQUESTS=LONGEST_CHECK_SECONDS // WAIT_SECONDS,
    )  # fmt: skip


def _render(kind: str, branch: str, header: dict[str, str], **values: str | int) -> str:
    """Fill a template; texts become quoted scalars, so that no value can be anything else.

    A header whose variable the server lacks would keep the hook from running, silently: it is
    there only where a key is needed.
    """
    if not BRANCH.fullmatch(branch):
        raise RequestError(
            where="--branch", message=f'"{branch}" is no name of a branch',
            allowed="letters, digits, _ and -",
        )  # fmt: skip
    lines = [
        f"\n        authorization: {json.dumps(form.format(f'{{{{ ENV.{variable} }}}}'))}"
        for variable, form in header.items()
    ]
    for value in values.values():
        if VARIABLE.search(str(value)):
            raise RequestError(
                message="the configuration holds `{{ ENV.`, which lakeFS would replace",
                hint="deploy the preset, and watch by its --deployment alone",
            )
    template = (find_project() / TEMPLATES / f"{kind}.yaml").read_text(encoding="utf-8")
    quoted = {
        n: json.dumps(v, ensure_ascii=False) if isinstance(v, str) else str(v)
        for n, v in values.items()
    }
    return Template(template).substitute(
        quoted, BRANCH=branch, QUOTED_BRANCH=json.dumps(branch), AUTHORIZATION="".join(lines)
    )


def check_action(name: str, text: str) -> None:
    """Require what lakeFS requires of an action file: an invalid one stops its branch's commits.

    Raises:
        RequestError: It is invalid.
    """
    try:
        values = yaml.safe_load(text)
        hooks = values["hooks"]
        events = values.get("on", values.get(True))  # YAML 1.1 reads `on` as true
        is_valid = (
            re.fullmatch(r"\w[\w\-. ]+", values["name"])
            and {*events} <= {"pre-merge", "post-merge", "post-commit"}
            and all(isinstance(on["branches"], list) for on in events.values())
            and hooks
            and all(re.fullmatch(r"[_a-zA-Z][-_a-zA-Z0-9]{1,255}", hook["id"]) for hook in hooks)
            and all(hook["type"] == "lua" and hook["properties"]["script"] for hook in hooks)
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        is_valid = False
    if not is_valid:
        raise RequestError(
            where=f"{TEMPLATES}/{name}", message="it is no action that lakeFS takes",
            allowed="name, on, and hooks with id, type and properties.script",
        )  # fmt: skip


def _check_reach(option: str, address: str, lakefs: str) -> None:
    """Refuse an address that means another machine to the lakeFS server than to us.

    Raises:
        RequestError: It is no address, or this machine's loopback while lakeFS is elsewhere.
    """
    check_endpoint(address, option)
    if urlsplit(address).username or urlsplit(address).query:
        raise RequestError(
            where=option, message="it holds a user or a query, which everybody could read",
            allowed="http://HOST:PORT/PATH",
            hint=f"keys come from the server's environment: {PREFECT_VARIABLE}, {GUARD_VARIABLE}",
        )  # fmt: skip
    if is_loopback_address(address) and not is_loopback_address(lakefs):
        raise RequestError(
            where=option,
            message=f"the lakeFS server at {lakefs} does not reach {address}: to it that is itself",
            allowed="an address that it reaches, such as http://HOST:PORT",
            hint=f"name it by {option}",
        )
