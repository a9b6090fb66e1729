"""`hone publish` and `hone rollback`: the champion moved by hand, under the same gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, get_args

from configs.errors import RequestError
from configs.schema import TargetName
from flows.in_process import serve_flows
from flows.terminal import print_json, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from flows.results import PublishResult, RunResult


def publish_run(
    run: str,
    *,
    targets: Sequence[str] | None,
    repo: str | None,
    public: bool,
    approve: str | None,
    decision: str | None,
    as_json: bool,
) -> int:
    """Publish an evaluated run, or approve one that waits, and print what became of it.

    Args:
        run: The run folder.
        targets: Where it goes; by default where the run's config says.
        repo: The repository on the hub; by default the config's.
        public: Whether everybody may see it there.
        approve: Why it is approved; None approves nothing.
        decision: The digest of the decision that is meant; by default the run's.
        as_json: Print one JSON object.

    Returns:
        0: published, now or before; 2: the answer is no, or somebody has to approve.
    """
    check_home()
    chosen = read_targets(targets)
    from tasks.promote import open_evaluated

    decision = decision or open_evaluated(run).decision.digest  # refused before a server starts
    if approve is not None and not approve.strip():
        raise RequestError(where="--approve", message="an approval needs a reason")
    with serve_flows("flows.publishing"):
        from flows.publishing import publish

        result = publish(run, decision, approve or "", chosen, repo, public)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_publication(result)
    return 0 if result.publication else 2


def read_targets(names: Sequence[str] | None) -> list[TargetName] | None:
    """Return the targets that are named, each by itself or several with commas between.

    Raises:
        RequestError: One of them is none.
    """
    found = [part for name in names or () for part in name.split(",")]
    if wrong := [name for name in found if name not in get_args(TargetName)]:
        raise RequestError(
            where="--to",
            message=f"no target {wrong[0]!r}",
            allowed=", ".join(get_args(TargetName)),
        )
    return cast("list[TargetName]", found) or None


def show_publication(result: PublishResult) -> None:
    """Print what became of a run for a person."""
    print_text(f"verdict  {result.verdict}  (decision {result.decision[:12]})")
    for reason in result.reasons:
        print_text(f"         {reason}")
    if result.publication:
        print_text(f"model    {result.publication.path}  {result.publication.uri}")
        for copy in result.copies:
            print_text(f"copy     {copy}")
    elif result.declined:
        print_text(f"declined {result.declined}")
    elif result.waiting:
        show_waiting(result)
    else:
        print_text("model    nothing is published")


def show_waiting(result: PublishResult | RunResult) -> None:
    """Print what waits for approval, its evidence, and how to approve it."""
    waiting = result.waiting
    assert waiting, "nothing waits"
    print_text(f"waiting  {waiting.why}; until {waiting.expires:%Y-%m-%d %H:%M} UTC")
    print_text(f"decision {waiting.decision}")
    for name, digest in sorted(waiting.evidence.items()):
        print_text(f"         {name} {digest[:12]}")
    print_text(f"next     {waiting.command}")


def roll_back_model(name: str, *, version: str | None, reason: str, as_json: bool) -> int:
    """Make an earlier version champion again, and print the move.

    Returns:
        0: it is champion.
    """
    check_home()
    with serve_flows("flows.publishing"):
        from flows.publishing import rollback

        result = rollback(name, reason, version)
    if as_json:
        print_json(result.model_dump(mode="json"))
        return 0
    print_text(result.move.describe())
    for check in result.report.checks:
        print_text(f"  {check.name:<10} {check.found}")
    print_text(f"model    {result.path}  models:/{name}@champion")
    return 0
