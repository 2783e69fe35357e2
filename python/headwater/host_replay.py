"""Slates of a cluster made again, where the hosts that answered together stood at different positions.

A record holds the position of the owner and of each item host that was asked, and, where the owner folded on between
its scatter and its answer or asked more than once, the positions of each round. Each host's part is folded to its own
position and asked as it was asked then: scatter, candidates, gather. Hosts only fold forward, so slates are asked in
runs within which no position of a later run is smaller; a question that needed a second scatter is asked in a second
pass over the log.

Where all hosts stood at one position, the state of one engine gives the same (`tests/unit/split`), and
`headwater.slate_replay` asks that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from headwater.actors.past_state import ForwardFold
from headwater.actors.topology import deal
from headwater.answer import Answer, decode_answer
from headwater.config import Config
from headwater.core import Core, Ownership, new_core
from headwater.errors import InvalidQuery, NotReady
from headwater.events.log import EventLog
from headwater.events.types import SlateServed

Rounds = list[list[int]]
"""For each time that item hosts were asked: where the owner made its scatter, then where each item host answered it, or
`SILENT` for one that did not, in the topology's order."""

SILENT = -1
_ROUNDS = 8
"""Scatters that one question may need."""
_NEVER = 1 << 63

_encoder = msgspec.msgpack.Encoder()


def of_several_positions(served: SlateServed) -> bool:
    """Whether hosts of several positions answered a slate, or one was left out."""
    if _recorded_rounds(served):
        return True
    return len(served.positions) > 1 and (len(set(served.positions)) > 1 or bool(served.left_out))


class Remade(NamedTuple):
    """What a slate's question gives again, or why it gives nothing; `core` is the owner's state at that moment."""

    served: SlateServed
    answer: Answer | str
    core: Core


class _Asked(NamedTuple):
    served: SlateServed
    sent: bytes | None
    """What is scattered; None: not yet known."""
    round: int = 0

    @property
    def positions(self) -> list[int]:
        """Where this round's scatter was made, where each item host answered (or `SILENT`), where the owner put that
        together."""
        rounds = _rounds(self.served)
        following = rounds[self.round + 1 : self.round + 2]
        gathered = following[0][0] if following else self.served.positions[0]
        return [*rounds[min(self.round, len(rounds) - 1)], gathered]


def _item_hosts(served: SlateServed) -> int:
    """How many item hosts there were: a record holds positions of those that answered and names of the others."""
    return len(served.positions) - 1 + len(served.left_out)


def _recorded_rounds(served: SlateServed) -> Rounds:
    """Empty for a record without rounds, and for a foreign one whose rounds cannot be."""
    try:
        rounds = msgspec.convert((served.extra or {}).get("rounds", []), Rounds)
    except msgspec.ValidationError:
        return []
    hosts = _item_hosts(served)
    whole = all(len(told) == 1 + hosts and told[0] >= 0 and min(told) >= SILENT for told in rounds)
    return rounds if hosts and whole else []


def _rounds(served: SlateServed) -> Rounds:
    """Positions of each round. A record without them had one."""
    answered = iter(served.positions[1:])
    names = (f"i{n}" for n in range(_item_hosts(served)))
    told = [SILENT if name in served.left_out else next(answered, SILENT) for name in names]
    return _recorded_rounds(served) or [[served.positions[0], *told]]


def remade_by_hosts(records: Iterable[SlateServed], log: EventLog, config: Config, threads: int) -> Iterator[Remade]:
    """Slates of several positions, asked again; a result's core is good until the next one is asked for.

    O(log) for each number of item hosts and each scatter that a question needed. Raises `LogCorrupt`.
    """
    groups: dict[int, list[_Asked]] = {}
    for served in records:
        groups.setdefault(_item_hosts(served), []).append(_Asked(served, None))
    for hosts, waiting in groups.items():
        for _ in range(_ROUNDS):
            more: list[_Asked] = []
            yield from _Pass(log, config, threads, hosts).ask(waiting, more)
            if not (waiting := more):
                break
        for asked in waiting:
            yield Remade(asked.served, f"more than {_ROUNDS} scatters", new_core(config, threads))


class _Pass:
    """One pass over the log, by hosts of one size of cluster."""

    def __init__(self, log: EventLog, config: Config, threads: int, hosts: int) -> None:
        fold = config.generation
        dealt = [spec for spec in deal(fold.partitions, fold.shards, 1, hosts) if spec.kind == "item"]
        everyone = Ownership.session(range(fold.partitions))
        # Both the owner's: within a run all is scattered before anything is gathered.
        self._scattering = ForwardFold(new_core(config, threads, everyone), log)
        self._gathering = ForwardFold(new_core(config, threads, everyone), log)
        self._items = [ForwardFold(new_core(config, threads, Ownership.item(spec.shards)), log) for spec in dealt]

    def ask(self, waiting: Sequence[_Asked], more: list[_Asked]) -> Iterator[Remade]:
        """Results; questions that need another scatter are added to `more`."""
        for run in runs(sorted(waiting, key=lambda asked: asked.positions)):
            sent: list[bytes | str] = [asked.sent or self._scattered(asked) for asked in run]
            replies: list[list[bytes]] = [[] for _ in run]
            for host, fold in enumerate(self._items):
                where = [asked.positions[1 + host] for asked in run]
                for at in sorted(range(len(run)), key=where.__getitem__):
                    body = sent[at]
                    if isinstance(body, bytes) and where[at] != SILENT:
                        core = fold.reach(where[at])
                        try:
                            replies[at].append(core.candidates(body))
                        except NotReady as err:
                            sent[at] = err.message
            for at in sorted(range(len(run)), key=lambda at: run[at].positions[-1]):
                asked, body, told = run[at], sent[at], replies[at]
                core = self._gathering.reach(asked.positions[-1])
                if isinstance(body, str):
                    yield Remade(asked.served, body, core)
                    continue
                answer, again = core.gather(body, told)
                if answer is None:
                    more.append(_Asked(asked.served, again, asked.round + 1))
                else:
                    yield Remade(asked.served, decode_answer(answer), core)

    def _scattered(self, asked: _Asked) -> bytes | str:
        served = asked.served
        core = self._scattering.reach(asked.positions[0])
        try:
            return core.scatter(_encoder.encode(dict(served.request) | {"key": served.slate}))
        except InvalidQuery as err:
            return f"the recorded request is refused: {err.message}"


def runs(asked: Sequence[_Asked]) -> Iterator[Sequence[_Asked]]:
    """Cut a sequence where no position behind is smaller than one before, host by host. Who was silent may stand
    anywhere."""
    if not asked:
        return
    hosts = range(len(asked[0].positions))
    least: list[list[int]] = [[]] * len(asked)
    low = [_NEVER for _ in hosts]
    for at in range(len(asked) - 1, -1, -1):
        low = list(map(min, low, (_NEVER if p == SILENT else p for p in asked[at].positions)))
        least[at] = low
    start, high = 0, list(asked[0].positions)
    for at in range(1, len(asked)):
        if all(high[h] <= least[at][h] for h in hosts):
            yield asked[start:at]
            start = at
        high = [max(high[h], asked[at].positions[h]) for h in hosts]
    yield asked[start:]
