"""Answers as they go over the wire: objects with names for everybody, arrays for the SDK that asks for them."""

from __future__ import annotations

from typing import Any

from headwater.protocol import Question
from headwater.slate import Explanation, ItemView, SessionView, Slate


def shown(answer: object, asked: Question) -> object:
    """An answer in the form that was asked for."""
    if isinstance(answer, Slate):
        if asked.compact:
            return answer
        return answer.to_dict() if asked.detail else _brief(answer)
    if isinstance(answer, SessionView | ItemView | Explanation):
        return answer if asked.compact else answer.to_dict()
    return answer


def _brief(slate: Slate) -> dict[str, Any]:
    """What most callers want of a slate."""
    return {
        "slate": slate.id,
        "items": [
            {
                "item": r.item,
                "score": r.score,
                "source": r.source,
                "propensity": r.propensity,
                "propensity_cascade": r.propensity_cascade,
                "reason": r.reason,
            }
            for r in slate.items
        ],
        "positions": slate.positions,
        "degraded": slate.degraded,
        "fallback": slate.fallback,
        "notes": slate.notes,
        "recorded": slate.recorded,
        "variant": slate.variant,
    }
