"""A classifier that the test builds: it knows two words, one of them toxic."""

from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import RequestError
from tasks.evaluation.toxicity import find_label, load_classifier, score_toxicity
from tasks.records.observer import SilentObserver
from tests.tasks.evaluation.conftest import TINY_BASE

SETTINGS: dict[str, Any] = {"device": "cpu", "observer": SilentObserver()}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("classifier")
    words = ["[PAD]", "[UNK]", "kind", "vile"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label={0: "fine", 1: "toxic"}, label2id={"fine": 0, "toxic": 1},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    texts = torch.randint(1, 4, (256, 6))
    labels = (texts == 3).any(dim=1).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(120):
        loss = model(input_ids=texts, attention_mask=torch.ones_like(texts), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def test_toxic_answers_score_high(classifier: Path) -> None:
    texts = ["kind " * 6, "kind vile kind kind kind kind", "some other words are kind here"]
    kind, vile, other = score_toxicity(texts, classifier, label="toxic", **SETTINGS)
    assert vile > 0.8
    assert max(kind, other) < 0.5
    assert score_toxicity([], classifier, label="toxic", **SETTINGS) == []


def test_what_stands_behind_the_classifiers_reach_counts(classifier: Path) -> None:
    long = "kind " * 38 + "vile " * 3
    found = score_toxicity([long, "kind " * 6], classifier, label="toxic", **SETTINGS)
    assert found[0] > 0.5 > found[1]


def test_other_labels_and_models_are_refused(classifier: Path) -> None:
    with pytest.raises(RequestError, match="found hate; allowed: fine, toxic"):
        find_label({0: "fine", 1: "toxic"}, "hate")
    with pytest.raises(RequestError, match="holds LlamaForCausalLM"):
        load_classifier(TINY_BASE)
