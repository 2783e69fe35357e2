"""Which user ids are one person, by the merges in a log."""

from __future__ import annotations

from collections.abc import Iterable


class People:
    """User ids joined by merges, in whatever order they came."""

    def __init__(self, merges: Iterable[tuple[str, str]]) -> None:
        self._parent: dict[str, str] = {}
        self._merged_from: dict[str, set[str]] = {}
        for from_user, into_user in merges:
            self._merged_from.setdefault(into_user, set()).add(from_user)
            # The smaller id leads: the same leader for every order of merges.
            low, high = sorted((self.leader(from_user), self.leader(into_user)))
            self._parent[high] = low

    def same(self, a: str, b: str) -> bool:
        """Whether merges connect two ids. A device of two people connects them: both may answer its slates."""
        return a == b or self.leader(a) == self.leader(b)

    def became(self, user: str) -> set[str]:
        """The id and all that turned out to be it, directly or not: whose slates go when this user is forgotten."""
        found, new = {user}, [user]
        while new:
            new = [id for into in new for id in self._merged_from.get(into, ()) if id not in found]
            found.update(new)
        return found

    def leader(self, user: str) -> str:
        """The id that stands for all that merges connect."""
        leader = user
        while (above := self._parent.get(leader, leader)) != leader:
            leader = above
        while user != leader:  # shorter ways for the next
            self._parent[user], user = leader, self._parent[user]
        return leader
