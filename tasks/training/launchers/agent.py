"""torchrun as a process that ends with us, and says which of its processes failed first.

Started as `python -m tasks.training.launchers.agent FOLDER PARENT ARGUMENTS OF TORCHRUN`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as run

from tasks.records.writing import write_json
from tasks.training.launchers.lifeline import PARENT_VARIABLE, follow

FAILURE = "failure.json"


def main() -> None:
    """Run torchrun; write down what failed."""
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    follow(parent)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    try:
        run(sys.argv[3:])
    except ChildFailedError as err:
        rank, code = find_cause(err.failures)
        write_json(folder / FAILURE, {"rank": rank, "exit_code": code})
        sys.exit(1)


def find_cause(failures: dict[int, Any]) -> tuple[int, int]:
    """Return the rank and the exit code of the process that the others failed after.

    One that was killed goes before those that only lost their connection to it, and they before
    those that torchrun then ended by SIGTERM.
    """

    def order(rank: int) -> tuple[int, Any]:
        code = failures[rank].exitcode
        place = 2 if code == -signal.SIGTERM else int(code >= 0)
        return place, failures[rank].timestamp

    rank = min(failures, key=order)
    return rank, int(failures[rank].exitcode)


if __name__ == "__main__":
    main()
