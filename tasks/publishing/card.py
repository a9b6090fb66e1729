"""The model card, in the Hugging Face hub's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from tasks.publishing.bases import name_base
from tasks.publishing.candidates import Candidate
from tasks.publishing.card_use import write_use
from tasks.publishing.costs import compute_cost, list_costs
from tasks.records.handles import Check, PinnedModel, TrainedModel
from tasks.records.home import resolve_in_project

HIGHER_IS_BETTER_NOTE = "nll and perplexity: lower is better; all others: higher is better."


def write_card(candidate: Candidate) -> str:
    """Return the card's text: YAML header, figures, lineage, use and limits."""
    header = yaml.safe_dump(describe_for_hub(candidate), sort_keys=False, allow_unicode=True)
    sections = [
        f"# {candidate.name}",
        _write_summary(candidate),
        "## Figures",
        _write_figures(candidate),
        "## Decision",
        _write_decision(candidate),
        "## Training",
        _write_training(candidate),
        "## Cost",
        _write_cost(candidate),
        "## Lineage",
        _write_lineage(candidate),
        "## Use",
        write_use(candidate),
        "## Limits",
        _write_limits(candidate),
    ]
    return f"---\n{header}---\n\n" + "\n\n".join(sections) + "\n"


def describe_for_hub(candidate: Candidate) -> dict[str, Any]:
    """Return the card's header: what the hub searches, links and shows in tables."""
    base = candidate.trained.base
    tags = ["hone", candidate.trained.merged or candidate.trained.method, "text-generation"]
    header: dict[str, Any] = {
        "base_model": name_base(base),
        "library_name": "transformers" if candidate.trained.method == "full" else "peft",
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    if base_license := find_license(base):
        header["license"] = base_license
    header["model-index"] = [{"name": candidate.name, "results": _list_results(candidate)}]
    return header


def find_license(base: PinnedModel) -> str | None:
    """Return the licence that the base model's own card names, if it has one."""
    card = resolve_in_project(base.location) / "README.md"
    if not card.is_file():
        return None
    parts = card.read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return None
    header = yaml.safe_load(parts[1])
    named = header.get("license") if isinstance(header, dict) else None
    return str(named) if named else None


def _list_results(candidate: Candidate) -> list[dict[str, Any]]:
    return [
        {
            "task": {"type": "text-generation", "name": "Text Generation"},
            "dataset": {
                "type": "hone",
                "name": f"{name_source(candidate.data.source)} ({split})",
                "split": split,
                "revision": candidate.data.commit,
            },
            "metrics": [
                {"type": metric, "value": value, "name": metric, "verified": False}
                for metric, value in sorted(metrics.items())
            ],
        }
        for split, metrics in sorted(candidate.evaluations["finetuned"].metrics.items())
    ]


def _write_summary(candidate: Candidate) -> str:
    trained = candidate.trained
    share = trained.num_trainable_parameters / max(1, trained.num_parameters)
    return (
        f"{_name_kind(trained)} `{name_base(trained.base)}`, fine-tuned on "
        f"`{name_source(candidate.data.source)}`, published "
        "by hone because the evidence says that it is better. "
        f"{trained.num_trainable_parameters:,} of {trained.num_parameters:,} parameters are "
        f"trained ({share:.2%}), {trained.num_bytes / 1e6:.1f} MB."
    )


def _name_kind(trained: TrainedModel) -> str:
    if trained.merged == "qlora":
        return "An adapter (qlora), merged into the dequantised weights of"
    if trained.merged:
        return f"An adapter ({trained.merged}), merged into"
    return "All weights of" if trained.method == "full" else f"An adapter ({trained.method}) for"


def name_source(source: str) -> str:
    """Return a data source without a path of this machine.

    >>> name_source("/home/ada/rows"), name_source("lakefs://chats/main/"), name_source("data/x")
    ('rows', 'lakefs://chats/main/', 'data/x')
    """
    path = PurePath(source)
    return path.name if path.is_absolute() or source.startswith("~") else source


def _write_figures(candidate: Candidate) -> str:
    arms = list(candidate.metrics)
    lines = [_row("split", "metric", *arms), _row(*["---"] * (2 + len(arms)))]
    for split, metrics in sorted(candidate.evaluations["finetuned"].metrics.items()):
        for metric in sorted(metrics):
            values = [_find_value(candidate.metrics[arm], split, metric) for arm in arms]
            lines.append(_row(split, metric, *values))
    return "\n".join([*lines, "", HIGHER_IS_BETTER_NOTE])


def _find_value(metrics: Mapping[str, Mapping[str, float]], split: str, metric: str) -> str:
    value = metrics.get(split, {}).get(metric)
    return "" if value is None else f"{value:.4f}"


def _write_decision(candidate: Candidate) -> str:
    decision = candidate.decision
    header = ["against", "split", "metric", "role", "improvement", "bounds", "threshold", "passed"]
    lines = [
        f"Verdict: **{decision.verdict}** (look {decision.look}, alpha {decision.alpha:.4g}).",
        "",
        *(f"- {reason}" for reason in decision.reasons),
        "",
        _row(*header),
        _row(*["---"] * len(header)),
        *(_write_check(check) for check in decision.checks),
    ]
    return "\n".join(lines)


def _write_check(check: Check) -> str:
    return _row(
        check.opponent,
        check.split,
        check.metric,
        check.role,
        f"{check.improvement:+.4f}",
        check.describe_bounds("+.4f"),
        f"> {check.threshold:g}",
        "yes" if check.passed else "no",
    )


def _write_training(candidate: Candidate) -> str:
    trained = candidate.trained
    figures = {
        "optimiser steps": trained.num_steps,
        "best step": trained.best_step,
        "precision of the base": trained.dtype,
    } | {name: f"{value:.6g}" for name, value in sorted(trained.metrics.items())}
    return "\n".join(
        [_row("figure", "value"), _row("---", "---"), *(_row(k, v) for k, v in figures.items())]
    )


def _write_cost(candidate: Candidate) -> str:
    cost = compute_cost(candidate.trained, candidate.decision, candidate.config)
    rows = [_row(unit, total, each) for unit, (total, each) in list_costs(cost).items()]
    note = "Of the training alone; a point is 0.01 of the metric that decides"
    note += f", {cost.metric}, over the base model." if cost.metric else "."
    return "\n".join(
        [_row("cost", "in all", "per point gained"), _row(*["---"] * 3), *rows, "", note]
    )


def _write_lineage(candidate: Candidate) -> str:
    rows = candidate.formatted.rows
    base = candidate.trained.base
    facts = {
        "data": f"`{name_source(candidate.data.source)}` @ `{candidate.data.commit}`",
        "rows": f"{rows.read} read = {rows.kept} kept + {rows.invalid} invalid + "
        f"{rows.filtered} filtered; {rows.cut} cut",
        "splits": ", ".join(
            f"{name} {split.rows}" for name, split in sorted(candidate.formatted.splits.items())
        ),
        "base model": f"`{name_base(base)}` @ `{base.revision}`",
        "chat template and tokenizer": f"`{candidate.trained.template_digest}`",
        "model": f"`{candidate.trained.digest}`",
        "run": f"`{candidate.run}`",
        "code": f"`{candidate.code_revision}`",
        "decision": f"`{candidate.decision.digest}`",
    }
    if start := candidate.config["training"].get("init_adapter"):
        facts["started from"] = f"`{start}`"
    return "\n".join(
        [_row("what", "which"), _row("---", "---"), *(_row(k, v) for k, v in facts.items())]
    )


def _write_limits(candidate: Candidate) -> str:
    test = candidate.formatted.splits.get("test")
    size = f" The test set has {test.rows} rows in {test.groups} groups." if test else ""
    return (
        "The figures hold for data like the evaluation sets; nothing was measured on other tasks, "
        f"and what the base model could do elsewhere may have changed.{size} The model inherits "
        "the base model's knowledge, biases and licence terms. Its answers can be wrong: check "
        "them where it matters."
    )


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
