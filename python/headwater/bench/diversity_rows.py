"""MMR, greedy DPP and whole slates, beside pyversity and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.bench.machine import multiply_adds_per_s, stream_bytes_per_s
from headwater.bench.peers import peer, threads
from headwater.bench.row import Row, Target, make_row
from headwater.bench.scale import Scale
from headwater.bench.timing import Timed, clocked, interleaved
from headwater.errors import HeadwaterError
from headwater.kernels import Int8Index, dpp, mmr, slate

_TAKEN = 50
_SLATE = 75
_CHECKS = 20


def rows(scale: Scale) -> list[Row]:
    """500 candidates to 50, and 100,000 items to a slate of 75."""
    random = np.random.default_rng(5)
    taken = min(_TAKEN, scale.pool // 2)
    problems = [_problem(random, scale) for _ in range(_CHECKS)]
    with threads(1):
        return [
            _choice("MMR", scale, problems, taken, 16),
            _choice("greedy DPP", scale, problems, taken, 10),
            _slate(scale, random),
        ]


def _problem(random: np.random.Generator, scale: Scale) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Candidates around a few centres, as items of a catalogue are; relevance of mean 0 and deviation 1."""
    centres = random.standard_normal((12, scale.dim), np.float32)
    vectors = centres[random.integers(0, 12, scale.pool)] + random.standard_normal((scale.pool, scale.dim), np.float32)
    relevance = random.standard_normal(scale.pool).astype(np.float32)
    relevance = (relevance - relevance.mean()) / relevance.std()
    return vectors.astype(np.float32), relevance


def _ours(method: str, vectors: NDArray[np.float32], relevance: NDArray[np.float32], taken: int) -> list[int]:
    # pyversity's DPP weighs by exp(0.5 z): its greedy gain is z + log residual, which is theta = 1/2 here.
    choose: Any = mmr if method == "MMR" else dpp
    weight = {"trade_off": 0.5} if method == "MMR" else {"theta": 0.5}
    chosen: list[int] = choose(vectors, relevance, taken, **weight)[0].tolist()
    return chosen


def _theirs(pyversity: Any, method: str) -> Any:
    return pyversity.mmr if method == "MMR" else pyversity.dpp


def _choice(
    method: str,
    scale: Scale,
    problems: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    taken: int,
    times: float,
) -> Row:
    vectors, relevance = problems[0]
    subjects: dict[str, Timed] = {"ours": clocked(lambda: _ours(method, vectors, relevance, taken), 10)}
    pyversity = peer("pyversity")
    facts: dict[str, float] = {}
    if pyversity is not None:
        choose = _theirs(pyversity, method)
        facts["same_choices_as_pyversity"] = _agreement(method, problems, taken, choose)
        subjects["pyversity"] = clocked(lambda: choose(vectors, relevance, taken, diversity=0.5))
    seconds = interleaved(subjects, scale.runs, lead=2)
    dots = scale.pool * taken * scale.dim
    return make_row(
        method,
        f"{scale.pool} -> {taken}, d = {scale.dim}, float32",
        seconds,
        limit_us=dots / multiply_adds_per_s() * 1e6,
        limit="pool x taken x d multiply-adds of int8 at the measured peak, as if none were skipped",
        target=Target(ratios={"pyversity": times}, shown=f">= {times:g}x pyversity"),
        absent=() if pyversity is not None else ("pyversity",),
        facts=facts,
    )


def _agreement(
    method: str, problems: list[tuple[NDArray[np.float32], NDArray[np.float32]]], taken: int, choose: Any
) -> float:
    """Share of problems with the same items in the same order. Raises when that is not nearly all of them: float32
    rounding may decide a near tie otherwise, and after that the lists part."""
    same = [
        _ours(method, vectors, relevance, taken) == choose(vectors, relevance, taken, diversity=0.5).indices.tolist()
        for vectors, relevance in problems
    ]
    if np.mean(same) < 0.8:
        raise HeadwaterError(f"{method}: only {np.mean(same):.0%} of the choices are pyversity's")
    return float(np.mean(same))


def _slate(scale: Scale, random: np.random.Generator) -> Row:
    vectors = random.standard_normal((scale.vectors, scale.dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[0].copy()
    index = Int8Index(scale.dim, scale.vectors)
    index.add(vectors)
    taken = min(_SLATE, scale.pool // 2)
    ids, _ = slate(index, query, taken, pool=scale.pool)
    pool = set(index.search(query, scale.pool)[0].tolist())
    if len(set(ids.tolist())) != taken or not set(ids.tolist()) <= pool:
        raise HeadwaterError("a slate repeats an item or leaves its pool")
    subjects: dict[str, Timed] = {"ours": clocked(lambda: slate(index, query, taken, pool=scale.pool))}
    pyversity = peer("pyversity")
    if pyversity is not None:
        subjects["numpy + pyversity"] = clocked(lambda: _numpy_slate(pyversity, vectors, query, scale.pool, taken))
    seconds = interleaved(subjects, scale.runs, lead=2)
    return make_row(
        "slate: score, top-500, MMR",
        f"{scale.vectors:,} x {scale.dim} -> {scale.pool} -> {taken}",
        seconds,
        limit_us=index.nbytes / stream_bytes_per_s(index.nbytes) * 1e6,
        limit="the index's bytes at the measured bandwidth of its size",
        target=Target(at_most_us=400, shown="<= 400 us"),
        absent=() if pyversity is not None else ("numpy + pyversity",),
    )


def _numpy_slate(
    pyversity: Any, vectors: NDArray[np.float32], query: NDArray[np.float32], pool: int, taken: int
) -> NDArray[np.intp]:
    scores = vectors @ query
    best = np.argpartition(-scores, pool - 1)[:pool]
    chosen = pyversity.mmr(vectors[best], scores[best], taken, diversity=0.3)
    picked: NDArray[np.intp] = best[chosen.indices]
    return picked
