"""Merges: an anonymous visitor turns out to be a known user, and their history joins the account (ADR 0024).

A merge is two steps in the log, because the partition of the one does not see the other's: `UserMerge` seals what is
known of the visitor in their own partition; what was sealed is then carried into the account's by `MergeCarried`,
together with `MergeSettled`, which lets go of it. What is sealed follows from the log alone, so a writer that dies in
between has lost nothing: the next one that opens the log, or the same merge asked again, carries it.

Ids stay merged: events and questions that name the visitor mean the account. Events that another writer logged for the
visitor meanwhile are carried too, by whoever sees them (`Merges.settle`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from headwater.core import Core, all_merged, is_forgotten, merged_users, moving_state
from headwater.errors import MergeConflict
from headwater.events.types import Event, MergeCarried, MergeSettled, UserMerge

Write = Callable[[Sequence[Sequence[Event]]], int]
"""Makes events durable and folds them, all or none, each group in frames of its own; the position of the last."""


class MergeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge did. `into_user` is where the history is now: the account that was named, or the one that this was
    merged into. `moved`: whether there was any; `repeated`: whether the merge had been made before."""

    from_user: str
    into_user: str
    moved: bool
    repeated: bool
    position: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {field: getattr(self, field) for field in self.__struct_fields__}


def known_as(core: Core, users: Iterable[str]) -> dict[str, str]:
    """Of these users, those who turned out to be others, with who they are now.

    Ways through several merges are followed to their end. Racing writers can log merges in a circle: there the smallest
    id of the circle is the end. O(users x merges on the way).
    """
    step = _steps(core, users)
    if not step:
        return {}
    asked = list(step)
    new = set(step.values())
    while new := new - step.keys():
        found = _steps(core, new)
        step.update(found)
        new = set(found.values())
    return ends_of(asked, step)


def ends_of(users: Iterable[str], step: Mapping[str, str]) -> dict[str, str]:
    """Where each user's way ends, by its steps; without those who are at their end."""
    ends = {user: _end(user, step) for user in users}
    return {user: end for user, end in ends.items() if end != user}


def account_of(core: Core, user: str) -> str:
    """Who a user is now: the account that they are merged into, or themselves."""
    if not merged_users(core, [user]):
        return user  # nearly always
    return known_as(core, [user]).get(user, user)


def _steps(core: Core, users: Iterable[str]) -> dict[str, str]:
    return {user: into for user, into, _ in merged_users(core, list(users))}


def _end(user: str, step: Mapping[str, str]) -> str:
    way = [user]
    while (into := step.get(way[-1])) is not None:
        if into in way:
            return min(way[way.index(into) :])
        way.append(into)
    return way[-1]


def ids_of(core: Core, user: str) -> list[str]:
    """All ids of the person who has this id now: the account first, then those merged into it. O(merges in all)."""
    account = account_of(core, user)
    merged: dict[str, list[str]] = {}
    for from_user, into_user, _ in all_merged(core):
        merged.setdefault(into_user, []).append(from_user)
    ids, seen = [account], {account}
    for known in ids:
        new = sorted(id for id in merged.get(known, ()) if id not in seen)
        ids += new
        seen.update(new)
    return ids


class Merges:
    """Makes the merges of one writer. Safe to use from many threads."""

    def __init__(self, core: Callable[[], Core], write: Write, now: Callable[[], int]) -> None:
        """`core` gives the state as it stands: another one takes its place when a user is erased."""
        self._state = core
        self._write = write
        self._now = now
        self._mutex = threading.RLock()
        self.made = 0
        """Rises with every merge, once later events of the visitor are known to mean the account."""

    @property
    def _core(self) -> Core:
        return self._state()

    def merge(self, from_user: str, into_user: str, event_id: str | None = None) -> MergeReport:
        """Join what is known of one user to another. Asked again it does nothing.

        Raises `MergeConflict`: into oneself, also by way of earlier merges; into a user who was forgotten and has not
        come back; of a user who is merged into another account.
        """
        with self._mutex:
            known = known_as(self._core, [from_user, into_user])
            account = known.get(into_user, into_user)
            check_merge(from_user, into_user, account, known.get(from_user), is_forgotten(self._core, account))
            if from_user in known:
                moved = self.settle([from_user])
                return self._report(from_user, account, moved, repeated=True)
            self._seal(from_user, account, event_id)
            self.made += 1
            moved = self._carry(from_user) | self.settle([from_user])
            return self._report(from_user, account, moved, repeated=False)

    def _report(self, from_user: str, account: str, moved: bool, repeated: bool) -> MergeReport:
        return MergeReport(
            from_user=from_user, into_user=account, moved=moved, repeated=repeated, position=self._core.position
        )

    def settle(self, users: Iterable[str]) -> bool:
        """Move what is left with merged users, from merge to merge until it is where it belongs; whether anything was.

        Left is what a writer that died had sealed, and what came for a visitor after their merge.
        """
        with self._mutex:
            moved, new = False, list(users)
            while new:
                merged = merged_users(self._core, new)
                new = []
                for user, into, left in merged:
                    if not left:
                        continue
                    if not self._carry(user):
                        if user not in known_as(self._core, [user]):
                            continue  # the end of a circle keeps what it has
                        self._seal(user, into, None)
                        self._carry(user)
                    moved = True
                    new += [user, into]
            return moved

    def settle_all(self) -> bool:
        """`settle` of all users. O(merges)."""
        return self.settle([user for user, _, left in all_merged(self._core) if left])

    def _seal(self, from_user: str, into_user: str, event_id: str | None) -> None:
        self._write([[UserMerge(from_user=from_user, into_user=into_user, ts=self._now(), event_id=event_id)]])

    def _carry(self, from_user: str) -> bool:
        """Carry what is sealed of a user; whether anything was."""
        moving = moving_state(self._core, from_user)
        if moving is None:
            return False
        into_user, sealed, state = moving
        ts = self._now()
        carried = MergeCarried(from_user=from_user, into_user=into_user, ts=ts, sealed=sealed, state=state)
        self._write([[carried], [MergeSettled(from_user=from_user, ts=ts, sealed=sealed)]])
        return True


def check_merge(from_user: str, into_user: str, account: str, merged: str | None, forgotten: bool) -> None:
    """Raise `MergeConflict` for a merge that cannot be. `account`: who `into_user` is now; `merged`: who `from_user` is
    now, if they are merged; `forgotten`: the account was, and has not come back."""
    if account == from_user:
        through = "" if into_user == from_user else f": {into_user!r} is merged into {from_user!r}"
        raise _conflict(
            f"{from_user!r} cannot be merged into itself{through}", from_user, into_user, "two users, not a circle"
        )
    if merged is not None and merged != account:
        raise _conflict(
            f"{from_user!r} is merged into {merged!r} already; merge {merged!r} into {account!r} if they are one",
            from_user,
            into_user,
            "one account for each visitor",
        )
    if forgotten:
        raise _conflict(
            f"{account!r} was forgotten and nothing of theirs came since; nothing joins a forgotten user",
            from_user,
            into_user,
            "a user who was not forgotten, or has come back",
        )


def _conflict(message: str, from_user: str, into_user: str, rule: str) -> MergeConflict:
    return MergeConflict(
        f"{message}; allowed: {rule}", field="into_user", value=into_user, rule=rule, from_user=from_user
    )
