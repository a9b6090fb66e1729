"""Live metrics and texts into a run of Weights & Biases, online or offline."""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from tasks.records.home import find_home
from tasks.tracking.points import MetricPoint, name_scalar

LOG = logging.getLogger("hone")
ONLINE = {"online", "run", "shared"}  # WANDB_MODE
REQUIRED_SETTINGS = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
FOLDERS = ("WANDB_CACHE_DIR", "WANDB_DATA_DIR")
PROBE_SECONDS = 5.0
INIT_SECONDS = 15.0
FINISH_SECONDS = 20.0  # less than LiveMetrics waits for its thread


@dataclass(frozen=True)
class WandbRun:
    """What a run is called at W&B and what it shows.

    Attributes:
        project: The project; the entity is WANDB_ENTITY or the account's own.
        name: The run's name.
        run_id: A resumed training has the same and goes on in the same run.
        folder: Gets `wandb/`, with all that wandb writes about the run.
        config: The run's configuration.
    """

    project: str
    name: str
    run_id: str
    folder: Path
    config: Mapping[str, Any]


class WandbSink:
    """Takes metrics as history by optimiser step, and texts as HTML; wandb's process uploads them.

    It takes no notice of the console, the code, git, the machine or its load: only what is sent.
    A step that the run has already had is left out by wandb, as in a resumed training.

    Args:
        run: What to open.

    Raises:
        ConnectionError: The server does not answer.
        Exception: Whatever wandb raises where it does not open the run.
    """

    def __init__(self, run: WandbRun) -> None:
        wandb = _import_wandb()
        settings = wandb.setup().settings
        if settings.mode in ONLINE and not _is_reachable(settings.base_url):
            raise ConnectionError(f"{settings.base_url} does not answer")
        run.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=run.project,
                name=run.name,
                id=run.run_id,
                resume="allow",
                dir=run.folder,
                config=dict(run.config),
                reinit="create_new",
                settings=_choose_settings(wandb),
            )
        except Exception:
            with suppress(Exception):  # its process may have ended
                wandb.teardown()  # otherwise the next attempt finds the id in use
            raise
        self._wandb = wandb

    def send_points(self, points: Sequence[MetricPoint]) -> None:
        """Hand over metrics, one row a step."""
        for step, row in groupby(points, key=lambda point: point.step):
            found = list(row)
            values = {name_scalar(point.key): point.value for point in found}
            self._run.log(values | {"_timestamp": found[-1].timestamp_ms / 1000}, step=step)

    def send_texts(self, texts: Mapping[str, str]) -> None:
        """Hand over texts, at the newest step."""
        pages = {
            f"samples/{name}": self._wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False)
            for name, text in texts.items()
        }
        self._run.log(pages, step=self._run.step)

    def close(self) -> None:
        """End the run, waiting for its upload for a while.

        Raises:
            TimeoutError: The upload took too long; what is missing lies in the run's folder.
        """
        folder = Path(self._run.dir).parent
        try:
            self._run.finish()
        except TimeoutError as err:
            raise TimeoutError(f"not all of it is sent; `wandb sync {folder}` sends it") from err
        if self._run.settings.mode == "offline":
            LOG.info("W&B was offline; `wandb sync %s` sends the run", folder)


def check_login() -> None:
    """Make sure that W&B takes what it will be sent, unless it is offline; ask nobody.

    A server that does not answer is no mistake of the user's: it may be back in the training.

    Raises:
        RequestError: There is no key, or it is refused; or WANDB_MODE is none of W&B's.
    """
    from pydantic import ValidationError

    wandb = _import_wandb()
    try:
        settings = wandb.setup().settings
    except ValidationError as err:
        raise RequestError(
            where=", ".join(f"WANDB_{error['loc'][0]!s}".upper() for error in err.errors()),
            message="wandb refuses it",
            problems=tuple(error["msg"] for error in err.errors()),
        ) from err
    if settings.mode not in ONLINE:
        return
    if not _is_reachable(settings.base_url):
        LOG.warning("%s does not answer: metrics for W&B are kept", settings.base_url)
        return
    try:
        is_logged_in = wandb.login(prompt=False, verify=True)
    except wandb.errors.AuthenticationError as err:
        raise RequestError(
            where="WANDB_API_KEY",
            message=f"W&B does not take the key: {err}",
            hint=f"set it to a key of {settings.base_url}, or WANDB_MODE=offline",
        ) from err
    if not is_logged_in:
        raise RequestError(
            where="tracking.report_to",
            message="wandb needs WANDB_API_KEY, which is not set",
            hint="set it, or run `wandb login`; with WANDB_MODE=offline none is needed",
        )


def _import_wandb() -> Any:
    """Return wandb, told to keep its files under HONE_HOME and its errors to itself."""
    caches = find_home() / "cache" / "wandb"
    os.environ.update(REQUIRED_SETTINGS)
    for name in FOLDERS:
        os.environ.setdefault(name, str(caches))
    import wandb

    return wandb


def _choose_settings(wandb: Any) -> Any:
    return wandb.Settings(
        console="off",
        host="",  # otherwise the machine's name
        program="hone",  # otherwise the path of what was started
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        silent=True,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )


def _is_reachable(address: str) -> bool:
    import httpx

    try:
        httpx.get(address, timeout=PROBE_SECONDS)
    except httpx.HTTPError:
        return False
    return True
