from pathlib import Path

import pytest

from configs import documentation
from configs.fields import list_fields
from configs.presets import list_preset_names


def test_reference_is_fresh() -> None:
    assert documentation.main(["--check"]) == 0


def test_reference_names_every_field_and_preset() -> None:
    text = documentation.build_documentation()
    for field in list_fields().values():
        if field.section:
            assert f"| `{field.name}` | {field.allowed.replace('|', chr(92) + '|')} |" in text
    for name in list_preset_names():
        assert f"| `{name}` |" in text


def test_tables_are_whole() -> None:
    for table in documentation.build_documentation().split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        columns = {line.replace("\\|", "").count("|") for line in lines}
        assert len(columns) <= 1


def test_stale_reference_is_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "docs" / "config.md"
    monkeypatch.setattr(documentation, "TARGET", target)
    assert documentation.main(["--check"]) == 1
    assert "python -m configs.documentation" in capsys.readouterr().err
    assert documentation.main([]) == 0
    assert documentation.main(["--check"]) == 0
    target.write_text(target.read_text() + "x")
    assert documentation.main(["--check"]) == 1
    assert documentation.main(["--chek"]) == 3
