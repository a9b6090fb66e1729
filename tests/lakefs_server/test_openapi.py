"""The stand-in against lakeFS's own description of its API.

`described.json` holds what the description says of the operations that the stand-in has: their
names, the statuses of success, and the required fields of what they answer. Where
LAKEFS_OPENAPI names the description itself (lakeFS publishes it as `swagger.yml`), that file is
read too, and must say the same.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lakefs_server.fixture import ACCESS_KEY, SECRET_KEY, describe_stand_in
from tests.lakefs_server.routes import API, CONTENT, ROUTES, UPLOAD
from tests.lakefs_server.server import StandIn

DESCRIBED = json.loads((Path(__file__).parent / "described.json").read_text())
METHODS = ("get", "head", "post", "put", "delete")
BYTES = {("GET", CONTENT), ("HEAD", CONTENT), ("POST", UPLOAD)}


def read_description(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a description says of the stand-in's operations, as described.json has it."""
    document = yaml.safe_load(path.read_text())
    found = {}
    for template, item in document["paths"].items():
        for method in METHODS:
            if (method.upper(), template) in {*ROUTES, *BYTES}:
                found[f"{method.upper()} {template}"] = describe(document, item[method])
    return dict(sorted(found.items()))


def describe(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    answers = {str(status): answer for status, answer in operation["responses"].items()}
    [success] = [status for status in answers if status.startswith("2") and status != "206"]
    content = answers[success].get("content", {}).get("application/json", {}).get("schema", {})
    return {
        "operation": operation["operationId"],
        "success": int(success),
        "required": list_required(document, content),
    }


def list_required(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Return the required fields of a schema, those of a list's items as `results[].NAME`."""
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    required = sorted(schema.get("required", []))
    properties = schema.get("properties", {})
    if "pagination" in properties:
        inner = list_required(document, properties["pagination"])
        required += [f"pagination.{name}" for name in inner]
        rows = list_required(document, properties["results"]["items"])
        required += [f"results[].{name}" for name in rows]
    return required


def find_value(value: Any, name: str) -> Any:
    """Return the field that a name of described.json points to; fails where it is missing."""
    for part in name.split("."):
        value = value[part.removesuffix("[]")]
        if part.endswith("[]"):
            assert value, f"{name}: no rows to look at"
            value = value[0]
    return value


def test_every_operation_of_the_stand_in_is_described() -> None:
    described = {tuple(name.split(" ")) for name in DESCRIBED}
    assert described == {*ROUTES, *BYTES}


@pytest.mark.skipif(not os.environ.get("LAKEFS_OPENAPI"), reason="LAKEFS_OPENAPI names no file")
def test_the_excerpt_says_what_the_description_says() -> None:
    assert read_description(Path(os.environ["LAKEFS_OPENAPI"])) == DESCRIBED


IN_A_REPOSITORY = "/repositories/{repository}"
PARTS = "/branches/{branch}/staging/pmpu"
UPLOAD_1, AT_1 = "/branches/main/staging/pmpu/upload-1", {"physical_address": "local://x/whole"}
# What is called: method, template, path, body; all below a repository that has one object, "a".
CALLS: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "", "", None),
    ("POST", "/branches", "/branches", {"name": "side", "source": "main"}),
    ("GET", "/branches", "/branches", None),
    ("GET", "/branches/{branch}", "/branches/side", None),
    ("POST", "/branches/{branch}/objects", "/branches/side/objects?path=b", b"2"),
    ("GET", "/branches/{branch}/diff", "/branches/side/diff", None),
    ("POST", "/branches/{branch}/commits", "/branches/side/commits", {"message": "m"}),
    ("GET", "/commits/{commitId}", "/commits/side", None),
    ("GET", "/refs/{ref}/commits", "/refs/side/commits", None),
    ("GET", "/refs/{leftRef}/diff/{rightRef}", "/refs/main/diff/side", None),
    ("GET", "/refs/{sourceRef}/merge/{destinationBranch}", "/refs/side/merge/main", None),
    (
        "POST",
        "/refs/{sourceRef}/merge/{destinationBranch}",
        "/refs/side/merge/main",
        {"message": "m"},
    ),
    ("GET", "/refs/{ref}/objects", "/refs/main/objects?path=b", None),
    ("HEAD", "/refs/{ref}/objects", "/refs/main/objects?path=b", None),
    ("GET", "/refs/{ref}/objects/ls", "/refs/main/objects/ls", None),
    ("GET", "/refs/{ref}/objects/stat", "/refs/main/objects/stat?path=b", None),
    ("POST", "/tags", "/tags", {"id": "v1", "ref": "main"}),
    ("GET", "/tags", "/tags", None),
    ("GET", "/tags/{tag}", "/tags/v1", None),
    ("DELETE", "/tags/{tag}", "/tags/v1", None),
    ("GET", "/branches/{branch}/staging/backing", "/branches/main/staging/backing?path=c", None),
    (
        "PUT",
        "/branches/{branch}/staging/backing",
        "/branches/main/staging/backing?path=c",
        {"staging": {"physical_address": "local://x/y"}, "checksum": "0", "size_bytes": 1},
    ),
    ("POST", PARTS, "/branches/main/staging/pmpu?path=big&parts=2", None),
    ("PUT", f"{PARTS}/{{uploadId}}/parts/{{partNumber}}", f"{UPLOAD_1}/parts/3?path=big", AT_1),
    ("PUT", f"{PARTS}/{{uploadId}}", f"{UPLOAD_1}?path=big", AT_1 | {"parts": []}),
    ("DELETE", f"{PARTS}/{{uploadId}}", f"{UPLOAD_1}-again?path=big", AT_1),
    ("DELETE", "/branches/{branch}/objects", "/branches/main/objects?path=b", None),
    (
        "POST",
        "/branches/{branch}/objects/delete",
        "/branches/main/objects/delete",
        {"paths": ["c"]},
    ),
    ("PUT", "/branches/{branch}", "/branches/main", {"type": "reset"}),
    ("DELETE", "/branches/{branch}", "/branches/side", None),
    ("DELETE", "", "", None),
)
OTHER_CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/config", None),
    ("POST", "/repositories", {"name": "other", "storage_namespace": "local://other"}),
    ("GET", "/repositories", None),
)


def call(server: StandIn, method: str, path: str, body: Any) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    request = urllib.request.Request(  # noqa: S310 our own server
        f"{server.endpoint}{API}{path}", content, {"Content-Type": kind},
        method=method,
    )  # fmt: skip
    with _open(request) as answer:
        text = answer.read()
        is_json = "json" in answer.headers["Content-Type"] and text
        return answer.status, json.loads(text) if is_json else None


def _open(request: urllib.request.Request) -> Any:
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    passwords.add_password(None, request.full_url, ACCESS_KEY, SECRET_KEY, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords)).open(request)


def test_every_operation_answers_as_described(stand_in: StandIn) -> None:
    repository = describe_stand_in(stand_in).create_repository()
    stand_in.state.objects.takes_parts = True
    stand_in.state.objects.uploads |= {"upload-1": "local://x/whole"}
    stand_in.state.objects.uploads |= {"upload-1-again": "local://x/whole"}
    repository.branch("main").object("a").upload(b"1")
    repository.branch("main").commit("first")
    calls = [(method, template, template, body) for method, template, body in OTHER_CALLS]
    calls += [
        (method, IN_A_REPOSITORY + template, f"/repositories/{repository.id}{path}", body)
        for method, template, path, body in CALLS
    ]
    for method, template, path, body in calls:
        described = DESCRIBED[f"{method} {template}"]
        status, value = call(stand_in, method, path, body)
        assert status == described["success"], (method, template)
        for field in described["required"]:
            find_value(value, field)
    assert {f"{method} {template}" for method, template, *_ in calls} == set(DESCRIBED)
