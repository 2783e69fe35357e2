"""Questions of visitors, answered by a host that owns user partitions.

What one host can say alone it asks its own state; the rest goes to every item host in one scatter, and only here are
raw scores fused. The records of slates go to the log behind the answers.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, NamedTuple

import msgspec

from headwater.active_query import active_version, query_version
from headwater.actors.host_state import HostState
from headwater.answer import Answer, decode_answer
from headwater.arguments import position_of, query_id, time_of
from headwater.cluster.asking import asked_context, similar_request, slate_request, trending_request
from headwater.cluster.logs import slate_id
from headwater.cluster.metrics import HostMetrics
from headwater.cluster.records import RecordWriter
from headwater.cluster.scatter import LAYOUT, Gathered, Outcomes, Scatter, outcomes_of
from headwater.cluster.usual_slates import UsualMemory
from headwater.config import Config
from headwater.core import (
    Door,
    LeftQuestion,
    UsualSlates,
    VerbTimes,
    reply_position,
    scatter_at_once,
    stable_hash,
)
from headwater.errors import InvalidQuery, NotReady
from headwater.events.types import SlateServed
from headwater.host_replay import SILENT, Rounds
from headwater.protocol import ItemOf, Question, Rank, Recommend, Session, SessionOf, Similar, Trending, VariantOf
from headwater.slate import ItemView, SessionState, SessionView, Slate
from headwater.slate_memory import Answered, SlateMemory
from headwater.slate_record import SCORER_VERSION, record_later, recorded, slate_record
from headwater.taking_part import take_part

logger = logging.getLogger(__name__)

_ITEM_SHARE = 0.9
"""Of the time left that item hosts get; the rest is for gathering and the way back."""

_encoder = msgspec.msgpack.Encoder()
_items = msgspec.msgpack.Decoder(ItemView)
_sessions = msgspec.msgpack.Decoder(SessionState)


class _Asked(NamedTuple):
    """An answer with the positions that it was made at (own, then item hosts) and who was left out, with why.

    `positions` are of those item hosts that answered every time. `rounds`, where folds came in between or hosts were
    asked more than once: see `headwater.host_replay.Rounds`.
    """

    answer: Answer
    positions: list[int]
    left_out: dict[str, str]
    rounds: Rounds | None = None


class _Asking:
    """A question to item hosts on its way, until hosts need not be asked any more."""

    __slots__ = ("body", "left_out", "made_at", "rounds", "sent", "until")

    def __init__(self, body: bytes, until: float) -> None:
        self.body = body
        self.until = until
        self.sent = b""
        self.made_at = 0
        self.left_out: dict[str, str] = {}
        self.rounds: Rounds = []


class _Wanted(NamedTuple):
    """A slate that is asked for: the core's request, and what becomes of the answer."""

    kind: str
    request: dict[str, Any]
    key: str
    asker: str | None
    record: bool | None
    context: dict[str, Any] | None


Settle = Callable[[Callable[[], Any]], None]
"""Called once, with what gives the answer or raises."""


class Slates:
    """Answers `recommend`, `session`, `rank`, `similar`, `trending`, `session_of` and `item_of`."""

    def __init__(
        self,
        state: HostState,
        scatter: Scatter,
        records: RecordWriter,
        config: Config,
        epoch: int,
        metrics: HostMetrics,
        clock: Callable[[], int],
    ) -> None:
        self._state = state
        self._scatter = scatter
        self._records = records
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._numbers = itertools.count(1)
        self._prefix = f"{state.spec.name}-{epoch:x}"
        self._opened_with = query_version(config.query)
        self._usual: UsualSlates | None = None
        self._later: set[asyncio.Future[_Asked]] = set()
        self._usual_memory = UsualMemory()
        self.memory = SlateMemory(self._usual_memory)
        """The latest slates of this host."""

    # --- verbs ---------------------------------------------------------------------------------------------------

    async def recommend(self, asked: Recommend | Rank) -> Slate:
        """`recommend` and `rank`: a slate for a user that this host owns."""
        request = slate_request(asked, self._clock())
        context = asked_context(asked)
        kind = "rank" if isinstance(asked, Rank) else "recommend"
        return await self._slate(kind, asked, request, request["user"], asked.record, context)

    def begin(self, asked: Recommend, settle: Settle, is_here: Callable[[Recommend], bool]) -> bool:
        """`recommend` where only item hosts have to be waited for: as they answer, `settle` is called. False where
        something else has to be waited for; nothing was begun then. `is_here`: whether a user whom the state does not
        tell to be this host's own, and nobody else, is answered here; it may raise."""
        if asked.after is not None or self._state.busy or not self._scatter.hosts:
            return False
        request = slate_request(asked, self._clock())
        until = time.monotonic() + (asked.deadline_ms or self._config.cluster.deadline_ms) / 1000
        user = request["user"]
        wanted = _Wanted("recommend", request, self._next_id(), user, asked.record, asked_context(asked))
        asking = _Asking(_encoder.encode(request | {"key": wanted.key}), until)
        begun = scatter_at_once(self._state.core, asking.body)
        if begun is not None:
            asking.sent, asking.made_at = begun
        elif not is_here(asked):
            return False
        else:
            take_part(self._state.core, request, user)
            asking.body = _encoder.encode(request | {"key": wanted.key})
            self._scatter_again(asking)
        # Answers are heard where nothing is known of the question: what is logged then is of this one all the same.
        told = partial(self._told_of, copy_context(), wanted, asking, settle)
        self._scatter.begin("candidates", asking.sent, self._share(until), told)
        return True

    def usual(self, door: Door, times: VerbTimes, left: Callable[[LeftQuestion], None]) -> UsualSlates:
        """What answers `recommend` without Python, as long as it is asked as usual; `left` takes the rest. Called once,
        before anything is answered."""
        loop = asyncio.get_running_loop()

        def wake(seconds: float) -> None:
            loop.call_later(seconds, usual.expire)

        self._usual = usual = UsualSlates(
            door=door,
            times=times,
            core=self._state.core,
            layout=LAYOUT,
            subjects=self._scatter.subjects("candidates"),
            deadline_ms=self._config.cluster.deadline_ms,
            item_share=_ITEM_SHARE,
            records=self._config.engine.record_slates,
            scorer=SCORER_VERSION,
            config=self._opened_with,
            prefix=self._prefix,
            clock=self._clock,
            queue=self._records.queue,
            shelf=self._usual_memory.shelf,
            left=left,
            wake=wake,
        )
        return usual

    def go_on(self, asked: Recommend, left: LeftQuestion, settle: Settle) -> None:
        """Go on with a question that `usual` began, from what item hosts told it."""
        request = slate_request(asked, left.now)
        wanted = _Wanted("recommend", request, left.key, request["user"], asked.record, asked_context(asked))
        asking = _Asking(_encoder.encode(request | {"key": left.key}), time.monotonic() + left.seconds_left)
        asking.sent, asking.made_at = left.sent, left.made_at
        self._told(wanted, asking, settle, outcomes_of(left.replies, None))

    def _told_of(self, question: Context, wanted: _Wanted, asking: _Asking, settle: Settle, outcomes: Outcomes) -> None:
        question.run(self._told, wanted, asking, settle, outcomes)

    def _told(self, wanted: _Wanted, asking: _Asking, settle: Settle, outcomes: Outcomes) -> None:
        try:
            gathered: Gathered | None = self._scatter.sorted_out(outcomes)
            answered = None
            if gathered is not None and not self._state.busy:
                answered, gathered = self._put_together(asking, gathered), None
            slate = None if answered is None else self._finished(wanted, answered)
        except Exception as err:  # noqa: BLE001 - it is told to whoever asked
            settle(partial(_raise, err))
            return
        if slate is not None:
            settle(lambda: slate)
            return
        later = asyncio.ensure_future(self._go_on(asking, None, gathered))
        self._later.add(later)
        later.add_done_callback(self._later.discard)
        later.add_done_callback(lambda done: settle(lambda: self._finished(wanted, done.result())))

    async def session(self, asked: Session) -> Slate:
        """A slate for an anonymous visitor; recorded under their `visitor` id, if they have one."""
        request = slate_request(asked, self._clock())
        visitor = None if asked.visitor is None else query_id("visitor", asked.visitor)
        if asked.record and visitor is None:
            rule = "record=True together with a visitor, whose slate it is"
            raise InvalidQuery(f"record=True without a visitor; allowed: {rule}", field="record", rule=rule)
        return await self._slate("session", asked, request, visitor, asked.record, None)

    async def _slate(
        self,
        kind: str,
        asked: Question,
        request: dict[str, Any],
        asker: str | None,
        record: bool | None,
        context: dict[str, Any] | None,
    ) -> Slate:
        until = await self._begin(asked)
        wanted = _Wanted(kind, request, self._next_id(), asker, record, context)
        take_part(self._state.core, request, asker)
        return self._finished(wanted, await self._ask(request, wanted.key, asked.after, until))

    def _finished(self, wanted: _Wanted, answered: _Asked) -> Slate:
        slate = self._dressed(wanted.kind, answered, wanted.request, wanted.key)
        if wanted.asker != slate.user:
            slate = msgspec.structs.replace(slate, user=wanted.asker)
        recorded = self._config.engine.record_slates if wanted.record is None else wanted.record
        if recorded and wanted.asker is not None:
            slate = self._recorded(slate, wanted.request, wanted.context, answered.rounds)
        self.memory.add(Answered(slate, wanted.request))
        return slate

    async def similar(self, asked: Similar) -> Slate:
        """Items most associated with one."""
        request = similar_request(asked, self._clock())
        until = await self._begin(asked)
        core = self._state.core
        asked_of = await self._ask_items("similar", request, asked.after, until, core.similar, core.gather_similar)
        return self._dressed("similar", asked_of, request, self._next_id())

    async def trending(self, asked: Trending) -> Slate:
        """Items that trend, overall or in a category."""
        request = trending_request(asked, self._clock())
        until = await self._begin(asked)
        core = self._state.core
        asked_of = await self._ask_items("trending", request, asked.after, until, core.trending, core.gather_trending)
        slate = self._dressed("trending", asked_of, request, self._next_id())
        if not slate.about and asked.category:
            slate.about.append(asked.category)
        return slate

    async def session_of(self, asked: SessionOf) -> SessionView:
        """What is known of a user that this host owns. Raises `InvalidQuery` for a user without state."""
        name = query_id("user", asked.user)
        await self._begin(asked)
        view = self._state.core.session_view(name, self._now(asked))
        if view is None:
            raise InvalidQuery(
                f"user {name!r} has no state: no event, or forgotten", field="user", value=name, rule="a known user"
            )
        return SessionView(user=name, state=_sessions.decode(view), position=self._state.position)

    async def variant_of(self, asked: VariantOf) -> dict[str, str | None]:
        """The variant that answers a user that this host owns. Raises `InvalidQuery` for an unknown experiment."""
        name = query_id("user", asked.user)
        await self._begin(asked)
        return {"variant": self._state.core.variant_of(name, asked.experiment, self._now(asked))}

    async def item_of(self, asked: ItemOf) -> ItemView:
        """What is known of an item. Raises `InvalidQuery` for one that nothing ever named."""
        name = query_id("item", asked.item)
        until = await self._begin(asked)
        if self._scatter.hosts:
            shard = stable_hash(name) % self._config.generation.shards
            owner = next(host for host in self._scatter.hosts if shard in host.shards)
            body = _encoder.encode((name, self._now(asked)))
            return _items.decode(await self._scatter.ask(owner, "items", asked.after, body, until))
        view = self._state.core.item_view(name, self._now(asked))
        return _items.decode(known_item(name, view))

    async def why(self, known: Answered, item: str) -> list[str]:
        """What keeps an item out of a slate, by the state as it stands now."""
        assert known.request is not None  # this host answered it
        until = time.monotonic() + self._config.cluster.deadline_ms / 1000
        asked = await self._ask(known.request | {"why": item}, known.slate.id, None, until)
        return asked.answer.why or []

    # --- inside --------------------------------------------------------------------------------------------------

    def _now(self, asked: Question) -> int:
        return self._clock() if asked.now is None else time_of("now", asked.now)

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}" if self._usual is None else self._usual.next_id()

    async def _begin(self, asked: Question) -> float:
        """Wait for the position that was asked for; the monotonic time until which an answer is of use."""
        seconds = (asked.deadline_ms or self._config.cluster.deadline_ms) / 1000
        until = time.monotonic() + seconds
        if asked.after is not None:
            await self._state.reach(position_of("after", asked.after), seconds * _ITEM_SHARE)
        return until

    async def _ask(self, request: dict[str, Any], key: str, after: int | None, until: float) -> _Asked:
        core = self._state.core
        body = _encoder.encode(request | {"key": key})
        if not self._scatter.hosts:
            answer = decode_answer(await self._state.ask(core.recommend, body))
            return _Asked(answer, [answer.position], {})
        asking = _Asking(body, until)
        await self._state.ask(self._scatter_again, asking)
        return await self._go_on(asking, after, None)

    async def _go_on(self, asking: _Asking, after: int | None, gathered: Gathered | None) -> _Asked:
        """Ask until there is an answer. `gathered`: what was told already."""
        while True:
            if gathered is None:
                share = self._share(asking.until)
                gathered = await self._scatter.ask_all("candidates", after, asking.sent, share)
            answered: _Asked | None = await self._state.ask(self._put_together, asking, gathered)
            if answered is not None:
                return answered
            gathered = None

    def _put_together(self, asking: _Asking, gathered: Gathered) -> _Asked | None:
        """An answer of what hosts told; `None` if they must be asked again, because the catalogue must fill in or more
        than they told is needed."""
        asking.left_out |= gathered.left_out
        told = [SILENT if reply is None else reply_position(reply) for reply in gathered.by_host]
        rounds, left_out = asking.rounds, asking.left_out
        rounds.append([asking.made_at, *told])
        try:
            answer, more, asking.made_at = self._gathered(asking.sent, gathered.replies, asking.until)
        except NotReady:  # another configuration became active in between
            if time.monotonic() >= asking.until:
                raise
            rounds.clear()
            left_out.clear()
            self._scatter_again(asking)
            return None
        if answer is None:
            assert more is not None
            asking.sent = more
            return None
        decoded = decode_answer(answer)
        apart = len(rounds) > 1 or rounds[0][0] != decoded.position
        first = zip(self._scatter.hosts, rounds[0][1:], strict=True)
        of_hosts = [at for host, at in first if host.name not in left_out] if left_out else rounds[0][1:]
        positions = [decoded.position, *of_hosts]
        return _Asked(decoded, positions, left_out, rounds if apart else None)

    def _scatter_again(self, asking: _Asking) -> None:
        asking.sent, asking.made_at = self._scattered(asking.body, asking.until)

    def _scattered(self, body: bytes, until: float) -> tuple[bytes, int]:
        """A scatter and the position that it was made at: made again where a fold came in between, as long as there is
        time to ask anybody."""
        core = self._state.core
        while True:
            before = core.position
            sent = core.scatter(body)
            if core.position == before or time.monotonic() >= until:
                return sent, before

    def _gathered(self, sent: bytes, replies: list[bytes], until: float) -> tuple[bytes | None, bytes | None, int]:
        """An answer, or another scatter and the position that it was made at: see `_scattered`."""
        core = self._state.core
        while True:
            before = core.position
            answer, more = core.gather(sent, replies)
            if answer is not None or core.position == before or time.monotonic() >= until:
                return answer, more, before

    async def _ask_items(
        self,
        verb: str,
        request: dict[str, Any],
        after: int | None,
        until: float,
        alone: Callable[[bytes], bytes],
        gather: Callable[[bytes, list[bytes]], bytes],
    ) -> _Asked:
        body = _encoder.encode(request)
        if not self._scatter.hosts:
            answer = decode_answer(await self._state.ask(alone, body))
            return _Asked(answer, [answer.position], {})
        gathered = await self._scatter.ask_all(verb, after, body, self._share(until))
        answer = decode_answer(await self._state.ask(gather, body, gathered.replies))
        return _Asked(answer, list(map(reply_position, gathered.replies)), gathered.left_out)

    @staticmethod
    def _share(until: float) -> float:
        now = time.monotonic()
        return now + (until - now) * _ITEM_SHARE

    def _dressed(self, kind: str, asked: _Asked, request: dict[str, Any], slate: str) -> Slate:
        slate_id.set(slate)
        for host, why in asked.left_out.items():
            self._metrics.left_out(host)
            logger.info("answered without item host %s: %s", host, why)
        answer = asked.answer
        return Slate(
            kind=kind,
            id=slate,
            user=request.get("user"),
            about=request.get("items") or answer.about,
            n=request["n"],
            items=answer.items,
            positions=asked.positions,
            now=request["now"],
            fallback=answer.fallback,
            degraded=[f"item host {host} left out: {why}" for host, why in asked.left_out.items()],
            config=active_version(self._state.core, self._opened_with),
            scenario=request.get("scenario"),
            variant=request.get("variant"),
            notes=answer.notes,
            exploring=answer.exploring,
            feature_names=answer.feature_names,
            candidates=dict(answer.candidates),
        )

    def _recorded(
        self,
        slate: Slate,
        request: dict[str, Any],
        context: dict[str, Any] | None,
        rounds: Rounds | None,
    ) -> Slate:
        latest = self._clock() + self._config.generation.max_future_ms
        if rounds is None and not slate.degraded:
            return record_later(slate, request, context, self._records, latest)
        record = slate_record(slate, request, context)
        if rounds is not None:
            record = msgspec.structs.replace(record, extra=(record.extra or {}) | {"rounds": rounds})
        if slate.degraded:
            record = _with_candidates(record, slate)
        return recorded(slate, record, self._records, latest)


def _raise(err: Exception) -> Any:
    raise err


def _with_candidates(record: SlateServed, slate: Slate) -> SlateServed:
    """A slate of a part of the items cannot be made again from all of them: its record keeps what was there."""
    return msgspec.structs.replace(
        record,
        left_out=[said.split(" ")[2] for said in slate.degraded if said.startswith("item host ")],
        candidates=[(r.item, part.source, part.raw) for r in slate.items for part in r.parts],
    )


def known_item(item: str, view: bytes | None) -> bytes:
    """The view of an item. Raises `InvalidQuery` for one that nothing ever named."""
    if view is None:
        raise InvalidQuery(
            f"item {item!r}: no event or put ever named it", field="item", value=item, rule="a known item"
        )
    return view
