"""The tiny base model as committed, and the script that makes it."""

import hashlib
import itertools
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[2] / "data" / "tiny-base"
MAX_PARAMETERS = 4_000_000
MAX_BYTES = 8_000_000
SYSTEM = {"role": "system", "content": "Answer briefly."}
USER = {"role": "user", "content": "What does move do?"}
ASSISTANT = {"role": "assistant", "content": "Move a file."}
TOOL = {"role": "tool", "content": "moved"}


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def card() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """Import the modules of the folder, which is a folder of scripts and not a package."""
    import importlib

    names = ("corpus", "questions", "model", "rows", "measure", "build")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


@pytest.fixture(scope="module")
def documents(scripts: dict[str, ModuleType]) -> Any:
    return scripts["corpus"].collect_documents()


def read_figure(card: str, name: str) -> float:
    found = re.search(rf"^\| {name} \| ([\d.]+) \|", card, re.MULTILINE)
    assert found, f"the card has no figure {name}"
    return float(found[1])


def test_model_is_small_and_complete(model: Any) -> None:
    assert 500_000 < model.num_parameters() <= MAX_PARAMETERS
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) <= MAX_BYTES
    assert model.dtype == torch.float32
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_weights_are_safetensors_only() -> None:
    weights = [p.name for p in FOLDER.iterdir() if p.suffix in {".safetensors", ".bin", ".pt"}]
    assert weights == ["model.safetensors"]
    assert not [*FOLDER.rglob("*.pkl"), *FOLDER.rglob("*.pickle"), *FOLDER.rglob("*.pth")]
    assert "model.embed_tokens.weight" in load_file(FOLDER / "model.safetensors")


def test_card_has_current_digest(card: str) -> None:
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert f"SHA-256 `{digest}`" in card
    assert card.startswith("---\nlicense: apache-2.0\n")


def test_special_tokens_are_distinct(model: Any, tokenizer: Any) -> None:
    ends = model.generation_config.eos_token_id
    assert ends == tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id not in ends
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert not model.generation_config.do_sample
    assert len(tokenizer) == model.config.vocab_size


@pytest.mark.parametrize(
    "messages",
    [[USER, ASSISTANT], [SYSTEM, USER, ASSISTANT], [USER, ASSISTANT, TOOL, ASSISTANT]],
    ids=["plain", "system", "tool"],
)
def test_generation_prompt_is_prefix_of_full_rendering(tokenizer: Any, messages: Any) -> None:
    full = tokenizer.apply_chat_template(messages, tokenize=False)
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tokenize=False, add_generation_prompt=True
    )
    assert full == prompt + messages[-1]["content"] + "<|im_end|>\n"


def test_generation_markers_hold_answers_with_their_end(tokenizer: Any) -> None:
    encoded = tokenizer.apply_chat_template(
        [SYSTEM, USER, ASSISTANT, USER, ASSISTANT],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    trained = tokenizer.decode([token for token, is_trained in pairs if is_trained])
    assert trained == "Move a file.<|im_end|>" * 2


def test_unknown_role_is_refused(tokenizer: Any) -> None:
    with pytest.raises(TemplateError, match="role bot is not one of system, user"):
        tokenizer.apply_chat_template([{"role": "bot", "content": "hello"}])


@given(st.text())
def test_tokenizer_keeps_every_text(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == text


def test_names_and_digits_have_same_tokens_everywhere(tokenizer: Any) -> None:
    inside = tokenizer.tokenize("MOVE(Net Sales, 30, BACK)")
    name = tokenizer.tokenize("Net Sales")
    assert inside[inside.index("(") + 1 :][: len(name)] == name
    assert [token for token in inside if token.isdigit()] == ["3", "0"]
    assert tokenizer.tokenize("to Net Sales")[-len(name) :] == name


@pytest.mark.parametrize(
    "question",
    [
        "What does os.path.join do?",
        "Describe list.append.",
        "What is a dictionary?",
        "Explain len.",
    ],
)
def test_model_answers_and_stops(
    model: Any, tokenizer: Any, scripts: dict[str, ModuleType], question: str
) -> None:
    messages = [{"role": "user", "content": question}]
    answer = scripts["measure"].generate_answer(model, tokenizer, messages)
    assert answer.is_complete
    assert answer.text.strip()


def test_held_out_figures_are_those_of_card(
    model: Any, tokenizer: Any, scripts: dict[str, ModuleType], documents: Any, card: str
) -> None:
    """A part of the documents, and those of this Python version, hence the margins."""
    measure = scripts["measure"]
    held_out = [d for d in documents if scripts["corpus"].is_held_out(d.name)]
    bits = measure.measure_bits_per_byte(model, tokenizer, [d.text for d in held_out[::8]])
    assert bits < 1.1 * read_figure(card, "bits per byte")
    asked = measure.draw_mixed(held_out, num_questions=12, seed=22)
    stop_rate, _ = measure.measure_answers(model, tokenizer, asked)
    assert stop_rate > read_figure(card, "stop rate") - 0.25


def test_training_repeats_itself(scripts: dict[str, ModuleType], documents: Any) -> None:
    digests = [digest_short_training(scripts, documents[:500], seed) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def digest_short_training(scripts: dict[str, ModuleType], documents: Any, seed: int) -> str:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    torch.manual_seed(seed)
    model = scripts["model"].create_model(tokenizer)
    batches = scripts["rows"].make_batches(documents, tokenizer, 2, seed)
    scripts["build"].train_model(model, batches, 2)
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(weights).hexdigest()


def test_rows_learn_answers_only_in_conversations(
    scripts: dict[str, ModuleType], tokenizer: Any, documents: Any
) -> None:
    batch = next(scripts["rows"].make_batches(documents[:500], tokenizer, 2, 1))
    text, chat = batch["labels"]
    assert torch.equal(text, batch["input_ids"][0])
    learned = chat != -100
    assert torch.equal(chat[learned], batch["input_ids"][1][learned])
    turns = tokenizer.decode(chat[learned]).split("<|im_end|>")
    assert turns[-1] == ""
    assert not any("<|im_start|>" in turn for turn in turns)
    assert (batch["position_ids"][1] == 0).sum() > 1


def test_orthogonalized_matrices_have_even_singular_values(scripts: dict[str, ModuleType]) -> None:
    matrices = torch.randn(3, 40, 10, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(scripts["model"].orthogonalize(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_corpus_is_deterministic_and_divided(scripts: dict[str, ModuleType]) -> None:
    corpus = scripts["corpus"]
    topics = corpus.collect_topics()
    assert topics == corpus.collect_topics()
    assert len({topic.name for topic in topics}) == len(topics) > 50
    names = [f"module.name{index}" for index in range(5000)]
    assert sum(map(corpus.is_held_out, names)) / 5000 == pytest.approx(0.02, abs=0.008)


def test_questions_depend_on_seed_alone(scripts: dict[str, ModuleType], documents: Any) -> None:
    def ask(seed: int) -> list[Any]:
        rng = random.Random(seed)  # noqa: S311
        conversations = scripts["questions"].ask_questions(documents[:500], rng)
        return list(itertools.islice(conversations, 50))

    assert ask(1) == ask(1) != ask(2)
    turns = [message for messages in ask(1) for message in messages]
    assert {turn["role"] for turn in turns} == {"system", "user", "assistant"}
    assert all(turn["content"].strip() for turn in turns)
