import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.fields import list_fields, list_section_names
from configs.foreign_keys import FOREIGN_KEYS, PUBLISHING_KEYS
from configs.load import check_config, load_config
from configs.schema import PublishConfig
from configs.secret_values import is_secret_name

KEYS = [key for key, field in list_fields().items() if field.section]
NAMES = {field.name for field in list_fields().values()}


def refuse(dotted: str, value: object = "x") -> RequestError:
    with pytest.raises(RequestError) as caught:
        load_config("tiny", [f"{dotted}={value}"])
    assert caught.value.where == f"--set {dotted}"
    return caught.value


@st.composite
def typos(draw: st.DrawFn, name: str) -> str:
    """One letter of a name left out, doubled, or exchanged with its neighbour."""
    at = draw(st.integers(1, len(name) - 2))
    kind = draw(st.sampled_from(["left out", "doubled", "exchanged"]))
    if kind == "exchanged":
        return name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    return name[:at] + (name[at] * 2 if kind == "doubled" else "") + name[at + 1 :]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_mistyped_key_finds_the_one_that_was_meant(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(KEYS))
    section, name = key.split(".")
    typo = data.draw(typos(name))
    assume(typo not in NAMES and typo not in FOREIGN_KEYS)
    assert key in refuse(f"{section}.{typo}").hint


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_mistyped_section_finds_the_one_that_was_meant(data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(list_section_names()))
    typo = data.draw(typos(section))
    assume(typo != section and typo not in FOREIGN_KEYS)
    assert section in refuse(typo).hint


@pytest.mark.parametrize(
    ("dotted", "hint"),
    [
        ("learning_rate", "write training.learning_rate"),
        ("model.max_length", "write training.max_length"),
        ("seed", "write training.seed or gate.seed"),
        ("training.LEARNING_RATE", "write training.learning_rate"),
        ("training.learning-rate", "write training.learning_rate"),
        ("learning_rat", "did you mean training.learning_rate?"),
        ("cutoff_len", "write training.max_length"),
        ("sequence_len", "write training.max_length"),
        ("max_seq_length", "write training.max_length"),
        ("training.micro_batch_size", "write training.per_device_train_batch_size"),
        ("batch_size", "write training.per_device_train_batch_size"),
        ("model.lora_rank", "write model.lora_r"),
        ("lora_target", "write model.lora_target_modules"),
        ("base_model", "write model.model_name_or_path"),
        ("model_name", "write model.model_name_or_path"),
        ("num_epochs", "write training.num_train_epochs"),
        ("lr_scheduler", "write training.lr_scheduler_type"),
        ("val_set_size", "write data.validation_fraction (a share, not a number of rows)"),
        ("val_size", "write data.validation_fraction (a share, not a number of rows)"),
        ("load_in_4bit", "write model.method (qlora trains on a 4-bit base)"),
        ("adapter", "write model.method (lora, qlora or full)"),
        ("datasets", "write data.source"),
        ("dataset", "write data.source"),
        ("template", "write model.chat_template"),
        ("output_dir", "remove it: everything is written under HONE_HOME, an environment variable"),
        ("nothing.like.it", "docs/config.md says what each is for"),
    ],
)
def test_unknown_key_says_what_to_write(dotted: str, hint: str) -> None:
    assert refuse(dotted).hint == hint


def test_hopeless_key_lists_what_is_known() -> None:
    assert refuse("publish.zzz").allowed == ", ".join(PublishConfig.model_fields)


def test_foreign_keys_lead_to_known_keys() -> None:
    known = {*list_fields(), *list_section_names()}
    for name, foreign in FOREIGN_KEYS.items():
        assert set(foreign.keys) <= known, name
        assert foreign.keys or foreign.remark, name


def test_every_foreign_key_is_explained() -> None:
    # One that hone has itself, or that is refused as a secret, would be explained otherwise.
    with pytest.raises(RequestError) as caught:
        check_config({"model": dict.fromkeys(FOREIGN_KEYS)})
    assert len(caught.value.problems) == len(FOREIGN_KEYS)
    assert [line for line in caught.value.problems if "a key of another system" not in line] == []


@pytest.mark.parametrize("name", sorted(PUBLISHING_KEYS))
def test_publishing_key_is_refused_with_the_reason(name: str) -> None:
    error = refuse(f"training.{name}", "true")
    assert "only the gate publishes" in error.message
    assert ("HF_TOKEN" in error.hint) == ("token" in name)


@pytest.mark.parametrize(
    "name", ["hf_token", "token", "WANDB_API_KEY", "lakefs_secret_key", "awsSecretKey", "password"]
)
def test_secret_key_is_refused(name: str) -> None:
    error = refuse(f"tracking.{name}", "hunter2")
    assert error.message == "a secret never stands in a configuration"
    assert ".env" in error.hint


@pytest.mark.parametrize("name", ["max_new_tokens", "pad_token", "num_tokens", "tokenizer"])
def test_token_of_text_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("training.learning_rate", "-1", "found -1; allowed: a number >= 0"),
        ("training.learning_rate", "fast", 'found "fast"; allowed: a number >= 0'),
        ("training.seed", "1.5", "found 1.5; allowed: a whole number >= 0"),
        ("training.seed", "null", "found null; allowed: a whole number >= 0"),
        ("training.packing", "maybe", 'found "maybe"; allowed: true or false'),
        ("model.method", "QLORA", "did you mean qlora?"),
        ("model.dtype", "bf16", "did you mean bfloat16?"),
        ("data.eval_sources", "[a]", "found a list; allowed: a mapping of text to text"),
        ("evaluation.metrics", "[exactmatch]", "did you mean exact_match?"),
        ("publish.name", "a/b", 'allowed: a name of letters, digits, ".", "_" and "-"'),
        ("model.lora_target_modules", "{a: b}", "allowed: text or a list of text"),
        ("data.system_prompt", f"[{'x' * 500}]", "found a list"),
        ("training.optim", "{a: b}", "found a mapping; allowed: text"),
    ],
)
def test_wrong_value_says_what_is_allowed(dotted: str, value: str, message: str) -> None:
    assert message in str(refuse(dotted, value))


def test_long_value_is_shortened() -> None:
    assert str(refuse("training.seed", "x" * 500)).count("x") == 80


def test_value_in_a_mapping_names_its_key() -> None:
    with pytest.raises(RequestError) as caught:
        check_config({"data": {"roles": {"bot": 3}}})
    assert str(caught.value) == "data.roles.bot: found 3; allowed: text"


def test_union_is_one_problem() -> None:
    with pytest.raises(RequestError) as caught:
        check_config({"model": {"lora_target_modules": 3}})
    assert caught.value.problems == ()
