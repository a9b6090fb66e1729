import subprocess
import sys
from pathlib import Path

import pytest

from tasks.evaluation.looks import find_ledger, preview_look, record_look, spend_alpha

TEST = "ab" * 32
PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    return tmp_path


def look(candidate: str, test: str = TEST, name: str = "model") -> int:
    return record_look(name, test, candidate, alpha=0.025).number


def test_all_looks_together_spend_alpha() -> None:
    shares = [spend_alpha(0.025, number) for number in range(1, 100_000)]
    assert 0.02499 < sum(shares) < 0.025
    assert shares == sorted(shares, reverse=True)


def test_looks_are_counted_by_name_and_test_set() -> None:
    assert [look("a"), look("b"), look("c")] == [1, 2, 3]
    assert look("a", test="cd" * 32) == 1
    assert look("a", name="other") == 1


def test_the_same_candidate_is_the_same_look() -> None:
    first = record_look("model", TEST, "a", alpha=0.025)
    look("b")
    again = record_look("model", TEST, "a", alpha=0.025)
    assert (again.number, again.alpha) == (first.number, first.alpha)
    assert again.repeated
    assert not first.repeated
    assert look("c") == 3


def test_a_preview_records_nothing(home: Path) -> None:
    preview = preview_look("model", TEST, alpha=0.025)
    assert preview.number == 1
    assert preview.alpha == pytest.approx(0.0152, abs=1e-4)
    assert preview.remaining == pytest.approx(0.025 - preview.alpha)
    assert not (home / "artifacts").exists()
    look("a")
    assert preview_look("model", TEST, alpha=0.025).number == 2


def test_a_ledger_about_another_test_set_is_refused() -> None:
    look("a")
    other = TEST[:16] + "0" * 48
    assert find_ledger("model", other) == find_ledger("model", TEST)
    with pytest.raises(AssertionError, match="another test set"):
        look("b", test=other)


def test_two_processes_never_take_the_same_look(home: Path) -> None:
    code = (
        "import sys; from tasks.evaluation.looks import record_look\n"
        f"for i in range(10): record_look('model', '{TEST}', sys.argv[1] + str(i), alpha=0.025)"
    )
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen([*command, name], cwd=PROJECT) for name in "ab"]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert preview_look("model", TEST, alpha=0.025).number == 21
