"""What comes next in a session, by the sessions most like it: VMIS-kNN (Kersbergen et al., "Serenade", SIGMOD 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headwater import core
from headwater.kernels.arrays import array_of, int_of

MAX_ITEMS = 2**31 - 1
MAX_COUNT = 2**40


class SessionIndex:
    """Recent sessions by the items that they have.

    Items are numbers, best without gaps. Of every item the latest `postings` sessions are kept, of all sessions the
    latest `max_sessions`, of a session its first `max_session_items` distinct items; sessions of one distinct item say
    nothing and are passed over. Two flaws of the published code are avoided: weights stay positive at any length, and
    no order comes from a hash table.

    Memory: 36 bytes an item up to the largest, 40 a session, and 8 for each distinct item of a session.
    Safe to use from several threads: questions run beside each other, changes exclude them.
    """

    def __init__(
        self,
        postings: int = 500,
        max_sessions: int = 1_000_000,
        *,
        max_session_items: int = 50,
        max_items: int = 2**24,
    ) -> None:
        """An empty index for items from 0 to `max_items` - 1. Raises `InvalidArray`."""
        self._kernel = core.SessionKernel(
            int_of("postings", postings, 1, 65_535),
            int_of("max_sessions", max_sessions, 1, 2**30),
            int_of("max_session_items", max_session_items, 2, 65_535),
            int_of("max_items", max_items, 1, MAX_ITEMS),
        )

    def __len__(self) -> int:
        """Sessions held."""
        return self._kernel.sizes()[1]

    def __repr__(self) -> str:
        return f"SessionIndex(sessions={len(self)}, bytes={self.nbytes})"

    def add_sessions(self, offsets: NDArray[np.int64], items: NDArray[np.uint32]) -> None:
        """Indexes sessions, oldest first: session i is `items[offsets[i]:offsets[i + 1]]`, in the order of its touches.

        `offsets`: int64 (n + 1,), ascending from 0 to the number of items. `items`: uint32. O(items); the GIL is
        released. Raises `InvalidArray`, with nothing indexed, for other arrays and for items beyond `max_items` or
        beyond the memory there is.
        """
        offsets = array_of("offsets", offsets, np.int64, (None,))
        self._kernel.add_sessions(offsets, array_of("items", items, np.uint32, (None,)))

    def top(
        self, session_items: NDArray[np.uint32], k: int, *, neighbours: int = 100, last_items: int = 6
    ) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
        """The `k` items that the sessions most like this one vote for, equal votes by ascending number.

        `session_items`: uint32 (s,), latest last; they are no answers themselves. The `last_items` latest distinct ones
        that some session has are looked up; the newest weighs 1, and weights fall linearly towards 0. A session's
        similarity is the sum of the weights of what it shares. The `neighbours` most similar (equal ones: the later)
        vote with similarity x weight of the newest shared item x ln((sessions + 1) / (postings of the item + 0.5)) + 1.

        Returns items, uint32, and votes, float64, of the same length, at most k.
        O(last_items x postings + items of the neighbours). Raises `InvalidArray`.
        """
        session_items = array_of("session_items", session_items, np.uint32, (None,))
        neighbours = int_of("neighbours", neighbours, 1, MAX_COUNT)
        last_items = int_of("last_items", last_items, 1, 65_535)
        k = min(int_of("k", k, 0, MAX_COUNT), self._kernel.width)
        items, scores = np.empty(k, np.uint32), np.empty(k, np.float64)
        found = self._kernel.top(session_items, neighbours, last_items, items, scores)
        return items[:found], scores[:found]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._kernel.sizes()[2]
