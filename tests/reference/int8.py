"""int8 scoring as its definition says, in numpy: quantise, dot in int64, two float32 products, sort everything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantize(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes and scales of rows."""
    scales = np.abs(vectors).max(axis=1, initial=0).astype(np.float32) / np.float32(127)
    safe = np.where(scales == 0, np.float32(1), scales)[:, None]
    codes = np.where(scales[:, None] == 0, 0, np.clip(np.rint(vectors / safe), -127, 127))
    return codes.astype(np.int8), scales


def search(
    vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The k best by score, equal scores by index."""
    codes, scales = quantize(vectors)
    query_codes, query_scale = quantize(query[None])
    dots = codes.astype(np.int64) @ query_codes[0].astype(np.int64)
    scores = (dots.astype(np.float32) * scales) * query_scale[0]
    order = np.lexsort((np.arange(len(scores)), -scores))
    if mask is not None:
        order = order[mask[order]]
    return order[:k].astype(np.uint32), scores[order[:k]]
