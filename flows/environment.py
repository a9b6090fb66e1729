"""The environment of every process that runs hone: `.env`, and no telemetry."""

from __future__ import annotations

import os
from pathlib import Path

NO_TELEMETRY = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def prepare_environment() -> None:
    """Read `.env` of the current folder, which overrides nothing, and refuse telemetry."""
    if Path(".env").is_file():
        from dotenv import load_dotenv

        load_dotenv(Path(".env"), override=False)
    os.environ |= NO_TELEMETRY
