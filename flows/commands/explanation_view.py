"""The chain of a model for a person, from the version back to its data, code and machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.run import rank_metric
from flows.terminal import print_table, print_text

if TYPE_CHECKING:
    from tasks.explain import Explanation
    from tasks.records.environment import Environment
    from tasks.versioning.origins import DataOrigin

NUM_SHOWN = 12  # objects; --json has them all
SHOWN_PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "numpy")


def show(found: Explanation) -> None:
    """Print a chain for a person, from the model to its origins."""
    for label, texts in describe(found).items():
        for text in texts:
            print_text(f"{label:<12}{text}")
            label = ""  # noqa: PLW2901 - later lines of a link have none
    if found.evaluations:
        show_metrics(found)
    for problem in found.problems:
        print_text(f"{'unknown':<12}{problem}")


def describe(found: Explanation) -> dict[str, list[str]]:
    """Return the links of a chain in words, those that are known, in order."""
    chain = {
        "version": describe_version(found),
        "decision": describe_decision(found),
        "evaluation": describe_evaluations(found),
        "run": describe_run(found),
        "model": [f"{digest[:12]}  {name}" for name, digest in found.files.items()],
        "formatted": describe_formatted(found),
        "data": describe_data(found.data) if found.data else [],
        "code": describe_code(found),
        "environment": describe_environment(found.environment) if found.environment else [],
    }
    return {label: [text for text in texts if text] for label, texts in chain.items()}


def describe_version(found: Explanation) -> list[str]:
    """Return what was published."""
    if found.version is None:
        return ["none: this model is not published"]
    replaces = found.lineage.replaces if found.lineage else None
    names = ", ".join(f"@{alias}" for alias in found.aliases)
    return [
        f"{found.version.uri}  {names}".rstrip(),
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


def describe_evaluations(found: Explanation) -> list[str]:
    """Return the digest of each arm's answers."""
    return [
        f"{arm}  answers {facts.digest[:12]}"
        for arm, facts in found.evaluations.items()
        if facts.digest
    ]


def describe_run(found: Explanation) -> list[str]:
    """Return the run and what it trained."""
    run, made = found.run, found.lineage or found.run.trained
    lines = [run.path or f"{run.name} (its folder is not on this machine)"]
    if run.mlflow_run_id:
        lines.append(f"MLflow run {run.mlflow_run_id}")
    if run.trained:
        lines.append(f"{run.trained.num_steps} steps, best at step {run.trained.best_step}")
    if made:
        lines.append(f"{made.method} of {made.base.name} @ {made.base.revision[:12]}")
        lines.append(f"template {made.template_digest[:12]}")
    if start := (found.config or {}).get("training", {}).get("init_adapter"):
        lines.append(f"started from {start}")
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
    files = [f"{digest[:12]}  {name}" for name, digest in data.files.items()]
    if commit is None:
        return [f"{data.source} @ {data.commit}", *_cut(files)]
    held = [f"{o.num_bytes:>12,}  {o.path}  {o.checksum[:12]}" for o in data.objects]
    return [
        f"{data.source} @ {commit.id}",
        f"by {commit.author or 'nobody'} at {commit.created}: {commit.message}",
        ", ".join(f"{key}={value}" for key, value in sorted(commit.metadata.items())),
        *_cut(held),
    ]


def describe_code(found: Explanation) -> list[str]:
    """Return the code revision, and whether it was committed."""
    code = found.code
    if code.revision is None:
        return []
    state = "not that of the commit" if code.is_dirty else "as committed"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(code.versions.items()))
    return [f"{code.revision}  ({state if code.commit else 'not committed'})", versions]


def describe_environment(found: Environment) -> list[str]:
    """Return where the training ran."""
    packages = [f"{n} {found.packages[n]}" for n in SHOWN_PACKAGES if n in found.packages]
    units = " ".join(found.vector_units)
    return [
        f"{found.python} on {found.platform}",
        f"{found.device}: {found.device_name}",
        f"{found.processor}, {found.threads} threads, {units}".removesuffix(", "),
        f"{', '.join(packages)}, and {len(found.packages) - len(packages)} more",
    ]


def show_metrics(found: Explanation) -> None:
    """Print the figures that the decision is about, by split."""
    metrics = {arm: facts.metrics for arm, facts in found.evaluations.items()}
    for split in sorted({split for by_split in metrics.values() for split in by_split}):
        arms = [arm for arm in metrics if split in metrics[arm]]
        names = sorted({n for arm in arms for n in metrics[arm][split]}, key=rank_metric)
        rows = [[name, *(_show(metrics[arm][split].get(name)) for arm in arms)] for name in names]
        print_table([split, *arms], rows)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - NUM_SHOWN
    return lines[:NUM_SHOWN] + ([f"and {more} more (--json lists them)"] if more > 0 else [])
