"""What is evaluated: a configuration, and which of its sources answer."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from headwater.config import Config
from headwater.errors import InvalidInput
from headwater.scenario import SOURCES, VECTOR

FUSED = "fused"
"""All sources of the configuration, with its weights."""
LAST_ITEMS = "last-items"
"""The visitor's own latest items, newest first: what every recommender has to beat, and no part of the engine."""


class Contender(NamedTuple):
    """One line of a table: a configuration under a name, and a source."""

    name: str
    config: Config
    source: str

    @property
    def alone(self) -> bool:
        """Whether one source answers: what only fills its slates up is then no answer of its own."""
        return self.source != FUSED

    def overrides(self) -> dict[str, float]:
        """Source weights of a request that asks this source alone; none for all sources."""
        if self.source == FUSED:
            return {}
        return dict.fromkeys(self.config.query.sources, 0.0) | {self.source: 1.0}


def check_source(config: Config, source: str) -> None:
    """Raise `InvalidInput` for a source that the configuration does not have."""
    relations = {relation.name for relation in config.generation.relations}
    known = source in relations or source in SOURCES or source.startswith(VECTOR)
    if source not in (FUSED, LAST_ITEMS) and not known:
        allowed = ", ".join((FUSED, LAST_ITEMS, *sorted(relations), *SOURCES))
        raise InvalidInput(f"source {source!r}; allowed: {allowed}", field="source", value=source, rule=allowed)


def only_asked_relations(config: Config, sources: set[str]) -> Config:
    """The configuration without the relations that none of these sources reads."""
    if FUSED in sources:
        sources = sources | {name for name, weight in config.query.sources.items() if weight > 0}
    kept = tuple(relation for relation in config.generation.relations if relation.name in sources)
    gone = {relation.name for relation in config.generation.relations} - {relation.name for relation in kept}
    weights = {name: weight for name, weight in config.query.sources.items() if name not in gone}
    scenarios = {
        name: msgspec.structs.replace(s, sources={n: w for n, w in s.sources.items() if n not in gone})
        for name, s in config.query.scenarios.items()
    }
    return msgspec.structs.replace(
        config,
        generation=msgspec.structs.replace(config.generation, relations=kept),
        query=msgspec.structs.replace(config.query, sources=weights, scenarios=scenarios),
    )
