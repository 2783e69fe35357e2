"""What the core is asked: requests of checked arguments, alike for the engine's verbs and the hosts of a cluster.

`now` stays `None` where nobody said it; who answers sets it to the time of the state that is asked. All raise
`InvalidQuery`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.arguments import Id, Param, count_of, ids_of, name_of, params_of, query_id, share_of, time_of, weights_of
from headwater.errors import InvalidQuery
from headwater.scenario import Metric


def slate_request(
    user: str | None,
    items: list[str],
    n: int,
    exclude: Sequence[Id],
    now: int | None,
    sources: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The request for a slate, with what every request says. `user` and `items` were checked."""
    return {
        "user": user,
        "items": items,
        "n": count_of(n),
        "exclude": ids_of("exclude", exclude),
        "now": None if now is None else time_of("now", now),
        "sources": weights_of(sources),
    }


def asked_beside(
    scenario: str | None,
    filter: str | None,
    params: Mapping[str, Param] | None,
    diversity: float | None,
    exploration: float | None,
    features: bool,
) -> dict[str, Any]:
    """What was really asked beyond the usual: a request says nothing of the rest."""
    asked: dict[str, Any] = {}
    if scenario is not None:
        asked["scenario"] = name_of("scenario", scenario)
    if filter is not None:
        asked["filter"] = name_of("filter", filter)
    if params is not None and (given := params_of(params)):
        asked["params"] = given
    if diversity is not None:
        asked["diversity"] = share_of("diversity", diversity)
    if exploration is not None:
        asked["exploration"] = share_of("exploration", exploration)
    if features:
        asked["features"] = features
    return asked


def similar_request(
    item: Id, n: int, relation: str | None, metric: str | None, exclude: Sequence[Id], now: int | None
) -> dict[str, Any]:
    """The request for the items most associated with an item."""
    metrics = Metric.__args__  # type: ignore[attr-defined]
    if metric is not None and metric not in metrics:
        allowed = ", ".join(metrics)
        raise InvalidQuery(
            f"metric = {metric!r:.80}; allowed: {allowed}", field="metric", value=str(metric)[:80], rule=allowed
        )
    return {
        "item": query_id("item", item),
        "n": count_of(n),
        "relation": name_of("relation", relation),
        "metric": metric,
        "exclude": ids_of("exclude", exclude),
        "now": _time(now),
    }


def trending_request(category: str | None, n: int, now: int | None) -> dict[str, Any]:
    """The request for what is in vogue, overall or in a category."""
    return {"category": name_of("category", category), "n": count_of(n), "now": _time(now)}


def _time(now: int | None) -> int | None:
    return None if now is None else time_of("now", now)
