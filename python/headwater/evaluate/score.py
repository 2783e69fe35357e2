"""Figures of many predictions of one contender: means, percentiles of query time, and what was left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.evaluate.metrics import Accuracy


class Score:
    """Collects one entry a prediction, in order, so that two scores over the same predictions can be compared in
    pairs."""

    def __init__(self, name: str, k: int) -> None:
        self.name, self.k = name, k
        self.skipped = 0
        """What offered nothing to predict."""
        self.cold = 0
        """Evaluations, all of them misses, whose targets nothing learned of before."""
        self._rows: list[Accuracy] = []
        self._units: list[str] = []
        self._rest: list[Accuracy] = []
        self._micros: list[float] = []
        self._shown: set[str] = set()

    def add(
        self, unit: str, found: Accuracy, micros: float | None, shown: list[str], rest: Accuracy | None = None
    ) -> None:
        """One prediction of `unit` (a user or a session): its accuracy, its time, the list, and, where they are known,
        the same against all items that follow."""
        self._rows.append(found)
        self._units.append(unit)
        self._shown.update(shown)
        if micros is not None:
            self._micros.append(micros)
        if rest is not None:
            self._rest.append(rest)

    def values(self, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """float64 (evaluations,): "hr", "mrr", "ndcg", "precision" or "recall" of every prediction."""
        return np.array([getattr(row, metric) for row in self._rows], np.float64)

    @property
    def units(self) -> list[str]:
        """User or session of every prediction."""
        return self._units

    def figures(self, catalogue: int, metrics: tuple[str, ...]) -> dict[str, Any]:
        """As `--json` prints them."""
        k = self.k
        out: dict[str, Any] = {f"{metric}@{k}": float(self.values(metric).mean()) for metric in metrics}
        if len(self._rest) == len(self._rows):
            for metric in ("ndcg", "precision", "recall"):
                out[f"{metric}_rest@{k}"] = float(np.mean([getattr(row, metric) for row in self._rest]))
        out |= {"evaluations": len(self._rows), "skipped": self.skipped, "cold": self.cold}
        out[f"coverage@{k}"] = len(self._shown) / max(catalogue, 1)
        out["query_us"] = query_times(self._micros)
        return out


def query_times(micros: list[float]) -> dict[str, float] | None:
    """p50, p90 and p99 in microseconds; none where nothing was asked of the engine."""
    if not micros:
        return None
    return {f"p{p}": round(float(np.percentile(micros, p)), 1) for p in (50, 90, 99)}
