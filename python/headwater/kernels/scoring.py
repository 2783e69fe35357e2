"""Scoring by int8 vectors: exact top-k over everything, with filters, in one pass.

A vector is stored as int8 codes with one float32 scale, `value[i] ~ code[i] * scale`, `scale = max |value| / 127`. The
score of a stored vector for a query is `dot(codes) * scale * query_scale`: the int32 dot is exact, so the answer is
the same on every CPU. Quantising moves scores a little; `rescore` makes up for it among the best.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater import core
from headwater.kernels.arrays import MAX_THREADS, array_of, float_of, int_of, mask_of

MAX_DIM = 1024
MAX_VECTORS = 2**32 - 2

NO_ITEM = 2**32 - 1
"""Fills the places of an answer that found nothing, with a score of negative infinity."""


def quantize(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 codes and scales of vectors.

    `vectors`: float32 (n, d). Returns codes, int8 (n, d) in -127..127, and scales, float32 (n,). A zero vector has
    scale 0. O(n d). Raises `InvalidArray` for NaN, infinities and magnitudes above 1e15.
    """
    rows = array_of("vectors", vectors, np.float32, (None, None))
    codes = np.empty(rows.shape, np.int8)
    scales = np.zeros(rows.shape[0], np.float32)
    core.quantize(rows, rows.shape[1], codes, scales)
    return codes, scales


class Int8Index:
    """int8 vectors in memory, searched by scoring all of them.

    Vectors are numbered from 0 in the order they are added and can be overwritten at any time; `d + 4` bytes each.
    Searches may run in several threads at once; changes wait for them and are seen by the next. `store` is the Rust
    side.
    """

    def __init__(self, dim: int, capacity: int = 0) -> None:
        """For vectors of 1 to 1024 dimensions, with memory for `capacity` of them set aside (it grows by itself)."""
        dim = int_of("dim", dim, 1, MAX_DIM)
        self.store = core.Int8Store(dim, int_of("capacity", capacity, 0, MAX_VECTORS))
        self._dim = dim

    def __len__(self) -> int:
        return len(self.store)

    def __repr__(self) -> str:
        return f"Int8Index(dim={self._dim}, vectors={len(self)}, bytes={self.nbytes})"

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self._dim

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.store.memory

    def add(self, vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
        """Appends vectors, float32 (n, d) or (d,); returns their ids, uint32 (n,). O(n d).

        Raises `InvalidArray`, with nothing added, for NaN, infinities and magnitudes above 1e15.
        """
        rows = self._rows("vectors", vectors)
        first = self.store.add(rows)
        return np.arange(first, first + rows.shape[0], dtype=np.uint32)

    def put(self, ids: NDArray[np.uint32], vectors: NDArray[np.float32]) -> None:
        """Overwrites the vectors of `ids`, uint32 (n,), by float32 (n, d); of a repeated id the last counts. O(n d).

        Raises `InvalidArray`, with nothing changed, for ids that do not exist and for what `add` refuses.
        """
        rows = self._rows("vectors", vectors)
        self.store.put(array_of("ids", ids, np.uint32, (rows.shape[0],)), rows)

    def get(self, ids: NDArray[np.uint32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Codes, int8 (n, d), and scales, float32 (n,), of the vectors of `ids`, uint32 (n,)."""
        ids = array_of("ids", ids, np.uint32, (None,))
        codes = np.empty((ids.shape[0], self._dim), np.int8)
        scales = np.empty(ids.shape[0], np.float32)
        self.store.get(ids, codes, scales)
        return codes, scales

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        mask: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
        min_score: float = -np.inf,
        threads: int = 1,
        rescore: NDArray[np.float32] | None = None,
        oversample: int = 4,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The `k` best vectors for each query, best first, equal scores by ascending id.

        `queries`: float32 (d,) or (q, d). `mask` admits vectors: bool (n,), or packed bits, uint8 (ceil(n / 8),) as
        `numpy.packbits(..., bitorder="little")` makes them. Scores below `min_score` are left out.

        Returns ids, uint32, and scores, float32. For one query (d,) their length is what was found, at most min(k, n).
        For (q, d) they are (q, min(k, n)), and rows that found less end with `NO_ITEM` and negative infinity.

        With `rescore`, the float32 vectors (n, d) that were added, the `oversample * k` best are scored again by their
        float32 dot products.

        O(n q d): every vector is read once for each 16 queries, runs of 16 vectors that `mask` leaves out are not.
        `threads` above 1 use spare threads of the process, one for each CPU but one; a fork has none. Raises
        `InvalidArray`.
        """
        single = isinstance(queries, np.ndarray) and queries.ndim == 1
        rows = self._rows("queries", queries)
        total = len(self.store)
        k = min(int_of("k", k, 0, MAX_VECTORS), total)
        bits, packed = mask_of("mask", mask, total)
        least = float_of("min_score", min_score, -np.inf, np.inf)
        exact = None if rescore is None else array_of("rescore", rescore, np.float32, (total, self._dim))
        if single:
            ids, scores = np.empty(k, np.uint32), np.empty(k, np.float32)
        else:
            ids = np.full((rows.shape[0], k), NO_ITEM, np.uint32)
            scores = np.full((rows.shape[0], k), -np.inf, np.float32)
        counts = self.store.search(
            rows,
            k,
            ids,
            scores,
            bits,
            packed,
            least,
            int_of("threads", threads, 1, MAX_THREADS),
            exact,
            int_of("oversample", oversample, 1, 1000),
        )
        if single:
            return ids[: counts[0]], scores[: counts[0]]
        return ids, scores

    def _rows(self, field: str, vectors: Any) -> NDArray[np.float32]:
        """Vectors as rows; one vector is one row."""
        if isinstance(vectors, np.ndarray) and vectors.ndim == 1:
            return array_of(field, vectors, np.float32, (self._dim,)).reshape(1, self._dim)
        return array_of(field, vectors, np.float32, (None, self._dim))
