"""Tasks of EleutherAI's lm-eval as more evaluation sets: what a fine-tuning must not unlearn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs.errors import RequestError
from configs.metrics import SUITE_METRICS
from configs.paths import resolve_path
from configs.schema import EvaluationConfig
from tasks.evaluation.generation import unwrap_model
from tasks.evaluation.predictions import Prediction
from tasks.records.digests import digest_value

KEY = "evaluation.lm_eval_tasks"
PREFIX = "lm_eval_"
FEWSHOT_SEED = 1234  # lm-eval's own default


def name_set(task: str) -> str:
    """Return the name of a task's evaluation set.

    >>> name_set("arc_easy")
    'lm_eval_arc_easy'
    """
    return PREFIX + re.sub(r"[^A-Za-z0-9._-]", "-", task)


def run_suite(
    model: Any, tokenizer: Any, evaluation: EvaluationConfig
) -> dict[str, list[Prediction]]:
    """Answer the tasks of `evaluation.lm_eval_tasks`, without a chat template.

    As many few-shot examples are shown as a task's description says, by default none.

    Args:
        model: A causal LM in eval mode, with or without an adapter.
        tokenizer: Its tokenizer.
        evaluation: Which tasks, where they are described, how many examples.

    Returns:
        A prediction for each example, by evaluation set; its scores are lm-eval's own.

    Raises:
        RequestError: There is no such task, or it gives no metric that can be compared by example.
    """
    from lm_eval.evaluator import evaluate  # not simple_evaluate, which runs pip to describe itself
    from lm_eval.models.huggingface import HFLM

    manager = find_tasks(evaluation)
    loaded = manager.load(list(evaluation.lm_eval_tasks))
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    scorer = HFLM(
        pretrained=unwrap_model(model),
        tokenizer=tokenizer,
        batch_size=evaluation.per_device_eval_batch_size,
    )
    results = evaluate(
        scorer,
        loaded,
        limit=evaluation.lm_eval_limit,
        bootstrap_iters=0,  # the gate has bounds of its own
        log_samples=True,
    )
    assert results is not None, "only ranks above 0 get nothing"
    return {
        name_set(task): read_samples(task, samples) for task, samples in results["samples"].items()
    }


def find_tasks(evaluation: EvaluationConfig) -> Any:
    """Return lm-eval's manager of the tasks that are asked for.

    Its own descriptions are thousands of files: they are left alone where the folder of
    `evaluation.lm_eval_path` describes every task.

    Raises:
        RequestError: There is no such task.
    """
    from lm_eval.tasks import TaskManager

    folder, wanted = evaluation.lm_eval_path, evaluation.lm_eval_tasks
    path = str(resolve_path(folder)) if folder else None
    if path:
        manager = TaskManager(include_path=path, include_defaults=False)
        if set(wanted) <= set(manager.all_tasks):
            return manager
    manager = TaskManager(include_path=path)
    check_tasks(wanted, manager.all_tasks)
    return manager


def check_tasks(wanted: Iterable[str], known: Sequence[str]) -> None:
    """Refuse tasks that lm-eval does not have.

    Raises:
        RequestError: Naming those that come nearest.
    """
    from difflib import get_close_matches

    for task in wanted:
        if task not in known:
            near = get_close_matches(task, known, n=5)
            raise RequestError(
                where=KEY,
                message=f"lm-eval has no task {task}",
                allowed=", ".join(near) or "see `lm-eval ls tasks`",
                hint="describe tasks of your own in the folder evaluation.lm_eval_path",
            )


def read_samples(task: str, samples: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Return lm-eval's records of a task as predictions, one for each example.

    A task with several filters gives several records of an example: the first one counts.

    Raises:
        RequestError: None of its metrics is a score of each example.
    """
    first: dict[int, Mapping[str, Any]] = {}
    for sample in samples:
        first.setdefault(sample["doc_id"], sample)
    return [read_sample(task, sample) for _, sample in sorted(first.items())]


def read_sample(task: str, sample: Mapping[str, Any]) -> Prediction:
    """Return one record of lm-eval's as a prediction."""
    scores = {name: float(sample[name]) for name in SUITE_METRICS if name in sample}
    if not scores:
        raise RequestError(
            where=KEY,
            message=f"{task} gives {', '.join(sample['metrics'])}",
            allowed=f"tasks that give {', '.join(SUITE_METRICS)} for each example",
        )
    identity = digest_value([task, sample["doc_id"], sample["doc_hash"]])
    prompt = str(next(iter(sample["arguments"]))[0])
    return Prediction(
        id=identity,
        group=identity,
        origin=f"{task}:{sample['doc_id']}",
        fields={},
        prompt=prompt,
        prompt_digest=digest_value(["lm-eval", sample["prompt_hash"], sample["doc_hash"]]),
        reference=str(sample["target"]),
        prediction=str(sample["filtered_resps"]),
        ended=True,
        num_new_tokens=0,
        nll_sum=0.0,
        num_tokens=0,
        num_bytes=0,
        scores=scores,
    )
