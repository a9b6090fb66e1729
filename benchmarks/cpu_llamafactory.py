"""One training of LLaMA-Factory under a clock, in its own environment; no part of hone.

Started by `cpu.py` as `python -I cpu_llamafactory.py SETTINGS RESULT`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Train as the settings say, and write what the steps took and the logged losses."""
    import torch
    from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found]
    from transformers import TrainerCallback

    torch.set_num_threads(1)
    wall: list[float] = []
    processor: list[float] = []
    losses: dict[int, float] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes when each step ended, and what was logged."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wall.append(time.perf_counter())
            processor.append(time.process_time())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            if "loss" in logs:
                losses[state.global_step] = logs["loss"]

    run_exp(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), callbacks=[Clock()])
    result = {
        "steps": len(wall),
        "seconds": wall[-1] - wall[0],
        "processor_seconds": processor[-1] - processor[0],
        "losses": losses,
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
