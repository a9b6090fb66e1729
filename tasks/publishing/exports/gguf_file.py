"""GGUF for llama.cpp, Ollama and their like: Llama-family models, with tokenizer and template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from tasks.publishing.exports.comparison import ExportRefused, Reference, ask_model
from tasks.publishing.exports.sources import (
    ExportSource,
    load_whole,
    write_companions,
)
from tasks.records.extras import require_package
from tasks.records.writing import read_json, write_text

if TYPE_CHECKING:
    import numpy as np

    from tasks.formatting.rendering.renderer import Renderer

FILE = "model.gguf"
WHERE = "--format gguf"
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""transformers' model type -> the architecture that llama.cpp runs it as."""
PERMUTED = "llama"
ROPE_TYPES = ("default", "linear", "llama3")
# Fields of config.json that the file must give back.
FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "rms_norm_eps", "max_position_embeddings",
)  # fmt: skip


def check_source(source: ExportSource) -> None:
    """Refuse, before anything is loaded, what GGUF or this export does not know.

    Raises:
        RequestError: Naming what is supported, or the extra that is missing.
    """
    require_package("gguf", where=WHERE, needed_for="the export to GGUF")
    config = read_json(source.base / "config.json")
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise _refuse(source, f"its architecture is {kind}", ", ".join(ARCHITECTURES))
    window = config.get("sliding_window")
    if window and config.get("use_sliding_window", kind == "mistral"):
        raise _refuse(source, f"its attention has a window of {window} tokens", "full attention")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = rope.get("rope_type", rope.get("type", "default"))
    if found not in ROPE_TYPES:
        raise _refuse(source, f"its positions are scaled by {found}", ", ".join(ROPE_TYPES))


def write_files(source: ExportSource, renderer: Renderer, folder: Path) -> tuple[str, ...]:
    """Write `model.gguf` in the precision of the source, and a Modelfile.

    Args:
        source: What is exported.
        renderer: Its renderer.
        folder: An empty folder.

    Returns:
        What a user should know.
    """
    from gguf import GGUFWriter

    from tasks.publishing.exports.gguf_tokenizer import describe_tokenizer, write_tokenizer
    from tasks.publishing.exports.modelfile import write_modelfile

    tokenizer = describe_tokenizer(renderer, source.name)
    model = load_whole(source, renderer, dtype="float32")
    writer = GGUFWriter(str(folder / FILE), ARCHITECTURES[model.config.model_type])
    write_shape(writer, model.config, source)
    write_tokenizer(writer, tokenizer, renderer, model.config.vocab_size)
    for name, tensor in convert_weights(model, source.dtype):
        writer.add_tensor(name, tensor, raw_dtype=_find_type(tensor, source.dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_companions(model, renderer, folder)
    modelfile = write_modelfile(renderer, model.config.max_position_embeddings)
    write_text(folder / "Modelfile", modelfile.text)
    return (*tokenizer.notes, *modelfile.notes)


def measure_files(folder: Path, reference: Reference) -> list[Any]:
    """Return the logits of the model that transformers rebuilds from the file.

    Raises:
        ExportRefused: The file says something else about the model than its config.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    own = AutoConfig.from_pretrained(str(folder))
    config = AutoConfig.from_pretrained(str(folder), gguf_file=FILE)
    expected = {name: getattr(own, name) for name in FIELDS}
    found = {name: getattr(config, name) for name in FIELDS}
    if wrong := [
        n for n in FIELDS if found[n] != expected[n] and not _is_near(found[n], expected[n])
    ]:
        raise ExportRefused(
            message=f"{FILE} says {wrong[0]}={found[wrong[0]]}, the model {expected[wrong[0]]}"
        )
    config.rope_parameters = own.rope_parameters  # transformers reads no scaling from such files
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), gguf_file=FILE, config=config, dtype="float32"
    )
    return [ask_model(model.eval(), prompt) for prompt in reference.prompts]


def write_shape(writer: Any, config: Any, source: ExportSource) -> None:
    """Write what llama.cpp must know to build the model."""
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    head_size = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    types = {
        "float32": LlamaFileType.ALL_F32,
        "float16": LlamaFileType.MOSTLY_F16,
        "bfloat16": LlamaFileType.MOSTLY_BF16,
    }
    writer.add_name(Path(source.name).name)
    writer.add_file_type(types[source.dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))


def convert_weights(model: Any, dtype: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield each tensor under llama.cpp's name; a tied head is left out, as llama.cpp expects.

    Matrices get the precision of the source; vectors stay in float32, which llama.cpp needs.

    Args:
        model: The whole model in float32.
        dtype: Precision of the matrices.
    """
    import torch
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    [number] = [key for key, name in MODEL_ARCH_NAMES.items() if name == architecture]
    names = get_tensor_name_map(number, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    factors = find_rope_factors(model)
    if factors is not None:
        yield "rope_freqs.weight", factors
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found is not None, f"no name in GGUF for {name}"
        layer = name.split(".")[-2]
        is_permuted = architecture == PERMUTED and layer in heads
        weight = permute_heads(tensor, heads[layer]) if is_permuted else tensor
        if weight.dim() > 1 and dtype == "bfloat16":
            yield found, weight.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
        else:
            is_half = weight.dim() > 1 and dtype == "float16"
            yield found, (weight.half() if is_half else weight).contiguous().numpy()


def permute_heads(weight: Any, num_heads: int) -> Any:
    """Reorder the rows of each head: transformers turns halves, llama.cpp neighbouring pairs.

    Row `i` of the first half and row `i` of the second half of a head become rows `2i` and
    `2i + 1`.

    >>> import torch
    >>> permute_heads(torch.arange(8), 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    half = weight.shape[0] // num_heads // 2
    rows = weight.reshape(num_heads, 2, half, *weight.shape[1:])
    return rows.transpose(1, 2).reshape(weight.shape)


def find_rope_factors(model: Any) -> Any:
    """Return by how much each frequency of the positions is divided; None where by nothing."""
    import torch

    rotary = model.model.rotary_emb
    theta = float(model.config.rope_parameters["rope_theta"])
    own = rotary.inv_freq.float().cpu()
    plain = theta ** -(torch.arange(0, 2 * len(own), 2).float() / (2 * len(own)))
    factors = plain / own
    return None if torch.allclose(factors, torch.ones_like(own), rtol=1e-4) else factors.numpy()


def _find_type(tensor: np.ndarray[Any, Any], dtype: str) -> Any:
    """Return the type to write where numpy has none: bfloat16 goes as bytes."""
    from gguf import GGMLQuantizationType

    is_bytes = dtype == "bfloat16" and str(tensor.dtype) == "uint8"
    return GGMLQuantizationType.BF16 if is_bytes else None


def _is_near(found: Any, expected: Any) -> bool:
    """Tell whether two numbers differ by no more than float32 rounds."""
    return isinstance(found, float) and abs(found - expected) <= 1e-6 * abs(expected)


def _refuse(source: ExportSource, found: str, allowed: str) -> RequestError:
    return RequestError(
        message=f"{source.name} cannot become GGUF here: {found}",
        where=WHERE,
        allowed=allowed,
        hint="merged takes every model, and llama.cpp's own converter reads what it writes",
    )
