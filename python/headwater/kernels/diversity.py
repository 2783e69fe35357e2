"""Choosing few of many candidates that are relevant and unlike each other.

Candidates are float32 vectors or int8 codes, likened by their cosine, or sets of tags, likened by the Jaccard index. A
zero vector and an empty set resemble nothing. Equal values go to the smaller index, and the choice is the same on every
CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater import core
from headwater.kernels.arrays import MAX_THREADS, array_of, float_of, int_of, mask_of, refuse
from headwater.kernels.scoring import MAX_DIM, Int8Index

MAX_CANDIDATES = 2**31 - 1


class TagSets(NamedTuple):
    """Sets of tags: set i is `tags[starts[i]:starts[i + 1]]`, strictly ascending.

    `starts`: uint32 (n + 1,), from 0 to the number of tags. `tags`: uint32.
    """

    starts: NDArray[np.uint32]
    tags: NDArray[np.uint32]


# MMR: k, trade-off, window. DPP: k, theta.
Method = tuple[int, float, int | None] | tuple[int, float]

Candidates = NDArray[np.float32] | NDArray[np.int8] | TagSets


def mmr(
    candidates: Candidates,
    relevance: NDArray[np.float32],
    k: int,
    *,
    trade_off: float = 0.7,
    window: int | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Takes, step by step, the candidate with the largest
    `trade_off * relevance - (1 - trade_off) * (largest similarity with one taken before)`, with similarities clamped to
    0..1.

    `candidates`: float32 or int8 (n, d), or `TagSets` of n. `relevance`: float32 (n,), of the same order of size as
    similarities for `trade_off` to mean something. `window`: only so many latest choices count.

    Returns indices, uint32, and the values at which they were taken, float32, both (min(k, n),) in the order of choice.
    O(n k d), and less where relevance decides: candidates that cannot be next are not looked at. Raises `InvalidArray`.
    """
    trade_off = float_of("trade_off", trade_off, 0.0, 1.0)
    if window is not None:
        window = int_of("window", window, 0, MAX_CANDIDATES)
    return _diversify(candidates, relevance, k, lambda k: (k, trade_off, window))


def dpp(
    candidates: Candidates, relevance: NDArray[np.float32], k: int, *, theta: float = 0.7
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Greedy mode of a determinantal point process (Chen, Zhang and Zhou, NeurIPS 2018).

    Takes, step by step, the candidate that adds most to `theta * sum(relevance) + (1 - theta) * log det S`, with S the
    similarities of the chosen: a large determinant means that none is a mix of the others.

    `candidates`: float32 or int8 (n, d), or `TagSets` of n. `relevance`: float32 (n,). `theta`: 0 to below 1.

    Returns indices, uint32, and residuals, float32 in 0..1, in the order of choice: the share of each choice that those
    before it do not explain; log det S is the sum of their logarithms. At most min(k, n), and fewer once every
    candidate left is a mix of the chosen, at the latest after d. O(n k (d + k)), and less where relevance decides.
    Raises `InvalidArray`.
    """
    theta = float_of("theta", theta, 0.0, 1.0)
    if theta == 1.0:
        refuse("theta", "1; allowed: 0 to below 1")
    return _diversify(candidates, relevance, k, lambda k: (k, theta))


def slate(
    index: Int8Index,
    query: NDArray[np.float32],
    k: int = 75,
    *,
    pool: int = 500,
    trade_off: float = 0.7,
    mask: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
    threads: int = 1,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """A slate for one query in one call: scores everything, keeps the best `pool`, chooses `k` of them by MMR.

    `query`: float32 (d,). `mask`, `threads`: as in `Int8Index.search`. Relevance is the score, moved and scaled so that
    the pool spans 0 to 1; similarity is the cosine of the int8 codes.

    Returns ids, uint32, and int8 scores, float32, in slate order, at most min(k, pool, n). O(n d + pool k d). Raises
    `InvalidArray`.
    """
    total = len(index)
    pool = min(int_of("pool", pool, 0, MAX_CANDIDATES), total)
    k = min(int_of("k", k, 0, MAX_CANDIDATES), pool)
    query = array_of("query", query, np.float32, (index.dim,))
    bits, packed = mask_of("mask", mask, total)
    ids = np.empty(k, np.uint32)
    scores = np.empty(k, np.float32)
    threads = int_of("threads", threads, 1, MAX_THREADS)
    trade_off = float_of("trade_off", trade_off, 0.0, 1.0)
    found = index.store.slate(query, pool, trade_off, ids, scores, bits, packed, threads)
    return ids[:found], scores[:found]


def _diversify(
    candidates: Candidates, relevance: NDArray[np.float32], k: int, method: Callable[[int], Method]
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    relevance = array_of("relevance", relevance, np.float32, (None,))
    count = relevance.shape[0]
    k = min(int_of("k", k, 0, MAX_CANDIDATES), count)
    indices = np.empty(k, np.uint32)
    values = np.empty(k, np.float32)
    how = method(k)
    if isinstance(candidates, TagSets):
        starts = array_of("starts", candidates.starts, np.uint32, (count + 1,))
        tags = array_of("tags", candidates.tags, np.uint32, (None,))
        found = core.diversify_tags(how, starts, tags, relevance, indices, values)
    elif isinstance(candidates, np.ndarray) and candidates.dtype == np.int8:
        codes = array_of("candidates", candidates, np.int8, (count, None))
        dim = int_of("dimension of candidates", codes.shape[1], 1, MAX_DIM)
        found = core.diversify_codes(how, codes, dim, relevance, indices, values)
    else:
        vectors = array_of("candidates", candidates, np.float32, (count, None))
        dim = int_of("dimension of candidates", vectors.shape[1], 1, MAX_DIM)
        found = core.diversify_vectors(how, vectors, dim, relevance, indices, values)
    return indices[:found], values[:found]
