"""Lists and relevant items that `ranx` and Headwater both score: some short, some without a hit, some all hits."""

from __future__ import annotations

import random

K = (1, 5, 20)


def lists(seed: int = 3, count: int = 60) -> list[tuple[list[str], list[str]]]:
    """(ranked, relevant) pairs; the ranked lists hold up to 30 distinct items."""
    rng = random.Random(seed)
    items = [f"i{number}" for number in range(40)]
    made = []
    for _ in range(count):
        ranked = rng.sample(items, rng.randint(1, 30))
        made.append((ranked, rng.sample(items, rng.choice([1, 1, 2, 5, 25]))))
    return made
