from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.evaluation.custom_metrics import (
    call_custom_metric,
    digest_custom_metrics,
    load_custom_metrics,
)

ROW = {"prediction": "ab", "reference": "abc", "prompt": "p", "fields": {"kind": "write"}}


def write_module(folder: Path, text: str, name: str = "own.py") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_function_takes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("FACTOR = 2\n")
    file = write_module(
        tmp_path,
        "from beside import FACTOR\n"
        "def length(prediction): return FACTOR * len(prediction)\n"
        "def kind(*, fields, reference): return fields['kind'] == 'write' and len(reference) == 3\n"
        "def everything(**row): return len(row)\n",
    )
    named = {name: f"{file}:{name}" for name in ("length", "kind", "everything")}
    scores = {
        name: call_custom_metric(name, function, origin="test.jsonl:1", **ROW)
        for name, function in load_custom_metrics(named).items()
    }
    assert scores == {"length": 4, "kind": 1, "everything": 4}


def test_a_function_of_an_installed_package_is_found() -> None:
    loaded = load_custom_metrics({"m": "tasks.evaluation.text_scores:score_jaccard"})
    assert call_custom_metric("m", loaded["m"], origin="x", **(ROW | {"reference": "ab"})) == 1


@pytest.mark.parametrize(
    ("body", "function", "words"),
    [
        ("", "missing", "has no function missing"),
        ("def other(prediction): ...", "missing", "allowed: other"),
        ("import no_such_module", "f", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "f", "ZeroDivisionError"),
        ("def f(prediction, temperature): ...", "f", "missing a required argument: 'temperature'"),
        ("def f(prediction, /): ...", "f", "cannot be called"),
    ],
)
def test_what_cannot_be_called_is_refused_at_the_start(
    tmp_path: Path, body: str, function: str, words: str
) -> None:
    file = write_module(tmp_path, body)
    with pytest.raises(RequestError, match=r"evaluation\.custom_metrics\.mine") as caught:
        load_custom_metrics({"mine": f"{file}:{function}"})
    assert words in str(caught.value)


@pytest.mark.parametrize("module", ["no_such_package.metrics", "no/such/file.py"])
def test_a_missing_module_is_named(module: str) -> None:
    with pytest.raises(RequestError, match="cannot be imported"):
        load_custom_metrics({"mine": f"{module}:f"})


@pytest.mark.parametrize("value", ["None", "float('nan')", "'1'", "1 / 0"])
def test_a_score_that_is_no_number_names_the_row(tmp_path: Path, value: str) -> None:
    file = write_module(tmp_path, f"def f(prediction): return {value}\n")
    function = load_custom_metrics({"mine": f"{file}:f"})["mine"]
    with pytest.raises(RequestError, match=r"mine: .*test\.jsonl:7"):
        call_custom_metric("mine", function, origin="test.jsonl:7", **ROW)


def test_the_digest_follows_the_code_and_what_lies_beside_it(tmp_path: Path) -> None:
    digests = []
    for name, text, beside in (("a", "1", "x = 1"), ("b", "2", "x = 1"), ("c", "1", "x = 2")):
        file = write_module(tmp_path / name, f"def f(prediction): return {text}\n")
        write_module(tmp_path / name, beside, "beside.py")
        digests.append(digest_custom_metrics({"m": f"{file}:f"})["m"])
    again = digest_custom_metrics({"m": f"{tmp_path / 'a' / 'own.py'}:f"})["m"]
    assert again == digests[0]
    packaged = digest_custom_metrics({"m": "tasks.evaluation.text_scores:score_jaccard"})["m"]
    assert len({*digests, packaged}) == 4
