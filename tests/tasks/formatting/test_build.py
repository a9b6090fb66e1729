from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.schema import DataConfig
from tasks.formatting import build
from tasks.formatting.build import FormatResult, Workload, format_data
from tasks.formatting.rendering.renderer import IGNORE_INDEX, load_renderer
from tasks.formatting.rows.examples import read_examples
from tasks.formatting.splits.assignments import read_assignments
from tasks.formatting.tokens import token_parts
from tasks.records.digests import digest_folder
from tasks.records.home import find_project
from tasks.records.writing import read_json, read_jsonl
from tests.tasks.formatting.building import BOT, OTHER_TEST, TEST_ROWS, chat, make_rows

WriteSource = Callable[..., Path]
Format = Callable[..., FormatResult]


def test_everything_that_training_reads_is_written(run: Format, tmp_path: Path) -> None:
    from datasets import load_from_disk

    rows = make_rows(60)
    result = run({"train/a.jsonl": [*rows, rows[3]], "eval/test/test.jsonl": TEST_ROWS})
    out = tmp_path / "out"
    assert result.kind == "messages"
    assert result.primary_metrics == ("exact_match",)
    assert result.rows.model_dump() == {
        "read": 66, "kept": 65, "invalid": 0, "filtered": 1, "cut": 0,
    }  # fmt: skip
    assert set(result.splits) == {"train", "validation", "test"}
    renderer = load_renderer(out / "tokenizer", None, "messages")
    assert renderer.digest == result.template_digest
    for name, record in result.splits.items():
        examples = read_examples(out / "examples" / f"{name}.jsonl")
        tokens = load_from_disk(str(out / "tokens" / name))
        assert len(examples) == record.rows
        assert tokens["id"][:] == [example.id for example in examples]
        for example, ids, labels in zip(
            examples, tokens["input_ids"], tokens["labels"], strict=True
        ):
            rendered = renderer.render_example(example)
            assert (ids, labels) == (rendered.input_ids, rendered.labels)
        assert record.tokens == sum(map(len, tokens["input_ids"]))
        trained = sum(i != IGNORE_INDEX for labels in tokens["labels"] for i in labels)
        assert record.trained_tokens == trained
    ledger = read_jsonl(out / "ledger.jsonl")
    assert [row["origin"] for row in ledger[:2]] == ["a.jsonl:1", "a.jsonl:2"]
    assert ledger[60]["detail"] == "repeats a.jsonl:4"
    counts = read_json(out / "ledger.json")
    assert counts["filtered"] == {"duplicate": 1}
    assert counts["splits"]["test"] == 5
    report = (out / "data_report.md").read_text()
    assert "| 66 | 65 | 0 | 1 | 0 |" in report
    assert "- a.jsonl:61: repeats a.jsonl:4" in report
    assert "⟦0<|im_end|>⟧" in (out / "preview.md").read_text()


def test_the_same_input_gives_the_same_bytes(run: Format, tmp_path: Path) -> None:
    files = {"train/a.jsonl": make_rows(60), "eval/test/t.jsonl": TEST_ROWS}
    assert run(files, out="one") == run(files, out="two")
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")


MIXED_ROWS = [*make_rows(60), make_rows(1)[0], {"messages": []}, chat("long", "x " * 300)]


@pytest.mark.parametrize(
    "workload", [Workload(900, num_processes=1), Workload(3000, num_processes=2)]
)
def test_the_result_does_not_depend_on_how_the_work_is_cut(
    run: Format, tmp_path: Path, workload: Workload
) -> None:
    from datasets import load_from_disk

    files = {"train/a.jsonl": MIXED_ROWS, "eval/test/t.jsonl": TEST_ROWS}
    options: dict[str, Any] = {"max_invalid_fraction": 0.1, "overlong": "filter"}
    assert run(files, out="one", **options) == run(files, out="many", workload=workload, **options)
    one, many = tmp_path / "one", tmp_path / "many"
    names = {p.relative_to(one) for p in one.rglob("*") if p.is_file() and "tokens" not in p.parts}
    assert len(names) >= 10
    for name in names:
        assert (one / name).read_bytes() == (many / name).read_bytes(), name
    for split in ("train", "validation", "test"):
        first, second = (load_from_disk(str(out / "tokens" / split)) for out in (one, many))
        assert first.features == second.features
        assert first[:] == second[:]


def test_an_interrupted_attempt_goes_on_from_its_finished_parts(
    run: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"train/a.jsonl": MIXED_ROWS, "eval/test/t.jsonl": TEST_ROWS}
    options: dict[str, Any] = {
        "max_invalid_fraction": 0.1,
        "overlong": "filter",
        "workload": Workload(2000, num_processes=1),
    }
    whole = run(files, out="whole", **options)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "check_overlong", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(files, **options)
    work = tmp_path / "out" / "work"
    parts = sorted((work / "parts").iterdir())
    assert len(parts) > 3
    shutil.rmtree(parts[1])
    (parts[2] / "train.jsonl").unlink()
    written: list[str] = []
    tokenize = token_parts.tokenize_rows

    def count_tokenized(rows: Any, *others: Any) -> Any:
        written.extend(entry.origin for entry, _ in rows)
        return tokenize(rows, *others)

    monkeypatch.setattr(token_parts, "tokenize_rows", count_tokenized)
    assert run(files, **options) == whole
    assert 0 < len(written) < whole.rows.kept
    assert not work.exists()
    assert digest_folder(tmp_path / "out") == digest_folder(tmp_path / "whole")


def test_splits_given_before_are_kept_with_other_shares(
    run: Format, tmp_path: Path, byte_level_tokenizer: Path
) -> None:
    run({"train/a.jsonl": make_rows(60)}, out="before", test_fraction=0.3)
    format_data(
        tmp_path / "source", tmp_path / "after",
        data=DataConfig(validation_fraction=0.5, test_fraction=0.1),
        tokenizer=byte_level_tokenizer, chat_template="chatml", max_length=99,
        assistant_only_loss=True,
        assignments=read_assignments(tmp_path / "before" / "assignments.parquet"),
    )  # fmt: skip
    before, after = (read_jsonl(tmp_path / out / "ledger.jsonl") for out in ("before", "after"))
    assert before == after


def test_cleaning_near_duplicates_and_findings_reach_the_ledger(
    run: Format, tmp_path: Path
) -> None:
    long = "It is said that the sum of these two numbers, whatever they may be, is even. " * 3
    rows = [
        *make_rows(60), chat("Mail?", "Write to ann@example.org."), chat("Even?", long),
        chat("Even?", long + "So."), chat("No.", "y"),
    ]  # fmt: skip
    files = {"train/a.jsonl": rows, "eval/test/t.jsonl": TEST_ROWS}
    result = run(files, pii="report", near_duplicates="filter", min_chars=5, max_length=500)
    counts = read_json(tmp_path / "out" / "ledger.json")
    assert counts["findings"] == {"pii_email": 1}
    assert counts["filtered"]["too_short"] == 1
    ledger = read_jsonl(tmp_path / "out" / "ledger.jsonl")
    assert (ledger[62]["reason"], ledger[62]["detail"]) == (
        "near_duplicate", "nearly repeats a.jsonl:62",
    )  # fmt: skip
    assert result.rows.read == result.rows.kept + result.rows.filtered
    assert "| pii_email | 1 |" in (tmp_path / "out" / "data_report.md").read_text()


def test_a_test_split_is_split_off_where_the_source_brings_none(run: Format) -> None:
    result = run({"train/a.jsonl": make_rows(80)}, test_fraction=0.3)
    assert set(result.splits) == {"train", "validation", "test"}
    assert sum(split.rows for split in result.splits.values()) == 80


def test_rows_of_one_group_stay_together_and_their_field_is_kept(
    run: Format, tmp_path: Path
) -> None:
    rows = [chat(f"q {n}", topic=f"topic {n % 20}") for n in range(100)]
    run({"train/a.jsonl": rows}, group_by="topic", test_fraction=0.3)
    groups = [
        {example.group for example in read_examples(path)}
        for path in (tmp_path / "out" / "examples").iterdir()
    ]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 20


def test_assignments_stay_when_rows_are_added(run: Format, tmp_path: Path) -> None:
    def read_places(out: str) -> dict[str, str]:
        rows = read_jsonl(tmp_path / out / "ledger.jsonl")
        return {row["id"]: row["split"] for row in rows}

    run({"train/a.jsonl": make_rows(60)}, out="before")
    run({"train/a.jsonl": make_rows(90, start=-30)}, out="after")
    before, after = read_places("before"), read_places("after")
    assert before.items() <= after.items()
    assert len(after) == 90


def test_texts(run: Format, tmp_path: Path) -> None:
    files = {"train/a.txt": "\n\n".join(f"It is {n}." for n in range(60)).encode()}
    result = run(files, format="text")
    assert result.kind == "text"
    assert result.primary_metrics == ("nll",)
    assert result.rows.kept == 60


def test_a_text_that_is_too_long_is_cut_and_counted(run: Format, tmp_path: Path) -> None:
    texts = [{"text": f"{n} " + "sum " * 100 * (n == 7)} for n in range(60)]
    result = run({"train/a.jsonl": texts}, format="text", overlong="cut", max_length=50)
    assert result.rows.cut == 1
    cut = read_jsonl(tmp_path / "out" / "ledger.jsonl")[7]
    assert cut["outcome"] == "kept"
    assert cut["cut_tokens"] > 0


def test_overlong_rows_can_be_filtered(run: Format) -> None:
    rows = [*make_rows(60), chat("long", "x " * 300)]
    result = run({"train/a.jsonl": rows, **OTHER_TEST}, overlong="filter")
    assert result.rows.filtered == 1


def test_the_test_set_does_not_depend_on_the_length_of_training_rows(
    run: Format, tmp_path: Path
) -> None:
    from datasets import load_from_disk

    files = {
        "train/a.jsonl": [*make_rows(60), chat("long", "x " * 300)],
        "eval/test/t.jsonl": [*TEST_ROWS, chat("longer", "x " * 400)],
    }
    whole = run(files, out="whole", max_length=2000)
    short = run(files, overlong="filter")
    assert short.splits["test"] == whole.splits["test"]
    assert short.rows.filtered == 1
    lengths = [len(ids) for ids in load_from_disk(str(tmp_path / "out/tokens/test"))["input_ids"]]
    assert max(lengths) > 200


def test_cutting_only_what_follows_the_trained_end_is_allowed(run: Format, tmp_path: Path) -> None:
    from datasets import load_from_disk

    run({"train/a.jsonl": make_rows(40)}, out="free")
    longest = max(map(len, load_from_disk(str(tmp_path / "free/tokens/train"))["input_ids"]))
    result = run({"train/a.jsonl": make_rows(40)}, overlong="cut", max_length=longest - 1)
    assert 0 < result.rows.cut < 40


def test_broken_rows_within_the_tolerance_are_left_out(run: Format, tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in make_rows(60)]
    lines[16] = lines[16][:-5]
    content = "\n".join(lines).encode()
    result = run({"train/train.jsonl": content}, max_invalid_fraction=0.05)
    assert (result.rows.invalid, result.rows.kept) == (1, 59)
    assert read_json(tmp_path / "out" / "ledger.json")["invalid"] == {"broken_json": 1}


lines_strategy = st.lists(
    st.one_of(
        st.integers(0, 9).map(lambda n: json.dumps(chat(f"q {n}")).encode()),
        st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")),
        st.sampled_from([json.dumps(BOT).encode(), b'{"messages": []}', b"", b"[]", b"3"]),
    ),
    max_size=30,
)


@given(lines_strategy, st.integers(1, 4000))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_row_of_any_file_is_in_the_ledger_once(
    run: Format, tmp_path: Path, lines: list[bytes], chunk_bytes: int
) -> None:
    first = [json.dumps(row).encode() for row in make_rows(40)]
    content = b"\n".join([*first, *lines])
    workload = Workload(chunk_bytes)
    files = {"train/a.jsonl": content, "eval/test/t.jsonl": TEST_ROWS}
    result = run(files, max_invalid_fraction=1, workload=workload)
    ledger = read_jsonl(tmp_path / "out" / "ledger.jsonl")
    expected = [f"a.jsonl:{n}" for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    assert [row["origin"] for row in ledger if row["source"] == "train"] == expected
    rows = result.rows
    assert rows.read == len(ledger) == rows.kept + rows.invalid + rows.filtered
    assert rows.kept == sum(split.rows for split in result.splits.values())


def test_the_example_data_on_the_tiny_base(tmp_path: Path, write_source: WriteSource) -> None:
    data = find_project() / "data"
    files = {"train/train.jsonl": (data / "flowroll" / "train.jsonl").read_bytes()}
    for name in ("test", "dev", "adversarial"):
        content = (data / "flowroll" / "eval" / f"{name}.jsonl").read_bytes()
        files[f"eval/{name}/{name}.jsonl"] = content
    result = format_data(
        write_source(files), tmp_path / "out", data=DataConfig(group_by="group"),
        tokenizer=data / "tiny-base", chat_template=None, max_length=256, assistant_only_loss=True,
    )  # fmt: skip
    assert result.rows.kept == result.rows.read >= 1250
    assert set(result.splits) == {"train", "validation", "test", "dev", "adversarial"}
    assert result.splits["train"].rows >= 800
    assert result.primary_metrics == ("exact_match",)
    renderer = load_renderer(tmp_path / "out" / "tokenizer", None, "messages")
    for example in read_examples(tmp_path / "out" / "examples" / "test.jsonl")[:50]:
        tokens = renderer.render_example(example)
        prompt = renderer.render_prompt(example)
        answer = tokens.input_ids[len(prompt) : tokens.trained_ends[-1]]
        assert renderer.decode(answer) == example.reference
        assert tokens.labels.index(answer[0]) == len(prompt)
