"""Base and trained models: loaded from safetensors only, in a stated precision, complete or not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from configs.errors import RequestError, RunError
from configs.schema import ModelConfig
from tasks.records.extras import require_package
from tasks.training.adapters import ADAPTER_CONFIG, load_adapter
from tasks.training.sharding import check_shards, describe_shards, explain_shards

LOG = logging.getLogger("hone")
WHERE = "model.model_name_or_path"
QUANTIZED_BLOCK = 64  # bitsandbytes quantises 64 values of a row together
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_base(
    location: Path | str,
    *,
    dtype: str,
    method: str = "full",
    model: ModelConfig | None = None,
    device: str = "cpu",
    revision: str | None = None,
    num_shards: int = 1,
) -> PreTrainedModel:
    """Load a base model in eval mode; every weight comes from its files.

    Args:
        location: A folder, or a hub id.
        dtype: `float32`, `bfloat16` or `float16`; with `qlora`, what 4-bit weights compute in.
        method: `qlora` quantises the linear layers to 4 bits.
        model: How to quantise; only read with `qlora`.
        device: Where the weights go: `cuda`, `mps` or `cpu`.
        revision: The commit of a hub model.
        num_shards: Processes of this training that the layers are spread over.

    Raises:
        RequestError: No such model, no weights, weights missing from them, no access, or layers
            that 4-bit quantisation cannot take.
        RunError: The hub does not answer.
    """
    _check_files(location)
    transformers_logging.disable_progress_bar()
    options: dict[str, Any] = {
        "dtype": DTYPES[dtype],
        "use_safetensors": True,
        "trust_remote_code": False,
        "revision": revision or "main",
        "output_loading_info": True,
    }
    if method == "qlora":
        assert model is not None, "qlora needs to know how to quantise"
        options["quantization_config"] = _build_quantization(model, dtype)
    if method == "qlora" or device == "cuda":
        # Each process of a launched training has a current device of its own.
        current = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
        options["device_map"] = {"": current}
    if num_shards > 1:  # each process reads its part, onto its device
        options.pop("device_map", None)
        options["distributed_config"] = describe_shards(num_shards)
    try:
        if method == "qlora" and (kept := _find_kept(location, revision)):
            options["quantization_config"].llm_int8_skip_modules = kept
        with explain_shards():
            base, report = AutoModelForCausalLM.from_pretrained(str(location), **options)
    except OSError as err:
        raise _explain_load_error(location, err) from err
    _check_complete(location, report)
    protect_quantized_layers(base)
    if num_shards > 1:
        check_shards(base)
        # transformers' Trainer would refuse to save a state that it takes for a sharded one.
        base._is_distributed_loading_by_transformers = False  # noqa: SLF001 - there is no setter
        return base.eval()
    return base.to(device).eval() if "device_map" not in options else base.eval()


def load_trained(
    folder: Path,
    base_location: Path | str,
    *,
    method: str,
    dtype: str,
    device: str,
    model: ModelConfig | None = None,
    revision: str | None = None,
) -> Any:
    """Load a trained model in eval mode: its adapter on the base, or its full weights.

    Args:
        folder: A `model/` folder or a checkpoint.
        base_location: The base model that it was trained on.
        method: `lora`, `qlora` or `full`.
        dtype: Precision of the base weights, the same as in training.
        device: `cuda`, `mps` or `cpu`.
        model: How to quantise; only read with `qlora`.
        revision: The commit of a hub base model.

    Raises:
        RequestError: The folder holds another kind of model than `method` says, or the adapter
            does not fit the base.
    """
    check_method(folder, method)
    if method == "full":
        return load_base(folder, dtype=dtype, device=device)
    base = load_base(
        base_location, dtype=dtype, method=method, model=model, device=device, revision=revision
    )
    return load_adapter(base, folder)


def check_method(folder: Path, method: str) -> None:
    """Refuse a folder that holds another kind of model than the method makes.

    Raises:
        RequestError: It holds an adapter and should hold all weights, or the other way round.
    """
    has_adapter = (folder / ADAPTER_CONFIG).is_file()
    if has_adapter == (method == "full"):
        kind = "an adapter" if has_adapter else "no adapter"
        raise RequestError(where=str(folder), message=f"holds {kind}, but model.method is {method}")


def count_parameters(model: Any) -> tuple[int, int]:
    """Return how many parameters a model has, and how many of them are trained.

    A tied weight counts once; a byte of 4-bit weights holds two.
    """
    total = trainable = 0
    for parameter in model.parameters():
        is_packed = type(parameter).__name__ == "Params4bit" and not parameter.is_floating_point()
        count = parameter.numel() * (2 * parameter.element_size() if is_packed else 1)
        total += count
        trainable += count if parameter.requires_grad else 0
    return total, trainable


def _check_files(location: Path | str) -> None:
    """Refuse a local folder without a config or without weights in safetensors."""
    folder = Path(location)
    if not folder.is_dir():
        return  # a hub id: from_pretrained knows
    if not (folder / "config.json").is_file():
        raise RequestError(where=WHERE, message=f"{location} has no config.json")
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in [*folder.glob("*.bin"), *folder.glob("*.pt")])
        found = f"found {pickles[0]}, which may run code when it is read" if pickles else ""
        raise RequestError(
            where=WHERE,
            message=f"{location} has no weights; {found}".rstrip("; "),
            allowed="*.safetensors",
        )


def _check_complete(location: Path | str, report: dict[str, Any]) -> None:
    """Refuse weights that do not fill the model: the rest of it would be random."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise RequestError(
            where=WHERE,
            message=f"{location} lacks {len(missing)} weights of its model, such as {missing[0]}",
            hint="get the model's files anew, or check that config.json belongs to them",
        )
    if unexpected := sorted(report["unexpected_keys"]):
        LOG.warning("%s: %d weights not used: %s", location, len(unexpected), unexpected[0])


def _explain_load_error(location: Path | str, err: OSError) -> RequestError | RunError:
    """Return what a user can do about a model that could not be loaded."""
    causes: list[BaseException] = [err]
    while cause := (causes[-1].__cause__ or causes[-1].__context__):
        causes.append(cause)
    names = {type(cause).__name__ for cause in causes}
    statuses = {getattr(getattr(c, "response", None), "status_code", None) for c in causes}
    first = str(err).splitlines()[0] if str(err) else type(err).__name__
    if "GatedRepoError" in names or statuses & {401, 403}:
        return RequestError(
            where=WHERE,
            message=f"the hub refuses access to {location}",
            hint=f"ask for access at https://huggingface.co/{location}, then set HF_TOKEN",
        )
    if names & {"ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout"}:
        return RunError(where=WHERE, message=f"the hub does not answer for {location}: {first}")
    return RequestError(
        where=WHERE,
        message=f"{location} cannot be loaded: {first}",
        allowed="a folder with a model's files, or a Hugging Face id",
    )


def _build_quantization(model: ModelConfig, dtype: str) -> Any:
    from transformers import BitsAndBytesConfig

    require_package("bitsandbytes", where="model.method", needed_for="qlora")
    if model.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=model.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=model.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=DTYPES[dtype],
    )


def _find_kept(location: Path | str, revision: str | None) -> list[str]:
    """Return the layers that stay as they are, the head among them, where widths ask for it.

    Raises:
        RequestError: No layer would be quantised.
    """
    layers, head = _list_linear_layers(location, revision)
    odd = [name for name, width in layers.items() if width % QUANTIZED_BLOCK]
    if len(odd) == len(layers):
        check_quantizable(location, revision)
    if not odd:
        return []  # transformers itself knows the head
    LOG.info(
        "%d of %d layers are not quantised: their width is no multiple of %d, such as %s",
        len(odd), len(layers), QUANTIZED_BLOCK, odd[0],
    )  # fmt: skip
    return [head, *odd]


def _list_linear_layers(location: Path | str, revision: str | None) -> tuple[dict[str, int], str]:
    """Return the width of each linear layer but the head, by name, and the head's name."""
    config = AutoConfig.from_pretrained(str(location), revision=revision or "main")
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    head = skeleton.get_output_embeddings()
    linear = {n: m for n, m in skeleton.named_modules() if isinstance(m, torch.nn.Linear)}
    layers = {name: module.in_features for name, module in linear.items() if module is not head}
    return layers, next(name for name, module in skeleton.named_modules() if module is head)


def check_quantizable(location: Path | str, revision: str | None) -> None:
    """Refuse a model whose linear layers have a width that 4-bit kernels get wrong.

    Args:
        location: A folder, or a hub id.
        revision: The commit of a hub model.

    Raises:
        RequestError: With the first such layer.
    """
    for name, width in _list_linear_layers(location, revision)[0].items():
        if width % QUANTIZED_BLOCK:
            raise RequestError(
                where="model.method",
                message=f"qlora needs layers whose width is a multiple of {QUANTIZED_BLOCK}; "
                f"{name} of {location} has {width} inputs",
                allowed="lora, full",
            )


def protect_quantized_layers(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking weights in eval mode on processors with AVX512-BF16.

    The repacked weights give wrong gradients later, without an error.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False
