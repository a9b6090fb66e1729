import json
from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import load_config
from configs.skeleton import write_skeleton


def read_rows(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all([turn["role"] for turn in row["messages"]] == ["user", "assistant"] for row in rows)
    return [row["messages"][0]["content"] for row in rows]


def test_skeleton_is_a_working_preset(tmp_path: Path) -> None:
    folder = tmp_path / "My model (v2)"
    files = write_skeleton(folder)
    assert all(path.is_file() for path in files)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(files)
    config = load_config(str(folder / "preset.yaml"))
    assert config.data.source == str(folder.resolve() / "data")
    assert (config.data.pattern, config.data.group_by) == (None, None)
    assert config.publish.name == "My-model-v2"
    assert config.model == load_config("tiny").model


def test_example_rows_are_enough_and_do_not_overlap(tmp_path: Path) -> None:
    write_skeleton(tmp_path / "new")
    train = read_rows(tmp_path / "new/data/train.jsonl")
    test = read_rows(tmp_path / "new/data/eval/test.jsonl")
    assert (len(set(train)), len(set(test))) == (80, 20)
    assert not set(train) & set(test)


def test_readme_names_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_skeleton(Path("my own"))
    assert "hone plan 'my own'/preset.yaml" in Path("my own/README.md").read_text()


@pytest.mark.parametrize("name", ["null", "123", "-_.", "ä"])
def test_any_folder_name_gives_a_model_name(tmp_path: Path, name: str) -> None:
    write_skeleton(tmp_path / name)
    expected = name if name.isascii() and name.isalnum() else "my-model"
    assert load_config(str(tmp_path / name / "preset.yaml")).publish.name == expected


def test_other_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_skeleton(tmp_path / "a", "llama3-8b-lora")
    config = load_config(str(tmp_path / "a" / "preset.yaml"))
    assert config.model == load_config("llama3-8b-lora").model
    assert config.data.pattern is None
    monkeypatch.chdir(tmp_path)
    write_skeleton(Path("b"), "a/preset.yaml")
    assert load_config("b/preset.yaml").model == config.model
    with pytest.raises(RequestError, match="no preset"):
        write_skeleton(tmp_path / "c", "llama4")
    assert not (tmp_path / "c").exists()


def test_empty_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_skeleton(Path())
    assert load_config("preset.yaml").publish.name == tmp_path.name.strip("-._")


def test_folder_with_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"holds files already \(mine.txt\); name a new folder"):
        write_skeleton(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(RequestError, match="is a file"):
        write_skeleton(path)
    with pytest.raises(RequestError, match="cannot be written: Not a directory"):
        write_skeleton(path / "below")
    assert path.read_text() == "mine"


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fail_on_preset(self: Path, target: Path) -> Path:
        if self.name == "preset.yaml":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_on_preset)
    for folder in (tmp_path / "new", tmp_path):
        with pytest.raises(RequestError, match="cannot be written: No space left"):
            write_skeleton(folder)
    assert list(tmp_path.iterdir()) == []
