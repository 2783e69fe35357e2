"""`Engine`: the embedded recommendation engine. One directory, one process that writes, any number of threads.

    eng = Engine.open("shop/")
    pos = eng.track("view", user="bob", item="sku1")       # durable and folded when it returns
    slate = eng.recommend("bob", n=10, after=pos)

Writes return the log position of their last frame; queries take `after=` a position and `now=` a time (UTC ms; by
default the wall clock, or the last event's time with `clock="log"`). Errors are those of `headwater.errors`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from headwater import importer, store, verify
from headwater.actors.recovery import Progress
from headwater.actors.runtime import EmbeddedRuntime
from headwater.arguments import Id, id_text
from headwater.config import Config, Profile, default_config, validate_config
from headwater.core import graph_sizes
from headwater.errors import InvalidEvent
from headwater.events.log import EventLog
from headwater.events.types import Feedback, ItemDelete
from headwater.new_events import feedback, impression, item_patch, item_put, item_row, user_put
from headwater.operations import Operations
from headwater.wall_clock import wall_clock

if TYPE_CHECKING:
    from headwater.ingest.source import TableSource
    from headwater.slate import Slate


class Engine(Operations):
    """The embedded engine. Open it with `Engine.open`; close it, or use it as a context manager.

    This class writes and looks after the directory; what can be asked of it (`recommend`, `session`, `rank`,
    `recommend_many`, `similar`, `trending`, `session_of`, `explain`) is `headwater.questions.Questions`, what its owner
    does now and then (`merge`, `sync_items`, `forget`, `backup`) `headwater.operations.Operations`.
    """

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        profile: Profile | None = None,
        config: Config | None = None,
        threads: int | None = None,
        clock: Literal["wall", "log"] | None = None,
        read_only: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Open a directory (made if absent) or `":memory:"`, and rebuild the state from its newest snapshot and the
        log's tail.

        The configuration is `config`, else the directory's `headwater.toml`, else what the directory was begun with,
        else the `profile`'s (`shop` or `media`, default `shop`). With `read_only` the directory may be in use by a
        writer; the state is the one of now and follows the log with `refresh`. Raises `ConfigError`,
        `GenerationMismatch`, `StoreLocked`, `LogTailLost`, `LogCorrupt`, `StoreError`.
        """
        directory = None if str(path) == ":memory:" else Path(path)
        if config is not None:
            validate_config(config)
            if directory is not None:
                store.check_generation(directory, config.generation)
        elif directory is not None:
            config = store.directory_config(directory, profile)
        else:
            config = default_config(profile or "shop")
        if directory is not None and not read_only:
            store.begin(directory, config)
        runtime = EmbeddedRuntime(
            directory, config, threads=threads or config.engine.threads, read_only=read_only, progress=progress
        )
        try:
            return cls(runtime, clock or config.engine.clock)
        except BaseException:  # the first write may fail: nobody must be left holding the lock
            runtime.close()
            raise

    @classmethod
    def of_log(cls, log: EventLog, config: Config, *, threads: int | None = None) -> Self:
        """An engine for questions about the past of a log that lies elsewhere, such as a cluster's: `as_of` and
        `explain`. Nothing is folded before it is asked for, and nothing is written. `close` closes the log."""
        runtime = EmbeddedRuntime(None, config, threads=threads or config.engine.threads, read_only=True, elsewhere=log)
        return cls(runtime, "log")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write queued slate records, finish the snapshot that is under way, and let go of the directory.

        Acknowledged events are durable without it.
        """
        self._recorder.close()
        self._past.clear()
        self._runtime.close()

    # --- writing -------------------------------------------------------------------------------------------------

    def track(
        self,
        type: str,
        *,
        user: Id,
        item: Id,
        ts: int | None = None,
        value: float | None = None,
        event_id: str | None = None,
        session: Id | None = None,
        basket: Id | None = None,
        slate: str | None = None,
        slot: int | None = None,
        context: dict[str, Any] | None = None,
    ) -> int:
        """Record that a user did something to an item; the position at which every query sees it.

        Durable (synced) and folded when it returns. A retry with the same `event_id` has no second effect. Raises
        `InvalidEvent`, `StoreFull`, `StoreClosed`.
        """
        event = feedback(
            type,
            user,
            item,
            self.now() if ts is None else ts,
            value=value,
            event_id=event_id,
            session=session,
            basket=basket,
            slate=slate,
            slot=slot,
            context=context,
        )
        return self._commit([event])

    def seen(
        self,
        slate: Slate | str,
        slots: Iterable[int],
        *,
        user: Id | None = None,
        ts: int | None = None,
        event_id: str | None = None,
    ) -> int:
        """Record which slots of a slate were really seen; only those can teach that an item was not wanted. The
        position.

        `user` is only needed for a slate's id. Raises `InvalidEvent`.
        """
        if user is None and not isinstance(slate, str):
            user = slate.user
        name, when = slate if isinstance(slate, str) else slate.id, self.now() if ts is None else ts
        return self._commit([impression(name, user, slots, when, event_id)])

    def track_many(self, events: Sequence[Feedback]) -> int:
        """Record many events at once, all or none; the position of the last. For files use `ingest`."""
        if not events:
            raise InvalidEvent("no events; allowed: one or more", field="events", value=0, rule="one or more")
        return self._commit(events)

    def put_item(
        self,
        item: Id,
        *,
        categories: Sequence[str] = (),
        labels: Mapping[str, Any] | None = None,
        is_hidden: bool = False,
        timestamp: int | None = None,
        group_id: str | None = None,
        embeddings: Mapping[str, Sequence[float]] | None = None,
        comment: str | None = None,
    ) -> int:
        """Say all that is known of an item; replaces what was known. The position."""
        put = item_put(
            item,
            self._write_time(),
            categories=categories,
            labels=labels,
            is_hidden=is_hidden,
            timestamp=timestamp,
            group_id=group_id,
            embeddings=embeddings,
            comment=comment,
        )
        return self._commit([put])

    def put_items(self, items: Iterable[Mapping[str, Any]] | TableSource) -> int:
        """Put many items: mappings with the arguments of `put_item`, or a table. The position of the last."""
        if isinstance(items, str | PathLike) or type(items).__module__.startswith("polars"):
            return self.ingest(items, kind="items", progress=False).position  # type: ignore[arg-type]
        puts = []
        rules = self._embedding_rules()
        for entry in items:  # type: ignore[union-attr]
            put = item_row(entry, self._write_time())  # type: ignore[arg-type]
            self._check(put)
            rules.check(put)
            puts.append(put)
        if puts:
            importer.put_items(self._runtime, puts, wall_clock, lambda _: None)
        return self._runtime.core.position

    def patch_item(self, item: Id, **changes: Any) -> int:
        """Change some fields of an item (arguments of `put_item`; a label of `None` is removed). The position."""
        return self._commit([item_patch(item, self._write_time(), changes)])

    def delete_item(self, item: Id) -> int:
        """Never show an item again, until it is put anew. The position."""
        return self._commit([ItemDelete(item=id_text("item", item), ts=self._write_time())])

    def put_user(self, user: Id, *, labels: Mapping[str, Any] | None = None, comment: str | None = None) -> int:
        """Say what is known of a user beside their events. The position."""
        return self._commit([user_put(user, self._write_time(), labels, comment)])

    def ingest(
        self,
        source: TableSource,
        *,
        columns: Mapping[str, str] | None = None,
        kind: Literal["events", "items"] = "events",
        format: str | None = None,
        progress: bool | importer.ProgressCall | None = None,
        chunk_rows: int = 65_536,
    ) -> importer.ImportReport:
        """Import a polars frame, CSV, Parquet or JSONL file in bulk: durable, folded, resumable.

        `columns` maps fields to columns (`{"user": "visitor"}`) or to constants (`{"type": "=view"}`); usual names
        are found without it. Refused rows go to dead letters with row number and reason. Interrupted, the same call
        continues; repeated, it changes nothing. `progress`: a callable (rows done, rows in all), `True` for a bar,
        default a bar on a terminal. Raises `InvalidInput` for an unusable table, `StoreError`s.
        """
        from headwater.ingest.event_table import EventTable
        from headwater.ingest.item_table import ItemTable
        from headwater.progress import progress_call

        self._runtime.check_open()
        show = progress_call(progress if progress is not None else sys.stderr.isatty(), "import")
        with show as call:
            if kind == "items":
                return importer.import_items(
                    self._runtime,
                    ItemTable(source, columns=columns, format=format, ts=self._write_time()),
                    call,
                    wall_clock,
                )
            latest = wall_clock() + self._max_future_ms
            table = EventTable(source, columns=columns, format=format, chunk_rows=chunk_rows, latest=latest)
            report = importer.import_events(self._runtime, table, call, wall_clock, chunk_rows)
        # An import keeps the ids of its file, so that its frames are the same whenever it is run.
        self._merges.settle_all()
        self._runtime.snapshot_if_due()
        return report

    # --- looking after it ----------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Position of the last frame folded."""
        return self._runtime.core.position

    @property
    def log(self) -> EventLog:
        """The log, for reading."""
        return self._runtime.log

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def flush(self) -> int:
        """Wait for what goes on behind the answers: slate records that are queued, a snapshot that is under way. The
        position reached."""
        self._recorder.flush()
        self._runtime.wait_for_snapshot()
        return self._runtime.core.position

    def grow_graphs(self) -> int:
        """Wait until the graphs of large embeddings (`engine.graph_above`) know every vector. How many there are.

        They grow behind the writers anyhow. O(n log n) for vectors that are new.
        """
        self._runtime.check_open()
        self._runtime.wait_for_graphs()
        return len(graph_sizes(self._runtime.core))

    def digest(self) -> dict[str, str]:
        """Digest of every part and of the `whole`, as 32 hex digits: equal state, equal digest."""
        return self._runtime.core.digest()

    def snapshot(self) -> str:
        """Write a snapshot of the state as it stands; where. Raises `StoreFull`, `StoreError`.

        `snapshot_every_events` makes one now and then without being asked, behind the writers.
        """
        return self._runtime.snapshot()[1]

    def verify(self, *, slates: bool = False) -> verify.VerifyReport:
        """Compare live state, replay from the first frame, and snapshots plus tail; with `slates`, make every recorded
        slate again and compare it with its record. O(log)."""
        self._runtime.check_open()
        if slates:
            self._recorder.flush()
        runtime = self._runtime
        threads = self._config.engine.threads
        return verify.verify(runtime.log, runtime.snapshots, self._config, threads, runtime.core, slates=slates)

    def status(self) -> dict[str, Any]:
        """Position, counts, bytes, outcomes and the latest refusals: plain data, ready for JSON."""
        runtime = self._runtime
        runtime.check_open()
        core = runtime.core
        return {
            "path": None if runtime.directory is None else str(runtime.directory),
            "profile": self._config.generation.profile,
            "generation": core.generation,
            "config_version": core.active_config(),
            "position": core.position,
            "last_event_ts": core.clock,
            "read_only": runtime.read_only,
            "log_bytes": runtime.log.size_bytes(),
            "graphs": [{"embedding": e, "items": n, "bytes": b} for e, n, b in graph_sizes(core)],
            "snapshots": [] if runtime.snapshots is None else runtime.snapshots.positions(),
            "recovered_from_snapshot": runtime.recovered_from,
            "snapshots_passed_over": runtime.passed_over,
            "snapshot_error": runtime.snapshot_error,
            "slates_not_recorded": self._recorder.dropped,
            "slate_record_error": self._recorder.error,
            "refusals": [{"position": p, "index": i, "reason": code} for p, i, code in list(runtime.refusals)[-20:]],
            **core.stats(),
        }
