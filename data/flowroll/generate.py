"""Write the FLOWROLL/DIMMATCH example data and its card: `python data/flowroll/generate.py`."""

import argparse
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from broken_rows import BROKEN_FILE, CATALOGUE_FILE, write_broken_rows, write_catalogue
from cases import FAMILIES, ask, draw_case
from programs import Pool, build_pools
from similarity import is_near, split_shingles

HERE = Path(__file__).resolve().parent
SEED = 17
MAX_ROWS_PER_GROUP = 3
CARD_MARK = "<!-- written by generate.py -->"

FILES = {
    "train": "train.jsonl",
    "test": "eval/test.jsonl",
    "dev": "eval/dev.jsonl",
    "adversarial": "eval/adversarial.jsonl",
}
NUM_ROWS = {
    "train": {
        "explain": 260,
        "write": 320,
        "repair": 180,
        "evaluate": 80,
        "unknown_function": 60,
        "wrong_arity": 70,
        "zero_periods": 50,
        "injection": 30,
    },
    "test": {"explain": 72, "write": 88, "repair": 58, "evaluate": 22},
    "dev": {"explain": 36, "write": 44, "repair": 29, "evaluate": 11},
    "adversarial": {
        "unknown_function": 32,
        "wrong_arity": 32,
        "zero_periods": 28,
        "injection": 28,
    },
}


@dataclass(frozen=True)
class Row:
    """One example, as it stands in the files."""

    prompt: str
    answer: str
    kind: str
    group: str


def main() -> None:
    """Write every file under the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE, help="folder to write to")
    output: Path = parser.parse_args().output
    splits = build_splits()
    contents = {FILES[split]: format_rows(rows) for split, rows in splits.items()}
    contents[BROKEN_FILE] = write_broken_rows()
    contents[CATALOGUE_FILE] = write_catalogue()
    for name, content in contents.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(content)
    card = (HERE / "README.md").read_text(encoding="utf-8")
    before, _, after = card.split(CARD_MARK)
    tables = f"\n{format_counts(splits)}\n{format_digests(contents)}\n"
    card = CARD_MARK.join((before, tables, after))
    (output / "README.md").write_text(card, encoding="utf-8", newline="\n")
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in splits.items())
    sys.stdout.write(f"wrote {output}: {counts}\n")


def build_splits() -> dict[str, list[Row]]:
    """Draw the rows of every split, none near a row of another split."""
    pools = build_pools(Random(f"{SEED}/names"))
    taken: list[frozenset[str]] = []
    splits = {}
    for split in FILES:
        rng = Random(f"{SEED}/{split}")
        rows = draw_split(NUM_ROWS[split], pools[split], taken, rng)
        taken.extend(split_shingles(row.prompt) for row in rows)
        splits[split] = rng.sample(rows, len(rows))
    return splits


def draw_split(
    num_rows: dict[str, int], pool: Pool, taken: list[frozenset[str]], rng: Random
) -> list[Row]:
    """Draw groups until every kind has its number of rows."""
    rows: dict[str, Row] = {}
    groups: set[str] = set()
    for family, kinds in FAMILIES.items():
        left = Counter({kind: num_rows.get(kind, 0) for kind in kinds})
        while left.total():
            group = draw_group(family, left, pool, rng)
            is_new = group[0].group not in groups and not any(row.prompt in rows for row in group)
            if is_new and not any(is_near(split_shingles(row.prompt), taken) for row in group):
                groups.add(group[0].group)
                rows.update({row.prompt: row for row in group})
                left.subtract(row.kind for row in group)
    return list(rows.values())


def draw_group(family: str, left: Counter[str], pool: Pool, rng: Random) -> list[Row]:
    """Draw one case and one to three different requests about it, of kinds that are left."""
    case = draw_case(family, pool, rng)
    group = hashlib.sha256(case.identity.encode()).hexdigest()[:12]
    size = min(rng.randint(1, MAX_ROWS_PER_GROUP), left.total())
    kinds = rng.sample(sorted(left.elements()), size)
    requests = {
        request.prompt: (request, kind) for kind in kinds if (request := ask(kind, case, rng))
    }
    return [Row(request.prompt, request.answer, kind, group) for request, kind in requests.values()]


def format_rows(rows: list[Row]) -> bytes:
    """Write rows as JSON Lines."""
    return b"".join(f"{json.dumps(format_row(row))}\n".encode() for row in rows)


def format_row(row: Row) -> dict[str, object]:
    """Write a row in the messages format."""
    messages = [
        {"role": "user", "content": row.prompt},
        {"role": "assistant", "content": row.answer},
    ]
    return {"messages": messages, "kind": row.kind, "group": row.group}


def format_counts(splits: dict[str, list[Row]]) -> str:
    """Write the card's table of rows by kind and file."""
    counts = {split: Counter(row.kind for row in rows) for split, rows in splits.items()}
    kinds = [kind for family in FAMILIES.values() for kind in family]
    table: list[list[object]] = [["kind", *splits], ["---"] * (len(splits) + 1)]
    table += [[f"`{kind}`", *(count[kind] for count in counts.values())] for kind in kinds]
    table.append(["rows", *(len(rows) for rows in splits.values())])
    table.append(["groups", *(len({row.group for row in rows}) for rows in splits.values())])
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in table)


def format_digests(contents: dict[str, bytes]) -> str:
    """Write the card's table of digests."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    lines = [f"| `{name}` | `{digest}` |\n" for name, digest in digests.items()]
    return "".join(["| file | SHA-256 |\n", "|---|---|\n", *lines])


if __name__ == "__main__":
    main()
