"""The card's part on use: what for, in which precision of the base, and loaded how."""

from __future__ import annotations

from tasks.publishing.bases import is_from_hub, name_base
from tasks.publishing.candidates import Candidate


def write_use(candidate: Candidate) -> str:
    """Return what a model is for, in which precision, and how it is loaded."""
    call = '[{"messages": [{"role": "user", "content": "..."}]}]'
    if candidate.formatted.kind == "text":
        call = '[{"text": "..."}]'
    return (
        "Intended for prompts like those of its training data, answered greedily; not for other "
        "tasks, and not for decisions about people without somebody who checks them.\n\n"
        f"{_write_precision(candidate)}\n\n"
        "```python\n"
        "import mlflow\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{candidate.name}@champion")\n'
        f"print(model.predict({call}))\n"
        "```\n\n"
        "From these files alone:\n\n"
        f"```python\n{_write_loading(candidate)}```"
    )


def _write_precision(candidate: Candidate) -> str:
    """Return the base's precisions that were evaluated: no other one is known to work."""
    trained, model = candidate.trained, candidate.config["model"]
    if trained.method != "qlora":
        return f"Evaluated in {trained.dtype}, and in no other precision."
    bits = "8 bits (LLM.int8)" if model.get("load_in_8bit") else (
        f"4 bits ({model['bnb_4bit_quant_type']}"
        f"{', nested' if model['use_bnb_nested_quant'] else ''})"
    )  # fmt: skip
    return (
        f"Evaluated on the base in {bits}, computing in {trained.dtype}, and on no other: put on "
        "the base in 16 bits it is another model, which nobody has evaluated."
    )


def _write_loading(candidate: Candidate) -> str:
    trained, model = candidate.trained, candidate.config["model"]
    options = f"dtype=torch.{trained.dtype}"
    lines = ["import torch", "from transformers import AutoModelForCausalLM, AutoTokenizer"]
    if trained.method == "full":
        return "\n".join([
            *lines, "",
            'folder = "."  # of these files, or their repository',
            f"model = AutoModelForCausalLM.from_pretrained(folder, {options})",
            "tokenizer = AutoTokenizer.from_pretrained(folder)", "",
        ])  # fmt: skip
    base, revision = name_base(trained.base), ""
    if is_from_hub(trained.base):
        revision = f', revision="{trained.base.revision}"'
    if trained.method == "qlora":
        lines[-1] += ", BitsAndBytesConfig"
        bits = "load_in_8bit=True" if model.get("load_in_8bit") else (
            f'load_in_4bit=True, bnb_4bit_quant_type="{model["bnb_4bit_quant_type"]}", '
            f"bnb_4bit_use_double_quant={model['use_bnb_nested_quant']}, "
            f"bnb_4bit_compute_dtype=torch.{trained.dtype}"
        )  # fmt: skip
        options += f", quantization_config=BitsAndBytesConfig({bits})"
    return "\n".join([
        *lines, "from peft import PeftModel", "",
        'folder = "."  # of these files, or their repository',
        f'base = AutoModelForCausalLM.from_pretrained("{base}"{revision}, {options})',
        "model = PeftModel.from_pretrained(base, folder)",
        "tokenizer = AutoTokenizer.from_pretrained(folder)", "",
    ])  # fmt: skip
