"""Secrets in a configuration: recognised by the key's name or by the value's shape."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden: it looks like a secret)"

SECRET_VALUE = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\bsk-[A-Za-z0-9_-]{20,}"  # model providers
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[A-Z0-9]{12,}"  # lakeFS (AKIAJ...) and AWS access keys
    r"|://[^/\s:@]+:[^/\s@]+@"  # user:password@ in a URI
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
SECRET_WORDS = {
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
}
SECRET_PAIRS = {"api_key", "apikey", "access_key", "private_key", "secret_key"}
# A token is a secret when it is somebody's; pad_token, num_tokens and their kin are text.
TOKEN_OWNERS = {"hf", "hub", "huggingface", "access", "auth", "api", "bearer", "wandb", "login"}


def is_secret_name(name: str) -> bool:
    """Tell whether a key's name says that its value is a secret.

    >>> [is_secret_name(name) for name in ("hf_token", "WANDB_API_KEY", "token", "pad_token")]
    [True, True, True, False]
    """
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().replace("-", "_").split("_")
    joined = "_".join(words)
    is_token = words[-1] == "token" and (len(words) == 1 or bool(TOKEN_OWNERS & set(words)))
    return (
        is_token or bool(SECRET_WORDS & set(words)) or any(pair in joined for pair in SECRET_PAIRS)
    )


def is_secret_value(value: Any) -> bool:
    """Tell whether a value has the shape of a well-known access token or holds a password."""
    return isinstance(value, str) and SECRET_VALUE.search(value) is not None


def redact(text: str) -> str:
    """Return the text, or a note in its place when it holds a secret."""
    return HIDDEN if is_secret_value(text) else text
