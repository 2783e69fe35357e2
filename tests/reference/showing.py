"""What may be shown, worked out in plain Python: catalogue, rejections, consumption, filters, groups and caps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from headwater import Feedback
from headwater.config import FoldConfig
from headwater.scenario import Cap, Scenario
from reference.cooccurrence import DAY

Fields = dict[str, Any]
"""Of one item: categories, labels, group_id, is_hidden."""
Predicate = Callable[[str, Fields], bool]
NOTHING: Fields = {"categories": [], "labels": {}, "group_id": None, "is_hidden": False}


class Catalogue:
    """Items as puts, patches and deletions leave them; items that only events name have no fields."""

    def __init__(self) -> None:
        self.put: dict[str, Fields] = {}
        self.deleted: set[str] = set()
        self.named: set[str] = set()

    def put_item(self, item: str, **fields: Any) -> None:
        """As `Engine.put_item`."""
        self.put[item] = NOTHING | {"labels": {}} | fields
        self.deleted.discard(item)

    def patch_item(self, item: str, **changes: Any) -> None:
        """As `Engine.patch_item`, of an item that was put."""
        known = self.put[item]
        labels = known["labels"] | changes.pop("labels", {})
        self.put[item] = known | changes | {"labels": {k: v for k, v in labels.items() if v is not None}}

    def delete_item(self, item: str) -> None:
        """As `Engine.delete_item`."""
        self.put.pop(item, None)
        self.deleted.add(item)

    def fields(self, item: str) -> Fields:
        """What is known of an item."""
        return self.put.get(item, NOTHING)

    def visible(self) -> set[str]:
        """Items that may be shown to somebody."""
        hidden = {item for item, fields in self.put.items() if fields["is_hidden"]}
        return ({*self.put} | self.named) - hidden - self.deleted


class History(NamedTuple):
    """What one user did, in the order of the log."""

    events: list[Feedback]

    def touched(self) -> set[str]:
        """Items that they did anything to."""
        return {event.item for event in self.events}

    def rejected(self, fold: FoldConfig) -> set[str]:
        """Items whose latest event rejects them."""
        latest = {event.item: event.type for event in self.events}
        return {item for item, type in latest.items() if type in fold.negative}

    def consumed(self, fold: FoldConfig, scenario: Scenario, catalogue: Catalogue, now: int) -> set[str]:
        """Items that were consumed and are not yet to come back."""
        if not scenario.exclude_consumed:
            return set()
        latest = {event.item: event.ts for event in self.events if event.type in fold.consumption}
        gone = set()
        for item, ts in latest.items():
            days = catalogue.fields(item)["labels"].get(scenario.consumed_expiry_label, scenario.consumed_expiry_days)
            if days is None or ts >= now - days * DAY:
                gone.add(item)
        return gone


def values(fields: Fields, field: str) -> list[Any]:
    """What a cap counts."""
    if field == "categories":
        return list(dict.fromkeys(fields["categories"]))
    value = fields["group_id"] if field == "group" else fields["labels"].get(field)
    if value is None:
        return []
    return list(dict.fromkeys(value)) if isinstance(value, list) else [value]


def broken_caps(catalogue: Catalogue, caps: Iterable[Cap], items: Sequence[str]) -> list[str]:
    """The caps that a slate breaks."""
    broken = []
    for cap in caps:
        counts = Counter(value for item in items for value in values(catalogue.fields(item), cap.field))
        broken += [f"{cap.field} {value}: {count}" for value, count in counts.items() if count > cap.max]
    return broken


def repeated_groups(catalogue: Catalogue, items: Sequence[str]) -> list[str]:
    """Groups of which a slate holds more than one item."""
    groups = Counter(catalogue.fields(item)["group_id"] for item in items)
    return [group for group, count in groups.items() if group is not None and count > 1]


def addable(catalogue: Catalogue, scenario: Scenario, slate: Sequence[str], showable: Iterable[str]) -> set[str]:
    """Items that could stand in a slate beside those that do, by all rules."""
    found = set()
    for item in set(showable) - set(slate):
        longer = [*slate, item]
        grouped = scenario.one_per_group and repeated_groups(catalogue, longer)
        if not grouped and not broken_caps(catalogue, scenario.caps, longer):
            found.add(item)
    return found


def most(catalogue: Catalogue, scenario: Scenario, showable: Iterable[str]) -> int:
    """The longest slate of a scenario without caps."""
    groups = [catalogue.fields(item)["group_id"] for item in showable]
    if not scenario.one_per_group:
        return len(groups)
    return sum(group is None for group in groups) + len({group for group in groups if group is not None})


def kept_slots(share: float, n: int) -> list[int]:
    """Slots that are kept for promoted items."""
    return [k for k in range(n) if int((k + 1) * share) > int(k * share)]


def passing(catalogue: Catalogue, items: Iterable[str], predicate: Predicate) -> set[str]:
    """Items that pass a filter."""
    return {item for item in items if predicate(item, catalogue.fields(item))}


def label(fields: Mapping[str, Any], name: str) -> Any:
    """A label, None where there is none."""
    return fields["labels"].get(name)
