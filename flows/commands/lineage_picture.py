"""The chain of a model as a Mermaid flow chart, as GitHub, GitLab and editors draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.explain import Explanation

UNSAFE = str.maketrans(
    {'"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": " ", "`": "#96;", "#": "#35;", "\\": "#92;"}
)


def draw_lineage(found: Explanation) -> str:
    """Return the flow chart: each arrow goes from what was there to what was made of it.

    A link that is not known stands in it with a question mark, dashed.
    """
    nodes = {name: lines for name, lines in describe_nodes(found).items() if lines is not None}
    lines = ["flowchart LR"]
    lines += [f'    {name}["{_write_label(*texts)}"]' for name, texts in nodes.items()]
    lines += [f"    {a} --> {b}" for a, b in list_arrows(nodes)]
    unknown = [name for name, texts in nodes.items() if texts[-1] == "?"]
    if unknown:
        lines.append("    classDef unknown stroke-dasharray: 4 4")
        lines.append(f"    class {','.join(unknown)} unknown")
    return "\n".join(lines) + "\n"


def describe_nodes(found: Explanation) -> dict[str, list[str] | None]:
    """Return the lines of each node, in the order of the pipeline; None for what is not there."""
    version, decision, base = found.version, found.decision, found.base
    names = [f"@{alias}" for alias in found.aliases]
    rows = found.formatted.rows if found.formatted else None
    machine = found.environment
    return {
        "data": ["data", found.data.source, f"commit {found.data.commit[:12]}"]
        if found.data
        else ["data", "?"],
        "formatted": ["formatted data", f"{rows.kept} of {rows.read} rows kept",
                      found.formatted.digest[:12]]
        if rows and found.formatted
        else ["formatted data", "?"],
        "base": ["base model", base.name, base.revision[:12]] if base else ["base model", "?"],
        "code": ["code", found.code.revision[:26]] if found.code.revision else ["code", "?"],
        "environment": ["environment", machine.python,
                        f"{machine.device}: {machine.device_name}",
                        f"torch {machine.packages.get('torch', '?')}"]
        if machine
        else ["environment", "?"],
        "run": ["run", found.run.name, *([f"MLflow {found.run.mlflow_run_id}"]
                                         if found.run.mlflow_run_id else [])]
        if found.run.name
        else ["run", "?"],
        **{
            f"evaluation_{arm}": ["evaluation", arm, f"answers {(facts.digest or '?')[:12]}"]
            for arm, facts in found.evaluations.items()
        },
        "decision": ["decision", decision.verdict, f"look {decision.look}", decision.digest[:12]]
        if decision
        else ["decision", "?"] if version else None,
        "version": ["version", " ".join([version.uri, *names])] if version else None,
    }  # fmt: skip


def list_arrows(nodes: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return which node was made of which."""
    origins = {"evaluation_baseline": "base", "evaluation_champion": "formatted"}
    arms = [name for name in nodes if name.startswith("evaluation_")]
    arrows = [("data", "formatted"), ("formatted", "run"), ("base", "run"), ("code", "run"),
              ("environment", "run"), *((origins.get(arm, "run"), arm) for arm in arms),
              *((arm, "decision") for arm in arms), ("decision", "version")]  # fmt: skip
    return [(a, b) for a, b in arrows if a in nodes and b in nodes]


def _write_label(*lines: str) -> str:
    return "<br/>".join(line.translate(UNSAFE) for line in lines)
