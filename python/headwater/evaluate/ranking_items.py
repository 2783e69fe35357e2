"""`--protocol fixed-split` and `leave-one-out`: items for known users, the whole catalogue ranked, training items
masked.

As in Anelli et al. (UMAP 2022, section 4): every item that training knows is ranked for every test user, without those
that the user has in training; nDCG@k with binary relevance, averaged over users. Leave-one-out is the same with one
relevant item a user (Klenitskiy and Vasilev, RecSys 2023): sampled candidates are not offered, their figures cannot be
compared (Krichene and Rendle, KDD 2020).
"""

from __future__ import annotations

import numpy as np

from headwater.answer import ask_similar
from headwater.evaluate.contender import LAST_ITEMS, Contender
from headwater.evaluate.metrics import accuracy
from headwater.evaluate.score import Score
from headwater.evaluate.splits import Split
from headwater.evaluate.trial import Trial
from headwater.progress import Call

METRICS = ("hr", "mrr", "ndcg", "precision", "recall")
ITEM_KNN = "item-knn:"
"""Prefix of the source that sums over the nearest items of each candidate, by the engine's own counts of a relation."""

_PORTION = 500


def rank_items(
    split: Split, entrants: list[Contender], k: int, trial: Trial, neighbours: int, progress: Call
) -> list[Score]:
    """A score for each of `entrants`, which share the state of `trial`."""
    history: dict[str, list[str]] = {}
    for user, item in split.train.select("user", "item").iter_rows():
        history.setdefault(user, []).append(item)
    known = {item for items in history.values() for item in items}
    scores = []
    for entrant in entrants:
        score = Score(entrant.name, k)
        score.skipped = split.skipped
        knn = None
        if entrant.source.startswith(ITEM_KNN):
            knn = NearestItems(trial, entrant.source.removeprefix(ITEM_KNN), sorted(known), neighbours)
        users = list(split.relevant)
        for first in range(0, len(users), _PORTION):
            portion = users[first : first + _PORTION]
            for user, (shown, micros) in zip(portion, _answers(entrant, portion, history, k, trial, knn), strict=True):
                relevant = split.relevant[user]
                score.cold += sum(item not in known for item in relevant)
                score.add(accuracy(shown, relevant, k), micros, shown)
            progress(first + len(portion), len(users))
        scores.append(score)
    return scores


def _answers(
    entrant: Contender,
    users: list[str],
    history: dict[str, list[str]],
    k: int,
    trial: Trial,
    knn: NearestItems | None,
) -> list[tuple[list[str], float | None]]:
    if entrant.source == LAST_ITEMS:
        return [([], None) for _ in users]  # all of them are masked
    if knn is not None:
        return [(knn.top(history[user], k), None) for user in users]
    sources = entrant.overrides()
    requests = [{"user": user, "exclude": history[user], "sources": sources} for user in users]
    answers = trial.ask(requests, k)
    return [(a.items if entrant.alone else [*a.items, *a.filling], a.micros) for a in answers]


class NearestItems:
    """Item kNN (Sarwar et al., WWW 2001, section 3; Deshpande and Karypis, TOIS 2004): a candidate's score is the sum
    of its similarities to those of its `neighbours` nearest items that the user has.

    The similarities are the engine's: what `similar` answers for each item, by the configuration's metric and
    shrinkage. The sum is made here, because the engine looks from the user's items at candidates and not the other way
    round: it cannot know, without looking at all of a candidate's row, whether an item is among its nearest.
    """

    def __init__(self, trial: Trial, relation: str, items: list[str], neighbours: int) -> None:
        self._items = items
        self._number = {item: number for number, item in enumerate(items)}
        near: list[list[tuple[int, float]]] = [[] for _ in items]
        for candidate, item in enumerate(items):
            asked = {
                "item": item,
                "n": neighbours,
                "relation": relation,
                "metric": None,
                "exclude": [],
                "now": trial.core.clock,
            }
            for slot in ask_similar(trial.core, asked).items:
                # What only fills the answer up has no part of the relation.
                if slot.source == relation and slot.item in self._number:
                    near[self._number[slot.item]].append((candidate, slot.score))
        self._candidates = [np.array([c for c, _ in row], np.int64) for row in near]
        self._similarities = [np.array([s for _, s in row], np.float64) for row in near]

    def top(self, history: list[str], k: int) -> list[str]:
        """The `k` best candidates that are not in the history, equal ones by item id."""
        scores = np.zeros(len(self._items))
        own = [self._number[item] for item in history]
        for number in own:
            scores[self._candidates[number]] += self._similarities[number]
        scores[own] = 0.0
        # Items are sorted by id, and the sort is stable.
        best = np.argsort(-scores, kind="stable")[:k]
        return [self._items[number] for number in best if scores[number] > 0.0]
