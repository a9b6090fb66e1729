"""`hone evaluate` of a model that a server has, and of one whose answers a classifier rates."""

import json
from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import load_config
from tasks.evaluate import check_scoring
from tasks.score import score
from tests.tasks.evaluation.conftest import TINY_BASE
from tests.tasks.evaluation.engines.conftest import ModelServer

SMALL = ["evaluation.max_new_tokens=6", "evaluation.per_device_eval_batch_size=2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"What does {name} do?", "completion": "It is a name.", "kind": name[0]}
        for name in ("len", "abs", "all")
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.usefixtures("home")
def test_a_served_model_is_scored_on_any_file(model_server: ModelServer, data: Path) -> None:
    config = load_config(None, [
        *SMALL, "evaluation.engine=openai", f"evaluation.endpoint_url={model_server.url}",
        "evaluation.endpoint_model=tiny", "evaluation.slice_by=[kind]",
    ])  # fmt: skip
    with pytest.raises(RequestError, match="a run compares several"):
        check_scoring(config)
    served = score(str(TINY_BASE), config, data)
    assert served.rows.kept == len(model_server.requests) == 3
    assert "nll" not in served.metrics["rows.jsonl"]
    assert {v: found["rows"] for v, found in served.slices["rows.jsonl"]["kind"].items()} == {
        "a": 2, "l": 1,
    }  # fmt: skip
    assert not score(str(TINY_BASE), config, data).evaluation.reused  # its weights are not known
    assert len(model_server.requests) == 6

    local = score(str(TINY_BASE), load_config(None, SMALL), data)
    assert local.metrics["rows.jsonl"]["chrf"] == served.metrics["rows.jsonl"]["chrf"]
    assert score(str(TINY_BASE), load_config(None, SMALL), data).evaluation.reused


def test_an_endpoint_needs_an_address_and_a_name() -> None:
    with pytest.raises(RequestError, match=r"needs evaluation\.endpoint_url"):
        load_config(None, ["evaluation.engine=openai"])
    with pytest.raises(RequestError, match="go together"):
        load_config(None, ["evaluation.judge_url=http://127.0.0.1:1/v1"])
    with pytest.raises(RequestError, match="endpoint_url"):
        load_config(None, ["evaluation.endpoint_url=ftp://x"])
