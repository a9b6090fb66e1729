"""`hone generate`: answers to prompts, or a conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from flows.logs import choose_logging, show_logs
from flows.terminal import print_json, print_text

if TYPE_CHECKING:
    from tasks.generate import Prompt, Speaker

Turns = list[tuple[str, str]]
QUIT, NEW = "/quit", "/new"
HELP = f"({QUIT} or Ctrl-D ends the conversation, {NEW} begins another)"
FORMS = 'an object with a text "prompt", or with "messages" of "role" and "content"'


def answer_prompts(
    model: str,
    *,
    prompts: Sequence[str],
    input_file: Path | None,
    num_samples: int,
    as_json: bool,
    **settings: Any,
) -> int:
    """Answer prompts or a file of prompts, or talk when there is neither.

    Raises:
        RequestError: No such model, file, or a prompt that does not fit.
    """
    if prompts and input_file is not None:
        raise RequestError("both --prompt and --input are given", "hone generate", "one of them")
    asked: list[Prompt] = read_prompts(input_file) if input_file else list(prompts)
    if not asked and as_json:
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
    if not asked:
        return talk(speaker, settings)
    repeated = [prompt for prompt in asked for _ in range(num_samples)]
    answers = speaker.answer(repeated, **settings)
    if as_json:
        rows = [
            {"prompt": describe_prompt(prompt), "answer": answer}
            for prompt, answer in zip(repeated, answers, strict=True)
        ]
        print_json({"model": model, "answers": rows})
    else:
        print_text("\n\n".join(answers))
    return 0


def read_prompts(file: Path) -> list[Prompt]:
    """Return the prompts of a file: one of each JSONL object, or each line of other files.

    Raises:
        RequestError: The file is missing, empty, or a line of it is no prompt.
    """
    if not file.is_file():
        raise RequestError(f"no file {file}", "--input", "a .jsonl file, or one prompt a line")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise RequestError(f"{file} is not UTF-8: {err.reason}", "--input") from err
    # Other separators may stand inside a JSON string.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise RequestError(f"{file} is empty", "--input", "at least one prompt")
    if file.suffix != ".jsonl":
        return [line.strip("\r") for _, line in lines]
    return [_read_prompt(line, f"{file}:{number}") for number, line in lines]


def describe_prompt(prompt: Prompt) -> Any:
    """Return a prompt as JSON has it: a text, or messages."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": role, "content": content} for role, content in prompt]


def _read_prompt(line: str, where: str) -> Prompt:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as err:
        raise RequestError(f"broken JSON: {err}", where) from err
    if isinstance(row, dict) and isinstance(row.get("prompt"), str):
        return str(row["prompt"])
    turns = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns or not all(map(_is_turn, turns)):
        raise RequestError("no prompt in this row", where, FORMS)
    return [(str(turn["role"]), str(turn["content"])) for turn in turns]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and all(
        isinstance(turn.get(key), str) for key in ("role", "content")
    )


def talk(speaker: Speaker, settings: dict[str, Any]) -> int:
    """Hold a conversation until the input ends; on a terminal, answers show as they come.

    Raises:
        RequestError: The conversation does not fit the model's context any more, and nobody is
            there to begin another.
    """
    is_terminal = sys.stdin.isatty()
    turns: Turns = []
    if is_terminal:
        print_text(HELP)
    while (text := _ask(is_terminal)) != QUIT:
        if text == NEW:
            turns = []
        if text in {"", NEW}:
            continue
        prompt: Prompt = [*turns, ("user", text)] if speaker.has_turns else text
        try:
            answer = speaker.stream(prompt, _show if sys.stdout.isatty() else _keep, **settings)
        except RequestError as err:
            if not is_terminal:
                raise
            print_text(f"{err}\n({NEW} begins another conversation)")
            continue
        print_text("" if sys.stdout.isatty() else answer)
        turns += [("user", text), ("assistant", answer)]
    return 0


def _ask(is_terminal: bool) -> str:
    """Return the next line without the space around it; the end of the input is `/quit`."""
    try:
        return input("> " if is_terminal else "").strip()
    except EOFError:
        return QUIT


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _keep(_text: str) -> None:
    """Show nothing: where no person looks, an answer is written when it is whole."""
