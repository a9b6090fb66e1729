"""One training by LLaMA-Factory, in its own environment, where there is nothing of hone.

Started by `process.py` as `python -I child.py SETTINGS PARENT`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 0.5
TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Train as the settings say; end when the process that started this one is gone."""
    settings, parent = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    is_told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_told_to_end.set())
    import yaml
    from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found]
    from transformers import TrainerCallback

    class Cadence(TrainerCallback):  # type: ignore[misc]
        """Logs before each checkpoint, and saves and ends when it is told to end."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if is_told_to_end.is_set():
                control.should_save = True
            if control.should_save or control.should_evaluate:
                control.should_log = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if is_told_to_end.is_set():
                os._exit(TERMINATED)  # the checkpoint is complete, and nothing after it is needed

    run_exp(yaml.safe_load(settings.read_text(encoding="utf-8")), callbacks=[Cadence()])


def _follow(parent: int) -> None:
    """End this process when its parent is gone; two of them must never write checkpoints."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


if __name__ == "__main__":
    main()
