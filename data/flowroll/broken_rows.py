"""Rows that are wrong on purpose, each with what is wrong: for tests of whatever reads rows."""

import json

BROKEN_FILE = "broken/rows.jsonl"
CATALOGUE_FILE = "broken/README.md"

USER = {"role": "user", "content": "Explain DIMMATCH( key group, old market )"}
ASSISTANT = {
    "role": "assistant",
    "content": "Members of key group also in old market.",
}
GOOD = {"messages": [USER, ASSISTANT], "kind": "explain", "group": "broken-good"}


def encode_messages(*messages: object) -> bytes:
    """Write a row with the given messages."""
    return json.dumps({**GOOD, "messages": list(messages)}).encode()


def encode_contents(user: object, assistant: object) -> bytes:
    """Write a row with the given contents of the two turns."""
    return encode_messages({**USER, "content": user}, {**ASSISTANT, "content": assistant})


# Each is right but for the fault named beside it; "none" stands for a good row.
ROWS: tuple[tuple[str, bytes], ...] = (
    ("none", json.dumps(GOOD).encode()),
    ("not JSON: the line ends early", json.dumps(GOOD).encode()[:70]),
    ("not JSON: a comma after the last entry", b'{"messages": [], "kind": "explain",}'),
    ("not UTF-8", json.dumps(GOOD).encode().replace(b"key", b"k\xe9y")),
    ("not an object: a list", b'["Explain DIMMATCH( key group, old market )"]'),
    ("not an object: null", b"null"),
    ("no messages: the key is missing", b'{"kind": "explain", "group": "broken-missing"}'),
    ("no messages: null", json.dumps({**GOOD, "messages": None}).encode()),
    ("no messages: an empty list", encode_messages()),
    ("messages is a string", json.dumps({**GOOD, "messages": "Explain it."}).encode()),
    ("no assistant turn", encode_messages(USER)),
    ("no assistant turn at the end", encode_messages(USER, ASSISTANT, USER)),
    ("no user turn", encode_messages(ASSISTANT)),
    ("unknown role: bot", encode_messages(USER, {**ASSISTANT, "role": "bot"})),
    ("no role", encode_messages({"content": USER["content"]}, ASSISTANT)),
    ("no content", encode_messages(USER, {"role": "assistant"})),
    ("content is null", encode_contents(USER["content"], None)),
    ("content is a number", encode_contents(USER["content"], 42)),
    ("content is empty", encode_contents(USER["content"], "")),
    ("content is blank", encode_contents(" \t\n", ASSISTANT["content"])),
    ("content holds NUL", encode_contents("Explain \0 DIMMATCH", ASSISTANT["content"])),
    ("content holds half a surrogate pair", encode_contents("Explain \ud83d", "No.")),
    ("a message is a string", encode_messages(USER, ASSISTANT["content"])),
    ("duplicate of line 1", json.dumps(GOOD).encode()),
    ("blank line", b""),
    (
        "none",
        encode_contents(
            "Repair DIMMATCH[key group, old market]", "DIMMATCH( key group, old market )"
        ),
    ),
)


def write_broken_rows() -> bytes:
    """Join the rows to a file."""
    return b"".join(row + b"\n" for _, row in ROWS)


def write_catalogue() -> bytes:
    """Say line by line what is wrong."""
    lines = [
        "# Broken rows",
        "",
        "Each line of `rows.jsonl` is wrong in one way; `none` marks good rows among them.",
        "Written by `../generate.py`; for tests, never for training.",
        "",
        "| line | fault |",
        "|---|---|",
        *(f"| {number} | {fault} |" for number, (fault, _) in enumerate(ROWS, start=1)),
    ]
    return "".join(f"{line}\n" for line in lines).encode()
