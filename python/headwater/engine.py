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

import msgspec

from headwater import feed_sync, importer, store, verify
from headwater.actors.recovery import Progress
from headwater.actors.runtime import EmbeddedRuntime, SubjectEvents
from headwater.arguments import Id, categories_of, id_text, labels_of, share_of, vectors_of
from headwater.config import Config, Profile, default_config, validate_config
from headwater.core import knows_event, query_json
from headwater.errors import InvalidEvent
from headwater.events.log import EventLog
from headwater.events.subjects import Subject, subject_of
from headwater.events.types import (
    ConfigActivated,
    Event,
    Feedback,
    Impression,
    ItemDelete,
    ItemPatch,
    ItemPut,
    SlateServed,
    UserForget,
    UserPut,
)
from headwater.events.validate import check_event, check_record
from headwater.merging import MergeReport, Merges, ids_of, known_as
from headwater.questions import Questions, wall_clock
from headwater.slate_record import SlateRecorder

if TYPE_CHECKING:
    from headwater.ingest.source import TableSource
    from headwater.slate import Slate


class Engine(Questions):
    """The embedded engine. Open it with `Engine.open`; close it, or use it as a context manager.

    This class writes and looks after the directory; what can be asked of it (`recommend`, `session`, `rank`,
    `recommend_many`, `similar`, `trending`, `session_of`, `explain`) is `headwater.questions.Questions`.
    """

    def __init__(self, runtime: EmbeddedRuntime, clock: Literal["wall", "log"]) -> None:
        super().__init__(runtime, clock, SlateRecorder(self._commit_records))
        self._max_future_ms = int(self._config.generation.max_future_hours * 3_600_000)
        self._partitions = self._config.generation.partitions
        self._merges = Merges(runtime.core, self._write, self._write_time)
        if not runtime.read_only and runtime.core.active_config() != self._query_version:
            body = query_json(self._config.query).decode()
            self._commit([ConfigActivated(ts=wall_clock(), version=self._query_version, body=body)])
        if not runtime.read_only:
            self._merges.settle_all()

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
        event = Feedback(
            type=type,
            user=id_text("user", user),
            item=id_text("item", item),
            ts=self.now() if ts is None else ts,
            value=value,
            event_id=event_id,
            session=None if session is None else id_text("session", session),
            basket=None if basket is None else id_text("basket", basket),
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
        if user is None:
            rule = "the user that the slate was for"
            raise InvalidEvent(f"user = None; allowed: {rule}", field="user", value=None, rule=rule)
        return self._commit(
            [
                Impression(
                    user=id_text("user", user),
                    slate=slate if isinstance(slate, str) else slate.id,
                    ts=self.now() if ts is None else ts,
                    slots=list(slots),
                    event_id=event_id,
                )
            ]
        )

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
        put = ItemPut(
            item=id_text("item", item),
            ts=self._write_time(),
            categories=categories_of(categories),
            labels=labels_of(labels),
            is_hidden=is_hidden,
            timestamp=timestamp,
            group_id=group_id,
            embeddings=vectors_of(embeddings),
            comment=comment,
        )
        return self._commit([put])

    def put_items(self, items: Iterable[Mapping[str, Any]] | TableSource) -> int:
        """Put many items: mappings with the arguments of `put_item`, or a table. The position of the last."""
        if isinstance(items, str | PathLike) or type(items).__module__.startswith("polars"):
            return self.ingest(items, kind="items", progress=False).position  # type: ignore[arg-type]
        puts = []
        for entry in items:  # type: ignore[union-attr]
            row = labels_of(entry)  # type: ignore[arg-type]
            unknown = row.keys() - set(ItemPut.__struct_fields__) | (row.keys() & {"ts"})
            if unknown or "item" not in row:
                raise InvalidEvent(
                    f"item row {row!r:.80}: unknown or missing {', '.join(sorted(map(str, unknown))) or 'item'}; "
                    f"allowed: {', '.join(f for f in ItemPut.__struct_fields__ if f != 'ts')}",
                    field=", ".join(sorted(map(str, unknown))) or "item",
                    value=repr(row)[:80],
                    rule="the fields of put_item",
                )
            row["item"], row["ts"] = id_text("item", row["item"]), self._write_time()
            row["embeddings"] = vectors_of(row.get("embeddings"))
            row["categories"] = categories_of(row.get("categories") or ())
            row["labels"] = labels_of(row.get("labels"))
            put = ItemPut(**row)
            self._check(put)
            puts.append(put)
        if puts:
            importer.put_items(self._runtime, puts, wall_clock, lambda _: None)
        return self._runtime.core.position

    def patch_item(self, item: Id, **changes: Any) -> int:
        """Change some fields of an item (arguments of `put_item`; a label of `None` is removed). The position."""
        unknown = changes.keys() - set(ItemPatch.__struct_fields__[2:])
        if unknown:
            raise InvalidEvent(
                f"patch_item: unknown {', '.join(sorted(unknown))}; "
                f"allowed: {', '.join(ItemPatch.__struct_fields__[2:])}",
                field=", ".join(sorted(unknown)),
                value=None,
                rule="the arguments of put_item",
            )
        if "embeddings" in changes:
            changes["embeddings"] = vectors_of(changes["embeddings"])
        if changes.get("categories") is not None:
            changes["categories"] = categories_of(changes["categories"])
        if changes.get("labels") is not None:
            changes["labels"] = labels_of(changes["labels"])
        return self._commit([ItemPatch(item=id_text("item", item), ts=self._write_time(), **changes)])

    def delete_item(self, item: Id) -> int:
        """Never show an item again, until it is put anew. The position."""
        return self._commit([ItemDelete(item=id_text("item", item), ts=self._write_time())])

    def put_user(self, user: Id, *, labels: Mapping[str, Any] | None = None, comment: str | None = None) -> int:
        """Say what is known of a user beside their events. The position."""
        put = UserPut(user=id_text("user", user), ts=self._write_time(), labels=labels_of(labels), comment=comment)
        return self._commit([put])

    def merge(self, from_: Id, into: Id, *, event_id: str | None = None) -> MergeReport:
        """Say that a visitor turned out to be a known user, as on a login: their history joins the account.

        From here on the visitor's id means the account, in events and in questions. Made again, the merge does nothing;
        events of the visitor that come later join the account too. Counts that were made stay. Raises `InvalidEvent`,
        `MergeConflict` (into oneself, also by way of earlier merges; of a user who belongs to another account; into a
        forgotten user who has not come back).
        """
        return self._merges.merge(id_text("from_", from_), id_text("into", into), event_id)

    def forget(self, user: Id) -> int:
        """Drop a user's state at once, and that of all ids that are merged with theirs. The position.

        What they added to counts stays, and so do their events in the log, also in a copy made by `headwater replay
        --to`. Erasing them needs a generation built without them, which is not implemented yet.
        """
        name, ts = id_text("user", user), self._write_time()
        check_event(UserForget(user=name, ts=ts), wall_clock(), self._max_future_ms)
        ids = ids_of(self._runtime.core, name)
        position = self._write([[UserForget(user=known, ts=ts)] for known in ids])
        for known in ids:
            self._forget_slates(known)
        return position

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

    def sync_items(
        self,
        source: TableSource,
        *,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        dry_run: bool = False,
        max_shrink: float = feed_sync.MAX_SHRINK,
    ) -> feed_sync.SyncReport:
        """Make the catalogue what a full product feed says: new items are put, changed ones patched, and those that
        the feed no longer has are hidden until they are back. The same feed again writes nothing.

        `source`, `columns` and `format` as for `ingest(kind="items")`. With `dry_run` nothing is written. Raises
        `FeedShrunk` if more than `max_shrink` (0 to 1) of the visible items would vanish, `InvalidInput` for an
        unusable table, `StoreError`s.
        """
        from headwater.ingest.item_table import ItemTable

        self._runtime.check_open()
        share = share_of("max_shrink", max_shrink)
        table = ItemTable(source, columns=columns, format=format, ts=self._write_time())
        return feed_sync.sync_items(
            self._runtime, table, wall_clock, self._check, dry_run=dry_run, max_shrink=1.0 if share is None else share
        )

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
            "snapshots": [] if runtime.snapshots is None else runtime.snapshots.positions(),
            "recovered_from_snapshot": runtime.recovered_from,
            "snapshots_passed_over": runtime.passed_over,
            "snapshot_error": runtime.snapshot_error,
            "slates_not_recorded": self._recorder.dropped,
            "slate_record_error": self._recorder.error,
            "refusals": [{"position": p, "index": i, "reason": code} for p, i, code in list(runtime.refusals)[-20:]],
            **core.stats(),
        }

    # --- inside --------------------------------------------------------------------------------------------------

    def _write_time(self) -> int:
        """Time of puts: with `clock="log"` that of the log, so that the same history makes the same state."""
        return self.now()

    def _check(self, event: Event) -> None:
        check_event(event, wall_clock(), self._max_future_ms)

    def _commit(self, events: Sequence[Event]) -> int:
        """Check events and write them; those of merged users as their account's. The position."""
        for event in events:
            if not isinstance(event, Event):
                rule = "events of headwater.events.types"
                shown = repr(event)[:80]
                raise InvalidEvent(f"events: {shown}; allowed: {rule}", field="events", value=shown, rule=rule)
            self._check(event)
        made = self._merges.made
        users = {event.user for event in events if isinstance(event, Feedback | Impression | UserPut)}
        known = known_as(self._runtime.core, users)
        if known:
            events = [moved for event in events if (moved := self._of_account(event, known)) is not None]
        position = self._write([events]) if events else self._runtime.core.position
        if made != self._merges.made:  # a merge may have come in between
            self._merges.settle(users)
        return position

    def _of_account(self, event: Event, known: Mapping[str, str]) -> Event | None:
        """An event of a merged user as their account's; `None` for the repeat of one that came before the merge.

        Raises `InvalidEvent` for a put: it would replace what is known of the account.
        """
        if not isinstance(event, Feedback | Impression | UserPut) or event.user not in known:
            return event
        account = known[event.user]
        if isinstance(event, UserPut):
            rule = f"the account {account!r}, which the user is merged into"
            raise InvalidEvent(f"user = {event.user!r}; allowed: {rule}", field="user", value=event.user, rule=rule)
        if event.event_id is not None and knows_event(self._runtime.core, event.user, event.event_id):
            return None
        return msgspec.structs.replace(event, user=account)

    def _write(self, groups: Sequence[Sequence[Event]]) -> int:
        """Check events and write them as they are, all or none; each group in frames of its own. The position."""
        appended = wall_clock()
        framed: list[SubjectEvents] = []
        for group in groups:
            by_subject: dict[Subject, list[Event]] = {}
            for event in group:
                check_event(event, appended, self._max_future_ms)
                by_subject.setdefault(subject_of(event, self._partitions), []).append(event)
            framed += [SubjectEvents(subject, events) for subject, events in by_subject.items()]
        return self._runtime.commit(framed, appended)

    def _commit_records(self, records: Sequence[SlateServed]) -> int:
        """`_commit` for slates that this engine answered."""
        appended = wall_clock()
        groups: dict[Subject, list[Event]] = {}
        for record in records:
            check_record(record, appended, self._max_future_ms)
            groups.setdefault(subject_of(record, self._partitions), []).append(record)
        return self._runtime.commit([SubjectEvents(s, e) for s, e in groups.items()], appended)
