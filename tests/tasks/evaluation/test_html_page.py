import re

import pytest

from tasks.evaluation.html_page import render_page
from tasks.evaluation.shown_examples import escape_text, render_change
from tests.tasks.evaluation.rows import make_row

PNG = b"\x89PNG\r\n\x1a\n0000"


def test_a_page_needs_no_other_file() -> None:
    page = render_page("# Run\n\n![Loss](plots/loss.png)\n", {"plots/loss.png": PNG})
    assert re.search(r'src="data:image/png;base64,[A-Za-z0-9+/=]+" alt="Loss"', page)
    assert "plots/loss.png" not in page
    assert "<title>Run</title>" in page
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    with pytest.raises(KeyError):
        render_page("![x](plots/missing.png)", {})


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>", "````\n# x"]
)
def test_texts_of_models_are_shown_and_never_run(text: str) -> None:
    from tasks.evaluation.changes import sort_changes

    won = make_row(1, exact=1.0, prompt=text, prediction=text, reference=text, origin=text)
    lost = make_row(1, prediction=text, reference=text)
    change = sort_changes([won], [lost]).won[0]
    page = render_page(f"# Run\n\n{render_change(change, 'baseline')}", {})
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("<figure>") == 4
    assert page.count('<div class="texts">') == 1


def test_answers_stand_side_by_side_and_tables_scroll() -> None:
    texts = "A:\n\n```text\nx < y\n```\n\nB:\n\n```text\nz\n```"
    page = render_page(f"{texts}\n\nand\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", {})
    figures = re.findall(r"<figure><figcaption>(.)</figcaption><pre>([^<]*)</pre></figure>", page)
    assert figures == [("A", "x &lt; y\n"), ("B", "z\n")]
    assert '<div class="table"><table>' in page


def test_a_line_of_markdown_means_only_itself() -> None:
    page = render_page(f"**{escape_text('a_b_c*d*[x](y)<i>.jsonl:3')}**", {})
    assert "a_b_c*d*[x](y)&lt;i&gt;.jsonl:3" in page
