from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.build import FormatResult, format_data
from tasks.formatting.ledger import AllDroppedError
from tests.tasks.formatting.building import BOT, OTHER_TEST, TEST_ROWS, chat, make_rows

WriteSource = Callable[..., Path]
Format = Callable[..., FormatResult]


def break_line_17(rows: list[dict[str, Any]]) -> bytes:
    lines = [json.dumps(row) for row in rows]
    lines[16] = lines[16][:-5]
    return "\n".join(lines).encode()


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no files": (OTHER_TEST, {}, "data.source: no readable file for train"),
    "empty file": ({"train/a.jsonl": b""}, {}, "a.jsonl: the file holds no rows"),
    "broken JSON": (
        {"train/train.jsonl": break_line_17(make_rows(60))}, {},
        ("1 of 60 rows are invalid; allowed: a share of at most 0 (data.max_invalid_fraction); "
        "mend these rows, or raise data.max_invalid_fraction to leave them out\n"
        "  - train.jsonl:17: broken JSON: "),
    ),
    "unknown role": (
        {"train/data/train.jsonl": [*make_rows(16), BOT]}, {},
        ('\n  - data/train.jsonl:17: role "bot" is not one of system, user, assistant, tool; '
        "map it with data.roles"),
    ),
    "no assistant turn": (
        {"train/a.jsonl": [{"messages": [{"role": "user", "content": "Why?"}]}]}, {},
        "\n  - a.jsonl:1: there is no assistant turn: nothing to learn from",
    ),
    "many broken rows": (
        {"train/a.jsonl": [BOT] * 15}, {}, "\n  - and 5 more",
    ),
    "all rows dropped": (
        {"train/a.jsonl": TEST_ROWS, **OTHER_TEST}, {"overlap": "filter"},
        ("data.source: all 5 rows of train were dropped; allowed: at least one row that is kept\n"
        "  - a.jsonl:1: has the prompt of test.jsonl:1 of test"),
    ),
    "overlap": (
        {"train/a.jsonl": [*make_rows(60), TEST_ROWS[0]], **OTHER_TEST}, {},
        ("the prompts of 1 training rows stand in evaluation sets; allowed: no prompt on both "
        "sides: the model would be tested on what it has seen; remove these rows, or leave them "
        "out with data.overlap: filter\n  - a.jsonl:61: has the prompt of test.jsonl:1 of test"),
    ),
    "overlong": (
        {"train/a.jsonl": [*make_rows(60), chat("long", "x " * 300)], **OTHER_TEST}, {},
        "1 rows are too long: nothing is cut unasked; allowed: 200 tokens (training.max_length)",
    ),
    "overlong, cut": (
        {"train/a.jsonl": [*make_rows(60), chat("long", "x " * 300)], **OTHER_TEST},
        {"overlong": "cut"},
        "1 rows are too long: cutting would remove the trained end of a turn",
    ),
    "mixed formats": (
        {"train/a.jsonl": [*make_rows(16), {"text": "abc"}]}, {},
        "a.jsonl:17: this row has the format text, the rows before it messages",
    ),
    "mixed kinds": (
        {"train/a.jsonl": make_rows(9), "train/b.txt": b"abc"}, {},
        "data.format: texts (train: b.txt) beside conversations (train: a.jsonl)",
    ),
    "unknown format": (
        {"train/a.jsonl": [{"title": "x"}]}, {},
        "\n  - a.jsonl:1: the format messages has the keys messages; found title",
    ),
    "no group": (
        {"train/a.jsonl": make_rows(9)}, {"group_by": "source"},
        '\n  - a.jsonl:1: no text or number under "source", which data.group_by names',
    ),
    "too few groups": (
        {"train/a.jsonl": [chat("Why?"), chat("Who?", "You.")]}, {},
        "data.source: too few groups of rows: none fell to test",
    ),
    "an evaluation set named train": (
        {"train/a.jsonl": make_rows(9), "eval/train/a.jsonl": TEST_ROWS}, {},
        "data.eval_sources.train: an evaluation set named train",
    ),
    "a role that is none": (
        {"train/a.jsonl": make_rows(9)}, {"roles": {"bot": "robot"}},
        'data.roles.bot: "robot" is no role; allowed: system, user, assistant, tool',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_one_clear_error_and_no_data_are_written(
    run: Format, tmp_path: Path, case: str
) -> None:
    files, data, expected = REFUSALS[case]
    with pytest.raises(RequestError) as caught:
        run(files, **data)
    assert expected in str(caught.value)
    written = sorted(path.name for path in (tmp_path / "out").glob("*"))
    is_dropped = isinstance(caught.value, AllDroppedError)  # then the ledger says why of each row
    assert written == (["ledger.json", "ledger.jsonl"] if is_dropped else [])


def test_a_conversation_that_the_template_refuses_is_invalid(
    tmp_path: Path, byte_level_tokenizer: Path, write_source: WriteSource
) -> None:
    twice = chat("Why?")
    twice["messages"].insert(0, {"role": "user", "content": "Hello."})
    source = write_source({"train/a.jsonl": [*make_rows(60), twice]})
    with pytest.raises(RequestError, match=r"a\.jsonl:61: the chat template refuses"):
        format_data(
            source, tmp_path / "out", data=DataConfig(), tokenizer=byte_level_tokenizer,
            chat_template="gemma", max_length=99, assistant_only_loss=True,
        )  # fmt: skip
