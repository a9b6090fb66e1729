"""Other flow runs that train the same model at this moment."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext

TRAINING_FLOWS = ["finetune", "retrain"]
AT_WORK = [StateType.RUNNING, StateType.CANCELLING]
MOST_RUNS = 200  # what a server answers at once


def find_rival(model_name: str) -> str:
    """Return which other run trains a model of this name, or an empty string.

    Two retrainings that began together would each find the other; the one that began first goes on.

    Args:
        model_name: `publish.name`.
    """
    context = FlowRunContext.get()
    assert context is not None, "called inside a flow"
    own = context.flow_run
    assert own is not None
    with get_client(sync_client=True) as client:
        flows = FlowFilter(name=FlowFilterName(any_=TRAINING_FLOWS))
        at_work = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK)))
        runs = client.read_flow_runs(flow_filter=flows, flow_run_filter=at_work, limit=MOST_RUNS)
        # What an earlier attempt of this run began says Running until it is taken for dead.
        parent = FlowRunFilterParentFlowRunId(any_=[own.id])
        begun = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=parent), limit=MOST_RUNS
        )
        retrain_id = client.read_flow_run(own.id).flow_id
    mine = {own.id, *(run.id for run in begun)}
    for run in runs:
        is_later_retraining = run.flow_id == retrain_id and _order(run) >= _order(own)
        if run.id not in mine and not is_later_retraining and _name_model(run) == model_name:
            since = f"{run.start_time:%H:%M} UTC" if run.start_time else "a moment ago"
            return f"the flow run {run.name} trains {model_name} since {since}"
    return ""


def _name_model(run: FlowRun) -> str | None:
    """Return the name under which a run would publish."""
    parameters: dict[str, Any] = run.parameters
    name = (parameters.get("overrides") or {}).get("publish.name")
    return name or ((parameters.get("config") or {}).get("publish") or {}).get("name")


def _order(run: FlowRun) -> tuple[str, str]:
    return str(run.start_time or run.expected_start_time), str(run.id)
