"""Figures of many predictions of one contender: means, percentiles of query time, and what was left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.evaluate.metrics import Accuracy


class Score:
    """Collects one entry a prediction."""

    def __init__(self, name: str, k: int) -> None:
        self.name, self.k = name, k
        self.skipped = 0
        """What offered nothing to predict."""
        self.cold = 0
        """Evaluations, all of them misses, whose targets nothing learned of before."""
        self._rows: list[Accuracy] = []
        self._rest: list[Accuracy] = []
        self._micros: list[float] = []
        self._shown: set[str] = set()

    def add(self, found: Accuracy, micros: float | None, shown: list[str], rest: Accuracy | None = None) -> None:
        """One prediction: its accuracy, its time, the list, and, where they are known, the same against all items that
        follow."""
        self._rows.append(found)
        self._shown.update(shown)
        if micros is not None:
            self._micros.append(micros)
        if rest is not None:
            self._rest.append(rest)

    def figures(self, catalogue: int, metrics: tuple[str, ...]) -> dict[str, Any]:
        """As `--json` prints them."""
        k = self.k
        out: dict[str, Any] = {f"{metric}@{k}": _mean(self._rows, metric) for metric in metrics}
        if len(self._rest) == len(self._rows):
            for metric in ("ndcg", "precision", "recall"):
                out[f"{metric}_rest@{k}"] = _mean(self._rest, metric)
        out |= {"evaluations": len(self._rows), "skipped": self.skipped, "cold": self.cold}
        out[f"coverage@{k}"] = len(self._shown) / max(catalogue, 1)
        out["query_us"] = query_times(self._micros)
        return out


def _mean(rows: list[Accuracy], metric: str) -> float:
    return float(np.mean([getattr(row, metric) for row in rows]))


def query_times(micros: list[float]) -> dict[str, float] | None:
    """p50, p90 and p99 in microseconds; none where nothing was asked of the engine."""
    if not micros:
        return None
    return {f"p{p}": round(float(np.percentile(micros, p)), 1) for p in (50, 90, 99)}
