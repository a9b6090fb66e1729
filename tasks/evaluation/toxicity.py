"""How toxic answers are, by a text classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.errors import RequestError
from tasks.records.observer import Observer

# Shape suffixes: W windows of tokens, L labels.

BATCH_WINDOWS = 32
MODEL_KEY, LABEL_KEY = "evaluation.toxicity_model", "evaluation.toxicity_label"


def score_toxicity(
    texts: Sequence[str], folder: Path, *, label: str, device: str, observer: Observer
) -> list[float]:
    """Return for each text the classifier's probability of a label.

    A text of more tokens than the classifier reads is read in windows, and the highest probability
    counts; nothing of it is cut away. Labels that exclude one another (softmax) and labels that do
    not (sigmoid, `problem_type: multi_label_classification`, or a single label) are told apart.

    Args:
        texts: The answers.
        folder: A sequence-classification model with its tokenizer.
        label: The label that means toxic.
        device: Where to compute.
        observer: Told how many windows are read.

    Raises:
        RequestError: The folder holds no such model, or it has no such label.
    """
    tokenizer, model = load_classifier(folder)
    place = find_label(model.config.id2label, label)
    if not texts:
        return []
    windows = tokenizer(
        list(texts), truncation=True, return_overflowing_tokens=True,
        max_length=min(tokenizer.model_max_length, _find_limit(model)),
    )  # fmt: skip
    owners = windows.pop("overflow_to_sample_mapping")
    model.to(device)
    scores = [0.0] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(owners), BATCH_WINDOWS):
            part = slice(start, start + BATCH_WINDOWS)
            batch = tokenizer.pad(
                {name: values[part] for name, values in windows.items()}, return_tensors="pt"
            ).to(device)
            found_W = read_probabilities(model, batch)[:, place].tolist()
            for owner, score in zip(owners[part], found_W, strict=True):
                scores[owner] = max(scores[owner], score)
            observer.report_progress(min(part.stop, len(owners)), len(owners), "texts classified")
    return scores


def load_classifier(folder: Path) -> tuple[Any, Any]:
    """Return a classifier's tokenizer and model, from safetensors and without code of its own.

    Raises:
        RequestError: The folder holds no sequence-classification model.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    names = AutoConfig.from_pretrained(folder).architectures or []
    if not any(name.endswith("ForSequenceClassification") for name in names):
        raise RequestError(
            where=MODEL_KEY,
            message=f"{folder} holds {', '.join(names) or 'no named model'}",
            allowed="a model for sequence classification",
        )
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
    return AutoTokenizer.from_pretrained(folder), model.eval()


def find_label(names: dict[int, str], label: str) -> int:
    """Return the place of a label.

    Raises:
        RequestError: The classifier has no such label.
    """
    places = {str(name): place for place, name in names.items()}
    if label not in places:
        raise RequestError(
            where=LABEL_KEY, message=f"found {label}", allowed=", ".join(map(str, places))
        )
    return places[label]


def read_probabilities(model: Any, batch: Any) -> torch.Tensor:
    """Return the probability of each label, shape (W, L)."""
    logits_WL = model(**batch).logits.float()
    is_multi = model.config.problem_type == "multi_label_classification"
    is_multi |= logits_WL.shape[-1] == 1
    return logits_WL.sigmoid() if is_multi else logits_WL.softmax(dim=-1)


def _find_limit(model: Any) -> int:
    """Return how many tokens the classifier reads; RoBERTa keeps two positions for itself."""
    positions = int(getattr(model.config, "max_position_embeddings", 512))
    return positions - 2 if model.config.model_type in {"roberta", "xlm-roberta"} else positions
