"""`hone generate`: answers to prompts, or a conversation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from flows.logs import choose_logging, show_logs
from flows.terminal import print_json, print_text

if TYPE_CHECKING:
    from tasks.generate import Speaker

Turns = list[tuple[str, str]]


def answer_prompts(
    model: str,
    *,
    prompt: str | None,
    input_file: Path | None,
    num_samples: int,
    as_json: bool,
    **settings: Any,
) -> int:
    """Answer a prompt or a file of prompts, or talk when there is neither.

    Raises:
        RequestError: No such model, file, or a prompt that does not fit.
    """
    if prompt is not None and input_file is not None:
        raise RequestError("both --prompt and --input are given", "hone generate", "one of them")
    prompts = [prompt] if prompt is not None else read_prompts(input_file) if input_file else []
    if not prompts and as_json:
        raise RequestError("nothing to answer", "hone generate --json", "--prompt or --input")
    if num_samples > 1 and not settings["temperature"]:
        raise RequestError(
            f"{num_samples} samples at temperature 0 would all be the same",
            "--num-samples",
            hint="add --temperature 0.7",
        )
    choose_logging()
    from tasks.generate import Speaker

    show_logs()
    speaker = Speaker(model)
    if not prompts:
        return talk(speaker, settings)
    repeated = [text for text in prompts for _ in range(num_samples)]
    answers = speaker.answer(repeated, **settings)
    rows = [{"prompt": p, "answer": a} for p, a in zip(repeated, answers, strict=True)]
    if as_json:
        print_json({"model": model, "answers": rows})
    else:
        print_text("\n\n".join(answers))
    return 0


def read_prompts(file: Path) -> list[str]:
    """Return the prompts of a file: `prompt` of each JSONL object, or each line of other files.

    Raises:
        RequestError: The file is missing, empty, or a line of it is no prompt.
    """
    if not file.is_file():
        raise RequestError(f"no file {file}", "--input", "a .jsonl file, or one prompt a line")
    lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise RequestError(f"{file} is empty", "--input", "at least one prompt")
    if file.suffix != ".jsonl":
        return lines
    return [_read_prompt(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]


def _read_prompt(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as err:
        raise RequestError(f"broken JSON: {err}", where) from err
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise RequestError("no prompt in this row", where, 'an object with a text "prompt"')
    return str(row["prompt"])


def talk(speaker: Speaker, settings: dict[str, Any]) -> int:
    """Hold a conversation on the terminal until the input ends."""
    turns: Turns = []
    if sys.stdin.isatty():
        print_text("(an empty line or Ctrl-D ends the conversation)")
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return 0
        if not text.strip():
            return 0
        turns.append(("user", text))
        answer = speaker.answer([turns], **settings)[0]
        turns.append(("assistant", answer))
        print_text(answer)
