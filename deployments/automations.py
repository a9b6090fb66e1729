"""`make automations`: silent runs are found, looked at again and ended; crashed ones run again.

Run: python -m deployments.automations
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from deployments.command_line import require_server, run_command, say
from flows.environment import TAG
from flows.server_access import explain_answers

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.automations import AutomationCore, EventTrigger
    from prefect.client.orchestration import PrefectClient

RECOVER = "recover/default"
RUN = "prefect.flow-run"
ENDS = {f"{RUN}.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}

# Two missed heartbeats; what reacts gives the run as much time again before it believes it.
SILENCE = timedelta(seconds=60)
# A pod may wait for a node and its image for 30 min (the job template's pod_watch_timeout_seconds);
# a run that was taken and never began has no heartbeat that could stop.
START = timedelta(minutes=40)
# A flow's engine, its worker and the server may all have something to say about a crash.
AFTER_CRASH = timedelta(seconds=15)


def list_automations(
    deployment_id: UUID,
    silence: timedelta = SILENCE,
    start: timedelta = START,
    after_crash: timedelta = AFTER_CRASH,
) -> list[AutomationCore]:
    """Return the automations; each starts `recover/default` for the run that it is about.

    Each looks at runs with hone's tag alone. All are proactive: they fire when something expected
    did not happen. One that reacts to the event itself fires several times for one crash.

    Args:
        deployment_id: Of `recover/default`.
        silence: How long a running run may send no heartbeat.
        start: How long a run may take from its submission to its start.
        after_crash: How long a crashed run stays so before it is run again.
    """
    from flows.recover import RERUN_TAG

    silent = _expect(f"{RUN}.heartbeat", {f"{RUN}.heartbeat", *ENDS}, silence)
    moved = {f"{RUN}.{name}" for name in ("Running", "Scheduled", "AwaitingRetry", "Late")}
    stuck = _expect(f"{RUN}.Pending", {*moved, *ENDS, f"{RUN}.Pending"}, start)
    taken = {f"{RUN}.{name}" for name in ("Scheduled", "AwaitingRetry", "Pending", "Running")}
    crashed = _expect(f"{RUN}.Crashed", {*taken, f"{RUN}.Crashed"}, after_crash, RERUN_TAG)
    texts = {
        "hone: a run has gone silent": ("No heartbeat: looks again, then Crashed.", silent),
        "hone: a run does not start": ("Submitted and never begun: the same.", stuck),
        "hone: a run has crashed": (f"With the tag {RERUN_TAG}: runs again.", crashed),
    }
    return [
        _make(name, description, trigger, deployment_id)
        for name, (description, trigger) in texts.items()
    ]


def _expect(
    after: str, expect: set[str], within: timedelta, tag: str | None = None
) -> EventTrigger:
    """Return a trigger that fires when nothing of `expect` follows `after` in time."""
    from prefect.automations import EventTrigger, Posture, ResourceSpecification

    # Other projects may share the server.
    tags = [
        ResourceSpecification(
            {"prefect.resource.id": f"prefect.tag.{name}", "prefect.resource.role": "tag"}
        )
        for name in (TAG, tag)
        if name
    ]
    return EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": f"{RUN}.*"}),
        match_related=tags,
        for_each={"prefect.resource.id"},
        after={after},
        expect=expect,
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _make(
    name: str, description: str, trigger: EventTrigger, deployment_id: UUID
) -> AutomationCore:
    from prefect.automations import AutomationCore, RunDeployment

    run: dict[str, Any] = {
        "__prefect_kind": "jinja",
        "template": f"{{{{ event.resource.id | replace('{RUN}.', '') }}}}",
    }
    action = RunDeployment(
        source="selected", deployment_id=deployment_id, parameters={"flow_run_id": run}
    )
    return AutomationCore(
        name=name, description=description, trigger=trigger, actions=[action], enabled=True
    )


async def deploy_automations(**windows: timedelta) -> list[str]:
    """Make the automations, or set those that are there; return their names.

    One that somebody switched off stays off.

    Raises:
        RequestError: `recover/default` is not deployed.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        try:
            deployment = await client.read_deployment_by_name(RECOVER)
        except ObjectNotFound as err:
            raise RequestError(
                message="the deployment that the automations start is missing",
                where=RECOVER,
                hint="run `make pools` and `prefect --no-prompt deploy --all` first",
            ) from err
        wanted = list_automations(deployment.id, **windows)
        for automation in wanted:
            await set_automation(client, automation)
    return [automation.name for automation in wanted]


async def set_automation(client: PrefectClient, automation: AutomationCore) -> None:
    """Make an automation, or set the one of its name; one that somebody switched off stays off."""
    found = await client.read_automations_by_name(automation.name)
    if not found:
        await client.create_automation(automation)
        return
    first, *others = found
    for other in others:
        await client.delete_automation(other.id)
    kept = automation.model_copy(update={"enabled": first.enabled})
    await client.update_automation(first.id, kept)


def main() -> int:
    """Make the automations; return the exit code."""

    def command() -> None:
        require_server()
        with explain_answers():
            names = asyncio.run(deploy_automations())
        for name in names:
            say(f"automation {name!r}")

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
