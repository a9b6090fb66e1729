"""Names and programs of the example data: a split draws from names that no other split has."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from random import Random
from typing import TypeVar

from dsl import ARGUMENT_NAMES, DIRECTIONS, Formula, Item, Match, Roll, Sum, Table, Value

WORDS: dict[str, list[str]] = tomllib.loads(
    Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
)

# Names are dealt in these proportions; test and dev hold no faulty formulas.
NAME_SHARES = {"train": 12, "test": 4, "dev": 2, "adversarial": 2}
FAULT_SHARES = {"train": 2, "adversarial": 1}

MAX_PERIODS = 9

Name = TypeVar("Name", str, tuple[str, str])


@dataclass(frozen=True)
class Pool:
    """The names that one split may use, and no other split has."""

    items: tuple[str, ...]
    dimension_pairs: tuple[tuple[str, str], ...]
    unknown_functions: tuple[str, ...]
    injections: tuple[str, ...]


def build_pools(rng: Random) -> dict[str, Pool]:
    """Deal every name to exactly one split."""
    functions = join_pairs(WORDS["function_starts"], "", WORDS["function_ends"])
    unknown = [name for name in functions if name not in ARGUMENT_NAMES]
    items = deal_names(join_pairs(WORDS["qualifiers"], " ", WORDS["item_nouns"]), NAME_SHARES, rng)
    dimension_pairs = deal_names(list(combinations(WORDS["dimensions"], 2)), NAME_SHARES, rng)
    unknown_functions = deal_names(unknown, FAULT_SHARES, rng)
    injections = deal_names(
        join_pairs(WORDS["injection_leads"], " and ", WORDS["injection_deeds"]), FAULT_SHARES, rng
    )
    return {
        split: Pool(
            items[split],
            dimension_pairs[split],
            unknown_functions.get(split, ()),
            injections.get(split, ()),
        )
        for split in NAME_SHARES
    }


def join_pairs(starts: Sequence[str], between: str, ends: Sequence[str]) -> list[str]:
    """Join every start to every end."""
    return [f"{start}{between}{end}" for start, end in product(starts, ends)]


def deal_names(
    names: Sequence[Name], shares: Mapping[str, int], rng: Random
) -> dict[str, tuple[Name, ...]]:
    """Shuffle names and cut them into consecutive parts of the given proportions.

    Returns:
        Disjoint parts that together hold every name, by split.
    """
    shuffled = rng.sample(names, len(names))
    parts, dealt, start = {}, 0, 0
    for split, share in shares.items():
        dealt += share
        end = len(names) * dealt // sum(shares.values())
        parts[split] = tuple(shuffled[start:end])
        start = end
    return parts


def draw_program(pool: Pool, rng: Random) -> Formula:
    """Draw a formula: a roll of an item, of a sum or of a roll, or a match."""
    shape = rng.choices(("item", "sum", "roll", "match"), (54, 8, 3, 35))[0]
    if shape == "match":
        first, second = rng.sample(rng.choice(pool.dimension_pairs), 2)
        return Match(first, second)
    if shape == "roll":
        return draw_roll(draw_roll(Item(rng.choice(pool.items)), rng), rng)
    if shape == "sum":
        left, right = rng.sample(pool.items, 2)
        return draw_roll(Sum(Item(left), rng.choice("+-"), Item(right)), rng)
    return draw_roll(Item(rng.choice(pool.items)), rng)


def draw_roll(value: Value, rng: Random, max_periods: int = MAX_PERIODS) -> Roll:
    """Roll a value over at least two periods."""
    return Roll(value, rng.randint(2, max_periods), rng.choice(DIRECTIONS))


def draw_computation(pool: Pool, rng: Random) -> tuple[Formula, Table]:
    """Draw a formula with a small plan: three periods of small numbers, or a few members."""
    if rng.choice((True, False)):
        item = rng.choice(pool.items)
        numbers = tuple(rng.randint(0, 3) for _ in range(3))
        return draw_roll(Item(item), rng, max_periods=3), Table({item: numbers}, {})
    first, second = rng.sample(rng.choice(pool.dimension_pairs), 2)
    members = {
        name: tuple(rng.sample(WORDS["members"], rng.randint(2, 3))) for name in (first, second)
    }
    return Match(first, second), Table({}, members)
