"""The format stage on synthetic rows, pass by pass, against `datasets.map` written the plain way.

Run: python -m benchmarks.formatting [--json] [--rows N] [--chars N] [--skip-map] [--only-read]
     [--near-duplicates filter|group] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil

from configs.schema import DataConfig
from tasks.formatting.build import Workload, format_data
from tasks.formatting.parallel import count_processes

PROJECT = Path(__file__).resolve().parents[1]
BASE = PROJECT / "data" / "tiny-base"
WORDS = (PROJECT / "data" / "flowroll" / "REFERENCE.md").read_text(encoding="utf-8").split()
PASSES = {"KB read": "read", "rows": "tokenize"}
NearDuplicates = Literal["off", "filter", "group"]
SECONDS_BETWEEN_LOOKS = 0.2


def write_rows(path: Path, num_rows: int, num_chars: int) -> None:
    """Write conversations about FLOWROLL in JSON lines, `num_chars` characters each."""
    rng = random.Random(0)
    text = " ".join(rng.choices(WORDS, k=200_000))
    if path.is_file():  # an earlier attempt's
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            ask, answer = (rng.randrange(len(text) - num_chars) for _ in range(2))
            turns = [
                {"role": "user", "content": f"{number} {text[ask : ask + num_chars // 3]}"},
                {"role": "assistant", "content": text[answer : answer + 2 * num_chars // 3]},
            ]
            row = {"messages": turns, "kind": f"kind {number % 7}", "group": f"{number // 3:x}"}
            file.write(json.dumps(row) + "\n")
    part.replace(path)


class PassTimes:
    """An observer that notes when each pass ended."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.ends: dict[str, float] = {}

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Note the time when a pass is done."""
        print(f"{done:,} of {total:,} {unit}", file=sys.stderr, flush=True)
        self.ends[PASSES[unit]] = time.perf_counter() - self.start

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Ignore the metrics."""

    def report_text(self, name: str, text: str) -> None:
        """Ignore the text."""


@contextmanager
def watch_memory() -> Iterator[dict[str, int]]:
    """Watch the memory of this process and those below it.

    Yields:
        `rss`, which counts shared pages in each process, and `pss`, which shares them out (Linux).
    """
    peak = {"rss": 0, "pss": 0}
    is_done = threading.Event()

    def look() -> None:
        while not is_done.wait(SECONDS_BETWEEN_LOOKS):
            found = list(map(_read_memory, _list_processes()))
            for name, highest in peak.items():
                peak[name] = max(highest, sum(memory[name] for memory in found))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_done.set()
        watcher.join()


def measure_hone(source: Path, out: Path, near: NearDuplicates) -> dict[str, Any]:
    """Format the rows; return rows per second of each pass and the peak memory."""
    times = PassTimes()
    with watch_memory() as peak:
        result = format_data(
            source, out,
            data=DataConfig(group_by="group", near_duplicates=near),
            tokenizer=BASE, chat_template=None, max_length=4096,
            assistant_only_loss=True, observer=times, workload=Workload(),
        )  # fmt: skip
    seconds = time.perf_counter() - times.start
    assert near == "filter" or result.rows.kept == result.rows.read, result.rows
    read, tokenized = times.ends["read"], times.ends["tokenize"]
    tokens = sum(split.tokens for split in result.splits.values())
    return {
        "seconds": {"read": read, "place_and_tokenize": tokenized - read, "whole": seconds},
        "rows_per_second": {
            "read": result.rows.read / read,
            "place_and_tokenize": result.rows.read / (tokenized - read),
            "whole": result.rows.read / seconds,
        },
        "tokens": tokens,
        "peak_bytes": dict(peak),
    }


def measure_core(source: Path, work: Path, near: NearDuplicates) -> dict[str, float]:
    """Return what one process does a second of processor time: reading, and tokenising."""
    from tasks.formatting.build import list_jobs, tokenize_parts
    from tasks.formatting.intake.data_intake import read_sources
    from tasks.formatting.rendering.renderer import load_renderer
    from tasks.formatting.splits.assignments import start_assignments
    from tasks.formatting.splits.placing import place_intake
    from tasks.formatting.tokens.token_parts import RendererPlace
    from tasks.formatting.tokens.tokenizing import TokenSettings
    from tasks.records.observer import SilentObserver

    data = DataConfig(group_by="group", near_duplicates=near)
    renderer = load_renderer(BASE, None, "messages")
    silent = SilentObserver()
    start = time.process_time()
    intake = read_sources(source, data, work / "rows", silent, num_processes=1)
    read = time.process_time()
    placed = place_intake(intake, data, start_assignments(1), work)
    compared = time.process_time()
    place = RendererPlace(BASE, None, intake.kind, renderer.digest)
    jobs = list_jobs(placed, place, TokenSettings(4096, "error", True), work / "parts")
    tokenize_parts(jobs, renderer, silent, 1)
    tokenized = time.process_time()
    return {
        "read": intake.num_rows / (read - start),
        "place": intake.num_rows / (compared - read),
        "tokenize": intake.num_rows / (tokenized - compared),
    }


def measure_reading(
    num_rows: int, num_chars: int, folder: Path, near: NearDuplicates
) -> dict[str, Any]:
    """Read, check, hash and place the rows without tokenising them, then place them once more."""
    from tasks.formatting.intake.data_intake import read_sources
    from tasks.formatting.splits.assignments import start_assignments
    from tasks.formatting.splits.placing import place_intake

    file = folder / "source" / "train" / "rows.jsonl"
    write_rows(file, num_rows, num_chars)
    data = DataConfig(group_by="group", near_duplicates=near)
    load = os.getloadavg()[0]
    start = time.perf_counter()
    with watch_memory() as peak:
        intake = read_sources(folder / "source", data, folder / "work" / "rows", PassTimes())
        read = time.perf_counter()
        first = place_intake(intake, data, start_assignments(1), folder / "work")
        placed = time.perf_counter()
        place_intake(intake, data, first.placement.assignments, folder / "work")
        replaced = time.perf_counter()
    assert intake.num_rows == num_rows
    processes = count_processes(num_jobs=1000, num_bytes=2**31)
    return {
        "rows": num_rows,
        "bytes": file.stat().st_size,
        "processes": processes,
        "seconds": {"read": read - start, "place": placed - read, "place_again": replaced - placed},
        "rows_per_second_and_core": num_rows / (placed - start) / processes,
        "peak_bytes": dict(peak),
        "load_average_before": load,
        "load_average_after": os.getloadavg()[0],
    }


def map_rows(file: Path, cache: Path) -> None:
    """Tokenise the rows with `datasets.map` and the chat template, the plain way; save them."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(cache))
    tokens = rows.map(
        lambda row: tokenizer.apply_chat_template(row["messages"], return_dict=True),
        remove_columns=rows.column_names,
        num_proc=count_processes(num_jobs=1000, num_bytes=2**31),
    )
    tokens.save_to_disk(str(cache / "out"))


def measure_map(file: Path, cache: Path) -> dict[str, Any]:
    """Return rows per second and the peak memory of `map_rows`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.formatting", "--map", str(file), str(cache)]
    with file.open("rb") as rows:
        num_rows = sum(1 for _ in rows)
    start = time.perf_counter()
    with watch_memory() as peak:
        subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "rows_per_second": num_rows / seconds,
        "peak_bytes": dict(peak),
    }


def measure(
    num_rows: int, num_chars: int, folder: Path, near: NearDuplicates, *, with_map: bool
) -> dict[str, Any]:
    """Measure everything on the same file."""
    file = folder / "source" / "train" / "rows.jsonl"
    write_rows(file, num_rows, num_chars)
    load = os.getloadavg()[0]
    result: dict[str, Any] = {
        "rows": num_rows,
        "bytes": file.stat().st_size,
        "processes": count_processes(num_jobs=1000, num_bytes=2**31),
        "load_average_before": load,
    }
    result["hone"] = measure_hone(folder / "source", folder / "hone", near)
    shutil.rmtree(folder / "hone")
    print(json.dumps(result), file=sys.stderr, flush=True)  # in case that the rest is interrupted
    if with_map:
        result["datasets_map"] = measure_map(file, folder / "map")
        shutil.rmtree(folder / "map")
    few = folder / "few" / "train" / "rows.jsonl"
    write_rows(few, min(num_rows, 20_000), num_chars)
    result["rows_per_second_of_one_core"] = measure_core(folder / "few", folder / "core", near)
    shutil.rmtree(folder / "core")
    result["load_average_after"] = os.getloadavg()[0]
    return result


def _list_processes() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _read_memory(process: psutil.Process) -> dict[str, int]:
    try:
        memory = process.memory_full_info()
    except psutil.Error:  # it has just ended
        return {"rss": 0, "pss": 0}
    return {"rss": memory.rss, "pss": getattr(memory, "pss", 0)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--chars", type=int, default=2000, help="characters of text in a row")
    parser.add_argument("--skip-map", action="store_true", help="without datasets.map")
    parser.add_argument("--only-read", action="store_true", help="read and place, no tokens")
    parser.add_argument(
        "--near-duplicates", default="off", choices=("off", "filter", "group"), dest="near"
    )
    parser.add_argument("--folder", type=Path, help="where an interrupted run goes on from")
    parser.add_argument("--map", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.map:
        map_rows(*arguments.map)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        sizes = arguments.rows, arguments.chars
        if arguments.only_read:
            result = measure_reading(*sizes, folder, arguments.near)
        else:
            result = measure(*sizes, folder, arguments.near, with_map=not arguments.skip_map)
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
