"""One host of a cluster: its state, its endpoints, its heartbeats, from start to leaving.

Plain asyncio in any process. A host that cannot begin (a log that lost its tail, another generation) does not end: it
stays and says so, over NATS and in its heartbeats, because a process that is gone cannot tell anybody why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable
from typing import Any

import msgspec

from headwater.active_query import query_version
from headwater.actors.host_state import HostLog, HostState
from headwater.actors.recovery import Refusals
from headwater.actors.snapshots import SnapshotStore
from headwater.actors.topology import HostSpec, Topology
from headwater.cluster.accounts import Accounts
from headwater.cluster.answers import shown
from headwater.cluster.beat import Beat, HostPhase, decode_beat
from headwater.cluster.endpoint import Begin, Endpoint, Settle
from headwater.cluster.explaining import Explaining
from headwater.cluster.facts import Facts
from headwater.cluster.http_status import HttpStatus
from headwater.cluster.ingest import Ingest
from headwater.cluster.item_answers import ItemAnswers
from headwater.cluster.machine import memory_bytes, node_name
from headwater.cluster.merges import HostMerges
from headwater.cluster.metrics import HostMetrics
from headwater.cluster.peers import Peers
from headwater.cluster.records import RecordWriter
from headwater.cluster.routing import Routing
from headwater.cluster.scatter import Scatter
from headwater.cluster.slates import Slates
from headwater.cluster.usual_questions import answer_candidates, answer_recommend
from headwater.cluster.writing import Writing, positioned
from headwater.config import Config
from headwater.core import embedding_dims
from headwater.errors import HeadwaterError, InvalidQuery, Recovering, StoreError, Unavailable
from headwater.events.subjects import partition_of
from headwater.protocol import Activate, Question, Recommend, Track, beat_subject, plain_subject
from headwater.scenario import QueryConfig, validate_query
from headwater.wall_clock import wall_clock

logger = logging.getLogger(__name__)

VERSION = "1.0.0"
_RETRY_RECOVERING_MS = 500
_SILENT_BEATS = 4
_WATCH_SECONDS = 2.0


class Host:
    """A host. `run` returns after `leave`."""

    def __init__(
        self,
        spec: HostSpec,
        topology: Topology,
        config: Config,
        nc: Any,
        log: HostLog,
        snapshots: SnapshotStore | None,
        *,
        epoch: int,
        http_port: int | None = None,
    ) -> None:
        """`epoch`: of this host as a writer of the log, greater than in any earlier life."""
        self.spec = spec
        self._topology = topology
        self._config = config
        self._nc = nc
        self._log = log
        limits = config.cluster
        self.metrics = HostMetrics(topology.namespace, spec.name)
        self.state = HostState(spec, config, log, snapshots, self._folded)
        self._peers = Peers(nc, topology, spec.name, _SILENT_BEATS * limits.beat_ms / 1000)
        self._endpoint = Endpoint(nc, topology.namespace, spec.name, limits, self.metrics, self._peers.speaks_for_all)
        self._http = HttpStatus(self) if http_port is not None else None
        self._http_port = http_port
        self._facts = Facts(self.state, config, self._check_begun)
        self._accounts = Accounts(self.state, self._peers, topology, limits.deadline_ms)
        self.phase: HostPhase = "recovering"
        self.message: str | None = None
        self._epoch = epoch
        self._incarnation = f"{epoch:x}.{os.getpid()}"
        self._ingest: Ingest | None = None
        self._records: RecordWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = asyncio.Event()
        self._folded_events = 0
        self._rates = (time.monotonic(), 0, 0)
        self._queries_per_s = self._events_per_s = 0.0

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Recover, answer, and leave when told to."""
        self._endpoint.refusing = Recovering(
            f"host {self.spec.name} is rebuilding its state; ask again", retry_after_ms=_RETRY_RECOVERING_MS
        )
        if self._http is not None:
            await self._http.start(self._http_port or 0)
        await self._nc.ready_to_ask()
        await self._nc.subscribe(beat_subject(self._topology.namespace), cb=self._heard)
        await self._endpoint.start(VERSION)
        await self._endpoint.answer_raw("live", self._live, always=True)
        await self._add_everywhere()
        self._begin(self._beats())
        self._begin(self._serve())
        try:
            await self._leaving.wait()
        finally:
            await self._end()

    def leave(self) -> None:
        """End soon; what is queued for the log is written first."""
        self._leaving.set()

    def _begin(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A part of the host ended. If it failed, the host answers no more and says why."""
        if task.cancelled() or task.exception() is None:
            return
        err = task.exception()
        logger.error("host %s: %s", self.spec.name, err, exc_info=None if isinstance(err, HeadwaterError) else err)
        self._refuse(err.message if isinstance(err, HeadwaterError) else repr(err))

    def _refuse(self, why: str) -> None:
        self.phase, self.message = "refused", why
        self._endpoint.refusing = Unavailable(f"host {self.spec.name} does not answer: {why}")

    async def _serve(self) -> None:
        """Recover, then follow the log for good."""
        await self.state.recover()
        following = asyncio.ensure_future(self.state.follow())
        try:
            _, target = await self._log.bounds()
            reaching = asyncio.ensure_future(self._reach_end(target))
            await asyncio.wait([following, reaching], return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                await reaching
                await self._ready()
            await following
        finally:
            following.cancel()

    async def _reach_end(self, target: int) -> None:
        while self.state.position < target:
            try:
                await self.state.reach(target, 1.0)
            except HeadwaterError:  # still folding: the heartbeats show how far
                continue

    async def _ready(self) -> None:
        if self.spec.kind == "item":
            await self._add_item_answers()
        else:
            await self._add_answers()
        self._begin(self._watch_end())
        self.phase = "ready"
        self._endpoint.refusing = None
        logger.info("host %s is ready at position %d", self.spec.name, self.state.position)
        await self._tell()

    async def _end(self) -> None:
        self.phase = "draining"
        await self._endpoint.stop()
        if self._records is not None:
            self._records.close()
        await self._drained()
        await self.state.saved()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.stop()
        self.state.close()

    # --- endpoints -----------------------------------------------------------------------------------------------

    async def _add_everywhere(self) -> None:
        routing = Routing(self._peers, self.spec)
        answer = self._endpoint.answer
        await answer("status", self._status, routing.of_everyone, always=True)
        await answer("stats", self._facts.stats, routing.of_everyone, always=True)
        await answer("digest", self._digest, routing.of_everyone, always=True)
        await answer("snapshot", self._snapshot, routing.of_everyone, always=True)
        await answer("drain", self._drain, always=True)
        await answer("leave", self._leave, always=True)
        await answer("reach", self._facts.reach)
        if self.spec.partitions:
            await answer("config", self._facts.config, routing.of_one, always=True)
            await answer("cluster", self._cluster, routing.of_one, always=True)
            # Heard from the beginning, so that a host that recovers says so instead of being taken for dead.
            await self._add_claims(routing)

    async def _add_claims(self, routing: Routing) -> None:
        self._verbs: dict[str, Any] = {}
        of = {
            "recommend": routing.of_user,
            "rank": routing.of_user,
            "session_of": routing.of_user,
            "variant_of": routing.of_user,
            "track": routing.of_user,
            "seen": routing.of_user,
            "forget": routing.of_user,
            "merge": routing.of_visitor,
            "user": routing.of_user,
            "session": routing.of_items,
            "similar": routing.of_item,
            "item_of": routing.of_item,
            "item": routing.of_item,
            "patch_item": routing.of_item,
            "delete_item": routing.of_item,
            "trending": routing.of_category,
            "explain": routing.of_slate,
        }
        begin: dict[str, Begin] = {"track": self._begin_track, "recommend": self._begin_recommend}
        for verb, claim in of.items():
            await self._endpoint.answer(verb, self._late_bound(verb), claim, begin.get(verb))
        await self._endpoint.answer("activate", self._activate)
        await self._endpoint.answer("high_water", self._facts.high_water)
        await self._endpoint.answer_raw("frames", self._frames)

    def _late_bound(self, verb: str) -> Any:
        """Handlers exist once the state does; before that the endpoint refuses."""
        accounts = self._accounts

        async def handle(asked: Any) -> object:
            self._check_owned(getattr(asked, "from_user", None) or getattr(asked, "user", None))
            if (answer := await accounts.elsewhere(verb, asked)) is not None:
                return answer
            answer = await self._verbs[verb](asked)
            return shown(answer, asked) if isinstance(asked, Question) else answer

        return handle

    def _begin_track(self, asked: Track, settle: Settle) -> bool:
        self._check_owned(asked.user)
        if self._accounts.is_merged(str(asked.user)):
            return False
        written = self._writing.begin_track(asked)
        written.add_done_callback(lambda done: settle(lambda: positioned(done.result())))
        return True

    def _begin_recommend(self, asked: Recommend, settle: Settle) -> bool:
        return self._slates.begin(asked, lambda slate: settle(lambda: shown(slate(), asked)), self._is_here)

    def _is_here(self, asked: Recommend) -> bool:
        """Whether a question of a user whom this host owns is answered here: not where they are somebody else now."""
        self._check_owned(asked.user)
        return not self._accounts.is_merged(str(asked.user))

    def _check_owned(self, user: str | int | None) -> None:
        """Whoever knows an older topology is told to ask for the new one."""
        if user is not None and partition_of(str(user), self._topology.partitions) not in self.spec.partitions:
            raise Unavailable(
                f"host {self.spec.name} does not own this user; "
                f"{plain_subject(self._topology.namespace, 'cluster')} tells who does",
                retry_after_ms=0,
            )

    async def _add_answers(self) -> None:
        limits, clock = self._config.cluster, wall_clock
        self._ingest = Ingest(
            self._log,
            f"host:{self.spec.name}",
            self._epoch,
            self._config.generation.partitions,
            self._config.generation.max_future_ms,
            limits,
            self.metrics,
            lambda: embedding_dims(self.state.core),
        )
        self._records = RecordWriter(self._ingest, clock, self._config.generation.partitions)
        scatter = Scatter(self._nc, self._topology)
        slates = Slates(self.state, scatter, self._records, self._config, self._epoch, self.metrics, clock)
        self._slates = slates
        explaining = Explaining(slates, self._log)
        self._writing = Writing(self._ingest, clock, self.spec.partitions, limits.deadline_ms)
        merges = HostMerges(
            self.state, self._peers, self._topology, self._ingest, clock, limits.deadline_ms, slates.memory.forget
        )
        self._accounts.settle = merges.settle
        self._verbs |= {
            "recommend": slates.recommend,
            "rank": slates.recommend,
            "session": slates.session,
            "session_of": slates.session_of,
            "variant_of": slates.variant_of,
            "similar": slates.similar,
            "trending": slates.trending,
            "item_of": slates.item_of,
            "explain": explaining.explain,
            "track": self._writing.track,
            "seen": self._writing.seen,
            "forget": merges.forget,
            "merge": merges.merge,
            "user": self._writing.put_user,
            "item": self._writing.put_item,
            "patch_item": self._writing.patch_item,
            "delete_item": self._writing.delete_item,
        }
        self._begin(self._ingest.run(clock))
        self._begin(self._records.run())
        self._begin(merges.watch())
        await self._endpoint.answer_raw("identities", merges.answer)
        await self._endpoint.answer_raw("forgotten", merges.forgotten)
        await self._endpoint.answer_raw("catalogue", self._facts.catalogue)
        if scatter.hosts:
            await answer_recommend(self._nc, self._endpoint, slates, self.metrics)

    async def _add_item_answers(self) -> None:
        answers = ItemAnswers(self.state)
        await self._endpoint.answer_raw("candidates", answers.candidates, answers.candidates_now)
        answer_candidates(self._nc, self._endpoint, self.state, self.metrics)
        await self._endpoint.answer_raw("similar", answers.similar)
        await self._endpoint.answer_raw("trending", answers.trending)
        await self._endpoint.answer_raw("items", answers.item)

    async def _live(self, _: bytes) -> bytes:
        return self.phase.encode()

    async def _frames(self, data: bytes) -> bytes:
        return await self._writing.frames(data)

    async def _activate(self, asked: Activate) -> dict[str, Any]:
        try:
            query = msgspec.json.decode(asked.query, type=QueryConfig)
        except msgspec.MsgspecError as err:
            rule = "the JSON of a [query]"
            raise InvalidQuery(f"query: {err}; allowed: {rule}", field="query", value=None, rule=rule) from err
        validate_query("query", query, {relation.name for relation in self._config.generation.relations})
        version = query_version(query)
        if self.state.core.active_config() == version:
            return {"position": self.state.position, "config": version}
        return {**await self._writing.activate(version, asked.query), "config": version}

    async def _status(self, _: object) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self._beat())
        if self.phase == "ready":
            refusals = [{"position": p, "index": i, "reason": code} for p, i, code in list(self.state.refusals)[-20:]]
            plain |= {"refusals": refusals, "recovered_from_snapshot": self.state.recovered_from}
        return plain

    async def _digest(self, _: object) -> dict[str, Any]:
        self._check_begun()
        await self._facts.catch_up()
        digest = await asyncio.get_running_loop().run_in_executor(None, self.state.core.digest)
        return {"host": self.spec.name, "position": self.state.position, "digest": digest}

    async def _snapshot(self, _: object) -> dict[str, Any]:
        self._check_begun()
        await self._facts.catch_up()
        position = await self.state.snapshot()
        await self.state.saved()
        if self.state.snapshot_error is not None:
            raise StoreError(self.state.snapshot_error)
        return {"host": self.spec.name, "position": position}

    def _check_begun(self) -> None:
        if self.phase not in ("ready", "draining"):
            raise Recovering(f"host {self.spec.name} has no state yet", retry_after_ms=_RETRY_RECOVERING_MS)

    async def _cluster(self, _: object) -> dict[str, Any]:
        return {
            "topology": msgspec.to_builtins(self._topology),
            "limits": msgspec.to_builtins(self._config.cluster),
            "max_future_ms": self._config.generation.max_future_ms,
        }

    async def _drain(self, _: object) -> dict[str, Any]:
        """Answer nothing more, and write what is queued; the position reached."""
        self.phase = "draining"
        self._endpoint.refusing = Unavailable(
            f"host {self.spec.name} is leaving; ask again", retry_after_ms=_RETRY_RECOVERING_MS
        )
        if self._records is not None:
            self._records.close()
        await self._drained()
        await self._tell()
        return {"host": self.spec.name, "position": self.state.position}

    async def _drained(self) -> None:
        """Wait until slate records and events are in the log."""
        if self._records is not None and self._ingest is not None:
            while self._records.pending:
                await asyncio.sleep(0.01)
            self._ingest.close()
            while self._ingest.queued_bytes:
                await asyncio.sleep(0.01)

    async def _leave(self, _: object) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.05, self.leave)  # after the answer went out
        return {"host": self.spec.name}

    # --- heartbeats ----------------------------------------------------------------------------------------------

    def _folded(self, counts: dict[str, int], refusals: Refusals) -> None:
        self._folded_events += sum(counts.values())
        self.metrics.folded(counts)

    async def _heard(self, message: Any) -> None:
        self._peers.heard(message.subject.rpartition(".")[2])
        try:
            beat = decode_beat(message.data)
        except msgspec.MsgspecError:
            return  # a host of another version: it lives, that is all
        self.state.heard_last = max(self.state.heard_last, beat.position)

    async def _beats(self) -> None:
        seconds = self._config.cluster.beat_ms / 1000
        while True:
            await self._tell()
            await asyncio.sleep(seconds)

    async def _watch_end(self) -> None:
        """Keep the lag true while nothing comes."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                await self.state.learn_end()
            except HeadwaterError as err:
                self.message = err.message
            else:
                self.message = None

    async def _tell(self) -> None:
        self._measure()
        if self._nc.is_connected:
            await self._nc.publish(
                beat_subject(self._topology.namespace, self.spec.name), msgspec.msgpack.encode(self._beat())
            )

    def _measure(self) -> None:
        now = time.monotonic()
        since, answers, events = self._rates
        if now - since >= 1.0:
            self._queries_per_s = (self.metrics.answers - answers) / (now - since)
            self._events_per_s = (self._folded_events - events) / (now - since)
            self._rates = (now, self.metrics.answers, self._folded_events)
        beat = self._beat()
        self.metrics.set(
            position=beat.position,
            lag=beat.lag,
            memory=beat.memory_bytes,
            snapshot_age=-1.0 if beat.snapshot_age_s is None else beat.snapshot_age_s,
            pending=beat.pending,
            queued=0 if self._ingest is None else self._ingest.queued_bytes,
            ready=beat.phase == "ready",
        )

    def _beat(self) -> Beat:
        state = self.state
        trouble = [self.message, state.snapshot_error, None if self._ingest is None else self._ingest.error]
        if self._records is not None:
            trouble.append(self._records.error)
        return Beat(
            host=self.spec.name,
            kind=self.spec.kind,
            incarnation=self._incarnation,
            topology=self._topology.version,
            phase=self.phase,
            pid=os.getpid(),
            node=node_name(),
            at=wall_clock(),
            position=state.position,
            lag=max(0, max(state.known_last, state.heard_last) - state.position),
            partitions=list(self.spec.partitions),
            shards=list(self.spec.shards),
            memory_bytes=memory_bytes(),
            snapshot_position=state.snapshot_position,
            snapshot_age_s=None if state.snapshot_at is None else max(0.0, time.time() - state.snapshot_at),
            config=state.core.active_config() if self.phase in ("ready", "draining") else None,
            answered=self.metrics.answers,
            refused=dict(self.metrics.refusals),
            degraded=self.metrics.degraded,
            events_written=self.metrics.events_written,
            dead_letters=self.metrics.dead_letters.total(),
            queries_per_s=round(self._queries_per_s, 1),
            events_per_s=round(self._events_per_s, 1),
            pending=self._endpoint.pending,
            http=None if self._http is None else self._http.url,
            message="; ".join(dict.fromkeys(t for t in trouble if t)) or None,
            passed_over=state.passed_over[-5:],
        )
