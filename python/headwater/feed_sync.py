"""Synchronise the catalogue with a full product feed: puts for new items, patches for changed ones, hides for what
vanished.

The feed says everything about what it has columns for and nothing about the rest: labels that no row of it names,
embeddings, and comments, groups or timestamps that it leaves empty stay as they are. An item that is no longer in the
feed is hidden, not deleted: its counts stay, and when it comes back so does it. Who hid it is told by the label
`hidden_by_sync`, so an item that somebody hid by hand stays hidden, unless the feed has a column `is_hidden`.

The same feed again writes nothing. All differences are known before the first is written, and a sync that was cut
short is finished by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.core import Core, catalogue_page
from headwater.errors import FeedShrunk
from headwater.events.types import Event, ItemPatch, ItemPut, Label
from headwater.ingest.dead_letters import DeadLetter, DeadLetterFile
from headwater.plain_data import PlainData

if TYPE_CHECKING:
    from headwater.ingest.item_table import ItemTable

MARK = "hidden_by_sync"
"""Label of an item that a sync hid."""
MAX_SHRINK = 0.3
"""Share of the visible items that may vanish at once without being asked for."""
_PAGE = 4096
_EVENTS_PER_COMMIT = 2000
_EXAMPLES = 5


class CatalogueRow(msgspec.Struct, array_like=True):
    """What the catalogue knows of an item, in the core's order."""

    item: str
    is_hidden: bool
    categories: list[str]
    labels: dict[str, Label]
    timestamp: int | None
    group_id: str | None
    comment: str | None


class Change(msgspec.Struct, frozen=True):
    """One difference, for people to look at: the item and the fields that change."""

    item: str
    fields: list[str] = []


class SyncReport(PlainData, frozen=True, kw_only=True):
    """What a sync did, or with `dry_run` would do.

    `put`, `patched`, `hidden`, `returned` (hidden by an earlier sync, and back) and `unchanged` count items; `refused`
    and `repeated` rows of the feed; the items of refused rows stay as they are. `examples` names a few of each.
    """

    source: str
    rows: int
    refused: int
    repeated: int
    put: int
    patched: int
    hidden: int
    returned: int
    unchanged: int
    visible_before: int
    dry_run: bool
    examples: dict[str, list[Change]]
    dead_letters: str | None
    seconds: float
    position: int


_rows = msgspec.msgpack.Decoder(list[CatalogueRow])


def catalogue(core: Core) -> Iterator[CatalogueRow]:
    """Every item that was put and not deleted, page by page, so that memory stays bounded whatever the caller keeps."""
    start: int | None = 0
    while start is not None:
        page, start = catalogue_page(core, start, _PAGE)
        yield from rows_of(page)


def rows_of(page: bytes) -> list[CatalogueRow]:
    """The items of a page of a catalogue, as the core gives it."""
    return _rows.decode(page)


def sync_items(
    known: Iterable[CatalogueRow],
    table: ItemTable,
    check: Callable[[Event], None],
    write: Callable[[Sequence[Event]], int],
    directory: Path | None,
    *,
    dry_run: bool,
    max_shrink: float,
) -> SyncReport:
    """Make the catalogue, whose items are `known`, what the feed says. `write` makes changes durable, in their order,
    and gives a position; refused rows are kept in `directory`.

    Raises `FeedShrunk` if more than `max_shrink` of the visible items would vanish, `InvalidEvent`, `StoreError`s.
    O(feed + catalogue).
    """
    started = time.perf_counter()
    feed = _Feed(table)
    plan = _Plan(feed, known)
    plan.check_shrink(max_shrink)
    for event in plan.events:
        check(event)
    letters = DeadLetterFile(None if dry_run else directory, f"sync-{table.fingerprint}")
    letters.add(feed.refused)
    position = 0
    if not dry_run:
        for first in range(0, len(plan.events), _EVENTS_PER_COMMIT):
            position = write(plan.events[first : first + _EVENTS_PER_COMMIT])
    return SyncReport(
        source=table.name,
        rows=table.rows,
        refused=letters.count,
        repeated=feed.repeated,
        put=len(plan.put),
        patched=len(plan.patched),
        hidden=len(plan.hidden),
        returned=len(plan.returned),
        unchanged=plan.unchanged,
        visible_before=plan.visible,
        dry_run=dry_run,
        examples={
            "put": plan.put[:_EXAMPLES],
            "patched": plan.patched[:_EXAMPLES],
            "hidden": plan.hidden[:_EXAMPLES],
            "returned": plan.returned[:_EXAMPLES],
        },
        dead_letters=letters.path,
        seconds=time.perf_counter() - started,
        position=position,
    )


class _Feed:
    """The feed's items by id, the last row of an id for all, and what the feed says anything about."""

    def __init__(self, table: ItemTable) -> None:
        self.items: dict[str, ItemPut] = {}
        self.refused: list[DeadLetter] = list(table.unreadable)
        self.repeated = 0
        for row in table.items():
            if isinstance(row, DeadLetter):
                self.refused.append(row)
            else:
                self.repeated += row.item in self.items
                self.items[row.item] = row
        self.named = self.items.keys() | table.ids()
        """Ids of refused rows too: an item whose row is broken has not vanished."""
        self.labels = table.label_columns() | {key for put in self.items.values() for key in put.labels}
        self.tells_hidden = table.has("is_hidden")
        self.tells_categories = table.has("categories")
        self.ts = table.ts


class _Plan:
    """All differences between a feed and the catalogue."""

    def __init__(self, feed: _Feed, rows: Iterable[CatalogueRow]) -> None:
        self._feed = feed
        self.events: list[ItemPut | ItemPatch] = []
        self.put: list[Change] = []
        self.patched: list[Change] = []
        self.hidden: list[Change] = []
        self.returned: list[Change] = []
        self.unchanged = self.visible = 0
        known: set[str] = set()
        for row in rows:
            known.add(row.item)
            self.visible += not row.is_hidden
            wanted = feed.items.get(row.item)
            if wanted is not None:
                self._compare(row, wanted)
            elif row.item not in feed.named and not row.is_hidden:
                self.hidden.append(Change(row.item))
                self.events.append(ItemPatch(row.item, feed.ts, labels={MARK: True}, is_hidden=True))
        for put in feed.items.values():
            if put.item not in known:
                self.put.append(Change(put.item))
                self.events.append(put)

    def check_shrink(self, most: float) -> None:
        """Raise `FeedShrunk` if more than this share of the visible items would vanish."""
        vanishing = len(self.hidden)
        if vanishing > most * self.visible:
            rule = f"at most {most:.0%} of the visible items; --allow-shrink (max_shrink=1.0) if the feed is right"
            raise FeedShrunk(
                f"the feed names {len(self._feed.items):,} items and {vanishing:,} of {self.visible:,} visible ones "
                f"would vanish ({self.hidden[0].item!r}, ...); nothing was changed; allowed: {rule}",
                field="feed",
                value=vanishing,
                rule=rule,
                visible=self.visible,
            )

    def _compare(self, row: CatalogueRow, wanted: ItemPut) -> None:
        back = row.labels.get(MARK) is True
        changes: dict[str, Any] = {}
        if self._feed.tells_categories and row.categories != wanted.categories:
            changes["categories"] = wanted.categories
        labels = self._changed_labels(row.labels, wanted.labels)
        if back:
            labels[MARK] = None
        if labels:
            changes["labels"] = labels
        hide = wanted.is_hidden if self._feed.tells_hidden else row.is_hidden and not back
        if hide != row.is_hidden:
            changes["is_hidden"] = hide
        for field in ("timestamp", "group_id", "comment"):
            value = getattr(wanted, field)
            if value is not None and value != getattr(row, field):
                changes[field] = value
        if not changes:
            self.unchanged += 1
            return
        fields = [field for field in changes if field != "labels"] + [f"labels.{key}" for key in labels]
        (self.returned if back else self.patched).append(Change(row.item, sorted(fields)))
        self.events.append(ItemPatch(row.item, self._feed.ts, **changes))

    def _changed_labels(self, known: dict[str, Label], wanted: dict[str, Label]) -> dict[str, Label]:
        changed = {key: value for key, value in wanted.items() if key not in known or not _same(known[key], value)}
        gone: dict[str, Label] = dict.fromkeys((self._feed.labels & known.keys()) - wanted.keys() - {MARK})
        return changed | gone


def _same(known: Label, wanted: Label) -> bool:
    """Equal values; 49 is 49.0, but 1 is not true."""
    return isinstance(known, bool) == isinstance(wanted, bool) and known == wanted


def shown(changes: Sequence[Change]) -> str:
    """A few changes on one line."""
    return ", ".join(c.item + (f" ({', '.join(c.fields)})" if c.fields else "") for c in changes)
