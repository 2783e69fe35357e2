"""Subjects: who reads a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import core
from headwater.errors import InvalidInput
from headwater.events.frame import encode_frame
from headwater.events.log import subject_number
from headwater.events.subjects import (
    CATALOGUE_SUBJECT,
    CONTROL_SUBJECT,
    Subject,
    partition_of,
    stable_hash,
    subject_of,
)
from headwater.events.types import Event, Feedback
from replay.golden_events import events_by_name

SUBJECTS = st.one_of(
    st.builds(Subject, st.just(0), st.integers(0, 0xFFFF)), st.sampled_from([CATALOGUE_SUBJECT, CONTROL_SUBJECT])
)


@given(st.text())
def test_the_hash_equals_the_cores(text: str) -> None:
    assert stable_hash(text) == core.stable_hash(text)


def test_the_hash_is_the_one_of_all_platforms() -> None:
    # XXH3-64, seed 0, as its specification's implementation gives them: ownership must never move.
    assert stable_hash("") == 0x2D06800538D394C2
    assert [partition_of(f"user-{n}", 16) for n in range(12)] == [0, 9, 4, 5, 14, 2, 0, 14, 12, 0, 6, 1]


@given(SUBJECTS)
def test_a_name_names_one_subject(subject: Subject) -> None:
    assert Subject.parse(subject.name) == subject


@given(SUBJECTS, SUBJECTS)
def test_numbers_tell_subjects_apart(a: Subject, b: Subject) -> None:
    assert (a.number == b.number) == (a == b)


@given(SUBJECTS)
def test_a_frames_number_is_its_subjects(subject: Subject) -> None:
    assert subject_number(encode_frame(subject, 1, 1, 1, 0, 1, b"\x90")) == subject.number


@pytest.mark.parametrize(
    "name", ["", "ev", "ev.", "ev.-1", "ev.65536", "ev.1.2", "ev.x", "evx.1", "CAT", "cat ", "ctl.1"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"allowed: ev\.<partition>, cat, ctl"):
        Subject.parse(name)


def test_every_event_has_its_subject() -> None:
    expected = {
        **dict.fromkeys(("Feedback", "Impression", "UserPut", "UserForget", "SlateServed"), 0),
        **dict.fromkeys(("UserMerge", "MergeCarried", "MergeSettled"), 0),
        **dict.fromkeys(("ItemPut", "ItemPatch", "ItemDelete"), 1),
        **dict.fromkeys(("ConfigActivated", "ModelActivated"), 2),
    }
    events: list[Event] = [event for _, group in events_by_name().values() for event in group]
    assert {type(event).__name__ for event in events} == expected.keys()
    for event in events:
        assert subject_of(event, 4).kind == expected[type(event).__name__]


@given(st.text(min_size=1), st.integers(1, 1000))
def test_a_users_events_share_a_partition(user: str, partitions: int) -> None:
    subject = subject_of(Feedback("view", user, "i", 0), partitions)
    assert subject == Subject(0, stable_hash(user) % partitions)
