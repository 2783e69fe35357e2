"""Subjects: which part of the state a frame is about, hence who reads it."""

from __future__ import annotations

from typing import NamedTuple

import xxhash

from headwater.errors import InvalidInput
from headwater.events.types import (
    ConfigActivated,
    Event,
    Feedback,
    Impression,
    ItemDelete,
    ItemPatch,
    ItemPut,
    MergeCarried,
    MergeSettled,
    ModelActivated,
    SlateServed,
    UserForget,
    UserMerge,
    UserPut,
)

PARTITION, CATALOGUE, CONTROL = 0, 1, 2


class Subject(NamedTuple):
    """Kind (`PARTITION`, `CATALOGUE`, `CONTROL`) and, for a user partition, its number."""

    kind: int
    partition: int = 0

    @property
    def name(self) -> str:
        """`ev.<partition>`, `cat` or `ctl`."""
        return f"ev.{self.partition}" if self.kind == PARTITION else ("cat", "ctl")[self.kind - 1]

    @property
    def number(self) -> int:
        """One integer per subject, for indexes."""
        return self.kind << 16 | self.partition

    @classmethod
    def parse(cls, name: str) -> Subject:
        """The subject of a name. Raises `InvalidInput` for any other text."""
        if name == "cat":
            return CATALOGUE_SUBJECT
        if name == "ctl":
            return CONTROL_SUBJECT
        head, _, number = name.partition(".")
        if head != "ev" or not number.isdecimal() or int(number) > 0xFFFF:
            raise InvalidInput(f"subject {name!r}; allowed: ev.<partition>, cat, ctl", field="subject", value=name)
        return cls(PARTITION, int(number))


CATALOGUE_SUBJECT = Subject(CATALOGUE)
CONTROL_SUBJECT = Subject(CONTROL)


def stable_hash(text: str) -> int:
    """XXH3, 64 bits, seed 0, of the UTF-8 bytes: the hash behind ownership, equal to the core's."""
    return xxhash.xxh3_64_intdigest(text.encode())


def partition_of(user: str, partitions: int) -> int:
    """The partition that owns a user."""
    return stable_hash(user) % partitions


def subject_of(event: Event, partitions: int) -> Subject:
    """The subject whose frames carry this event."""
    if isinstance(event, Feedback | Impression | UserPut | UserForget | SlateServed):
        return Subject(PARTITION, partition_of(event.user, partitions))
    if isinstance(event, UserMerge | MergeSettled):
        return Subject(PARTITION, partition_of(event.from_user, partitions))
    if isinstance(event, MergeCarried):
        return Subject(PARTITION, partition_of(event.into_user, partitions))
    if isinstance(event, ItemPut | ItemPatch | ItemDelete):
        return CATALOGUE_SUBJECT
    assert isinstance(event, ConfigActivated | ModelActivated)
    return CONTROL_SUBJECT
