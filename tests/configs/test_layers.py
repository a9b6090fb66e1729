from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.layers import Layer, merge_layers, parse_value, read_layer


def read(folder: Path, text: str, name: str = "a.yaml") -> Layer:
    path = folder / name
    path.write_bytes(text.encode())
    return read_layer(path)


def test_scalars_stay_as_they_were_written(tmp_path: Path) -> None:
    layer = read(tmp_path, "a: [1e-4, on, 0777, 1:30, 2026-01-01, ~, null]\nb: 'null'\n")
    assert layer.values == {
        "a": ["1e-4", "on", "0777", "1:30", "2026-01-01", None, None],
        "b": "null",
    }


@pytest.mark.parametrize(("name", "indent"), [("a.yaml", "  "), ("a.json", "  "), ("a.json", "\t")])
def test_places_are_lines(tmp_path: Path, name: str, indent: str) -> None:
    text = f'{{"data":\n{indent}{{"source": "x",\n{indent}"roles": {{"a": "b"}}}}}}\n'
    layer = read(tmp_path, text, name)
    lines = {".".join(key): int(place.rsplit(":", 1)[-1]) for key, place in layer.places.items()}
    assert lines == {"data": 1, "data.source": 2, "data.roles": 3, "data.roles.a": 3}
    assert layer.values == {"data": {"source": "x", "roles": {"a": "b"}}}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1\nc: 2\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "a: written twice; keep one"),
        ("a: {b: 1,\n b: 2}\n", 2, "a.b: written twice"),
        ("a: 1\nb: !include x.yaml\n", 2, "b: unknown YAML tag !include"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "b: unknown YAML tag"),
        ("a: &x\n  - *x\n", 1, "a: nested too deeply"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "a key must be text"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML: but found another document"),
    ],
)
def test_broken_yaml_names_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert caught.value.where.endswith(f"a.yaml:{line}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no configuration"),
        ("# nothing\n", "holds no configuration"),
        ("- a\n", "holds a list; allowed: a mapping of sections"),
        ("a\n", "holds a single value"),
        ("\0", "not YAML"),
    ],
)
def test_file_without_a_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read(tmp_path, text)


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a.json:2: not JSON: Expecting"):
        read(tmp_path, '{"a": 1,\n"b": }', "a.json")
    with pytest.raises(RequestError, match="a: written twice"):
        read(tmp_path, '{"a": 1, "a": 2}', "a.json")
    with pytest.raises(RequestError, match="nested too deeply"):
        read(tmp_path, "[" * 100_000, "a.json")


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        read_layer(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfea")
    with pytest.raises(RequestError, match="cannot be read: not UTF-8"):
        read_layer(tmp_path / "b.yaml")


def test_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffpurpose: x\n").values == {"purpose": "x"}


def test_places_follow_the_value_that_won() -> None:
    base = Layer({"a": {"b": 1, "c": 2}}, {("a",): "x:1", ("a", "b"): "x:2", ("a", "c"): "x:3"})
    top = Layer({"a": {"c": 3}}, {("a",): "y:1", ("a", "c"): "y:2"})
    merged = merge_layers(base, top)
    assert merged.values == {"a": {"b": 1, "c": 3}}
    assert merged.find_place(("a", "b")) == "x:2"
    assert merged.find_place(("a", "c")) == "y:2"
    assert merged.find_place(("a", "d")) == "y:1"
    assert merged.find_place(("z", "d")) == "z.d"


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_text_of_an_override_is_never_lost(text: str) -> None:
    value = parse_value(text)
    if value is None:
        assert text.strip() in {"", "null", "~"}
    elif isinstance(value, str) and text.lstrip()[0] not in "'\"":
        assert value == text
