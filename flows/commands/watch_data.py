"""`hone data watch`: a lakeFS branch whose new data starts a retraining."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from configs.load import check_config, load_config
from flows.embedded_server import is_server_configured
from flows.server_access import KEY, explain_answers
from flows.terminal import print_json, print_text

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

    from tasks.watch import Trigger, Watch

GUARD_TOKEN = "HONE_GUARD_TOKEN"  # noqa: S105 the variable's name
LUA_HTTP = "LAKEFS_ACTIONS_LUA_NET_HTTP_ENABLED=true"


def watch_data(
    *,
    repository: str,
    branch: str,
    preset: str | None,
    deployment: str,
    prefect_url: str | None,
    guard: str | None,
    remove: bool,
    as_json: bool,
) -> int:
    """Put the hooks on a branch, or take them away, and print what became of them.

    Returns:
        0: they are there (or gone), also where they were so already.
    """
    from tasks.watch import Guard, unwatch_branch, watch_branch

    where = f"hone data watch --repository {repository} --branch {branch}"
    if remove:
        watch = unwatch_branch(repository, branch, where)
    else:
        trigger = find_trigger(deployment, preset, prefect_url)
        needs_token = bool(os.environ.get(GUARD_TOKEN))
        guarded = Guard(guard, needs_token) if guard else None
        watch = watch_branch(repository, branch, trigger, guarded, where)
    if as_json:
        print_json(watch.model_dump(mode="json"))
    else:
        show(watch, guard)
    return 0


def find_trigger(deployment: str, preset: str | None, prefect_url: str | None) -> Trigger:
    """Return what a commit starts.

    Args:
        deployment: `FLOW/NAME` of a flow that takes a config.
        preset: What its runs are of; by default what the deployment has.
        prefect_url: Prefect's API as the lakeFS server reaches it; by default as we do.

    Raises:
        RequestError: No Prefect server is configured, or it has no such deployment.
        RunError: It does not answer.
    """
    from tasks.watch import Trigger

    config = load_config(preset) if preset else None
    if not is_server_configured():
        raise RequestError(
            where="PREFECT_API_URL",
            message="no Prefect server is configured, and a hook of lakeFS needs one to ask",
            allowed="the address of its API, such as http://127.0.0.1:4200/api",
            hint="start one with `make up`, or set the address in the environment or in .env",
        )
    from prefect.settings import get_current_settings

    with explain_answers():
        found = asyncio.run(_read_deployment(deployment))
    parameters: dict[str, Any] = {}
    if config is None:
        config = check_config(found.parameters.get("config") or {})
    else:
        parameters["config"] = config.model_dump(mode="json")
    known = get_current_settings().api
    needs_key = bool(known.auth_string or known.key)
    api = prefect_url or str(known.url)
    return Trigger(deployment, str(found.id), api, needs_key, config, parameters)


async def _read_deployment(name: str) -> DeploymentResponse:
    """Return a deployment whose runs can be given data.

    Raises:
        RequestError: There is none, or its flow takes no config.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(name)
        except (ObjectNotFound, ValueError) as err:
            raise RequestError(
                where=f"--deployment {name}",
                message="the Prefect server has no such deployment",
                allowed="FLOW/NAME, as `prefect deployment ls` lists them",
                hint="`make deploy` makes those of prefect.yaml",
            ) from err
    known = set((found.parameter_openapi_schema or {}).get("properties", {}))
    if not known >= {"config", "overrides"}:
        raise RequestError(
            where=f"--deployment {name}",
            message="its flow takes no config and overrides",
            allowed="a deployment of retrain or finetune",
        )
    return found


def show(watch: Watch, guard: str | None) -> None:
    """Print what is watched, for a person."""
    for path in watch.written:
        print_text(f"written  {path}")
    for path in watch.removed:
        print_text(f"removed  {path}")
    if not watch.changed:
        print_text(f"nothing changed: {watch.branch} of {watch.repository} is so already")
    print_text(f"commit   {watch.commit}")
    if not watch.deployment:
        return
    print_text(f"starts   {watch.deployment} on {watch.source}, once for a commit that changes it")
    print_text(f"guarded  by {guard}" if guard else "guarded  by nothing (--guard)")
    print_text("")
    print_text(
        "The lakeFS server cannot be asked for these; the hooks run only where it was started with"
    )
    print_text(f"  {LUA_HTTP}")
    for name in watch.variables:
        print_text(f"  {name}={describe(name)}")


def describe(variable: str) -> str:
    """Return what the value of a variable is, never the value."""
    from tasks.watch import PREFECT_VARIABLE

    if variable == PREFECT_VARIABLE:
        return f'"Basic BASE64", with {KEY} in base64; "Bearer KEY" for Prefect Cloud'
    return f"what the guard has as {GUARD_TOKEN}"
