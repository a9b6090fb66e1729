from __future__ import annotations

from pathlib import Path

from tasks.formatting.rendering.preview import Previews, write_preview
from tasks.formatting.rendering.renderer import TokenizedExample, load_renderer
from tasks.formatting.rows.examples import Example, Message


def make_example(answer: str, **fields: str) -> Example:
    return Example(
        "a", "g", (Message("user", "Why?"), Message("assistant", answer)), "", "a:1", fields
    )


def offer(*kinds: str | None) -> Previews:
    previews = Previews()
    for number, kind in enumerate(kinds):
        example = make_example("So.", **({"kind": kind} if kind else {}))
        previews.offer(example, TokenizedExample([number], [number], ()))
    return previews


def list_chosen(previews: Previews) -> list[int]:
    return [row.input_ids[0] for row in previews.choose()]


def test_each_kind_is_shown_once_or_the_first_rows() -> None:
    assert list_chosen(offer("x", "x", "y", "x", "z", "w")) == [0, 2, 4, 5]
    assert list_chosen(offer(*[None] * 9)) == [0, 1, 2]
    assert list_chosen(offer(None, None, "x", None)) == [0, 2]


def test_previews_of_parts_are_those_of_all_rows() -> None:
    merged = offer("x", None, "x")
    merged.merge(Previews.from_dict(offer(None, "y", "x").to_dict()))
    assert [row.kind for row in merged.choose()] == ["x", None, "y"]


def test_trained_tokens_are_marked_and_fences_hold(byte_level_tokenizer: Path) -> None:
    renderer = load_renderer(byte_level_tokenizer, "chatml", "messages")
    example = make_example("```\ncode\n```")
    previews = Previews()
    previews.offer(example, renderer.render_example(example))
    page = write_preview(previews.choose(), renderer)
    assert "````text\n<|im_start|>user\nWhy?<|im_end|>\n" in page
    assert "<|im_start|>assistant\n⟦```\ncode\n```<|im_end|>⟧\n" in page
    assert page.count("````") == 2
