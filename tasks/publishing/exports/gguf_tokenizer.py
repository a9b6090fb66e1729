"""The tokenizer inside a GGUF file: byte-level BPE, cut by one of llama.cpp's own patterns."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from tasks.publishing.exports.comparison import TEXTS

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

LOG = logging.getLogger("hone")
LEAST_AGREEMENT = 0.95
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS: dict[str, tuple[str, ...]] = {
    "llama-bpe": (LLAMA3,),
    "qwen2": (LLAMA3.replace("{1,3}", ""),),
    "gpt-2": (GPT2,),
    "smollm": (r"\p{N}", GPT2),
}
"""llama.cpp's name of a pre-tokenizer -> how it cuts a text, one pattern after the other."""
WHOLE_WORDS = {"llama-bpe"}  # llama.cpp looks such words up whole before it merges
# Cut differently by at least two of the patterns, or by those of other tokenizers.
CUT_TEXTS = (
    *TEXTS,
    "It's I'll you'RE", "1234567 12 3", "x=1;y=22;z=333", "HTTPServer MLflow iPhone", "a  b   c",
    "tab\there\n\n\nlines\r\n", "(open order, 3, BACK)", "naïve café", "日本語のテキスト", "🙂🙃",
    "/usr/lib/python3.11", "snake_case camelCase", "$5.00 50%", "a.b.c...", "\"quoted\" 'single'",
    "  leading", "trailing  ", "UPPER lower Title", "2026-01-31T12:00:00Z", "<tag attr=\"v\">",
)  # fmt: skip
GENERATION_TAG = re.compile(r"(\{%-?\s*)(end)?generation(\s*-?%\})")


@dataclass(frozen=True)
class GgufTokenizer:
    """A tokenizer as llama.cpp knows it."""

    pre: str
    """The name of the pattern that cuts texts before merging."""
    agreement: float
    """Share of the trial texts that it turns into the same tokens as the tokenizer itself."""
    content: dict[str, Any]
    """`tokenizer.json`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: nothing where all texts are cut the same."""
        if self.agreement == 1:
            return ()
        note = (
            f"llama.cpp cuts texts a little otherwise: as {self.pre}, the nearest that it knows, "
            f"it gives the same tokens for {self.agreement:.0%} of {len(CUT_TEXTS)} trial texts"
        )
        return (note,)


def describe_tokenizer(renderer: Renderer, name: str) -> GgufTokenizer:
    """Return how llama.cpp is told about a tokenizer.

    Args:
        renderer: With the tokenizer.
        name: The model, for the error.

    Raises:
        RequestError: It is no byte-level BPE, or llama.cpp cuts texts in no similar way.
    """
    content = json.loads(renderer.tokenizer.backend_tokenizer.to_str())
    is_bytes = '"ByteLevel"' in json.dumps(content.get("decoder"))
    if content["model"]["type"] != "BPE" or not is_bytes:
        raise RequestError(
            message=f"the tokenizer of {name} is a {content['model']['type']} "
            f"{'' if is_bytes else 'without byte level'}".rstrip(),
            where="--format gguf",
            allowed="byte-level BPE, as of Llama 3, Qwen and GPT-2",
            hint="merged takes every model, and llama.cpp's own converter reads what it writes",
        )
    shares = {pre: measure_agreement(content, pre) for pre in PATTERNS}
    best = max(shares, key=lambda pre: shares[pre])
    if shares[best] < LEAST_AGREEMENT:
        raise RequestError(
            message=f"llama.cpp would cut texts otherwise than the tokenizer of {name}: the "
            f"nearest of its patterns, {best}, gives the same tokens for {shares[best]:.0%} of "
            f"{len(CUT_TEXTS)} texts",
            where="--format gguf",
            allowed=f"at least {LEAST_AGREEMENT:.0%}",
        )
    return GgufTokenizer(best, shares[best], content)


def measure_agreement(content: dict[str, Any], pre: str) -> float:
    """Return the share of the trial texts that a pattern turns into the same tokens."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    own = Tokenizer.from_str(json.dumps(content))
    model = {**content["model"], "ignore_merges": pre in WHOLE_WORDS}
    other = Tokenizer.from_str(json.dumps({**content, "model": model}))
    splits = [Split(Regex(pattern), "isolated") for pattern in PATTERNS[pre]]
    other.pre_tokenizer = Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
    same = [
        own.encode(text, add_special_tokens=False).ids
        == other.encode(text, add_special_tokens=False).ids
        for text in CUT_TEXTS
    ]
    return sum(same) / len(same)


def write_tokenizer(
    writer: Any, tokenizer: GgufTokenizer, renderer: Renderer, vocab_size: int
) -> None:
    """Write the vocabulary, merges, special tokens and chat template into a GGUF file.

    Args:
        writer: The file.
        tokenizer: From `describe_tokenizer`.
        renderer: Knows the end tokens and the template.
        vocab_size: Rows of the embedding; the tokenizer may have fewer tokens.
    """
    tokens, types = list_tokens(tokenizer.content, vocab_size)
    merges = tokenizer.content["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    own = renderer.tokenizer
    if own.bos_token_id is not None:
        writer.add_bos_token_id(own.bos_token_id)
    writer.add_eos_token_id(renderer.end_token_ids[0])
    writer.add_eot_token_id(renderer.end_token_ids[0])
    writer.add_pad_token_id(renderer.pad_token_id)
    writer.add_add_bos_token(adds_start(renderer))
    writer.add_add_eos_token(False)
    if renderer.chat_template:
        writer.add_chat_template(strip_generation_tags(renderer.chat_template.text))


def list_tokens(content: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """Return all tokens in the order of their ids, and what kind each is of."""
    from gguf import TokenType

    vocabulary = dict(content["model"]["vocab"])
    types = dict.fromkeys(vocabulary.values(), TokenType.NORMAL)
    for added in content["added_tokens"]:
        vocabulary[added["content"]] = added["id"]
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        types[added["id"]] = kind
    by_id = {number: token for token, number in vocabulary.items()}
    places = range(max(vocab_size, max(by_id) + 1))
    tokens = [by_id.get(number, f"[PAD{number}]") for number in places]
    return tokens, [int(types.get(number, TokenType.UNUSED)) for number in places]


def adds_start(renderer: Renderer) -> bool:
    """Return whether a rendered prompt begins with the tokenizer's start token."""
    if renderer.chat_template is None:
        return bool(renderer.encoder.start_ids)
    bos = renderer.tokenizer.bos_token
    return bool(bos) and render_user(renderer).startswith(bos)


def render_user(renderer: Renderer) -> str:
    """Return the text of a user's turn that waits for an answer."""
    from tasks.formatting.rows.examples import Message

    assert renderer.chat_template is not None, "a renderer of texts has no conversations"
    return renderer.chat_template.render([Message("user", "Hi")], add_generation_prompt=True)


def strip_generation_tags(template: str) -> str:
    """Return a template without transformers' `generation` blocks, which llama.cpp does not know.

    >>> strip_generation_tags("{%- generation -%}{{ x }}{%- endgeneration -%}")
    '{%- if true -%}{{ x }}{%- endif -%}'
    """
    return GENERATION_TAG.sub(lambda m: f"{m[1]}{'endif' if m[2] else 'if true'}{m[3]}", template)
