"""Whose events led to an item: the operator's part of an explanation, read from the log.

For a relation: the other visitors whose events made a draw from the visitor's item to the recommended one, counted as
`core_rs/src/neighbourhood/user.rs` counts, but without decay, evictions and admission to a bounded row. For
session-knn: the other visitors' sessions that voted, as the state that answered names them, found again in the log.
Visitors who asked to be forgotten, at any time, are counted and not named.

Two passes over the log, of which the first goes on to its end to see who is forgotten by now; memory is bounded by
`FOLLOWED` visitors and what they did in one unit.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from headwater.config import TYPE_SPEC, Config, FoldConfig, Relation
from headwater.events.log import EventLog
from headwater.events.types import Feedback, MergeCarried, UserForget
from headwater.learning.sound_events import named_events
from headwater.slate import Audit, AuditedReason, EventRef, Reason, Slate, Witness

FOLLOWED = 10_000
"""So many visitors are followed at most: those who touched the item last."""
NAMED = 20
"""So many are named for each reason: the latest."""
SESSION_KNN = "session-knn"
DAY_MS = 86_400_000


class _Link(NamedTuple):
    source: str
    seed: str


class Voter(NamedTuple):
    """A session that voted: its user, the visitor's newest item that it has too, and all its items."""

    user: str
    seed: str
    items: frozenset[str]


def audit_reasons(
    log: EventLog,
    config: Config,
    slate: Slate,
    item: str,
    reasons: Sequence[Reason],
    voters: Sequence[Voter] | None = None,
) -> Audit:
    """Who led to `item` in `slate`, by each of its reasons that other visitors can have caused. O(log).

    `voters`: the sessions that voted for the item, from the state that answered; without them every session that holds
    seed and item is named.
    """
    relations = {relation.name: relation for relation in config.generation.relations}
    links = [_Link(r.source, r.seed) for r in reasons if r.seed is not None and r.source in {*relations, SESSION_KNN}]
    links = list(dict.fromkeys(links))
    scan = _Scan(log, config.generation, slate.positions[0])
    if not links:
        return Audit(position=scan.until, followed=0, complete=True, reasons=[])
    followed, forgotten, complete = scan.touched(item, slate.user)
    wanted = {name: {link.seed for link in links if link.source == name} for name in (*relations, SESSION_KNN)}
    found: dict[_Link, deque[Witness]] = {link: deque(maxlen=NAMED) for link in links}
    named: Counter[_Link] = Counter()
    unnamed: Counter[_Link] = Counter()
    visitors: dict[str, _Visitor] = {}
    votes = _Votes(voters or ())
    for event, ref in scan.of(followed):
        if isinstance(event, UserForget):
            visitors.pop(event.user, None)
            continue
        name = event.into_user if isinstance(event, MergeCarried) else event.user
        visitor = visitors.setdefault(name, _Visitor(config.generation, item, wanted))
        if isinstance(event, MergeCarried):
            other = visitors.pop(event.from_user, None)
            made = iter(()) if other is None else visitor.join(other, name)
        else:
            made = visitor.fold(event, ref)
        for link, witness in made:
            if link.source == SESSION_KNN and voters is not None:
                votes.add(link, witness, visitor.session_items)
            elif name in forgotten:
                unnamed[link] += 1
            else:
                named[link] += 1
                found[link].append(witness)
    for link, witness in votes.counted():
        if witness.user in forgotten:
            unnamed[link] += 1
        else:
            named[link] += 1
            found[link].append(witness)
    return Audit(
        position=scan.until,
        followed=len(followed),
        complete=complete,
        reasons=[
            AuditedReason(
                link.source, link.seed, named[link] + unnamed[link], unnamed[link], list(reversed(found[link]))
            )
            for link in links
        ],
    )


class _Votes:
    """Which sessions of the log are those that voted.

    The index gives a session's user and items. A session of the log is one of them if it is the user's and touched
    nothing else; of several that fit, the latest is the one that the index still holds.
    """

    def __init__(self, voters: Sequence[Voter]) -> None:
        self._voters = voters
        self._found: dict[int, tuple[_Link, Witness]] = {}

    def add(self, link: _Link, witness: Witness, items: Collection[str]) -> None:
        """A session, so far with these items, came to hold both items of a link."""
        for number, voter in enumerate(self._voters):
            if (voter.user, voter.seed) == (witness.user, link.seed) and voter.items.issuperset(items):
                self._found[number] = (link, witness)

    def counted(self) -> list[tuple[_Link, Witness]]:
        """The sessions that voted, each once, in log order."""
        once = {(link, witness.item.id, witness.seed.id): (link, witness) for link, witness in self._found.values()}
        return sorted(once.values(), key=lambda vote: (vote[1].item.position, vote[1].item.index))


class _Scan:
    """Feedback that counts, in the log up to a position."""

    def __init__(self, log: EventLog, config: FoldConfig, until: int) -> None:
        self.until = until
        self._log = log
        self._first = max(log.first(), 1)
        self._max_future_ms = config.max_future_ms
        self._impression = config.impression

    def touched(self, item: str, own: str | None) -> tuple[OrderedDict[str, None], set[str], bool]:
        """The visitors who touched an item, without the asker; those who are forgotten by now, whenever they said so;
        whether that are all."""
        touched: OrderedDict[str, None] = OrderedDict()
        forgotten: set[str] = set()
        merges: list[tuple[str, str]] = []
        complete = True
        for position, _, _, event in named_events(self._log, self._first, None, self._max_future_ms, Counter()):
            if isinstance(event, UserForget):
                forgotten.add(event.user)
            elif position <= self.until and isinstance(event, MergeCarried):
                merges.append((event.from_user, event.into_user))
            elif position <= self.until and isinstance(event, Feedback) and event.item == item and event.user != own:
                touched[event.user] = None
                touched.move_to_end(event.user)
                if len(touched) > FOLLOWED:
                    touched.popitem(last=False)
                    complete = False
        self._follow_merges(touched, merges, own)
        return touched, forgotten, complete

    @staticmethod
    def _follow_merges(touched: OrderedDict[str, None], merges: list[tuple[str, str]], own: str | None) -> None:
        """With a visitor go the account that they turned out to be and everyone who turned out to be it; without the
        asker go those who turned out to be the asker."""
        left, asker = merges, {own}
        while found := [merge for merge in left if asker.intersection(merge)]:
            asker.update(from_user for from_user, into_user in found if into_user in asker)
            left = [merge for merge in left if merge not in found]
        for user in asker & touched.keys():
            del touched[str(user)]
        while found := [merge for merge in left if touched.keys() & set(merge)]:
            touched.update(dict.fromkeys(user for merge in found for user in merge))
            left = [merge for merge in left if merge not in found]

    def of(self, users: OrderedDict[str, None]) -> Iterator[tuple[Feedback | UserForget | MergeCarried, EventRef]]:
        """What these visitors did, mere exposure left out, and where they were forgotten or turned out to be others."""
        carried: set[tuple[str, int]] = set()
        events = named_events(self._log, self._first, self.until + 1, self._max_future_ms, Counter())
        for position, index, _, event in events:
            if isinstance(event, UserForget) and event.user in users:
                yield event, EventRef(position, index, "forget", event.ts)
            elif isinstance(event, MergeCarried) and event.from_user in users and event.into_user in users:
                if (event.from_user, event.sealed) not in carried:  # a second writer's is a repeat
                    carried.add((event.from_user, event.sealed))
                    yield event, EventRef(position, index, "merge", event.ts)
            elif isinstance(event, Feedback) and event.user in users and not _matches(self._impression, event):
                yield event, EventRef(position, index, event.type, event.ts)


class _Run:
    """A run of one visitor's events, bounded by an explicit key or by gaps (`Run` of `core_rs/src/fold/fact.rs`)."""

    def __init__(self, gap_ms: int) -> None:
        self.number = 0
        self._gap_ms = gap_ms
        self._last: int | None = None
        self._key: str | None = None

    def late(self, ts: int, key: str | None) -> bool:
        """Place the next event; whether it is too late for the run. A new run has another number."""
        if self._last is None or (self._key is not None and key is not None and key != self._key):
            new = True
        elif self._key is not None and key is not None:
            new = False
        elif ts < self._last - self._gap_ms:
            return True
        else:
            new = ts > self._last + self._gap_ms
        if new or self._last is None:
            self._last, self._key, self.number = ts, key, self.number + 1
        else:
            self._last, self._key = max(self._last, ts), key or self._key
        return False

    def join(self, other: _Run) -> str:
        """Whose run goes on when another visitor turns out to be this one: `both`, `own` or `other`."""
        if self._last is None or other._last is None:
            which = "own" if other._last is None else "other"
        elif (
            self._key == other._key
            if self._key is not None and other._key is not None
            else abs(self._last - other._last) <= self._gap_ms
        ):
            which = "both"
            self._key, self._last = self._key or other._key, max(self._last, other._last)
        else:
            which = "other" if other._last > self._last else "own"
        if which == "other":
            self._key, self._last, self.number = other._key, other._last, self.number + 1
        return which


class _Sides(msgspec.Struct):
    """The events that brought an item of a unit in on either side."""

    from_event: EventRef | None = None
    to_event: EventRef | None = None

    def first(self) -> int:
        """When the item came in, in seconds."""
        return min(event.ts // 1000 for event in (self.from_event, self.to_event) if event is not None)

    def latest(self) -> int:
        """When it came in on its later side, in seconds."""
        return max(event.ts // 1000 for event in (self.from_event, self.to_event) if event is not None)

    def joined(self, other: _Sides) -> _Sides:
        """The earlier events of both on each side."""

        def earlier(a: EventRef | None, b: EventRef | None) -> EventRef | None:
            return min((e for e in (a, b) if e is not None), key=lambda e: e.ts // 1000, default=None)

        return _Sides(earlier(self.from_event, other.from_event), earlier(self.to_event, other.to_event))


class _Visitor:
    """One followed visitor: their session and their units, as far as the wanted links need them."""

    def __init__(self, config: FoldConfig, item: str, wanted: dict[str, set[str]]) -> None:
        self._config = config
        self._item = item
        self._sessions = _Run(int(config.session_gap_minutes * 60_000))
        self._session: dict[str, EventRef] = {}
        self._knn_seeds = wanted[SESSION_KNN]
        self._pairs = [_Pairs(r, item, wanted[r.name]) for r in config.relations if wanted[r.name]]

    @property
    def session_items(self) -> Collection[str]:
        """The items of the session in progress."""
        return self._session.keys()

    def fold(self, event: Feedback, ref: EventRef) -> Iterator[tuple[_Link, Witness]]:
        """Take in one event; the links that it made."""
        before = self._sessions.number
        late = self._sessions.late(event.ts, event.session)
        if self._sessions.number != before:
            self._session.clear()
        if not late and self._knn_seeds and not _matches(self._config.negative, event):
            yield from self._touch(event, ref)
        for pairs in self._pairs:
            yield from pairs.fold(event, ref, self._sessions.number, late)

    def join(self, other: _Visitor, name: str) -> Iterator[tuple[_Link, Witness]]:
        """Another visitor turns out to be this one, `name`; the sessions that come to hold both items by it."""
        numbers = self._sessions.number, other._sessions.number
        which = self._sessions.join(other._sessions)
        own, their = self._session, other._session
        if which == "other":
            self._session = their
        elif which == "both":
            union = own | {item: ref for item, ref in their.items() if item not in own}
            self._session = dict(list(union.items())[: self._config.session_knn.max_session_items])
            here = self._session.get(self._item)
            for seed in sorted(self._knn_seeds & self._session.keys() - {self._item}) if here is not None else ():
                together = any({seed, self._item} <= session.keys() for session in (own, their))
                if not together and here is not None:
                    yield _Link(SESSION_KNN, seed), Witness(name, self._session[seed], here)
        for pairs, others in zip(self._pairs, other._pairs, strict=True):
            pairs.join(others, which, numbers, self._sessions.number)

    def _touch(self, event: Feedback, ref: EventRef) -> Iterator[tuple[_Link, Witness]]:
        if event.item in self._session or len(self._session) >= self._config.session_knn.max_session_items:
            return
        self._session[event.item] = ref
        here = self._session.get(self._item)
        if here is None:
            return
        seeds = self._knn_seeds & self._session.keys() if event.item == self._item else self._knn_seeds & {event.item}
        for seed in sorted(seeds - {self._item}):
            yield _Link(SESSION_KNN, seed), Witness(event.user, self._session[seed], here)


class _Pairs:
    """One relation's current unit of one visitor: which draws it makes from the seeds to the item."""

    def __init__(self, relation: Relation, item: str, seeds: set[str]) -> None:
        self._relation = relation
        self._item = item
        self._seeds = seeds
        self._run = _Run(int(relation.within_days * DAY_MS))
        self._key: object = None
        self._unit: dict[str, _Sides] = {}

    def fold(self, event: Feedback, ref: EventRef, session: int, session_late: bool) -> Iterator[tuple[_Link, Witness]]:
        """Take in one event; the draws from a seed to the item that it made."""
        relation = self._relation
        is_from, is_to = _matches(relation.from_types, event), _matches(relation.to_types, event)
        if not is_from and not is_to:
            return
        key: object
        if relation.unit == "session":
            key, late = session, session_late
        elif relation.unit == "basket":
            if event.basket is None:
                return
            key, late = event.basket, False
        else:
            late = self._run.late(event.ts, None)
            key = self._run.number
        if late:
            return  # it counts for itself and is paired with nothing
        full = len(self._unit) >= relation.unit_cap and event.item not in self._unit
        if key != self._key or full:
            self._key, self._unit = key, {}
        yield from self._enter(event, ref, is_from, is_to)

    def join(self, other: _Pairs, session: str, numbers: tuple[int, int], number: int) -> None:
        """The unit that the next event meets; nothing is drawn (`core_rs/src/neighbourhood/join.rs`)."""
        own, their = self._unit, other._unit
        if self._relation.unit == "session":
            theirs, owns = other._key == numbers[1] and bool(their), self._key == numbers[0] and bool(own)
            if session == "both" and theirs and owns:
                self._union(other)
            elif session != "own" and theirs:
                self._key, self._unit = number, their
        elif self._relation.unit == "user":
            which = self._run.join(other._run)
            if which == "both":
                self._union(other)
            elif which == "other":
                self._key, self._unit = self._run.number, their
        elif own and self._key == other._key:
            self._union(other)
        elif their and (not own or max(s.latest() for s in their.values()) > max(s.latest() for s in own.values())):
            self._key, self._unit = other._key, their

    def _union(self, other: _Pairs) -> None:
        """Both units' items in the order of first touch; the last `unit_cap` stay."""
        left, right = list(self._unit.items()), list(other._unit.items())
        union: dict[str, _Sides] = {}
        while left or right:
            from_right = not left or (right and right[0][1].first() < left[0][1].first())
            item, sides = (right if from_right else left).pop(0)
            union[item] = union[item].joined(sides) if item in union else sides
        self._unit = dict(list(union.items())[-self._relation.unit_cap :])

    def _enter(self, event: Feedback, ref: EventRef, is_from: bool, is_to: bool) -> Iterator[tuple[_Link, Witness]]:
        own = self._unit.get(event.item, _Sides())
        new_from, new_to = is_from and own.from_event is None, is_to and own.to_event is None
        if not new_from and not new_to:
            return
        others = [other for other in self._unit if other != event.item][-self._relation.window :]
        if new_to and event.item == self._item:
            for seed in others:
                begun = self._unit[seed].from_event
                if seed in self._seeds and begun is not None:
                    yield _Link(self._relation.name, seed), Witness(event.user, begun, ref)
        if new_from and event.item in self._seeds and self._item in others:
            ended = self._unit[self._item].to_event
            if ended is not None:
                yield _Link(self._relation.name, event.item), Witness(event.user, ref, ended)
        own.from_event = ref if new_from else own.from_event
        own.to_event = ref if new_to else own.to_event
        self._unit[event.item] = own


def _matches(specs: Sequence[str], event: Feedback) -> bool:
    """Whether an event is of one of these types, their bounds on the value included."""
    return any(_is(spec, event) for spec in specs)


def _is(spec: str, event: Feedback) -> bool:
    if spec == event.type:
        return True
    match = TYPE_SPEC.match(spec)
    if match is None or match["op"] is None or match["type"] != event.type or event.value is None:
        return False
    bound = float(match["value"])
    return event.value >= bound if match["op"] == ">=" else event.value <= bound
