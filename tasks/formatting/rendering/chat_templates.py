"""Chat templates: the built-in ones, a file's, or the tokenizer's own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from tasks.records.home import resolve_in_project

TEMPLATES = Path(__file__).parent / "templates"


def list_templates() -> tuple[str, ...]:
    """Return the names of the built-in templates, sorted."""
    return tuple(sorted(path.stem for path in TEMPLATES.glob("*.jinja")))


@functools.cache
def list_tool_templates() -> tuple[str, ...]:
    """Return the names of the built-in templates that write tools, sorted."""
    from jinja2 import Environment, meta

    def writes_tools(name: str) -> bool:
        source = Environment().parse(_read_named(name))  # noqa: S701 - parsed, not rendered
        return "tools" in meta.find_undeclared_variables(source)

    return tuple(filter(writes_tools, list_templates()))


def find_template(tokenizer: Any, chat_template: str | None) -> str:
    """Return the text of the template to use.

    Args:
        tokenizer: A transformers tokenizer.
        chat_template: A built-in template's name or a file; None for the tokenizer's own.

    Raises:
        RequestError: There is no such template, or the tokenizer has none, or it asks the clock.
    """
    text = _read_own(tokenizer) if chat_template is None else _read_named(chat_template)
    if "strftime_now" in text and "date_string" not in text:
        raise RequestError(
            where="model.chat_template",
            message="the chat template asks for today's date: a row would change from day to day",
            hint="copy the template into a file, write a fixed date there, and name that file",
        )
    return text


def _read_own(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise RequestError(
            where="model.chat_template",
            message="the base model has no chat template, and none is named",
            allowed=f"{', '.join(list_templates())}, or a Jinja file",
            hint="alpaca fits a base without chat tokens, the others one that knows their tokens",
        )
    return str(template)


def _read_named(chat_template: str) -> str:
    if chat_template in list_templates():
        return (TEMPLATES / f"{chat_template}.jinja").read_text(encoding="utf-8")
    path = resolve_in_project(chat_template)
    if not path.is_file():
        raise RequestError(
            where="model.chat_template",
            message=f'"{chat_template}" is neither a built-in template nor a file',
            allowed=f"{', '.join(list_templates())}, or a Jinja file",
        )
    return path.read_text(encoding="utf-8")
