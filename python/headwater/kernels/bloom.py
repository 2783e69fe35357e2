"""Membership of endless streams: split-block Bloom filters, and the whole admission of events by id.

A Bloom filter answers "certainly new" or "possibly seen" from one cache line (Putze et al., "Cache-, Hash- and
Space-Efficient Bloom Filters", JEA 2009; block layout and salts of Apache Parquet). Where a wrong "seen" would cost
something, ask an exact table next: `DedupLedger` is that pair as the engine uses it.

Keys are 64-bit numbers, or text or bytes, whose stable hash (XXH3) is the key. Numbers are mixed inside, so plain ids
do as well as hashes; `hash_keys` makes the keys of many texts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from headwater import core
from headwater.kernels.arrays import array_of, float_of, int_of, refuse

MAX_CAPACITY = 2**36

Key = int | str | bytes


def hash_keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Keys, uint64 (n,), of texts: the XXH3 hash of their UTF-8. O(bytes). Raises `TypeError` for what is not text,
    `InvalidArray` for half a surrogate pair, which has no UTF-8."""
    out = np.empty(len(texts), np.uint64)
    try:
        core.hash_texts(texts, out)
    except UnicodeEncodeError as err:
        _no_utf8("texts", err)
    return out


def hash_event_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """128-bit XXH3 hashes of event ids as uint64 (n, 2), upper half first: what `DedupLedger.admit_many` takes.
    Raises as `hash_keys` does."""
    out = np.empty((len(ids), 2), np.uint64)
    try:
        core.hash_event_ids(ids, out)
    except UnicodeEncodeError as err:
        _no_utf8("ids", err)
    return out


class _Filter:
    """What both filters offer. Safe to use from several threads: calls exclude each other."""

    def __init__(self, capacity: int, bits_per_key: float, *, rotating: bool) -> None:
        self._capacity = int_of("capacity", capacity, 1, MAX_CAPACITY)
        bits = float_of("bits_per_key", bits_per_key, 1, 256)
        self._kernel = core.BloomKernel(self._capacity, bits, rotating)

    def add_many(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Adds keys, uint64 (n,), in order; bool (n,): whether each was possibly there before its turn.

        False is certain. O(n), one cache line a key, fetched ahead; the GIL is released. Raises `InvalidArray`.
        """
        keys, present = self._arrays(keys)
        self._kernel.add_many(keys, present)
        return present.view(np.bool_)

    def contains_many(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each of the keys, uint64 (n,), was possibly added; bool (n,). O(n). Raises `InvalidArray`."""
        keys, present = self._arrays(keys)
        self._kernel.contains_many(keys, present)
        return present.view(np.bool_)

    def add(self, key: Key) -> bool:
        """Adds one key; whether it was possibly there before. O(1). Raises `InvalidArray` for other numbers."""
        return self._kernel.add(_number(key))

    def __contains__(self, key: Key) -> bool:
        return self._kernel.contains(_number(key))

    @property
    def capacity(self) -> int:
        """Keys that it is made for."""
        return self._capacity

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._kernel.memory

    @staticmethod
    def _arrays(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        keys = array_of("keys", keys, np.uint64, (None,))
        return keys, np.empty(keys.shape[0], np.uint8)


class BloomFilter(_Filter):
    """A filter for `capacity` keys, `bits_per_key` bits each.

    Of absent keys about 1.0 % are reported present at 10.5 bits, 0.13 % at 16 (blocks fill unevenly).
    Beyond its capacity that share rises. A key that was added is never reported absent.
    """

    def __init__(self, capacity: int, bits_per_key: float = 16.0) -> None:
        """Raises `InvalidArray` for a capacity outside 1 to 2^36, bits outside 1 to 256, or more than memory holds."""
        super().__init__(capacity, bits_per_key, rotating=False)

    def __repr__(self) -> str:
        return f"BloomFilter(capacity={self.capacity}, bytes={self.nbytes})"


class RotatingBloomFilter(_Filter):
    """Two generations of a filter, for a stream without end: the last `capacity` distinct keys are certainly known, at
    most twice as many are remembered, and the share of wrong answers stays put.

    Generations move on by the count of keys, never by time: equal streams give equal answers.
    """

    def __init__(self, capacity: int, bits_per_key: float = 16.0) -> None:
        """Raises `InvalidArray` for a capacity outside 1 to 2^36, bits outside 1 to 256, or more than memory holds."""
        super().__init__(capacity, bits_per_key, rotating=True)

    @property
    def rotations(self) -> int:
        """How often the generations have moved on."""
        return self._kernel.rotations

    def __repr__(self) -> str:
        return f"RotatingBloomFilter(capacity={self.capacity}, rotations={self.rotations}, bytes={self.nbytes})"


FRESH, REPEAT, BEYOND_HORIZON = 0, 1, 2
"""Verdicts of `DedupLedger`."""


class DedupLedger:
    """The admission of events by id as the fold does it: a Bloom filter before an exact table, two generations.

    Ids of at least the last `horizon` admitted events are known exactly: a false positive of the filter never drops an
    event. An unknown id whose time is not after everything that was already dropped is set aside, never guessed.
    Memory: 20 to 44 bytes an id.
    """

    def __init__(self, horizon: int = 10_000_000) -> None:
        """Raises `InvalidArray` for a horizon below 1."""
        self._kernel = core.DedupKernel(int_of("horizon", horizon, 1, 2**40))

    def admit_many(self, ids: NDArray[np.uint64], ts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Verdicts, uint8 (n,), for events in order: `FRESH` (and noted), `REPEAT` or `BEYOND_HORIZON`.

        `ids`: uint64 (n, 2) from `hash_event_ids`; `ts`: int64 (n,), event time in UTC milliseconds. O(n), two cache
        lines an event, fetched ahead; the GIL is released. Raises `InvalidArray`.
        """
        ids = array_of("ids", ids, np.uint64, (None, 2))
        ts = array_of("ts", ts, np.int64, (ids.shape[0],))
        verdicts = np.empty(ids.shape[0], np.uint8)
        self._kernel.admit_many(ids, ts, verdicts)
        return verdicts

    def admit(self, event_id: str, ts: int) -> int:
        """The verdict for one event. Raises as `hash_keys` does, and `InvalidArray` for a time that is none."""
        ts = int_of("ts", ts, -(2**63), 2**63 - 1)
        try:
            return self._kernel.admit(event_id, ts)
        except UnicodeEncodeError as err:
            _no_utf8("event_id", err)

    def __len__(self) -> int:
        """Ids remembered."""
        return self._kernel.held

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._kernel.memory


def _no_utf8(field: str, err: UnicodeEncodeError) -> NoReturn:
    refuse(field, f"{err.object!a:.80}; allowed: text that has a UTF-8 form, without half of a surrogate pair")


def _number(key: Key) -> int:
    if isinstance(key, str):
        try:
            return core.hash_bytes(key.encode())
        except UnicodeEncodeError as err:
            _no_utf8("key", err)
    if isinstance(key, bytes):
        return core.hash_bytes(key)
    if isinstance(key, bool) or not isinstance(key, (int, np.integer)) or not 0 <= key < 2**64:
        refuse("key", f"{key!r:.80}; allowed: text, bytes or an integer, 0 to 2^64 - 1")
    return int(key)
