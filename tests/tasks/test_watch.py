from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from configs.errors import RequestError
from configs.load import load_config
from configs.schema import DataConfig
from tasks.push import push_folder
from tasks.version import pin_inputs
from tasks.watch import Guard, Trigger, check_action, unwatch_branch, watch_branch
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository

ID = "3f2b8d6e-0000-4000-8000-000000000000"
API = "http://127.0.0.1:4200/api"
RETRAIN, GUARD = "_lakefs_actions/hone-retrain-main.yaml", "_lakefs_actions/hone-guard-main.yaml"


def make_trigger(source: str, **values: Any) -> Trigger:
    config = load_config("tiny", [f"data.source={source}"])
    return replace(Trigger("retrain/nightly", ID, API, False, config, {}), **values)


@pytest.fixture
def trigger(home: Path, lakefs_repository: Repository, tmp_path: Path) -> Trigger:
    """A trigger for the rows that are on main."""
    write_rows(tmp_path / "data" / "train.jsonl", [make_row(f"Put {n} away.") for n in range(5)])
    push_folder(tmp_path / "data", repository=lakefs_repository.id, branch="main", path="rows")
    return make_trigger(f"lakefs://{lakefs_repository.id}/main/rows")


def read_action(repository: Repository, path: str) -> dict[str, Any]:
    content = repository.ref("main").object(path).reader().read()
    values: dict[str, Any] = yaml.safe_load(content)
    return values


def list_actions(repository: Repository) -> list[str]:
    return [found.path for found in repository.ref("main").objects(prefix="_lakefs_actions/")]


def watch(repository: Repository, trigger: Trigger, guard: Guard | None = None) -> Any:
    return watch_branch(repository.id, "main", trigger, guard, "hone data watch")


def test_the_action_starts_a_run_of_the_very_commit(
    lakefs_repository: Repository, trigger: Trigger
) -> None:
    result = watch(lakefs_repository, trigger)
    assert (result.written, result.removed, result.changed) == ((RETRAIN,), (), True)
    assert result.commit == lakefs_repository.branch("main").head.id
    action = read_action(lakefs_repository, RETRAIN)
    assert action[True] == {  # YAML 1.1 reads `on` as true; lakeFS does not
        "post-merge": {"branches": ["main"]}, "post-commit": {"branches": ["main"]},
    }  # fmt: skip
    arguments = action["hooks"][0]["properties"]["args"]
    assert arguments["url"] == f"{API}/deployments/{ID}/create_flow_run"
    assert arguments["path"] == "rows"
    assert "authorization" not in arguments
    body = json.loads(arguments["body"].replace("@COMMIT@", "c0ffee"))
    source = f"lakefs://{lakefs_repository.id}/c0ffee/rows"
    assert body == {
        "idempotency_key": f"{ID}-c0ffee", "parameters": {"overrides": {"data.source": source}},
    }  # fmt: skip


def test_a_preset_goes_along_whole_whatever_stands_in_it(
    lakefs_repository: Repository, trigger: Trigger
) -> None:
    config = {"x": 'a "quoted" ü: \\n {{ text }} $BODY', "none": None, "empty": [], "rate": 1e-4}
    watch(lakefs_repository, replace(trigger, parameters={"config": config}))
    body = read_action(lakefs_repository, RETRAIN)["hooks"][0]["properties"]["args"]["body"]
    assert json.loads(body)["parameters"]["config"] == config
    with pytest.raises(RequestError, match="lakeFS would replace"):
        watch(lakefs_repository, replace(trigger, parameters={"config": "{{ ENV.HOME }}"}))


def test_again_nothing_changes_and_removed_all_is_as_before(
    lakefs_repository: Repository, trigger: Trigger
) -> None:
    main = lakefs_repository.branch("main")
    main.object("_lakefs_actions/mine.yaml").upload(b"name: mine\non: {pre-commit: }\nhooks: []\n")
    main.commit("my own action")
    first = watch(lakefs_repository, trigger)
    again = watch(lakefs_repository, trigger)
    assert (again.changed, again.commit, again.written) == (False, first.commit, ())
    moved = watch(lakefs_repository, replace(trigger, api="http://127.0.0.1:4300/api"))
    assert moved.written == (RETRAIN,)
    gone = unwatch_branch(lakefs_repository.id, "main", "hone data watch")
    assert (gone.removed, gone.changed) == ((RETRAIN,), True)
    assert list_actions(lakefs_repository) == ["_lakefs_actions/mine.yaml"]
    assert not unwatch_branch(lakefs_repository.id, "main", "hone data watch").changed
    assert [b.id for b in lakefs_repository.branches(show_hidden=True)] == ["main"]


def test_keys_are_named_and_never_written(lakefs_repository: Repository, trigger: Trigger) -> None:
    keyed = replace(trigger, needs_key=True)
    result = watch(lakefs_repository, keyed)
    assert result.variables == ("LAKEFSACTION_PREFECT_AUTHORIZATION",)
    arguments = read_action(lakefs_repository, RETRAIN)["hooks"][0]["properties"]["args"]
    assert arguments["authorization"] == "{{ ENV.LAKEFSACTION_PREFECT_AUTHORIZATION }}"
    with pytest.raises(RequestError, match="which everybody could read") as refused:
        watch(lakefs_repository, replace(trigger, api="http://user:geheim@127.0.0.1:4200/api"))
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("path", ["", "/rows"])
def test_the_data_stays_what_it_was(
    home: Path, lakefs_repository: Repository, trigger: Trigger, path: str
) -> None:
    data = DataConfig(source=f"lakefs://{lakefs_repository.id}/main{path}")
    model = load_config("tiny").model
    before = pin_inputs(data, model)
    watch(lakefs_repository, trigger)
    main = lakefs_repository.branch("main")
    action = {"name": "like rows", "on": {"pre-commit": None}, "hooks": []}
    main.object("_lakefs_actions/rows.json").upload(json.dumps(action).encode())
    main.commit("an action that looks like a file of rows")
    after = pin_inputs(data, model)
    assert (after.digest, after.num_files) == (before.digest, before.num_files)
    assert after.commit != before.commit


@pytest.mark.parametrize(
    ("source", "found"),
    [("data/flowroll", "its runs read data/flowroll"), ("lakefs://other/main/rows", "not the")],
)
def test_a_deployment_that_reads_something_else_is_refused(
    lakefs_repository: Repository, trigger: Trigger, source: str, found: str
) -> None:
    with pytest.raises(RequestError, match=found) as refused:
        watch(lakefs_repository, make_trigger(source))
    assert refused.value.where == "retrain/nightly: data.source"
    assert list_actions(lakefs_repository) == []


def test_what_is_missing_is_one_clear_error(
    lakefs_repository: Repository, trigger: Trigger, home: Path
) -> None:
    branch = make_trigger(f"lakefs://{lakefs_repository.id}/nope/rows")
    with pytest.raises(RequestError, match="nope"):
        watch_branch(lakefs_repository.id, "nope", branch, None, "hone data watch")
    missing = make_trigger("lakefs://hone-not-there/main/rows")
    with pytest.raises(RequestError, match="hone-not-there"):
        watch_branch("hone-not-there", "main", missing, None, "hone data watch")


def test_an_address_that_a_server_elsewhere_does_not_reach_is_refused(
    home: Path, trigger: Trigger, lakefs_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://lakefs.invalid:8000")
    with pytest.raises(RequestError, match=f"does not reach {API}") as refused:
        watch(lakefs_repository, trigger)
    assert refused.value.where == "--prefect-url"
    elsewhere = replace(trigger, api="http://prefect.invalid:4200/api")
    with pytest.raises(RequestError) as refused:
        watch(lakefs_repository, elsewhere, Guard("http://localhost:8010", False))
    assert refused.value.where == "--guard"


HOOK = "{id: retrain, type: lua, properties: {script: x}}"


@pytest.mark.parametrize(
    "text",
    [
        "name: [",
        "name: hone\n",
        "- name",
        f"name: '!'\non: {{pre-merge: {{branches: [main]}}}}\nhooks: [{HOOK}]",
        f"name: hone\non: {{pre-dinner: {{branches: [main]}}}}\nhooks: [{HOOK}]",
        "name: hone\non: {pre-merge: {branches: [main]}}\nhooks: [{id: ab, type: lua}]",
    ],
)
def test_an_invalid_action_is_refused_before_it_is_pushed(text: str) -> None:
    with pytest.raises(RequestError, match="no action that lakeFS takes"):
        check_action("retrain.yaml", text)


def test_the_branch_in_the_file_is_the_one_that_is_watched(
    lakefs_repository: Repository, trigger: Trigger
) -> None:
    lakefs_repository.branch("next-2").create("main")
    other = make_trigger(f"lakefs://{lakefs_repository.id}/next-2/rows")
    result = watch_branch(lakefs_repository.id, "next-2", other, None, "hone data watch")
    assert result.written == ("_lakefs_actions/hone-retrain-next-2.yaml",)
    content = lakefs_repository.ref("next-2").object(result.written[0]).reader().read()
    assert yaml.safe_load(content)[True]["post-merge"] == {"branches": ["next-2"]}
