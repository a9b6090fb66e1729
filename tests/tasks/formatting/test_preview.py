from __future__ import annotations

from pathlib import Path

from tasks.formatting.examples import Example, Message
from tasks.formatting.preview import choose_previewed, write_preview
from tasks.formatting.rendering import load_renderer
from tasks.formatting.tokenizing import Split


def make_example(answer: str, **fields: str) -> Example:
    return Example(
        "a", "g", (Message("user", "Why?"), Message("assistant", answer)), "", "a:1", fields
    )


def test_each_kind_is_shown_once_or_the_first_rows() -> None:
    kinds = [make_example("So.", kind=kind) for kind in ("x", "x", "y", "x", "z", "w")]
    assert choose_previewed(kinds) == [0, 2, 4, 5]
    assert choose_previewed([make_example("So.")] * 9) == [0, 1, 2]


def test_trained_tokens_are_marked_and_fences_hold(byte_level_tokenizer: Path) -> None:
    renderer = load_renderer(byte_level_tokenizer, "chatml", "messages")
    example = make_example("```\ncode\n```")
    page = write_preview(
        {"train": Split((example,), (renderer.render_example(example),))}, renderer
    )
    assert "````text\n<|im_start|>user\nWhy?<|im_end|>\n" in page
    assert "<|im_start|>assistant\n⟦```\ncode\n```<|im_end|>⟧\n" in page
    assert page.count("````") == 2
