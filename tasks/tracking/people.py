"""Who does something here, for the records that name a person."""

from __future__ import annotations

import getpass
import os
import socket


def name_person() -> str:
    """Return MLFLOW_TRACKING_USERNAME, or the account and the machine that this runs on."""
    named = os.environ.get("MLFLOW_TRACKING_USERNAME")
    try:
        return named or f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # an account number without a name, as in many containers
        return f"{os.getuid()}@{socket.gethostname()}"
