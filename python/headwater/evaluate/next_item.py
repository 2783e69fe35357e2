"""`--protocol session-next-item`: the next click at every place of unseen sessions, the whole catalogue ranked.

As in Ludewig and Jannach (UMUAI 2018, section 4) and Kersbergen et al. (SIGMOD 2022, section 5): training sessions are
folded, test sessions are not, each prefix is asked as the session of an anonymous visitor, and nothing is left out of
the list because the visitor saw it. HR, MRR and nDCG are those of the next item; where all that follow are known,
`*_rest` gives nDCG, precision and recall against all of them, as Serenade reports these three.
"""

from __future__ import annotations

from typing import Any

from headwater.evaluate.contender import LAST_ITEMS, Contender
from headwater.evaluate.metrics import accuracy
from headwater.evaluate.score import Score
from headwater.evaluate.sessions import Prediction, Sessions
from headwater.evaluate.trial import Asked, Trial
from headwater.progress import Call

METRICS = ("hr", "mrr", "ndcg")


def next_item(
    data: Sessions, entrants: list[Contender], k: int, exclude_current: bool, trial: Trial, progress: Call
) -> list[Score]:
    """A score for each of `entrants`, which share the state of `trial`. Needs O(k) memory a prediction of one
    portion."""
    scores = [Score(entrant.name, k) for entrant in entrants]
    known, total = data.items, len(data.predictions) * len(entrants)
    done = 0
    for entrant, score in zip(entrants, scores, strict=True):
        score.skipped = data.skipped
        for first in range(0, len(data.predictions), _PORTION):
            portion = data.predictions[first : first + _PORTION]
            answers = _answers(entrant, portion, k, exclude_current, trial)
            for prediction, asked in zip(portion, answers, strict=True):
                shown = asked.items if entrant.alone else [*asked.items, *asked.filling]
                rest = None if prediction.rest is None else accuracy(shown, prediction.rest, k)
                score.cold += prediction.target not in known
                score.add(accuracy(shown, (prediction.target,), k), asked.micros, shown, rest)
            done += len(portion)
            progress(done, total)
    return scores


_PORTION = 10_000


def _answers(entrant: Contender, portion: list[Prediction], k: int, exclude_current: bool, trial: Trial) -> list[Asked]:
    if entrant.source == LAST_ITEMS:
        return [Asked(_latest(p.prefix, k, exclude_current), [], 0.0) for p in portion]
    sources = entrant.overrides()
    requests: list[dict[str, Any]] = [{"items": p.prefix, "own_items": True, "sources": sources} for p in portion]
    if exclude_current:
        for request, prediction in zip(requests, portion, strict=True):
            request["exclude"] = prediction.prefix[-1:]
    return list(trial.ask(requests, k))


def _latest(prefix: list[str], k: int, exclude_current: bool) -> list[str]:
    distinct = list(dict.fromkeys(reversed(prefix)))
    return distinct[1 : k + 1] if exclude_current else distinct[:k]
