"""The environment of every process that runs hone: `.env`, no telemetry, heartbeats."""

from __future__ import annotations

import os
from pathlib import Path

from flows.logs import hide_secrets

TAG = "hone"  # of every flow run of hone, on a server that others may share
NO_TELEMETRY = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

# Who watches the runs of a server asks after one that has been silent for a minute; Prefect's own
# default is 180.
HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


def prepare_environment() -> None:
    """Read `.env` of the current folder, which overrides nothing; no telemetry, no secret shown.

    Call it before Prefect is imported, which reads the environment once.
    """
    if Path(".env").is_file():
        from dotenv import load_dotenv

        load_dotenv(Path(".env"), override=False)
    os.environ |= NO_TELEMETRY
    for name, value in HEARTBEATS.items():
        os.environ.setdefault(name, value)
    hide_secrets()
