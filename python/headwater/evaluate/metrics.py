"""Accuracy of one ranked list: hit rate, reciprocal rank, nDCG, precision, recall.

All are between 0 and 1. Lists hold distinct items, best first; `relevant` is what the user turned to next. Definitions
are those of the papers whose numbers are compared with, binary relevance everywhere:

* hit rate HR@k and reciprocal rank MRR@k of one next item: Hidasi and Karatzoglou (CIKM 2018), section 5; as in the
  tables of Ludewig and Jannach (UMUAI 2018, section 4.2).
* nDCG@k with discount 1 / log2(rank + 1): Jarvelin and Kekalainen (TOIS 2002); the ideal list holds min(k, relevant)
  hits, as Anelli et al. (UMAP 2022) and most libraries have it.
* precision@k divides by k however short the list is, recall@k by the number of relevant items.

`tests/parity` holds them to the figures of `ranx`. This module knows nothing of engines, users or averages over them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple


class Accuracy(NamedTuple):
    """The five measures of one list."""

    hr: float
    mrr: float
    ndcg: float
    precision: float
    recall: float


NOTHING = Accuracy(0.0, 0.0, 0.0, 0.0, 0.0)


def rank_of(target: str, ranked: Sequence[str]) -> int:
    """Place of the target in a list, from 1; 0 when it is not there."""
    try:
        return ranked.index(target) + 1
    except ValueError:
        return 0


def discount(rank: int) -> float:
    """What a hit at `rank` (from 1) is worth in DCG; 0 for rank 0, a miss."""
    return 1.0 / math.log2(rank + 1) if rank else 0.0


def accuracy(ranked: Sequence[str], relevant: Collection[str], k: int) -> Accuracy:
    """The measures of the first `k` items of a list against at least one relevant item."""
    wanted = set(relevant)
    if not wanted:
        return NOTHING
    places = [place for place, item in enumerate(ranked[:k], start=1) if item in wanted]
    if not places:
        return NOTHING
    ideal = sum(discount(place) for place in range(1, min(k, len(wanted)) + 1))
    gained = sum(discount(place) for place in places)
    return Accuracy(1.0, 1.0 / places[0], gained / ideal, len(places) / k, len(places) / len(wanted))
