"""Who asks for a flow run."""

from __future__ import annotations

from tasks.tracking.people import name_person


def find_person() -> str:
    """Return the user whom the Prefect server knows for this flow run, else this account."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    creator = context.flow_run.created_by if context and context.flow_run else None
    named = creator.display_value if creator and creator.type == "USER" else None
    return named or name_person()
