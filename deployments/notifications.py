"""`make notifications`: tell people what is published, declined, waiting, drifted, or broken.

Run: python -m deployments.notifications
Reads HONE_NOTIFY_SLACK, HONE_NOTIFY_WEBHOOK, HONE_NOTIFY_EMAIL and HONE_NOTIFY_BLOCKS.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from deployments.automations import set_automation
from deployments.command_line import require_server, run_command, say
from flows.environment import TAG
from flows.server_access import explain_answers

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.automations import AutomationCore
    from prefect.blocks.core import Block
    from prefect.client.orchestration import PrefectClient

SLACK, WEBHOOK = "HONE_NOTIFY_SLACK", "HONE_NOTIFY_WEBHOOK"
EMAIL, SENDER, SENDGRID = "HONE_NOTIFY_EMAIL", "HONE_NOTIFY_EMAIL_FROM", "SENDGRID_API_KEY"
BLOCKS = "HONE_NOTIFY_BLOCKS"
RUN = "prefect.flow-run"

FACTS = """\
{{ event.payload.reason }}
verdict {{ event.payload.verdict }}, look {{ event.payload.look }}
decision {{ event.payload.decision[:12] }}
run {{ event.payload.run }}
{{ event.payload.link }}"""
DRIFT_FACTS = """\
{{ event.payload.reason }}
{{ event.payload.rows }} fresh rows of {{ event.payload.source }}
{{ event.payload.link }}"""
MODEL = "{{ event.payload.model }}"
TEXTS = {
    "published": (f"hone: {MODEL} version {{{{ event.payload.version }}}} is published", FACTS),
    "declined": (f"hone: {MODEL} is not published: {{{{ event.payload.verdict }}}}", FACTS),
    "waiting": (
        f"hone: {MODEL} waits for your approval",
        FACTS + "\nhone publish {{ event.payload.run }} --approve REASON "
        "--decision {{ event.payload.decision[:12] }}",
    ),
    "drifted": (
        f"hone: {MODEL} version {{{{ event.payload.version }}}} has drifted",
        DRIFT_FACTS,
    ),
}
FAILED = (
    "hone: {{ flow.name }} run {{ flow_run.name }} has ended as {{ flow_run.state.name }}",
    "{{ flow_run|ui_url }}",
)


def make_blocks(environment: Mapping[str, str]) -> dict[str, Block]:
    """Return the notification blocks that the environment asks for, by name.

    Raises:
        RequestError: A variable that goes with another is missing.
    """
    from prefect.blocks.notifications import (
        CustomWebhookNotificationBlock,
        SendgridEmail,
        SlackWebhook,
    )

    blocks: dict[str, Block] = {}
    if url := environment.get(SLACK):
        blocks["hone-slack"] = SlackWebhook(url=url)
    if url := environment.get(WEBHOOK):
        # The address may hold a token: as a secret of the block it is shown to nobody.
        blocks["hone-webhook"] = CustomWebhookNotificationBlock(
            name="hone",
            url="{{url}}",
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
            secrets={"url": url},
        )
    if addresses := environment.get(EMAIL):
        missing = [name for name in (SENDER, SENDGRID) if not environment.get(name)]
        if missing:
            raise RequestError(
                where=EMAIL, message=f"it needs {' and '.join(missing)}, which is not set"
            )
        blocks["hone-email"] = SendgridEmail(
            api_key=environment[SENDGRID],
            sender_email=environment[SENDER],
            to_emails=[address.strip() for address in addresses.split(",")],
        )
    return blocks


def list_notifications(block_ids: Mapping[str, UUID]) -> list[AutomationCore]:
    """Return one automation for each thing to tell, which tells it by every block.

    Args:
        block_ids: Ids of the notification blocks by name.
    """
    from prefect.automations import EventTrigger, Posture, ResourceSpecification

    model = ResourceSpecification({"prefect.resource.id": "hone.model.*"})
    run = ResourceSpecification({"prefect.resource.id": f"{RUN}.*"})
    tagged = ResourceSpecification(
        {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
    )
    broken = {f"{RUN}.{state}" for state in ("Failed", "Crashed", "TimedOut")}
    told = {
        name: EventTrigger(match=model, expect={f"hone.{name}"}, posture=Posture.Reactive,
                           threshold=1, for_each={"prefect.resource.id"})
        for name in TEXTS
    } | {
        "failed": EventTrigger(match=run, match_related=tagged, expect=broken, threshold=1,
                               posture=Posture.Reactive, for_each={"prefect.resource.id"})
    }  # fmt: skip
    return [
        _make(name, trigger, *(TEXTS | {"failed": FAILED})[name], block_ids)
        for name, trigger in told.items()
    ]


def _make(
    name: str, trigger: Any, subject: str, body: str, block_ids: Mapping[str, UUID]
) -> AutomationCore:
    from prefect.automations import AutomationCore, SendNotification

    return AutomationCore(
        name=f"hone: tell what is {name}",
        description=f"By {', '.join(sorted(block_ids))}.",
        trigger=trigger,
        actions=[
            SendNotification(block_document_id=block_id, subject=subject, body=body)
            for _, block_id in sorted(block_ids.items())
        ],
        enabled=True,
    )


async def deploy_notifications(environment: Mapping[str, str]) -> list[str]:
    """Make blocks and automations, or set those that are there; return the automations' names.

    Raises:
        RequestError: No channel is named, or a block that is named does not exist.
    """
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        blocks = make_blocks(environment)
        found = {name: await block.save(name, overwrite=True) for name, block in blocks.items()}
        found |= await _find_blocks(client, environment.get(BLOCKS, ""))
        if not found:
            raise RequestError(
                where=", ".join((SLACK, WEBHOOK, EMAIL, BLOCKS)),
                message="none of them is set: there is nobody to tell",
                hint="set one in the environment or in .env",
            )
        wanted = list_notifications(found)
        for automation in wanted:
            await set_automation(client, automation)
    return [automation.name for automation in wanted]


async def _find_blocks(client: PrefectClient, names: str) -> dict[str, UUID]:
    """Return the ids of blocks that somebody made: `TYPE/NAME`, separated by commas."""
    from prefect.exceptions import ObjectNotFound

    found = {}
    for slug in (name.strip() for name in names.split(",") if name.strip()):
        kind, _, name = slug.partition("/")
        try:
            document = await client.read_block_document_by_name(name, kind)
        except ObjectNotFound as err:
            raise RequestError(
                where=BLOCKS,
                message=f"there is no block {slug}",
                allowed="TYPE/NAME, such as slack-webhook/team; see `prefect block ls`",
            ) from err
        found[slug] = document.id
    return found


def main() -> int:
    """Make the notifications; return the exit code."""

    def command() -> None:
        require_server()
        with explain_answers():
            names = asyncio.run(deploy_notifications(os.environ))
        for name in names:
            say(f"automation {name!r}")

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
