"""The documents of the Python standard library: its reference topics and its docstrings."""

import ast
import hashlib
import importlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType

# Tests, demonstrations, and a grammar tool that is gone from Python 3.13.
SKIPPED_FOLDERS = {"idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
# Modules whose import prints a poem or opens a web browser.
SKIPPED_MODULES = {"antigravity", "this"}
HELD_OUT_PERCENT = 2
MIN_DOCUMENT_CHARS = 20


@dataclass(frozen=True)
class Document:
    """One documented thing: a name, its parameters where it is a function, and the text."""

    name: str
    parameters: tuple[str, ...]
    text: str

    @property
    def signature(self) -> str:
        """The call that the parameters describe, such as `shutil.move(src, dst)`."""
        return f"{self.name}({', '.join(self.parameters)})"


def is_held_out(name: str) -> bool:
    """Assign a document to the held-out part by its name alone, the same for every Python."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def collect_documents() -> list[Document]:
    """Collect every documented name once, sorted by name, without repeated texts."""
    found: dict[str, Document] = {}
    for document in (*collect_topics(), *_collect_sources(), *_collect_extensions()):
        found.setdefault(document.text, document)
    return sorted(found.values(), key=lambda document: (document.name, document.text))


def collect_topics() -> list[Document]:
    """Collect the language reference that `help("topics")` shows."""
    return [Document(name, (), _clean(text)) for name, text in sorted(topics.items())]


def first_sentence(text: str) -> str:
    r"""Return the first sentence of a text on one line.

    >>> first_sentence("Join two\npaths. The second one wins.")
    'Join two paths.'
    """
    paragraph = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return re.split(r"(?<=[.!?]) +(?=[A-Z\"'`(])", paragraph, maxsplit=1)[0]


def _collect_sources() -> Iterator[Document]:
    """Read the docstrings of the Python modules from their source, without importing them."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in sys.stdlib_module_names or SKIPPED_FOLDERS & set(parts):
            continue
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        module = ".".join(part for part in parts if part != "__init__")
        yield from _walk_source(ast.parse(path.read_bytes()), module)


def _walk_source(node: ast.AST, name: str) -> Iterator[Document]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield from _make_document(name, _list_parameters(node), ast.get_docstring(node))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk_source(child, f"{name}.{child.name}")


def _list_parameters(node: ast.AST) -> tuple[str, ...]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ()
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return tuple(argument.arg for argument in arguments if argument.arg not in {"self", "cls"})


def _collect_extensions() -> Iterator[Document]:
    """Import the modules that are written in C, which have no source to read."""
    for name in sorted(sys.stdlib_module_names - SKIPPED_MODULES):
        spec = None if name in sys.builtin_module_names else PathFinder.find_spec(name)
        is_extension = name in sys.builtin_module_names or (
            spec is not None and not (spec.origin or ".py").endswith(".py")
        )
        if is_extension and not name.startswith("_test"):
            yield from _walk_extension(importlib.import_module(name))


def _walk_extension(module: ModuleType) -> Iterator[Document]:
    name = module.__name__.lstrip("_")
    yield from _make_document(name, (), inspect.getdoc(module))
    for key, value in _list_members(module):
        yield from _make_document(f"{name}.{key}", _read_parameters(value), inspect.getdoc(value))
        for method_key, method in _list_members(value) if inspect.isclass(value) else ():
            label = f"{name}.{key}.{method_key}"
            yield from _make_document(label, _read_parameters(method), inspect.getdoc(method))


def _list_members(owner: object) -> Iterable[tuple[str, object]]:
    members = sorted(vars(owner).items())
    return ((key, value) for key, value in members if key[0] != "_" and callable(value))


def _read_parameters(value: object) -> tuple[str, ...]:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError):  # many C functions state none that evaluates
        return ()
    return tuple(name for name in signature.parameters if name not in {"self", "cls", "type"})


def _make_document(name: str, parameters: tuple[str, ...], text: str | None) -> Iterator[Document]:
    cleaned = _clean(text or "")
    # An address in a text would differ from one process to the next.
    if len(cleaned) >= MIN_DOCUMENT_CHARS and " at 0x" not in cleaned:
        yield Document(name, parameters, cleaned)


def _clean(text: str) -> str:
    """Undo the reference's underlines and shared indentation: they carry no language."""
    kept = [line.rstrip() for line in inspect.cleandoc(text).splitlines()]
    kept = [line for line in kept if not re.fullmatch(r"[*=~^-]{4,}", line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
