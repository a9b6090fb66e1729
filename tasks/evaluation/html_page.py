"""A Markdown report as one HTML file that needs nothing else: plots inside, all text escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it.token import Token

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def render_page(text: str, images: Mapping[str, bytes]) -> str:
    """Return a Markdown page as HTML, without scripts and links to other files.

    Texts that stand in labelled fences one after the other (as the answers of several models do)
    are put side by side. HTML inside the Markdown is shown as text.

    Args:
        text: The page, as `render_report` writes it.
        images: The PNG files that it shows, by their path in the page.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = next((t.content for t in tokens if t.type == "inline"), "hone")
    for token in tokens:
        _embed_images(token.children or (), images)
    body = parser.renderer.render(list(_put_side_by_side(tokens)), parser.options, {})
    return PAGE.format(
        policy=POLICY, title=html.escape(title), style=STYLE, body=_wrap_tables(body)
    )


def _embed_images(tokens: Sequence[Token], images: Mapping[str, bytes]) -> None:
    for token in tokens:
        if token.type == "image":
            content = images[str(token.attrs["src"])]
            encoded = base64.b64encode(content).decode()
            token.attrs["src"] = f"data:image/png;base64,{encoded}"


def _put_side_by_side(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens with each run of labelled fences inside a `div` of figures."""
    place = 0
    while place < len(tokens):
        run = _find_labelled(tokens, place)
        if not run:
            yield tokens[place]
            place += 1
            continue
        yield _make_html('<div class="texts">\n')
        for label, fence in run:
            yield _make_html(f"<figure><figcaption>{html.escape(label)}</figcaption>")
            yield _make_html(f"<pre>{html.escape(fence.content)}</pre></figure>\n")
        yield _make_html("</div>\n")
        place += 4 * len(run)


def _find_labelled(tokens: Sequence[Token], place: int) -> list[tuple[str, Token]]:
    """Return the labels and fences from here on: a paragraph that ends with a colon, a fence."""
    kinds = ["paragraph_open", "inline", "paragraph_close", "fence"]
    run: list[tuple[str, Token]] = []
    while [t.type for t in tokens[place : place + 4]] == kinds:
        label = tokens[place + 1].content
        if not label.endswith(":"):
            break
        run.append((label.removesuffix(":"), tokens[place + 3]))
        place += 4
    return run


def _make_html(content: str) -> Any:
    from markdown_it.token import Token

    return Token("html_block", "", 0, content=content)


def _wrap_tables(body: str) -> str:
    """Let wide tables scroll by themselves."""
    return body.replace("<table>", '<div class="table"><table>').replace(
        "</table>", "</table></div>"
    )
