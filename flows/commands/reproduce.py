"""`hone reproduce`: train a model again, and say whether the same came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.in_process import serve_flows
from flows.terminal import print_json, print_table, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.reproduce import Reproduction

NUM_SHOWN = 20  # differences; --json has them all


def reproduce_model(model: str, *, as_json: bool) -> int:
    """Do a model's training again and print the comparison.

    Returns:
        0: the same came out; 2: it did not.
    """
    from tasks.explain import explain
    from tasks.reproduce import prepare_repetition

    check_home()
    prepare_repetition(explain(model))  # what cannot be done is refused before a server starts
    with serve_flows("flows.reproduce"):
        from flows.reproduce import reproduce

        result = reproduce(model)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show(result)
    return 0 if result.equal else 2


def show(result: Reproduction) -> None:
    """Print a comparison for a person."""
    rows = [
        [name, "equal" if facts.is_equal else "differs", _cut(facts.expected), _cut(facts.found)]
        for name, facts in result.files.items()
    ]
    print_table(["file", "", "recorded", "now"], rows)
    states = {True: "equal", False: "differs", None: "not recorded"}
    print_text("stages   " + ", ".join(f"{n} {states[s]}" for n, s in result.stages.items()))
    if result.distance:
        print_text(
            f"weights  largest difference {result.distance.largest:.3g}, "
            f"relative {result.distance.relative:.3g} "
            f"(on a GPU up to {result.bounds['relative_distance']:g} is equal)"
        )
    if result.nll:
        print_text(f"nll      {result.nll[0]:.6g} recorded, {result.nll[1]:.6g} now")
    for name, (before, now) in list(result.differences.items())[:NUM_SHOWN]:
        print_text(f"changed  {name}: {before} -> {now}")
    if len(result.differences) > NUM_SHOWN:
        print_text(f"changed  and {len(result.differences) - NUM_SHOWN} more (--json lists them)")
    for note in result.notes:
        print_text(f"note     {note}")
    print_text(f"kept     {result.path}")
    print_text(f"verdict  {'equal' if result.equal else 'not equal'} ({result.how})")


def _cut(digest: str | None) -> str:
    return digest[:12] if digest else "none"
