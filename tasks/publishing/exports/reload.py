"""A fresh process that knows transformers alone: loads a folder, renders, and writes logits."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def measure_folder(request: dict[str, Any]) -> dict[str, Any]:
    """Load the folder as any user of transformers would, and answer what is asked about it.

    Args:
        request: `folder`, `device`, `prompts` (token ids), `logits` (the file to write), and
            `messages` (a conversation to render with the folder's own template; null for texts).

    Returns:
        `rendered`, the ids of the conversation, and `dtype`.
    """
    folder = request["folder"]
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, trust_remote_code=False
    )
    model = model.to(request["device"]).eval()
    logits = {}
    with torch.inference_mode():
        for number, prompt in enumerate(request["prompts"]):
            input_ids = torch.tensor([prompt], device=model.device)
            found = model(input_ids=input_ids, use_cache=False).logits[0]
            logits[str(number)] = found.float().cpu().contiguous()
    save_file(logits, request["logits"])
    rendered = None
    if request["messages"]:
        rendered = tokenizer.apply_chat_template(
            request["messages"], add_generation_prompt=True, return_dict=False
        )
    return {"rendered": rendered, "dtype": str(model.dtype).removeprefix("torch.")}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(measure_folder(asked)), encoding="utf-8")
