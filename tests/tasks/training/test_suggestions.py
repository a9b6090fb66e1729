"""What would make a training fit is named with the peak that it would have, and its price."""

import pytest

from configs.load import load_config
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.fitting import Examples, choose_computation, choose_setting
from tasks.training.known_bases import KNOWN_BASES
from tasks.training.memory import predict_memory
from tasks.training.shapes import read_shape
from tasks.training.suggestions import Change, suggest_changes

SHAPE = read_shape(KNOWN_BASES["meta-llama/Meta-Llama-3-8B-Instruct"])
EXAMPLES = Examples([900] * 300 + [1500] * 100, [300] * 400)
GIB = 2**30


def suggest(gib: int, model: ModelConfig, training: TrainingConfig) -> dict[str, Change]:
    how = choose_computation(model, training, device="cuda", dtype="bfloat16")
    found = suggest_changes(SHAPE, model, training, how, EXAMPLES, gib * GIB)
    return {" ".join(change.settings): change for change in found}


def test_a_quantised_base_makes_an_adapter_fit() -> None:
    changes = suggest(12, ModelConfig(), TrainingConfig())
    assert changes["model.method=qlora"].fits
    assert not changes["model.lora_r=8"].fits
    assert "100 of 400 examples are longer" in changes["training.max_length=1024"].cost


def test_full_training_may_become_lighter_or_page_its_optimiser() -> None:
    changes = suggest(141, ModelConfig(method="full"), TrainingConfig())
    assert changes["training.optim=adamw_8bit"].fits
    assert changes["model.method=lora"].fits
    paged = changes["training.optim=paged_adamw_32bit"]
    assert paged.fits
    assert "64.24 GB of its state go through PCIe twice an optimiser step, 5.1 s" in paged.cost


def test_inputs_of_blocks_may_wait_on_the_processor() -> None:
    change = suggest(19, ModelConfig(), TrainingConfig())["training.activation_offloading=true"]
    assert "0.26 GB go through PCIe twice, 0.021 s at 25 GB/s" in change.cost
    assert "training.activation_offloading=true" not in suggest(
        19, ModelConfig(), TrainingConfig(gradient_checkpointing="off")
    )


def test_checkpointing_that_is_off_comes_first() -> None:
    training = TrainingConfig(gradient_checkpointing="off")
    changes = suggest(24, ModelConfig(), training)
    assert next(iter(changes)) == "training.gradient_checkpointing=auto"
    assert changes["training.gradient_checkpointing=auto"].fits


def test_changes_are_added_up_where_no_single_one_is_enough() -> None:
    changes = suggest(11, ModelConfig(lora_r=256), TrainingConfig())
    together = [change for change in changes.values() if len(change.settings) > 1]
    assert not any(c.fits for c in changes.values() if len(c.settings) == 1)
    assert together[0].fits
    assert together[0].settings[:2] == ("model.method=qlora", "model.lora_r=8")


@pytest.mark.parametrize("gib", [11, 16])
def test_a_named_change_gives_the_named_peak_when_it_is_set(gib: int) -> None:
    overrides = ["model.lora_r=64"]
    config = load_config("llama3-8b-lora", overrides)
    how = choose_computation(config.model, config.training, device="cuda", dtype="bfloat16")
    changes = suggest(gib, config.model, config.training)
    assert changes
    for change in changes.values():
        changed = load_config("llama3-8b-lora", [*overrides, *change.settings])
        asked = (SHAPE, changed.model, changed.training)
        setting = choose_setting(*asked, how, EXAMPLES, gib * GIB)
        load = EXAMPLES.bound_load(setting, changed.training)
        plan = predict_memory(*asked, load, how)
        assert plan.total_bytes == change.total_bytes
