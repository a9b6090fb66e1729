from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from tasks.publishing.candidates import Candidate
from tasks.publishing.card import find_license, write_card

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
