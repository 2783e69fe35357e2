"""The operating side of an engine: what its owner does now and then, and how events are written.

`Operations` adds to the questions what changes who is who, what the catalogue holds as a whole, and where copies lie.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from headwater import feed_sync
from headwater.actors.runtime import EmbeddedRuntime, SubjectEvents
from headwater.archive import ArchiveReport, UnarchiveReport, archive, unarchive
from headwater.arguments import Id, id_text, share_of
from headwater.backup import BackupReport, backup
from headwater.core import embedding_dims, knows_event, query_json
from headwater.erasure import Erased, check_erasable, erase
from headwater.errors import InvalidEvent, StoreError
from headwater.events.embedding_rules import EmbeddingRules, carries_embeddings
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import Subject, subject_of
from headwater.events.types import (
    ConfigActivated,
    Event,
    Feedback,
    Impression,
    SlateServed,
    UserForget,
    UserPut,
)
from headwater.events.validate import check_event, check_record
from headwater.merging import MergeReport, Merges, ids_of, known_as
from headwater.progress import ignore_progress
from headwater.questions import Questions
from headwater.slate_record import SlateRecorder
from headwater.wall_clock import wall_clock

if TYPE_CHECKING:
    from headwater.ingest.source import TableSource


class Operations(Questions):
    """What is written to a runtime, and done with it as a whole. Safe to use from many threads."""

    def __init__(self, runtime: EmbeddedRuntime, clock: Literal["wall", "log"]) -> None:
        super().__init__(runtime, clock, SlateRecorder(self._commit_records))
        self._partitions = self._config.generation.partitions
        self._log_mutex = threading.Lock()
        """Held by whoever writes the log anew, trims it, or copies it as a whole."""
        self._merges = Merges(lambda: runtime.core, self._write, self._write_time)
        if not runtime.read_only and runtime.core.active_config() != self._query_version:
            body = query_json(self._config.query).decode()
            self._commit([ConfigActivated(ts=wall_clock(), version=self._query_version, body=body)])
        if not runtime.read_only:
            self._merges.settle_all()

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
        --to`; `erase` takes those out too.
        """
        name, ts = id_text("user", user), self._write_time()
        check_event(UserForget(user=name, ts=ts), wall_clock(), self._max_future_ms)
        ids = ids_of(self._runtime.core, name)
        position = self._write([[UserForget(user=known, ts=ts)] for known in ids])
        for known in ids:
            self._slates.forget(known)
        return position

    def erase(self, user: Id) -> Erased:
        """Forget a user at once, then write the log anew without any event of theirs or of ids merged with theirs:
        log, snapshots, dead letters. The engine answers and writes meanwhile; then the new log takes the old one's
        place, and a signed receipt says so (`headwater.receipts`).

        Positions before the erasure name other events afterwards, and slates that were answered before it cannot be
        made again where the person's events had counted. Copies are not touched: backups, exports, archives. O(log).
        Raises `StoreError` (in memory, read-only, disk full, a trimmed log).
        """
        name = id_text("user", user)
        check_event(UserForget(user=name, ts=0), wall_clock(), self._max_future_ms)
        with self._log_mutex:
            check_erasable(self._runtime)
            known = ids_of(self._runtime.core, name)
            self.forget(name)
            erased = erase(self._runtime, known[0], known, wall_clock())
            self._forget_all_slates()
        return erased

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
        report = feed_sync.sync_items(
            feed_sync.catalogue(self._runtime.core),
            table,
            self._check,
            lambda events: self._append([events], wall_clock()),
            self._runtime.directory,
            dry_run=dry_run,
            max_shrink=1.0 if share is None else share,
        )
        return msgspec.structs.replace(report, position=self._runtime.core.position)

    def archive(self) -> ArchiveReport:
        """Move the events up to the oldest kept snapshot from the log to Parquet files in `archive/` of the directory.

        The snapshot and the files are verified before anything is trimmed, and that snapshot is kept from then on; what
        needs older events (`as_of`, exports, the next generation) begins there. Raises `StoreError`, `ArchiveInvalid`.
        """
        self._runtime.check_open()
        with self._log_mutex:
            report = archive(self._runtime)
            self._past.clear()
        return report

    def unarchive(self) -> UnarchiveReport:
        """Put archived events back below the log, so that it begins at its first event again; the state stays as it is.

        The engine goes on meanwhile. Raises `ArchiveInvalid`, `StoreError`.
        """
        self._runtime.check_open()
        with self._log_mutex:
            return unarchive(self._runtime)

    def backup(self, destination: str | PathLike[str]) -> BackupReport:
        """Copy the log and a snapshot of the state as it stands to `destination`, a new directory or an earlier backup
        of this log, which gets what came since. Reads and writes go on meanwhile; `erase` and `archive` wait.

        Raises `BackupInvalid` for a backup of another log, `LogCorrupt`, `StoreError`.
        """
        runtime = self._runtime
        runtime.check_open()
        if runtime.directory is None or not isinstance(runtime.log, SqliteLog):
            raise StoreError("an engine in memory has nothing to back up")
        with self._log_mutex:
            return backup(
                runtime.directory,
                runtime.log,
                runtime.core,
                self._config,
                Path(destination),
                wall_clock(),
                ignore_progress,
            )

    # --- inside --------------------------------------------------------------------------------------------------

    def _write_time(self) -> int:
        """Time of puts: with `clock="log"` that of the log, so that the same history makes the same state."""
        return self.now()

    def _check(self, event: Event) -> None:
        check_event(event, wall_clock(), self._max_future_ms)

    def _embedding_rules(self) -> EmbeddingRules:
        return EmbeddingRules(embedding_dims(self._runtime.core))

    def _commit(self, events: Sequence[Event]) -> int:
        """Check events and write them; those of merged users as their account's. The position."""
        appended = wall_clock()
        for event in events:
            if not isinstance(event, Event):
                rule = "events of headwater.events.types"
                shown = repr(event)[:80]
                raise InvalidEvent(f"events: {shown}; allowed: {rule}", field="events", value=shown, rule=rule)
            check_event(event, appended, self._max_future_ms)
        if carries_embeddings(events):
            rules = self._embedding_rules()
            for event in events:
                rules.check(event)
        made = self._merges.made
        users = {event.user for event in events if isinstance(event, Feedback | Impression | UserPut)}
        known = known_as(self._runtime.core, users)
        if known:
            events = [moved for event in events if (moved := self._of_account(event, known)) is not None]
        position = self._append([events], appended) if events else self._runtime.core.position
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
        for group in groups:
            for event in group:
                check_event(event, appended, self._max_future_ms)
        return self._append(groups, appended)

    def _commit_records(self, records: Sequence[SlateServed]) -> int:
        """`_commit` for slates that this engine answered."""
        appended = wall_clock()
        for record in records:
            check_record(record, appended, self._max_future_ms)
        return self._append([records], appended)

    def _append(self, groups: Sequence[Sequence[Event]], appended: int) -> int:
        """Write checked events, all or none; each group in frames of its own, one for each subject. The position."""
        framed: list[SubjectEvents] = []
        for group in groups:
            by_subject: dict[Subject, list[Event]] = {}
            for event in group:
                by_subject.setdefault(subject_of(event, self._partitions), []).append(event)
            framed += [SubjectEvents(subject, events) for subject, events in by_subject.items()]
        return self._runtime.commit(framed, appended)
