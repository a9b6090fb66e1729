"""The tokenizer of a base model: loading it, its end tokens, its digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.errors import RequestError
from tasks.records.digests import digest_bytes, digest_value


def load_tokenizer(folder: Path | str) -> Any:
    """Load the tokenizer of a folder with the base model's files; no code from there is run.

    Raises:
        RequestError: There is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as err:
        raise RequestError(
            where="model.model_name_or_path",
            message=f"no tokenizer can be loaded from {folder} ({err})",
            hint="a base model's folder holds tokenizer.json and tokenizer_config.json",
        ) from err


def find_end_ids(tokenizer: Any, turn_end: str | None) -> tuple[int, ...]:
    """Return the id of the token that ends a turn, or a text, then that of the tokenizer's own.

    Args:
        tokenizer: The tokenizer.
        turn_end: The token by which the chat template ends a turn; None for texts.

    Raises:
        RequestError: Texts have no token to end with.
    """
    own = tokenizer.eos_token_id
    if turn_end is not None:
        end = tokenizer.convert_tokens_to_ids(turn_end)
        return (end,) if own in {None, end} else (end, own)
    if own is None:
        raise RequestError(
            where="model.model_name_or_path",
            message="the tokenizer has no eos token: a model of texts could not learn to stop",
        )
    return (own,)


def digest_tokenizer(tokenizer: Any) -> str:
    """Return the digest of what a tokenizer does, however its files are written."""
    if not tokenizer.is_fast:
        return digest_value([sorted(tokenizer.get_vocab().items()), tokenizer.special_tokens_map])
    backend: str = tokenizer.backend_tokenizer.to_str()
    return digest_value([digest_bytes(backend.encode()), tokenizer.special_tokens_map])
