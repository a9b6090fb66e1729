"""`hone explain`: the chain from a model back to its data and code."""

from __future__ import annotations

from pathlib import Path

from flows.commands.explanation_view import show
from flows.commands.lineage_picture import draw_lineage
from flows.terminal import print_json, print_text
from tasks.records.writing import write_text


def explain_model(*, model: str, mermaid: bool, output: Path | None, as_json: bool) -> int:
    """Print what a model was made from.

    Args:
        model: What to explain.
        mermaid: Print it as a Mermaid flow chart instead.
        output: Write the flow chart to this file; a Markdown file gets it in a code block.
        as_json: Print all that is known as JSON.

    Returns:
        0, also where a link of the chain is missing: it is named.
    """
    from tasks.explain import explain

    found = explain(model)
    picture = draw_lineage(found) if mermaid or output else ""
    if output:
        is_markdown = output.suffix.lower() in {".md", ".markdown"}
        write_text(output, f"```mermaid\n{picture}```\n" if is_markdown else picture)
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif mermaid:
        print_text(picture.rstrip("\n"))
    else:
        show(found)
    return 0
