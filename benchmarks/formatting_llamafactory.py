"""The format stage against LLaMA-Factory's loader on the same file: time, memory, tokens.

Run: python -m benchmarks.formatting_llamafactory [--json] [--rows N] [--chars N] [--workers N]
LLaMA-Factory's environment is made at first use, or named by HONE_LLAMAFACTORY.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.formatting import BASE, PROJECT, watch_memory, write_rows
from benchmarks.llamafactory_loader import measure_processor
from tasks.training.engines.llamafactory.environment import VERSION, provide_python

MAX_LENGTH = 4096
LOADER = PROJECT / "benchmarks" / "llamafactory_loader.py"


def measure_hone(source: Path, out: Path) -> None:
    """Format the rows with hone, and print what it took; in a process of its own."""
    few = out.with_name("few")
    write_rows(few / "train" / "rows.jsonl", 100, 300)
    format_rows(few, out.with_name("ours-few"))  # imports what it needs, as the other has
    seconds, processor = time.perf_counter(), measure_processor()
    num_rows = format_rows(source, out)
    taken = {
        "seconds": time.perf_counter() - seconds,
        "processor_seconds": measure_processor() - processor,
        "rows": num_rows,
    }
    print(json.dumps(taken))


def format_rows(source: Path, out: Path) -> int:
    """Format rows with hone as a run does; return how many were kept, which are all."""
    from configs.schema import DataConfig
    from tasks.formatting.build import Workload, format_data
    from tasks.records.observer import SilentObserver

    result = format_data(
        source, out,
        data=DataConfig(group_by="group"), tokenizer=BASE, chat_template=None,
        max_length=MAX_LENGTH, assistant_only_loss=True, observer=SilentObserver(),
        workload=Workload(),
    )  # fmt: skip
    assert result.rows.kept == result.rows.read, result.rows
    return result.rows.kept


def write_settings(rows: Path, out: Path, num_workers: int) -> Path:
    """Write the settings and the dataset info with which LLaMA-Factory loads the rows."""
    out.mkdir(parents=True)
    info = {
        "file_name": str(rows),
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
    (out / "dataset_info.json").write_text(json.dumps({"rows": info}), encoding="utf-8")
    settings = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(BASE),
        "dataset_dir": str(out),
        "dataset": "rows",
        "template": None,  # read off the tokenizer's own
        "cutoff_len": MAX_LENGTH,
        "preprocessing_num_workers": num_workers,
        "cache_dir": str(out / "cache"),
        "tokenized_path": str(out / "tokens"),
        "output_dir": str(out / "model"),
        "use_cpu": True,
        "report_to": "none",
    }
    path = out / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def measure_process(command: list[str]) -> dict[str, Any]:
    """Return what a process says it took, what it took with its start, and its peak memory."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with watch_memory() as peak:
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, check=False, capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    taken: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return taken | {
        "rows_per_processor_second": taken["rows"] / taken["processor_seconds"],
        "with_start": {
            "seconds": time.perf_counter() - start,
            "processor_seconds": processor,
        },
        "peak_bytes": dict(peak),
    }


def compare_tokens(ours: Path, theirs: Path) -> dict[str, int]:
    """Return in how many rows both have the same tokens, and the same labels as well."""
    from datasets import concatenate_datasets, load_from_disk

    splits = [load_from_disk(str(path)) for path in sorted(ours.iterdir()) if path.is_dir()]
    found = {"rows": 0, "same_tokens": 0, "same_tokens_and_labels": 0}
    expected = {_digest(row["input_ids"]): row["labels"] for row in load_from_disk(str(theirs))}
    for row in concatenate_datasets(splits):
        labels = expected.get(_digest(row["input_ids"]))
        found["rows"] += 1
        found["same_tokens"] += labels is not None
        found["same_tokens_and_labels"] += labels == row["labels"]
    return found


def measure(num_rows: int, num_chars: int, num_workers: int, folder: Path) -> dict[str, Any]:
    """Measure both on the same file, one after the other."""
    rows = folder / "source" / "train" / "rows.jsonl"
    write_rows(rows, num_rows, num_chars)
    python = provide_python()
    load = os.getloadavg()[0]
    own = [sys.executable, "-m", "benchmarks.formatting_llamafactory"]
    settings = write_settings(rows, folder / "theirs", num_workers)
    hone = measure_process([*own, "--hone", str(folder / "source"), str(folder / "ours")])
    theirs = measure_process([str(python), "-I", str(LOADER), str(settings)])
    assert hone["rows"] == theirs["rows"] == num_rows
    tokens = compare_tokens(folder / "ours" / "tokens", folder / "theirs" / "tokens" / "train")
    return {
        "rows": num_rows,
        "bytes": rows.stat().st_size,
        "load_average_before": load,
        "load_average_after": os.getloadavg()[0],
        "hone": hone,
        "llamafactory": theirs | {"version": VERSION, "workers": num_workers},
        "tokens": tokens,
        "ratio_of_processor_seconds": hone["processor_seconds"] / theirs["processor_seconds"],
    }


def _digest(tokens: list[int]) -> bytes:
    return hashlib.sha256(np.asarray(tokens, dtype=np.int64).tobytes()).digest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--chars", type=int, default=2000, help="characters of text in a row")
    parser.add_argument("--workers", type=int, default=1, help="processes of LLaMA-Factory's map")
    parser.add_argument("--hone", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hone:
        measure_hone(*arguments.hone)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments.rows, arguments.chars, arguments.workers, Path(folder))
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
