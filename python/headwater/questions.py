"""The question side of an engine: slates, sessions and reasons, from the state as it stands.

`Questions` asks the core, remembers the latest slates so that they can be explained, and hands records of slates to
whoever writes them. It writes nothing itself: `headwater.engine.Engine` adds that.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from headwater import explanation, many
from headwater.active_query import active_version, query_version
from headwater.actors.past_state import PastStates
from headwater.actors.recovery import fold_log
from headwater.actors.runtime import EmbeddedRuntime
from headwater.answer import Answer, approximate_notes, ask, ask_similar, ask_trending
from headwater.arguments import Id, Param, context_of, ids_of, position_of, query_id, time_of
from headwater.core import Core
from headwater.errors import InvalidQuery, NotReady
from headwater.events.types import Scalar
from headwater.forgotten import forgotten_note, forgotten_since
from headwater.merging import account_of
from headwater.request import asked_beside, similar_request, slate_request, trending_request
from headwater.scenario import Metric
from headwater.slate import Explanation, ItemView, SessionState, SessionView, Slate
from headwater.slate_memory import Answered, SlateMemory
from headwater.slate_record import SlateRecorder, record_later
from headwater.taking_part import take_part
from headwater.time_travel import AsOf, Moment, moment_of, unknown_slate
from headwater.wall_clock import wall_clock

if TYPE_CHECKING:
    import polars

_items = msgspec.msgpack.Decoder(ItemView)
_sessions = msgspec.msgpack.Decoder(SessionState)


class Questions:
    """What can be asked of a runtime's state. Safe to use from many threads."""

    def __init__(self, runtime: EmbeddedRuntime, clock: Literal["wall", "log"], recorder: SlateRecorder) -> None:
        """`recorder` takes the records of slates; a read-only runtime gives it none."""
        self._runtime = runtime
        self._config = runtime.config
        self._clock = clock
        self._recorder = recorder
        self._max_future_ms = self._config.generation.max_future_ms
        self._slate_numbers = itertools.count(1)
        self._slates = SlateMemory()
        self._refresh_mutex = threading.Lock()
        self._query_version = query_version(self._config.query)
        self._past = PastStates(runtime.log, runtime.snapshots, self._config, self._config.engine.threads)

    def recommend(
        self,
        user: Id,
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        context: Mapping[str, Scalar] | None = None,
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        as_of: AsOf | None = None,
        record: bool | None = None,
    ) -> Slate:
        """The `n` (1 to 1000) best items for a user, with reasons. An unknown user gets trending and popular items,
        and the slate says so (`fallback`).

        `scenario` names one of the configuration; `filter` with its `params` narrows what may be shown beside the
        scenario's own; `diversity` and `exploration` (0 to 1) and `sources` (weights) take the scenario's place for
        this request. `features` gives every candidate's features. `context` is kept in the record. `record=False`
        writes no record, and nor does a `now` that no event may have (beyond `max_future_hours`): the slate says so.

        `as_of` asks the past instead: a slate or its id, or a log position. The state at that position answers, under
        the configuration that was active there; `now` defaults to the slate's, or to the largest event time of that
        state; the same question as a slate's own gives that slate again. Nothing is recorded. The first question about
        a stretch of the log costs a fold from the nearest snapshot, later ones a fold from there. A user
        who was forgotten since is answered as a stranger. Raises `InvalidQuery`, `NotReady`.
        """
        request = slate_request(query_id("user", user), [], n, exclude, now, sources)
        request |= asked_beside(scenario, filter, params, diversity, exploration, features)
        return self._slate("recommend", request, after, as_of, record, context_of(context))

    def session(
        self,
        items: Sequence[Id],
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        as_of: AsOf | None = None,
        visitor: Id | None = None,
        record: bool | None = None,
    ) -> Slate:
        """The `n` best items for an anonymous visitor who touched `items`, latest last.

        A `visitor` id that stays the same from question to question (a cookie's) lets them take part in experiments;
        their slates are recorded under it, as those of users are, unless `record=False`. Without one nothing is
        recorded.
        """
        request = slate_request(None, ids_of("items", items), n, exclude, now, sources)
        request |= asked_beside(scenario, filter, params, diversity, exploration, features)
        name = None if visitor is None else query_id("visitor", visitor)
        if record and name is None:
            rule = "record=True together with a visitor, whose slate it is"
            raise InvalidQuery(f"record=True without a visitor; allowed: {rule}", field="record", rule=rule)
        return self._slate("session", request, after, as_of, record, visitor=name)

    def rank(
        self,
        user: Id,
        items: Sequence[Id],
        n: int | None = None,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        context: Mapping[str, Scalar] | None = None,
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        as_of: AsOf | None = None,
        record: bool | None = None,
    ) -> Slate:
        """The caller's own items (1 to 1000) in the order that suits the user: all of them, or the `n` best.

        What may not be shown (hidden, consumed, filtered) is left out, and the slate says so; what no source knows
        keeps the caller's order after the rest.
        """
        listed = list(dict.fromkeys(ids_of("items", items)))
        count = len(listed) if n is None else n
        request = slate_request(query_id("user", user), [], count, (), now, sources)
        request |= asked_beside(scenario, filter, params, diversity, exploration, features)
        request["candidates"] = listed
        return self._slate("rank", request, after, as_of, record, context_of(context))

    def recommend_many(
        self,
        users: Sequence[Id],
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        now: int | None = None,
        after: int | None = None,
        record: bool = False,
    ) -> polars.DataFrame:
        """One question for many users, answered in parallel on the engine's threads: for mails, exports, caches.

        A frame with one row a slot, users in their order: user, slate, slot, item, score, source, propensity,
        propensity_cascade, pinned, fallback. `record=True` writes each slate's record; otherwise `slate` is null.
        Reasons are left out (`explain` a recorded slate for them). All users are answered at one `now`, in portions of
        1,000 between which the state may move on.
        """
        self._reach(after)
        names = ids_of("users", users)
        request = slate_request(None, [], n, exclude, self._now(now), sources)
        request |= asked_beside(scenario, filter, params, diversity, exploration, False)
        recorder = self._recorder if record and not self._runtime.read_only else None
        latest = wall_clock() + self._max_future_ms
        if recorder is not None and request["now"] > latest:
            rule = f"with record=True not after {latest}, the latest time of an event"
            value = request["now"]
            raise InvalidQuery(f"now = {value}; allowed: {rule}", field="now", value=value, rule=rule)
        return many.recommend_many(self._runtime.core, names, request, self._next_id, recorder, self._query_version)

    def similar(
        self,
        item: Id,
        n: int = 10,
        *,
        relation: str | None = None,
        metric: Metric | None = None,
        exclude: Sequence[Id] = (),
        now: int | None = None,
        after: int | None = None,
        as_of: AsOf | None = None,
    ) -> Slate:
        """The `n` items most associated with an item: by one `relation` and `metric`, or by all relations fused.

        Raises `InvalidQuery` for an item that nothing ever named, an unknown relation or metric.
        """
        request = similar_request(item, n, relation, metric, exclude, now)
        return self._anonymous("similar", ask_similar, request, after, as_of)

    def trending(
        self,
        category: str | None = None,
        n: int = 10,
        *,
        now: int | None = None,
        after: int | None = None,
        as_of: AsOf | None = None,
    ) -> Slate:
        """The `n` items whose recent votes most exceed what their past lets expect, overall or in a category."""
        request = trending_request(category, n, now)
        return self._anonymous("trending", ask_trending, request, after, as_of)

    def session_of(self, user: Id, *, now: int | None = None, after: int | None = None) -> SessionView:
        """What is known of a user: session, recent items, tastes. Raises `InvalidQuery` for a user without state."""
        self._reach(after)
        name = account_of(self._runtime.core, query_id("user", user))
        view = self._runtime.core.session_view(name, self._now(now))
        if view is None:
            raise InvalidQuery(
                f"user {name!r} has no state: no event, or forgotten", field="user", value=name, rule="a known user"
            )
        return SessionView(user=name, state=_sessions.decode(view), position=self._runtime.core.position)

    def item(self, item: Id, *, now: int | None = None, after: int | None = None) -> ItemView:
        """What is known of an item: metadata and counts. Raises `InvalidQuery` for one that nothing ever named."""
        self._reach(after)
        name = query_id("item", item)
        view = self._runtime.core.item_view(name, self._now(now))
        if view is None:
            raise InvalidQuery(
                f"item {name!r}: no event or put ever named it", field="item", value=name, rule="a known item"
            )
        return _items.decode(view)

    def explain(self, slate: Slate | str, item: Id, *, audit: bool = False) -> Explanation:
        """Why an item stands in a slate, or why not, with the visitor's own events as the log holds them.

        A slate that is no longer remembered is looked up in the log and made again from it (O(log)). `audit` is for
        operators: it names the other users whose events led to the item (`headwater.audit`; O(log)); without it nobody
        but the visitor is named. Raises `InvalidQuery` for a slate that was neither.
        """
        self._runtime.check_open()
        name = slate if isinstance(slate, str) else slate.id
        known = self._slates.get(name)
        answered = known or explanation.recorded(name, self._runtime, self._past, self._dressed)
        if answered is not None and known is None and answered.slate.user is not None:
            user = answered.slate.user
            if self._forgotten_since(user, answered.slate.positions[0]):
                rule = "a slate whose user was not forgotten since"
                raise InvalidQuery(f"slate = {name!r:.80}: {forgotten_note(user)}; allowed: {rule}", field="slate")
        if answered is None and isinstance(slate, Slate):
            answered = Answered(slate, None)
        if answered is None:
            raise unknown_slate(name)
        return explanation.explain(answered, query_id("item", item), self._runtime, self._past, audit)

    def variant_of(self, user: Id, experiment: str, *, now: int | None = None, after: int | None = None) -> str | None:
        """The variant of an experiment that answers a user (or a visitor id) at `now`; None for one who does not take
        part: it does not run then, or they are not of its segments or its part of the traffic.

        Raises `InvalidQuery` for an experiment that the active configuration does not have.
        """
        self._reach(after)
        core = self._runtime.core
        return core.variant_of(account_of(core, query_id("user", user)), experiment, self._now(now))

    def now(self) -> int:
        """What `now` defaults to: the wall clock, or the last event's time."""
        return self._runtime.core.clock if self._clock == "log" else wall_clock()

    def refresh(self) -> int:
        """Fold what another process appended since (read-only engines); the position reached."""
        if self._runtime.read_only:
            with self._refresh_mutex:
                fold_log(self._runtime.core, self._runtime.log)
        return self._runtime.core.position

    def __contains__(self, item: object) -> bool:
        """Whether any event or put ever named the item."""
        return isinstance(item, str) and self._runtime.core.knows_item(item)

    def _forget_all_slates(self) -> None:
        """After the log was replaced: what was answered from the old one names positions that are others now."""
        self._slates.clear()
        self._past.clear()

    def _now(self, now: int | None) -> int:
        return self.now() if now is None else time_of("now", now)

    def _reach(self, after: int | None) -> None:
        self._runtime.check_open()
        if after is None or position_of("after", after) <= self._runtime.core.position:
            return
        if self._runtime.read_only:
            self.refresh()
        else:
            self._runtime.fold()
        position = self._runtime.core.position
        if after > position:
            raise NotReady(
                f"after = {after}, but the log ends at {position}; ask again, or check where the position comes from",
                position=position,
                after=after,
            )

    @contextmanager
    def _then(self, as_of: AsOf, after: int | None, request: dict[str, Any]) -> Iterator[tuple[Core, Moment]]:
        """The state of the past that `as_of` names; the request's `now` is set to that moment's unless it was given."""
        self._runtime.check_open()
        if after is not None:
            rule = "one of the two: as_of asks the past, after waits for what is new"
            raise InvalidQuery(f"as_of together with after = {after!r:.80}; allowed: {rule}", field="as_of", rule=rule)
        moment = moment_of(as_of, self._runtime.log, self._past, self._slates.get)
        with self._past.at(moment.position) as core:
            if request["now"] is None:
                request["now"] = core.clock if moment.now is None else moment.now
            _as_known(request, core)
            yield core, moment

    def _here(self, after: int | None, request: dict[str, Any]) -> Core:
        """The state as it stands, once it reached `after`, and the request's `now` set unless it was given."""
        self._reach(after)
        if request["now"] is None:
            request["now"] = self.now()
        _as_known(request, self._runtime.core)
        return self._runtime.core

    def _answer(self, kind: str, request: dict[str, Any], slate: str, core: Core, key: str | None = None) -> Slate:
        """Ask a core (the runtime's own, or one at an earlier position) and dress the answer as a slate."""
        answer = ask(core, request, key or slate)
        return self._dressed(kind, answer, request, request["items"] or answer.about, slate, core)

    def _dressed(
        self, kind: str, answer: Answer, request: dict[str, Any], about: list[str], slate: str, core: Core
    ) -> Slate:
        return Slate(
            kind=kind,
            id=slate,
            user=request.get("user"),
            about=about,
            n=request["n"],
            items=answer.items,
            positions=[answer.position],
            now=request["now"],
            fallback=answer.fallback,
            config=active_version(core, self._query_version),
            scenario=request.get("scenario"),
            variant=request.get("variant"),
            notes=[*answer.notes, *approximate_notes(answer)] if answer.approximate else answer.notes,
            exploring=answer.exploring,
            feature_names=answer.feature_names,
            candidates=dict(answer.candidates),
            approximate=dict(answer.approximate),
        )

    def _slate(
        self,
        kind: str,
        request: dict[str, Any],
        after: int | None,
        as_of: AsOf | None,
        record: bool | None,
        context: dict[str, Any] | None = None,
        visitor: str | None = None,
    ) -> Slate:
        if as_of is not None:
            return self._past_slate(kind, request, after, as_of, record, visitor)
        core = self._here(after, request)
        asker = _asker(request, visitor, core)
        take_part(core, request, asker)
        slate = self._answer(kind, request, self._next_id(), core)
        if asker != slate.user:
            msgspec.structs.force_setattr(slate, "user", asker)  # nobody has it yet
        wanted = self._config.engine.record_slates if record is None else record
        if wanted and asker is not None and not self._runtime.read_only:
            slate = self._recorded(slate, request, context)
        return self._remember(slate, request)

    def _past_slate(
        self,
        kind: str,
        request: dict[str, Any],
        after: int | None,
        as_of: AsOf,
        record: bool | None,
        visitor: str | None,
    ) -> Slate:
        """A slate of the past: as the same question was answered then, if it was; never recorded."""
        if record:
            rule = "record=False: a slate of the past was not served"
            raise InvalidQuery(f"as_of together with record=True; allowed: {rule}", field="record", rule=rule)
        with self._then(as_of, after, request) as (core, moment):
            user = request["user"]
            gone = user is not None and self._forgotten_since(user, moment.position)
            if gone:
                request["user"] = None
            take_part(core, request, _asker(request, visitor, core))
            found = moment.found_for(request)
            asked = request | {"found": found} if found else request
            slate = self._answer(kind, asked, self._next_id(), core, moment.slate)
            if gone:
                slate.notes.append(forgotten_note(user))
        return self._remember(slate, request, moment.slate)

    def _forgotten_since(self, user: str, position: int) -> bool:
        return forgotten_since(self._runtime.log, user, position, self._config.generation.partitions)

    def _remember(self, slate: Slate, request: dict[str, Any], key: str | None = None) -> Slate:
        self._slates.add(Answered(slate, request, key))
        return slate

    def _recorded(self, slate: Slate, request: dict[str, Any], context: dict[str, Any] | None) -> Slate:
        return record_later(slate, request, context, self._recorder, wall_clock() + self._max_future_ms)

    def _next_id(self) -> str:
        return f"{self._runtime.epoch}-{next(self._slate_numbers)}"

    def _anonymous(
        self,
        kind: str,
        verb: Callable[[Core, dict[str, Any]], Answer],
        request: dict[str, Any],
        after: int | None,
        as_of: AsOf | None,
    ) -> Slate:
        if as_of is None:
            core = self._here(after, request)
            return self._unnamed(kind, verb(core, request), request, core)
        with self._then(as_of, after, request) as (core, _):
            return self._unnamed(kind, verb(core, request), request, core)

    def _unnamed(self, kind: str, answer: Answer, request: dict[str, Any], core: Core) -> Slate:
        about = answer.about or ([request["category"]] if request.get("category") else [])
        return self._dressed(kind, answer, request, about, self._next_id(), core)


def _as_known(request: dict[str, Any], core: Core) -> None:
    """A question about a merged user is one about their account."""
    user = request.get("user")
    if user is not None:
        request["user"] = account_of(core, user)


def _asker(request: dict[str, Any], visitor: str | None, core: Core) -> str | None:
    """Who takes part in experiments and whose slate it is: the request's user or the visitor, as who they are now."""
    user: str | None = request["user"]
    return user or (None if visitor is None else account_of(core, visitor))
