"""The one exception tree of Headwater.

Every error says what was wrong (key, value, what is allowed), where, and what to do about it, and carries those facts
as attributes so that a program need not parse the message. The tree, by what the caller should do:

* `InvalidInput`: the caller's value breaks a rule. Nothing was changed. Correct the value.
    * `InvalidEvent`, `InvalidQuery`, `InvalidArray`, `ConfigError`, `UnknownDataset`, `CannotEstimate`,
      `MergeConflict`, `FeedShrunk`
* `StoreError`: the directory, log or snapshot cannot be used as it is.
    * `StoreLocked` (another process writes), `StoreFull` (disk full; retry later), `StoreClosed`
    * `LogCorrupt`, `LogTailLost`, `GenerationMismatch`, `SnapshotInvalid`, `BackupInvalid`,
      `ArchiveInvalid`
* `NotReady`: the state has not reached the asked position in time. Ask again.
* `Unavailable`: a server or host does not answer now. Ask again after `retry_after_ms`.
    * `Recovering` (the owner is rebuilding its state), `Overloaded` (a queue or rate is full), `DeadlineExceeded`
* `OtherVersion`: hosts of one cluster run different versions. Start them again with the same one.
* `AccessDenied`: a server refuses these credentials, or does not permit them what was asked. Asking again is no help.
* `InternalError`: a defect of Headwater. Report it with the message; asking the same again is no help.
* `TargetFailed`: what a benchmark measures did not answer, or ended while it was measured.

This module does not format for a terminal: the command line decides how an error is shown.
"""

from __future__ import annotations

from typing import Any


class HeadwaterError(Exception):
    """Root of every error that Headwater raises on purpose.

    `code` is a stable, short, kebab-case name for programs; `details` holds the facts of the message.
    """

    code = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details

    def __str__(self) -> str:
        return self.message


class InvalidInput(HeadwaterError, ValueError):
    """A value breaks a stated rule; nothing was changed."""

    code = "invalid-input"


class InvalidEvent(InvalidInput):
    """An event breaks a rule of the event format. Details: `field`, `value`, `rule`."""

    code = "invalid-event"


class MergeConflict(InvalidInput):
    """Two users cannot be merged: a circle, another account, a forgotten user. Details: `from_user`, `value`."""

    code = "merge-conflict"


class FeedShrunk(InvalidInput):
    """A feed without too many of the items that are visible now. Details: `value` (how many), `visible`, `rule`."""

    code = "feed-shrunk"


class InvalidQuery(InvalidInput):
    """A query parameter breaks a rule. Details: `field`, `value`, `rule`."""

    code = "invalid-query"


class InvalidArray(InvalidInput):
    """An argument of a kernel breaks a rule: shape, type, layout or content. Details: `field`, `rule`."""

    code = "invalid-array"


class ConfigError(InvalidInput):
    """A configuration key is unknown or its value not allowed. Details: `key`, `value`, `rule`."""

    code = "invalid-config"


class UnknownDataset(InvalidInput):
    """No dataset of that name, or its files are not where they should be."""

    code = "unknown-dataset"


class CannotEstimate(InvalidInput):
    """A log cannot answer this "what if": propensities or outcomes are missing. Details: `field`, `rule`."""

    code = "cannot-estimate"


class StoreError(HeadwaterError):
    """The engine's directory, log or snapshots cannot be used as they are."""

    code = "store-error"


class StoreLocked(StoreError):
    """Another process writes to this directory. Details: `path`, `pid`."""

    code = "store-locked"


class StoreClosed(StoreError):
    """The engine or log was closed, or failed and must be opened again."""

    code = "store-closed"


class StoreFull(StoreError):
    """The disk is full. Nothing of the refused write was kept; retry after freeing space."""

    code = "store-full"


class LogCorrupt(StoreError):
    """The log's bytes do not match their checksums. Details: `position`, `reason`."""

    code = "log-corrupt"


class LogTailLost(StoreError):
    """The log is shorter than what was acknowledged or folded. Details: `last`, `expected`."""

    code = "log-tail-lost"


class GenerationMismatch(StoreError):
    """Log, snapshot and configuration belong to different generations. Details: `found`, `expected`."""

    code = "generation-mismatch"


class SnapshotInvalid(StoreError):
    """A snapshot file is damaged, foreign or incomplete. Details: `path`, `reason`."""

    code = "snapshot-invalid"


class BackupInvalid(StoreError):
    """A backup is damaged, incomplete, or one of another log. Details: `path`."""

    code = "backup-invalid"


class ArchiveInvalid(StoreError):
    """Archived events are damaged, incomplete, or those of another log. Details: `path`."""

    code = "archive-invalid"


class NotReady(HeadwaterError):
    """The state did not reach the asked position in time. Details: `position`, `after`."""

    code = "not-ready"


class Unavailable(HeadwaterError):
    """A server or host does not answer now. Details: `retry_after_ms`, where known `url`, and `kept`: "no" when nothing
    of a refused write was kept, "unknown" when nobody can say (writing the same frames again has no second effect)."""

    code = "unavailable"


class OtherVersion(HeadwaterError):
    """A host was asked by one of another version of Headwater, which it does not understand. Details: `layout`."""

    code = "other-version"


class AccessDenied(HeadwaterError):
    """The server refuses these credentials, or they do not permit what was asked for. Details: `url` or `subject`."""

    code = "access-denied"


class Recovering(Unavailable):
    """The owner is rebuilding its state from snapshot and log. Details: `retry_after_ms`."""

    code = "recovering"


class Overloaded(Unavailable):
    """A queue or a rate is at its limit. Details: `retry_after_ms`."""

    code = "overloaded"


class DeadlineExceeded(Unavailable):
    """The answer did not come in time. Whether a write was kept is not known. Details: `retry_after_ms`."""

    code = "deadline-exceeded"


class InternalError(HeadwaterError):
    """The Rust core panicked: a defect of Headwater, not a wrong value. Details: `reason`, the panic's message."""

    code = "internal"


class TargetFailed(HeadwaterError):
    """What a benchmark measures cannot be reached, or ended while it was measured. Details: `reason`, `exit_code`."""

    code = "target-failed"
