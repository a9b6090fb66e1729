"""New data starts a run: by lakeFS's hooks, end to end on the real server, and by an event."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
import yaml

from deployments.automations import DATA_AUTOMATION
from deployments.merge_guard import serve_guard
from tests.cluster import Cluster
from tests.flows.running import PLACES, THINGS, make_row, run_hone, wait_for, write_rows
from tests.lakefs_server.fixture import LakeFSServer

if TYPE_CHECKING:
    from lakefs.repository import Repository

ROWS = [make_row(f"Put {thing} in the {place}.") for place in PLACES for thing in THINGS]
PRESET = """\
extends: tiny
data: {{source: 'lakefs://{repository}/main/rows', pattern: null, group_by: null}}
training: {{max_steps: 3, num_sample_generations: 1}}
evaluation: {{max_new_tokens: 8}}
publish: {{name: {repository}, num_probes: 4}}
"""


def list_runs(cluster: Cluster, repository: str) -> list[dict[str, Any]]:
    """Return the runs of a repository's data, the oldest first."""
    rows = cluster.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}})
    mine = [row for row in rows if repository in json.dumps(row["parameters"])]
    return sorted(mine, key=lambda row: str(row["created"]))


def list_hook_runs(lakefs: LakeFSServer, repository: str) -> list[Any]:
    found = lakefs.open_client().sdk_client.actions_api.list_repository_runs(repository)
    return list(found.results)


@pytest.fixture
def real(lakefs: LakeFSServer) -> LakeFSServer:
    if lakefs.kind != "real":
        pytest.skip("needs the real server, which runs hooks: no lakefs on the PATH")
    return lakefs


@pytest.fixture
def preset(lakefs_repository: Repository, tmp_path: Path) -> Path:
    """A preset for the rows of the repository, which main has."""
    write_rows(tmp_path / "data" / "train.jsonl", ROWS[40:])
    write_rows(tmp_path / "data" / "eval" / "test.jsonl", ROWS[:40])
    path = tmp_path / "preset.yaml"
    path.write_text(PRESET.format(repository=lakefs_repository.id))
    return path


@pytest.fixture
def drained(cluster: Cluster, lakefs_repository: Repository) -> Iterator[None]:
    """No run of the test is left for the next one's worker."""
    yield
    for run in list_runs(cluster, lakefs_repository.id):
        cluster.ask(f"/flow_runs/{run['id']}", method="DELETE")


def put_rows(repository: Repository, branch: str, content: str, path: str) -> str:
    """Commit a file to a branch; return the commit."""
    side = repository.branch(branch)
    side.object(path).upload(content.encode())
    return str(side.commit(f"add {path}").id)


@pytest.mark.slow
def test_pushed_and_merged_data_starts_one_run_that_comes_to_a_verdict(
    real: LakeFSServer, cluster: Cluster, lakefs_repository: Repository, preset: Path,
    home: Path, tmp_path: Path, drained: None,
) -> None:  # fmt: skip
    name = lakefs_repository.id
    variables = real.environment | {"PREFECT_API_URL": cluster.url}
    place = ("--repository", name, "--branch", "main")

    def call(*arguments: str) -> dict[str, Any]:
        outcome = run_hone(home, "data", *arguments, *place, "--json", **variables)
        assert outcome.code == 0, outcome.stderr
        return outcome.result

    call("push", str(preset.parent / "data"), "--path", "rows", "--preset", str(preset))
    with serve_guard(str(preset)) as server:
        guard = f"http://127.0.0.1:{server.server_address[1]}"
        watch = ("watch", "--preset", str(preset), "--guard", guard)
        watched = call(*watch)
        assert (watched["changed"], len(watched["written"])) == (True, 2)
        assert not call(*watch)["changed"]
        assert list_runs(cluster, name) == []  # the action files are no data

        # Broken rows: the merge is refused, and the answer is the ledger.
        lakefs_repository.branch("broken").create("main")
        put_rows(lakefs_repository, "broken", '{"messages": 1}\n', "rows/broken.jsonl")
        before = lakefs_repository.branch("main").head.id
        with pytest.raises(Exception, match="1 of 141 rows are invalid") as refused:
            lakefs_repository.branch("broken").merge_into("main")
        assert "broken.jsonl:1" in str(refused.value)
        assert lakefs_repository.branch("main").head.id == before
        # What was read is the merge itself, which the server has made before it asks.
        [answer] = [found.result() for found in server.guard._answers.values()]
        parents = lakefs_repository.commit(answer.commit).get_commit().parents
        assert parents == [before, lakefs_repository.branch("broken").head.id]

        # What lies elsewhere starts nothing; new rows start one run, of the merge's own commit.
        lakefs_repository.branch("more").create("main")
        put_rows(lakefs_repository, "more", "about\n", "notes/README.txt")
        lakefs_repository.branch("more").merge_into("main")
        write_rows(tmp_path / "more" / "more.jsonl", [make_row("Put the spoon in box 7.")])
        pushed = call(
            "push", str(tmp_path / "more"), "--path", "rows", "--preset", str(preset)
        )["commit"]  # fmt: skip
    wait_for(lambda: bool(list_runs(cluster, name)), "the run", seconds=60)
    action = lakefs_repository.ref("main").object("_lakefs_actions/hone-retrain-main.yaml")
    arguments = yaml.safe_load(action.reader().read())["hooks"][0]["properties"]["args"]
    body = arguments["body"].replace("@COMMIT@", pushed).encode()
    request = Request(arguments["url"], body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=60) as answer:  # noqa: S310 - delivered once more
        again = json.loads(answer.read())
    time.sleep(3)
    [run] = list_runs(cluster, name)
    assert again["id"] == run["id"]
    source = f"lakefs://{name}/{pushed}/rows"
    assert run["parameters"]["overrides"] == {"data.source": source}

    with cluster.work("gpu", "trigger", **real.environment):
        wait_for(
            lambda: cluster.ask(f"/flow_runs/{run['id']}")["state"]["type"]
            in {"COMPLETED", "FAILED", "CRASHED"}, "the verdict",
        )  # fmt: skip
    assert cluster.ask(f"/flow_runs/{run['id']}")["state"]["type"] == "COMPLETED"
    attempt = json.loads((cluster.home / "retraining" / f"{name}.json").read_text())
    assert attempt["verdict"] in {"better", "not_better", "inconclusive"}
    records = [
        json.loads(path.read_text())
        for path in (cluster.home / "cache" / "version").glob("*/manifest.json")
    ]
    assert pushed in json.dumps(records)


@pytest.mark.slow
def test_a_commit_on_the_branch_itself_starts_a_run_too_and_removed_hooks_start_none(
    real: LakeFSServer, cluster: Cluster, lakefs_repository: Repository, preset: Path,
    home: Path, drained: None,
) -> None:  # fmt: skip
    name = lakefs_repository.id
    variables = real.environment | {"PREFECT_API_URL": cluster.url}
    watch = ("data", "watch", "--repository", name, "--branch", "main", "--json")
    content = (preset.parent / "data" / "train.jsonl").read_text()
    put_rows(lakefs_repository, "main", content, "rows/train.jsonl")
    outcome = run_hone(home, *watch, "--preset", str(preset), **variables)
    assert outcome.code == 0, outcome.stderr
    commit = put_rows(lakefs_repository, "main", content, "rows/more.jsonl")
    wait_for(lambda: bool(list_runs(cluster, name)), "the run", seconds=60)
    [run] = list_runs(cluster, name)
    assert run["parameters"]["overrides"]["data.source"] == f"lakefs://{name}/{commit}/rows"
    assert run_hone(home, *watch, "--remove", **variables).code == 0
    put_rows(lakefs_repository, "main", content, "rows/third.jsonl")
    time.sleep(5)
    assert len(list_runs(cluster, name)) == 1
    # Every hook that ran ended well: what it sent was taken.
    assert [row.status for row in list_hook_runs(real, name) if row.status != "completed"] == []


@pytest.mark.slow
def test_a_guard_that_does_not_answer_never_gets_onto_the_branch(
    real: LakeFSServer, cluster: Cluster, lakefs_repository: Repository, preset: Path, home: Path
) -> None:
    place = ("--repository", lakefs_repository.id, "--branch", "main")
    variables = real.environment | {"PREFECT_API_URL": cluster.url}
    watch = ("data", "watch", *place, "--preset", str(preset), "--guard", "http://127.0.0.1:9")
    outcome = run_hone(home, *watch, "--json", **variables)
    assert outcome.code == 3, outcome.stderr
    error = outcome.result["error"]
    assert "a hook refuses the action files" in error["message"]
    assert "see that the guard answers" in error["hint"]
    assert list(lakefs_repository.ref("main").objects()) == []


@pytest.mark.slow
def test_what_prefect_does_not_have_ends_with_3(
    cluster: Cluster, lakefs_repository: Repository, lakefs: LakeFSServer, preset: Path, home: Path
) -> None:
    place = ("--repository", lakefs_repository.id, "--branch", "main")
    variables = lakefs.environment | {"PREFECT_API_URL": cluster.url}
    for deployment, said in (
        ("retrain/nope", "has no such deployment"),
        ("nope", "has no such deployment"),
        ("recover/default", "takes no config and overrides"),
        ("retrain/nightly", "its runs read"),  # tiny's own data: no branch
    ):
        command = ("data", "watch", *place, "--deployment", deployment, "--json")
        outcome = run_hone(home, *command, **variables)
        assert (outcome.code, said in outcome.stdout) == (3, True), outcome.stdout
    command = ("data", "watch", *place, "--preset", str(preset), "--json")
    outcome = run_hone(home, *command, **lakefs.environment)
    assert outcome.code == 3
    assert outcome.result["error"]["where"] == "PREFECT_API_URL"
    assert list(lakefs_repository.ref("main").objects()) == []


@pytest.mark.slow
def test_an_event_starts_exactly_one_run_once_the_automation_is_on(cluster: Cluster) -> None:
    deployed = cluster.call_python("-m", "deployments.automations")
    assert deployed.returncode == 0, deployed.stderr
    rows = cluster.ask("/automations/filter", {})
    [automation] = [row for row in rows if row["name"] == DATA_AUTOMATION]
    assert not automation["enabled"]
    name = f"hone-event-{uuid4().hex[:8]}"
    source = f"lakefs://{name}/c0ffee/rows"

    def emit() -> None:
        emitted = cluster.call(
            "event", "emit", "hone.data.changed", "--resource-id", f"hone.data.{name}",
            "--payload", json.dumps({"source": source}),
        )  # fmt: skip
        assert emitted.returncode == 0, emitted.stdout + emitted.stderr

    emit()
    time.sleep(5)
    assert list_runs(cluster, name) == []
    cluster.ask(f"/automations/{automation['id']}", {"enabled": True}, method="PATCH")
    time.sleep(5)  # the triggers are loaded anew
    emit()
    wait_for(lambda: bool(list_runs(cluster, name)), "the run", seconds=60)
    time.sleep(5)
    [run] = list_runs(cluster, name)
    cluster.ask(f"/automations/{automation['id']}", {"enabled": False}, method="PATCH")
    cluster.ask(f"/flow_runs/{run['id']}", method="DELETE")
    assert run["parameters"]["overrides"] == {"data.source": source}
