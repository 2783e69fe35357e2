"""How much is measured: `FULL` for figures, `TINY` to see that everything runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Scale(NamedTuple):
    """Sizes of the inputs. `data`: a folder with `ml-1m/` and `diginetica/`, if there is one."""

    data: Path | None = None
    bloom_small: int = 100_000
    bloom_large: int = 10_000_000
    dedup: int = 10_000_000
    vectors: int = 100_000
    dim: int = 64
    ann_vectors: tuple[int, ...] = (100_000, 500_000)
    pool: int = 500
    fold_events: int = 5_000_000
    """ML-1M is repeated until it has as many."""
    zipf_events: int = 10_000_000
    zipf_items: int = 1_000_000
    sessions: int | None = None
    """Training sessions read; None: all."""
    queries: int = 5_000
    runs: int = 31


FULL = Scale()
TINY = Scale(
    bloom_small=2_000,
    bloom_large=20_000,
    dedup=20_000,
    vectors=2_000,
    ann_vectors=(3_000,),
    pool=100,
    fold_events=1,
    zipf_events=20_000,
    zipf_items=2_000,
    sessions=2_000,
    queries=50,
    runs=3,
)
