"""`make automations`: silent runs are looked at again and ended, crashed ones run again; events.

Run: python -m deployments.automations [--on-drift DEPLOYMENT]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
    from prefect.client.schemas.responses import DeploymentResponse

RECOVER = "recover/default"
RETRAIN = "retrain/nightly"
DATA_CHANGED = "hone.data.changed"
DATA_AUTOMATION = "hone: data has changed"
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


def answer_drift(deployment: DeploymentResponse) -> AutomationCore:
    """Return the automation that starts a retraining when the model that it trains has drifted.

    Args:
        deployment: Of the flow `retrain`; its form says which model.

    Raises:
        RequestError: It trains no model that has a name.
    """
    from prefect.automations import (
        AutomationCore,
        EventTrigger,
        Posture,
        ResourceSpecification,
        RunDeployment,
    )

    values = deployment.parameters
    name = (values.get("overrides") or {}).get("publish.name") or (
        values.get("config", {}).get("publish", {}).get("name")
    )
    if not name:
        raise RequestError(
            where=f"--on-drift {deployment.name}",
            message="its form names no model",
            allowed="a deployment of the flow retrain, such as retrain/nightly",
        )
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": f"hone.model.{name}"}),
        for_each={"prefect.resource.id"},
        expect={"hone.drifted"},
        posture=Posture.Reactive,
        threshold=1,
    )
    return AutomationCore(
        name=f"hone: {name} has drifted",
        description=f"Starts retrain/{deployment.name}, which trains when its data has changed.",
        trigger=trigger,
        actions=[RunDeployment(source="selected", deployment_id=deployment.id)],
        enabled=True,
    )


def make_data_automation(deployment_id: UUID) -> AutomationCore:
    """Return the automation that retrains on `hone.data.changed`; it is made switched off.

    It is for those whose lakeFS has no lua hooks. An event has no key as a hook's request has: each
    one starts a run, which then finds whether the data is new.

    Args:
        deployment_id: Of `retrain/nightly`.
    """
    from prefect.automations import (
        AutomationCore,
        EventTrigger,
        Posture,
        ResourceSpecification,
        RunDeployment,
    )

    source = "{% if event.payload.source %}{{ {'data.source': event.payload.source} | tojson }}"
    overrides = {
        "__prefect_kind": "json",
        "value": {"__prefect_kind": "jinja", "template": f"{source}{{% else %}}null{{% endif %}}"},
    }
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": "hone.data.*"}),
        for_each={"prefect.resource.id"},
        expect={DATA_CHANGED},
        posture=Posture.Reactive,
        threshold=1,
    )
    action = RunDeployment(
        source="selected", deployment_id=deployment_id, parameters={"overrides": overrides}
    )
    return AutomationCore(
        name=DATA_AUTOMATION,
        description=f"On {DATA_CHANGED}: {RETRAIN}, of payload.source where the event has one.",
        trigger=trigger,
        actions=[action],
        enabled=False,
    )


async def deploy_automations(on_drift: str | None = None, **windows: timedelta) -> list[str]:
    """Make the automations, or set those that are there; return their names.

    One that somebody switched off stays off.

    Args:
        on_drift: The deployment to start when its model has drifted; None for none.
        windows: See `list_automations`.

    Raises:
        RequestError: `recover/default`, or the one to start, is not deployed or cannot be that.
    """
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployment = await _find_deployment(client, RECOVER)
        wanted = list_automations(deployment.id, **windows)
        with contextlib.suppress(RequestError):  # people rename it, or do without
            wanted.append(make_data_automation((await _find_deployment(client, RETRAIN)).id))
        if on_drift:
            wanted.append(answer_drift(await _find_deployment(client, on_drift)))
        for automation in wanted:
            await set_automation(client, automation)
    return [automation.name for automation in wanted]


async def _find_deployment(client: PrefectClient, name: str) -> DeploymentResponse:
    from prefect.exceptions import ObjectNotFound

    try:
        return await client.read_deployment_by_name(name)
    except (ObjectNotFound, ValueError) as err:
        raise RequestError(
            message="the deployment that the automations start is missing",
            where=name,
            allowed="FLOW/NAME; see `prefect deployment ls`",
            hint="run `make pools` and `prefect --no-prompt deploy --all` first",
        ) from err


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
    parser = argparse.ArgumentParser(prog="make automations", description=__doc__)
    parser.add_argument(
        "--on-drift",
        metavar="DEPLOYMENT",
        help="start this deployment of the flow retrain when its model has drifted",
    )
    arguments = parser.parse_args()

    def command() -> None:
        require_server()
        with explain_answers():
            names = asyncio.run(deploy_automations(arguments.on_drift))
        for name in names:
            say(f"automation {name!r}")

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
