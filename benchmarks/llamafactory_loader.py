"""LLaMA-Factory's loader on a file of conversations, in its own environment; no part of hone.

Started by `formatting_llamafactory.py` as `python -I llamafactory_loader.py SETTINGS`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Load, render and tokenise as its training would, save, and print what it took."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # type: ignore[import-not-found]
    from llamafactory.hparams import get_train_args  # type: ignore[import-not-found]
    from llamafactory.model import load_tokenizer  # type: ignore[import-not-found]

    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, data, training, finetuning, _ = get_train_args(settings)
    seconds, processor = time.perf_counter(), measure_processor()
    tokenizer = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(tokenizer["tokenizer"], data)
    rows = get_dataset(template, model, data, training, stage=finetuning.stage, **tokenizer)
    result = {
        "seconds": time.perf_counter() - seconds,
        "processor_seconds": measure_processor() - processor,
        "rows": len(rows["train_dataset"]),
    }
    print(json.dumps(result))


def measure_processor() -> float:
    """Return the seconds of processor time of this process and its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
