"""Verification: is the state what the log says, and are log and snapshots what was written?

1. Every frame up to the head record is the one that was acknowledged (checksum chain), each frame's own checksum
   holds, and the head record itself is whole.
2. The state folded from the first frame, and the state of each stored snapshot plus the log's tail, have equal
   digests; so has the live state, when an engine is asked.
3. On request (`slates`), every recorded slate, made again from the log and its record, is the recorded one.

A writer may go on meanwhile: what is compared ends at one position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headwater.actors.recovery import base_core, fold_log
from headwater.actors.snapshots import DirectorySnapshots
from headwater.config import Config
from headwater.core import Core, frame_fault, generation_of, new_core, restore_core, whole_digest
from headwater.errors import HeadwaterError, StoreError
from headwater.events.log import EventLog
from headwater.events.sqlite_log import SqliteLog
from headwater.progress import Call
from headwater.slate_replay import SlatesReport, replay_slates


class Problem(msgspec.Struct, frozen=True):
    """One thing that is broken: where, and what."""

    where: str
    what: str


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """`equal` is true when nothing is broken and all digests that could be made agree."""

    equal: bool
    position: int
    frames: int
    digest: dict[str, str]
    parts: dict[str, str]
    problems: list[Problem]
    slates: SlatesReport | None = None
    """What became of the recorded slates, where they were asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        if self.slates is None:
            del plain["slates"]
            return plain
        return plain | {"slates": self.slates.to_dict()}


def verify_directory(
    directory: Path, config: Config, threads: int, slates: bool = False, progress: Call | None = None
) -> VerifyReport:
    """Verify what lies in a directory, without writing. A log that cannot even be opened is a problem of the report."""
    try:
        log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    except StoreError as err:
        problem = Problem("log", err.message)
        return VerifyReport(equal=False, position=0, frames=0, digest={}, parts={}, problems=[problem])
    try:
        snapshots = DirectorySnapshots(directory / "snapshots")
        return verify(log, snapshots, config, threads, slates=slates, progress=progress)
    finally:
        log.close()


def verify(
    log: EventLog,
    snapshots: DirectorySnapshots | None,
    config: Config,
    threads: int,
    live: Core | None = None,
    *,
    slates: bool = False,
    progress: Call | None = None,
) -> VerifyReport:
    """Compare everything that should be equal. O(log). Appends that go on meanwhile are not waited for.

    With `slates` the recorded slates are made again; `progress` is called with (slates done, slates in all).
    """
    problems: list[Problem] = []
    # Before the end is fixed: a snapshot written later may stand beyond it without anything being lost.
    positions = [] if snapshots is None else snapshots.positions()
    last, live_digest = (log.last(), None) if live is None else _live(live, config, threads)
    stop = last + 1
    frames = _check_frames(log, stop, problems)
    digests: dict[str, str] = {} if live_digest is None else {"live": live_digest["whole"]}
    parts: dict[str, str] = {}
    try:
        replay = base_core(log, snapshots, config, threads)
        fold_log(replay, log, stop=stop)
        parts = replay.digest()
        digests["replay"] = parts["whole"]
    except HeadwaterError as err:
        problems.append(Problem("log", err.message))
    for position in positions:
        digest = _snapshot_and_tail(log, snapshots, position, config, threads, stop, problems)
        if digest is not None:
            digests.setdefault("snapshot_tail", digest)
            if digest != digests.get("replay", digest):
                problems.append(
                    Problem(f"snapshot {position}", f"snapshot and tail give {digest}, the replay another digest")
                )
    if live_digest is not None and parts and live_digest["whole"] != parts["whole"]:
        differing = [part for part, digest in parts.items() if live_digest.get(part) != digest and part != "whole"]
        problems.append(Problem("live state", f"differs from the replay in {', '.join(differing)}"))
    made_again = (
        _check_slates(log, snapshots, config, threads, stop - 1, problems, progress) if slates and parts else None
    )
    return VerifyReport(
        equal=not problems,
        position=stop - 1,
        frames=frames,
        digest=digests,
        parts=parts,
        problems=problems,
        slates=made_again,
    )


def verify_hosts(
    log: EventLog,
    config: Config,
    threads: int,
    hosts: Sequence[Mapping[str, Any]],
    *,
    slates: bool = False,
    progress: Call | None = None,
) -> VerifyReport:
    """Compare the digests of a cluster's hosts (`Client.digest`), each at its own position, with a replay of its log.

    O(log). `slates` as for `verify`.
    """
    problems: list[Problem] = []
    last = log.last()
    frames = _check_frames(log, last + 1, problems)
    digests: dict[str, str] = {}
    parts: dict[str, str] = {}
    try:
        core = new_core(config, threads)
        problems.extend(differing_hosts(hosts, core, log))
        fold_log(core, log, stop=last + 1)
        parts = core.digest()
        digests["replay"] = parts["whole"]
    except HeadwaterError as err:
        problems.append(Problem("log", err.message))
    if hosts and len({host["position"] for host in hosts}) == 1 and hosts[0]["position"] == last and not problems:
        digests["hosts"] = whole_digest(config, [host["digest"] for host in hosts])
    made_again = _check_slates(log, None, config, threads, last, problems, progress) if slates and parts else None
    return VerifyReport(
        equal=not problems,
        position=last,
        frames=frames,
        digest=digests,
        parts=parts,
        problems=problems,
        slates=made_again,
    )


def differing_hosts(hosts: Sequence[Mapping[str, Any]], replay: Core, log: EventLog) -> Iterator[Problem]:
    """What hosts hold otherwise than the replay, which is folded on to the position of each; those that stand before it
    already are passed over."""
    for host in sorted(hosts, key=lambda host: int(host["position"])):
        if host["position"] >= replay.position:
            fold_log(replay, log, stop=host["position"] + 1)
            yield from _differing(host, replay)


def _differing(host: Mapping[str, Any], replay: Core) -> list[Problem]:
    if replay.position != host["position"]:
        what = f"stands at position {host['position']}, but the log ends at {replay.position}: it lost its tail"
        return [Problem(f"host {host['host']}", what)]
    expected = replay.digest()
    differing = [part for part, digest in host["digest"].items() if part != "whole" and expected.get(part) != digest]
    what = f"differs from the replay at position {host['position']} in {', '.join(differing)}"
    return [Problem(f"host {host['host']}", what)] if differing else []


def _check_slates(
    log: EventLog,
    snapshots: DirectorySnapshots | None,
    config: Config,
    threads: int,
    until: int,
    problems: list[Problem],
    progress: Call | None,
) -> SlatesReport | None:
    """The recorded slates made again; a problem for each of the first that differ, and for one that cannot be made.

    Left out are those that were answered before the log's base, and those from before a user was erased: the log that
    answered them held more.
    """
    since = max(getattr(log, "rewritten", 0), log.base.last if isinstance(log, SqliteLog) else 0) + 1
    base = snapshots if log.first() > 1 else None
    try:
        report = replay_slates(
            log, config, snapshots=base, threads=threads, since=since, until=until, progress=progress
        )
    except HeadwaterError as err:
        problems.append(Problem("slates", err.message))
        return None
    problems += [
        Problem(f"slate {replay.slate}", "; ".join([*replay.differences[:3], *replay.reasons]))
        for replay in report.different
    ]
    missing = report.slates - report.identical - len(report.different)
    if missing > 0:
        problems.append(Problem("slates", f"{missing:,} more differ from their records"))
    return report


def _live(live: Core, config: Config, threads: int) -> tuple[int, dict[str, str]]:
    """Position and digests of one moment of a state that may be moving."""
    position, digest = live.position, live.digest()
    if live.position == position:
        return position, digest
    position, parts = live.snapshot()
    return position, restore_core(config, threads, parts).digest()


def _check_frames(log: EventLog, stop: int, problems: list[Problem]) -> int:
    """Checksums of all frames and their chain; how many frames were read."""
    count = 0
    try:
        for batch in log.read(max(log.first(), 1), stop=stop):
            count += len(batch.frames)
            for position, frame in zip(batch.positions, batch.frames, strict=True):
                fault = frame_fault(frame)
                if fault is not None:
                    problems.append(Problem(f"frame {position}", f"refused by every reader: {fault}"))
        if isinstance(log, SqliteLog):
            problems += [Problem("head", what) for what in log.head_damage()]
            log.check_chain()
    except StoreError as err:
        where = f"frame {err.details['position']}" if "position" in err.details else "log"
        problems.append(Problem(where, err.message))
    return count


def _snapshot_and_tail(
    log: EventLog,
    snapshots: DirectorySnapshots | None,
    position: int,
    config: Config,
    threads: int,
    stop: int,
    problems: list[Problem],
) -> str | None:
    assert snapshots is not None
    where = f"snapshot {position}"
    if position >= stop:
        problems.append(
            Problem(where, f"stands at position {position}, but the log ends at {stop - 1}: it lost its tail")
        )
        return None
    try:
        core = restore_core(config, threads, snapshots.load(position))
    except StoreError as err:
        if position in snapshots.positions():  # else a writer dropped it meanwhile
            problems.append(Problem(where, err.message))
        return None
    if core.position != position:
        problems.append(Problem(where, f"holds position {core.position}"))
        return None
    try:
        fold_log(core, log, stop=stop)
    except StoreError as err:
        problems.append(Problem(f"{where} and tail", err.message))
        return None
    return core.digest()["whole"]
