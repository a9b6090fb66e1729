"""The drift check: is the champion as good on fresh rows as it was when it was published?"""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow

from configs.monitoring import MonitorRules
from flows.environment import prepare_environment
from flows.liveness import end_with_run
from tasks.drift import Drift, drift
from tasks.evaluate import check_scoring, evaluate
from tasks.gather import choose_config, gather, require_champion
from tasks.records.extras import check_extras
from tasks.records.runs import check_home
from tasks.resolve import release_models
from tasks.version import version

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="monitor")
def monitor(
    name: str,
    source: str,
    rules: MonitorRules = MonitorRules(),  # noqa: B008 - frozen; the form shows its values
    overrides: dict[str, Any] | None = None,
) -> Drift:
    """Score the champion on fresh labelled rows, and say whether it has drifted.

    Template, generation, metrics and how rows are read are those of its publication; rows that it
    was trained, chosen or decided upon are left out. `drifted` is announced as `hone.drifted`.

    Requires: a published model, and the rows, readable from here. Works with a GPU and without.

    Args:
        name: The model's name in the registry.
        source: Labelled rows: a file, a folder, `lakefs://REPOSITORY/REF/PATH` or
            `hf://NAME@REVISION`; a relative path starts at hone's clone.
        rules: What counts as steady.
        overrides: Values by dotted key that replace those of the publication, such as
            `{"data.pattern": "2026-*.jsonl"}`.
    """
    prepare_environment()
    check_home()
    champion = require_champion(name)
    config = choose_config(champion, source, overrides or {})
    check_extras(config)
    check_scoring(config, is_run=False)
    try:
        with end_with_run():
            data = version(config.data, config.model)
            fresh = gather(data, champion, config)
            evaluation = evaluate("champion", champion.reference, fresh, config)
            return drift(data, champion, fresh, evaluation, rules)
    finally:
        release_models()
