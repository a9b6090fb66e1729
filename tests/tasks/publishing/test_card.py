from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tasks.publishing.candidates import Candidate
from tasks.publishing.card import find_license, write_card
from tasks.records.handles import TrainedModel

from .conftest import Workshop


@pytest.fixture
def card(candidate: Candidate) -> ModelCard:
    return ModelCard(write_card(candidate), ignore_metadata_errors=False)


def test_the_hub_reads_the_header(card: ModelCard) -> None:
    assert card.data.base_model == "tiny-base"
    assert card.data.library_name == "peft"
    assert card.data.license == "apache-2.0"
    results = {r.metric_type: r.metric_value for r in card.data.eval_results}
    assert results == {"exact_match": 0.75, "nll": 0.625}
    [revision] = {r.dataset_revision for r in card.data.eval_results}
    assert revision == "c" * 64


def test_the_text_names_figures_and_lineage(card: ModelCard, candidate: Candidate) -> None:
    assert "| test | exact_match | 0.0000 | 0.7500 |" in card.text
    assert "| baseline | test | exact_match | primary | +0.7500 |" in card.text
    assert "10 read = 8 kept + 1 invalid + 1 filtered; 0 cut" in card.text
    assert candidate.decision.digest in card.text
    assert "pyfunc.load_model" in card.text


def test_no_path_of_this_machine_is_named(candidate: Candidate, workshop: Workshop) -> None:
    assert workshop.base.location not in write_card(candidate)


def test_a_base_without_a_card_has_no_licence(workshop: Workshop, candidate: Candidate) -> None:
    folder = candidate.trained.model_folder
    nameless = workshop.base.model_copy(update={"location": str(folder)})
    assert find_license(nameless) is None


def change(candidate: Candidate, section: str, **values: Any) -> Candidate:
    trained = {k: v for k, v in values.items() if k in TrainedModel.model_fields}
    rest = {k: v for k, v in values.items() if k not in trained}
    config = {**candidate.config, section: {**candidate.config[section], **rest}}
    return replace(candidate, config=config, trained=candidate.trained.model_copy(update=trained))


def test_the_cost_is_told_for_the_run_and_per_point(candidate: Candidate) -> None:
    metrics = {**candidate.trained.metrics, "seconds": 5400.0, "energy_kwh": 0.3}
    priced = change(candidate, "tracking", device_hour_price=4.0, metrics=metrics)
    text = write_card(priced)
    assert "| device hours | 1.5 | 0.02 |" in text
    assert "| kWh | 0.3 | 0.004 |" in text
    assert "| money | 6 | 0.08 |" in text
    assert "0.01 of the metric that decides, exact_match" in text
    assert "| money |" not in write_card(candidate)


@pytest.mark.parametrize(
    ("values", "said", "library"),
    [
        ({"method": "lora"}, "An adapter (lora) for", "peft"),
        ({"method": "full"}, "All weights of", "transformers"),
        ({"method": "full", "merged": "qlora"}, "merged into the dequantised weights", "transf"),
        ({"method": "qlora"}, "on the base in 4 bits (nf4, nested)", "peft"),
        ({"method": "qlora", "load_in_8bit": True}, "in 8 bits (LLM.int8)", "peft"),
    ],
)
def test_it_says_which_precisions_were_evaluated(
    candidate: Candidate, values: dict[str, Any], said: str, library: str
) -> None:
    text = write_card(change(candidate, "model", **values))
    assert said in text
    assert ModelCard(text).data.library_name.startswith(library)
    code = text.split("From these files alone:")[1].split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert ("BitsAndBytesConfig" in code) == (values["method"] == "qlora")


def test_a_source_is_named_without_its_path(candidate: Candidate) -> None:
    data = candidate.data.model_copy(update={"source": "/home/ada/secret/rows"})
    text = write_card(replace(candidate, data=data))
    assert "`rows` @" in text
    assert "/home/ada" not in text
