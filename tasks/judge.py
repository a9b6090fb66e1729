"""Let a judge model compare the candidate's answers with its opponents'."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import HoneError
from configs.schema import EvaluationConfig, RunConfig
from tasks.records.digests import digest_code, digest_file, digest_value
from tasks.records.entries import reuse_or_build
from tasks.records.handles import Arm, Evaluation, Handle
from tasks.records.home import find_home
from tasks.records.results import StageResults
from tasks.records.writing import read_json, write_json, write_jsonl

if TYPE_CHECKING:
    from tasks.evaluation.judge import Judged

LOG = logging.getLogger("hone")
RESULT, ROWS = "judged.json", "judgements.jsonl"


def judge_arms(config: RunConfig, results: StageResults) -> dict[Arm, Judged]:
    """Return what the judge found against each opponent; nothing where no judge is asked for.

    A judge that cannot be asked is a warning: it decides nothing, and the run goes on.
    """
    candidate = results.arms.get("finetuned")
    if config.evaluation.judge_url is None or candidate is None:
        return {}
    found: dict[Arm, Judged] = {}
    for arm, opponent in results.arms.items():
        if arm != "finetuned":
            try:
                found[arm] = _judge(config.evaluation, candidate, opponent, results.shown_split)
            except HoneError as err:
                LOG.warning("the judge was not heard against the %s: %s", arm, err)
    return found


def _judge(
    evaluation: EvaluationConfig, candidate: Evaluation, opponent: Evaluation, split: str
) -> Judged:
    from tasks.evaluation.judge import Judged
    from tasks.evaluation.significance import Bounds

    key = {
        "answers": [candidate.digest, opponent.digest, split],
        "judge": [evaluation.judge_url, evaluation.judge_model, evaluation.judge_samples],
        "code": digest_code("tasks.evaluation"),
    }
    handle = reuse_or_build(
        "judge", key, Handle, lambda entry: _build(evaluation, candidate, opponent, split, entry)
    )
    content = read_json(handle.folder / RESULT)
    return Judged(**{**content, "net": Bounds(**content["net"])})


def _build(
    evaluation: EvaluationConfig,
    candidate: Evaluation,
    opponent: Evaluation,
    split: str,
    entry: Path,
) -> Handle:
    from tasks.evaluation.changes import sort_changes
    from tasks.evaluation.judge import ask_server, judge_pairs, sum_up
    from tasks.evaluation.predictions import read_splits

    assert evaluation.judge_url, "checked by the caller"
    assert evaluation.judge_model, "checked with the config"
    rows = [read_splits(each.folder)[split] for each in (candidate, opponent)]
    changes = sort_changes(*rows)
    pairs = [*changes.won, *changes.lost, *changes.unchanged]
    pairs.sort(key=lambda pair: digest_value(pair.candidate.id))
    with ask_server(evaluation.judge_url, evaluation.judge_model) as ask:
        judgements = judge_pairs(ask, pairs[: evaluation.judge_samples])
    write_jsonl(entry / ROWS, map(asdict, judgements))
    write_json(entry / RESULT, asdict(sum_up(judgements)))
    return Handle(path=entry.relative_to(find_home()).as_posix(), digest=digest_file(entry / ROWS))
