"""Batched generation against one prompt at a time: same answers, ratio of the times.

Run: python -m benchmarks.generation [--json] [--prompts N] [--sample N] [--batch-size N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from configs.schema import EvaluationConfig
from tasks.evaluation.generation import (
    Answer,
    build_generation_config,
    cut_answer,
    find_end_tokens,
    generate_answers,
    use_only,
)
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, Message
from tasks.records.observer import SilentObserver
from tasks.records.writing import read_jsonl
from tasks.training.models import load_base

PROJECT = Path(__file__).resolve().parents[1]
BASE = PROJECT / "data" / "tiny-base"
FILES = ("eval/test.jsonl", "eval/dev.jsonl", "eval/adversarial.jsonl", "train.jsonl")


def read_prompts(renderer: Renderer, num_prompts: int) -> list[list[int]]:
    """Return the example data's prompts, evaluation sets first, rendered as in an evaluation."""
    files = [PROJECT / "data" / "flowroll" / name for name in FILES]
    rows = [row for file in files for row in read_jsonl(file)][:num_prompts]
    prompts = []
    for number, row in enumerate(rows):
        turns = tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])
        prompts.append(renderer.render_prompt(Example(str(number), "", turns, "", "")))
    return prompts


def answer_batched(
    model: Any, renderer: Renderer, prompts: list[list[int]], batch_size: int, new_tokens: int
) -> list[Answer]:
    """Return hone's answers."""
    return generate_answers(
        model, renderer, prompts,
        max_new_tokens=new_tokens, batch_size=batch_size, observer=SilentObserver(),
    )  # fmt: skip


def answer_one_by_one(
    model: Any, renderer: Renderer, prompts: list[list[int]], new_tokens: int
) -> list[Answer]:
    """Return the answers of transformers' `generate` called once for each prompt."""
    ends = find_end_tokens(model, renderer)
    config = build_generation_config(renderer, ends, new_tokens)
    answers = []
    with use_only(model, config), torch.inference_mode():
        for prompt in prompts:
            output = model.generate(torch.tensor([prompt]), generation_config=config)
            answers.append(cut_answer(renderer, ends, output[0, len(prompt) :].tolist()))
    return answers


def measure_seconds(
    answer: Callable[..., list[Answer]], *arguments: Any
) -> tuple[list[Answer], float, float]:
    """Return the answers, the wall time and the processor time that they took."""
    start, start_cpu = time.perf_counter(), time.process_time()
    answers = answer(*arguments)
    return answers, time.perf_counter() - start, time.process_time() - start_cpu


def choose_sample(num_prompts: int, size: int) -> list[int]:
    """Return the places of an even sample of the prompts."""
    return [index * num_prompts // size for index in range(size)]


def compare_speeds(
    num_prompts: int, sample_size: int, batch_size: int, new_tokens: int, repeats: int
) -> dict[str, Any]:
    """Answer prompts in batches, and an even sample of them one by one, turn about, and compare."""
    renderer = load_renderer(BASE, None, "messages")
    model = load_base(BASE, dtype="float32")
    prompts = read_prompts(renderer, num_prompts)
    places = choose_sample(len(prompts), min(sample_size, len(prompts)))
    sample = [prompts[place] for place in places]
    share = len(sample) / len(prompts)
    answer_batched(model, renderer, prompts[:batch_size], batch_size, 8)  # warm-up
    wall, processor = [], []
    for _ in range(repeats):
        batched, *fast = measure_seconds(
            answer_batched, model, renderer, prompts, batch_size, new_tokens
        )
        alone, *slow = measure_seconds(answer_one_by_one, model, renderer, sample, new_tokens)
        wall.append((fast[0], slow[0] / share))
        processor.append(slow[1] / share / fast[1])
    together, apart = (statistics.median(seconds) for seconds in zip(*wall, strict=True))
    num_new_tokens = sum(len(answer.token_ids) for answer in batched)
    return {
        "prompts": len(prompts),
        "one_by_one_prompts": len(sample),
        "batch_size": batch_size,
        "max_new_tokens": new_tokens,
        "new_tokens": num_new_tokens,
        "ended": sum(answer.ended for answer in batched),
        "identical": sum(batched[i] == answer for i, answer in zip(places, alone, strict=True)),
        "batched_seconds": round(together, 3),
        "one_by_one_seconds": round(apart, 3),
        "batched_tokens_per_second": round(num_new_tokens / together, 1),
        "one_by_one_tokens_per_second": round(num_new_tokens / apart, 1),
        "ratio": round(statistics.median(slow / fast for fast, slow in wall), 2),
        "processor_time_ratio": round(statistics.median(processor), 2),
        "repeats": repeats,
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the figures, as lines or as one JSON object."""
    default = EvaluationConfig()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--prompts", type=int, default=1000, help="how many prompts")
    parser.add_argument(
        "--sample", type=int, default=100, help="how many of them are answered one by one too"
    )
    parser.add_argument(
        "--batch-size", type=int, default=default.per_device_eval_batch_size, help="prompts a batch"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=64, help="longest answer; 64 in the tiny preset"
    )
    parser.add_argument("--repeats", type=int, default=1, help="the median of so many is shown")
    options = parser.parse_args(arguments)
    result = compare_speeds(
        options.prompts,
        options.sample,
        options.batch_size,
        options.max_new_tokens,
        options.repeats,
    )
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name, value in result.items():
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
