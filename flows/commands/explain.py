"""`hone explain`: the chain from a model back to its data and code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.run import rank_metric
from flows.terminal import print_json, print_table, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.explain import Explanation
    from tasks.versioning.origins import DataOrigin

NUM_SHOWN = 12  # objects; --json has them all


def explain_model(*, model: str, as_json: bool) -> int:
    """Print what a model was made from.

    Returns:
        0, also where a link of the chain is missing: it is named.
    """
    from tasks.explain import explain

    check_home()
    found = explain(model)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show(found)
    return 0


def show(found: Explanation) -> None:
    """Print a chain for a person, from the model to its origins."""
    for label, texts in describe(found).items():
        for text in texts:
            print_text(f"{label:<11}{text}")
            label = ""  # noqa: PLW2901 - later lines of a link have none
    if found.evaluation:
        show_metrics(found)
    for problem in found.problems:
        print_text(f"{'unknown':<11}{problem}")


def describe(found: Explanation) -> dict[str, list[str]]:
    """Return the links of a chain in words, those that are known, in order."""
    chain = {
        "version": describe_version(found),
        "decision": describe_decision(found),
        "run": describe_run(found),
        "formatted": describe_formatted(found),
        "data": describe_data(found.data) if found.data else [],
        "code": [found.code.revision] if found.code.revision else [],
        "libraries": [", ".join(f"{n} {v}" for n, v in sorted(found.code.versions.items()))],
    }
    return {label: [text for text in texts if text] for label, texts in chain.items()}


def describe_version(found: Explanation) -> list[str]:
    """Return what was published."""
    if found.version is None:
        return ["none: this model is not published"]
    replaces = found.lineage.replaces if found.lineage else None
    return [
        f"{found.version.uri}  {found.version.path}",
        f"replaces version {replaces}" if replaces else "",
    ]


def describe_decision(found: Explanation) -> list[str]:
    """Return the verdict with its reasons and the bounds of each check."""
    if found.decision is None:
        return []
    checks = [
        f"{check.role} {check.metric} on {check.split} against {check.opponent}: "
        f"{check.improvement:+.4g} ({check.describe_bounds()}), "
        f"{'passed' if check.passed else 'failed'}"
        for check in found.decision.checks
    ]
    head = f"{found.decision.verdict}, look {found.decision.look}, alpha {found.decision.alpha:.4f}"
    return [f"{head}  {found.decision.digest[:12]}", *found.decision.reasons, *checks]


def describe_run(found: Explanation) -> list[str]:
    """Return the run and what it trained."""
    run, lineage = found.run, found.lineage
    lines = [run.path or f"{run.name} (its folder is gone)"]
    if run.mlflow_run_id:
        lines.append(f"MLflow run {run.mlflow_run_id}")
    if run.trained:
        lines.append(f"{run.trained.num_steps} steps, best at step {run.trained.best_step}")
    if made := lineage or run.trained:
        lines.append(f"{made.method} of {made.base.name} @ {made.base.revision[:12]}")
    return lines


def describe_formatted(found: Explanation) -> list[str]:
    """Return the formatted data and where it is kept."""
    if found.formatted is None:
        return []
    rows, splits = found.formatted.rows, found.formatted.splits
    return [
        f"{found.formatted.path}  {found.formatted.digest[:12]}",
        f"{rows.read} rows read = {rows.kept} kept + {rows.invalid} invalid "
        f"+ {rows.filtered} filtered; " + ", ".join(f"{n} {s.rows}" for n, s in splits.items()),
        f"kept at {found.prepared.uri}" if found.prepared else "",
    ]


def describe_data(data: DataOrigin) -> list[str]:
    """Return the data commit and what it holds."""
    commit = data.lakefs
    if commit is None:
        held = [f"{digest[:12]}  {name}" for name, digest in data.files.items()]
        return [f"{data.source} @ {data.commit}", *_cut(held)]
    held = [f"{o.num_bytes:>12,}  {o.path}  {o.checksum[:12]}" for o in data.objects]
    return [
        f"{data.source} @ {commit.id}",
        f"by {commit.author or 'nobody'} at {commit.created}: {commit.message}",
        ", ".join(f"{key}={value}" for key, value in sorted(commit.metadata.items())),
        *_cut(held),
    ]


def show_metrics(found: Explanation) -> None:
    """Print the figures that the decision is about, by split."""
    for split in sorted({split for arm in found.evaluation.values() for split in arm}):
        arms = [arm for arm in found.evaluation if split in found.evaluation[arm]]
        names = sorted(found.evaluation[arms[0]][split], key=rank_metric)
        rows = [
            [name, *(f"{found.evaluation[arm][split][name]:.4g}" for arm in arms)] for name in names
        ]
        print_table([split, *arms], rows)


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - NUM_SHOWN
    return lines[:NUM_SHOWN] + ([f"and {more} more (--json lists them)"] if more > 0 else [])
