"""The rules of events, one by one, and against the Rust reader: what is accepted here is accepted there."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core import event_faults, frame_fault
from headwater.errors import InvalidEvent
from headwater.events.frame import FrameWriter
from headwater.events.subjects import Subject
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
from headwater.events.validate import check_event

NOW = 1_700_000_000_000
AHEAD = 3_600_000
VECTOR = struct.pack("<2f", 1.0, -1.0)


def check(event: Event) -> None:
    check_event(event, NOW, AHEAD)


def faults(event: Event) -> list[str]:
    """What the Rust reader says of the event in a frame of its own."""
    (frame,) = FrameWriter("p", 1).pack(Subject(0), [event], NOW)  # the reader of events does not ask for whom they are
    whole = frame_fault(frame)
    return [whole] if whole else [code for _, code in event_faults(frame, AHEAD)]


def view(**fields: Any) -> Feedback:
    whole: dict[str, Any] = {"type": "view", "user": "ann", "item": "i1", "ts": NOW}
    return Feedback(**(whole | fields))


def put(**fields: Any) -> ItemPut:
    whole: dict[str, Any] = {"item": "i1", "ts": NOW}
    return ItemPut(**(whole | fields))


def slate(**fields: Any) -> SlateServed:
    whole: dict[str, Any] = {
        **{"slate": "s1", "user": "ann", "ts": NOW, "request": {}, "variant": None, "config_version": "c"},
        **{"scorer_version": "r", "positions": [1], "left_out": [], "candidates": None, "items": []},
    }
    return SlateServed(**(whole | fields))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


IDS: dict[str, Any] = {
    "empty": "",
    "513 bytes": "i" * 513,
    "10 kB": "i" * 10_000,
    "513 bytes of UTF-8": "é" * 257,
    "NUL": "a\0b",
    "newline": "a\n",
    "escape": "\x1b[31m",
    "DEL": "a\x7f",
    "lone surrogate": "a\ud800",
    "bytes": b"a",
    "integer": 7,
    "bool": True,
}
REQUIRED: list[tuple[type[Event], str]] = [
    *((Feedback, "user"), (Feedback, "item"), (Impression, "user"), (Impression, "slate")),
    *((MergeCarried, "from_user"), (MergeCarried, "into_user"), (MergeSettled, "from_user")),
    *((UserMerge, "from_user"), (UserMerge, "into_user"), (ItemPut, "item"), (ItemPatch, "item"), (ItemDelete, "item")),
    *((UserPut, "user"), (UserForget, "user"), (SlateServed, "slate"), (SlateServed, "user")),
    *(
        (ConfigActivated, "version"),
        (ModelActivated, "kind"),
        (ModelActivated, "uri"),
        (ModelActivated, "content_hash"),
    ),
]
OPTIONAL: list[tuple[type[Event], str]] = [
    *((Feedback, "event_id"), (Feedback, "session"), (Feedback, "basket"), (Feedback, "slate")),
    *((Impression, "event_id"), (UserMerge, "event_id"), (ItemPut, "group_id"), (ItemPatch, "group_id")),
]
SOUND: dict[type[Event], Event] = {
    Feedback: view(),
    Impression: Impression("ann", "s1", NOW, [0, 5]),
    UserMerge: UserMerge("anon", "ann", NOW),
    MergeCarried: MergeCarried("anon", "ann", NOW, 1 << 16, b"x"),
    MergeSettled: MergeSettled("anon", NOW, 1 << 16),
    ItemPut: put(),
    ItemPatch: ItemPatch("i1", NOW),
    ItemDelete: ItemDelete("i1", NOW),
    UserPut: UserPut("ann", NOW),
    UserForget: UserForget("ann", NOW),
    SlateServed: slate(),
    ConfigActivated: ConfigActivated(NOW, "c1", "{}"),
    ModelActivated: ModelActivated(NOW, "kind", "uri", "hash"),
}


def changed(kind: type[Event], field: str, value: object) -> Event:
    fields = {name: getattr(SOUND[kind], name) for name in kind.__struct_fields__}
    return kind(**(fields | {field: value}))


def refused(event: Event, field: str) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        check(event)
    assert caught.value.details["field"] == field
    assert caught.value.details["rule"]
    assert len(caught.value.details["value"]) <= 80, "a message is not to carry 10 kB"
    return caught.value


@pytest.mark.parametrize("event", SOUND.values(), ids=lambda event: type(event).__name__)
def test_a_sound_event_passes_both_sides(event: Event) -> None:
    check(event)
    assert faults(event) == []


@pytest.mark.parametrize("value", IDS.values(), ids=IDS)
@pytest.mark.parametrize(("kind", "field"), REQUIRED + OPTIONAL, ids=lambda v: getattr(v, "__name__", v))
def test_ids(kind: type[Event], field: str, value: object) -> None:
    refused(changed(kind, field, value), field)


@pytest.mark.parametrize(("kind", "field"), REQUIRED, ids=lambda v: getattr(v, "__name__", v))
def test_a_required_id_is_not_absent(kind: type[Event], field: str) -> None:
    refused(changed(kind, field, None), field)


@pytest.mark.parametrize(("kind", "field"), REQUIRED + OPTIONAL, ids=lambda v: getattr(v, "__name__", v))
@pytest.mark.parametrize("value", ["x", "i" * 512, "é" * 256, "日本", "a b", "\u2028", "\u0085", "😀"])
def test_allowed_ids(kind: type[Event], field: str, value: str) -> None:
    check(changed(kind, field, value))
    assert faults(changed(kind, field, value)) == []


@pytest.mark.parametrize("value", [-1, 2**53, 2**63, 2**64, 2**200, -(2**63), NOW + AHEAD + 1, 1.5, True, None, "1"])
@pytest.mark.parametrize("kind", SOUND, ids=lambda kind: kind.__name__)
def test_times(kind: type[Event], value: object) -> None:
    refused(changed(kind, "ts", value), "ts")


@pytest.mark.parametrize("value", [0, 1, NOW, NOW + AHEAD])
@pytest.mark.parametrize("kind", SOUND, ids=lambda kind: kind.__name__)
def test_allowed_times(kind: type[Event], value: int) -> None:
    check(changed(kind, "ts", value))
    assert faults(changed(kind, "ts", value)) == []


LONG_LIST = [f"c{n}" for n in range(65)]
REFUSED: dict[str, tuple[Event, str]] = {
    "type empty": (view(type=""), "type"),
    "type long": (view(type="t" * 65), "type"),
    "type control": (view(type="vi\tew"), "type"),
    "type surrogate": (view(type="\udfff"), "type"),
    "type none": (view(type=None), "type"),
    "value nan": (view(value=math.nan), "value"),
    "value infinite": (view(value=-math.inf), "value"),
    "value 2^63": (view(value=2**63), "value"),
    "value 10^400": (view(value=10**400), "value"),
    "value text": (view(value="4"), "value"),
    "value bool": (view(value=True), "value"),
    "value object": (view(value=object()), "value"),
    "slot negative": (view(slot=-1), "slot"),
    "slot 2^32": (view(slot=2**32), "slot"),
    "slot float": (view(slot=1.0), "slot"),
    "slot bool": (view(slot=True), "slot"),
    "context list": (view(context=["a"]), "context"),
    "context nested": (view(context={"a": {"b": 1}}), "context"),
    "context 4097 bytes": (view(context={"a": "b" * 4091}), "context"),
    "context surrogate": (view(context={"a": "\ud800"}), "context"),
    "context 2^64": (view(context={"a": 2**64}), "context"),
    "context key": (view(context={1: 1}), "context"),
    "context bytes": (view(context={"a": b"b"}), "context"),
    "context nan": (view(context={"a": math.nan}), "context"),
    "context infinity": (view(context={"a": 1, "b": -math.inf}), "context"),
    "slots negative": (Impression("ann", "s1", NOW, [0, -1]), "slots"),
    "slots many": (Impression("ann", "s1", NOW, list(range(1025))), "slots"),
    "slots text": (changed(Impression, "slots", "12"), "slots"),
    "slots none": (changed(Impression, "slots", None), "slots"),
    "merge of one": (UserMerge("ann", "ann", NOW), "into_user"),
    "carried to oneself": (MergeCarried("ann", "ann", NOW, 1, b"x"), "into_user"),
    "carried nothing": (changed(MergeCarried, "state", b""), "state"),
    "carried much": (changed(MergeCarried, "state", bytes(200_001)), "state"),
    "sealed nowhere": (changed(MergeSettled, "sealed", -1), "sealed"),
    "sealed beyond": (changed(MergeCarried, "sealed", 1 << 63), "sealed"),
    "categories text": (put(categories="shoes"), "categories"),
    "categories many": (put(categories=LONG_LIST), "categories"),
    "category empty": (put(categories=[""]), "categories"),
    "category long": (put(categories=["c" * 257]), "categories"),
    "category number": (put(categories=[1]), "categories"),
    "category surrogate": (put(categories=["\ud800"]), "categories"),
    "hidden number": (put(is_hidden=1), "is_hidden"),
    "timestamp negative": (put(timestamp=-1), "timestamp"),
    "timestamp 2^53": (put(timestamp=2**53), "timestamp"),
    "timestamp float": (put(timestamp=1.5), "timestamp"),
    "comment long": (put(comment="c" * 4097), "comment"),
    "comment NUL": (put(comment="a\0"), "comment"),
    "comment surrogate": (put(comment="\ud800"), "comment"),
    "comment number": (put(comment=5), "comment"),
    "comment of a user": (UserPut("ann", NOW, {}, "c" * 4097), "comment"),
    "embeddings many": (put(embeddings={f"e{n}": VECTOR for n in range(9)}), "embeddings"),
    "embedding name": (put(embeddings={"": VECTOR}), "embeddings"),
    "embedding name long": (put(embeddings={"e" * 129: VECTOR}), "embeddings"),
    "embedding list": (put(embeddings={"e": [1.0]}), "embeddings"),
    "embedding empty": (put(embeddings={"e": b""}), "embeddings[e]"),
    "embedding torn": (put(embeddings={"e": VECTOR[:-1]}), "embeddings[e]"),
    "embedding large": (put(embeddings={"e": VECTOR[:4] * 4097}), "embeddings[e]"),
    "embedding nan": (put(embeddings={"e": struct.pack("<f", math.nan)}), "embeddings[e]"),
    "embedding infinite": (put(embeddings={"e": struct.pack("<2f", 1, math.inf)}), "embeddings[e]"),
    "request deep": (slate(request=nested(16)), "request"),
    "extra deep": (slate(extra=nested(16)), "extra"),
    "extra large": (slate(extra={"a": "b" * 65_536}), "extra"),
    "slot without id": (
        slate(items=[("i1", 0.5, "viewed", 1.0, 1.0, False), ("", 0.5, "v", 1.0, 1.0, False)]),
        "items[1]",
    ),
    "request bytes as key": (slate(request={object(): 1}), "request"),
    "items short": (slate(items=[("i1", 0.5)]), "items"),
    "positions text": (slate(positions=["1"]), "positions"),
    "body none": (changed(ConfigActivated, "body", None), "body"),
    "body surrogate": (changed(ConfigActivated, "body", "\ud800"), "body"),
}
LABELS: dict[str, tuple[Any, str]] = {
    "no map": (["a"], "labels"),
    "many": ({f"l{n}": n for n in range(65)}, "labels"),
    "key empty": ({"": 1}, "labels"),
    "key long": ({"k" * 129: 1}, "labels"),
    "key control": ({"a\n": 1}, "labels"),
    "key number": ({1: 1}, "labels"),
    "nan": ({"a": math.nan}, "labels[a]"),
    "infinite": ({"a": math.inf}, "labels[a]"),
    "2^63": ({"a": 2**63}, "labels[a]"),
    "-2^63-1": ({"a": -(2**63) - 1}, "labels"),
    "2^64": ({"a": 2**64}, "labels"),
    "text long": ({"a": "b" * 1025}, "labels[a]"),
    "text NUL": ({"a": "\0"}, "labels[a]"),
    "text surrogate": ({"a": "\ud800"}, "labels"),
    "map": ({"a": {"b": 1}}, "labels"),
    "bytes": ({"a": b"b"}, "labels"),
    "tags many": ({"a": LONG_LIST}, "labels[a]"),
    "tag empty": ({"a": [""]}, "labels[a]"),
    "tag number": ({"a": [1]}, "labels"),
}


@pytest.mark.parametrize(("event", "field"), REFUSED.values(), ids=REFUSED)
def test_other_rules(event: Event, field: str) -> None:
    refused(event, field)


@pytest.mark.parametrize(("labels", "field"), LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("kind", [ItemPut, ItemPatch, UserPut], ids=lambda kind: kind.__name__)
def test_labels(kind: type[Event], labels: Any, field: str) -> None:
    refused(changed(kind, "labels", labels), field)


ALLOWED: dict[str, Event] = {
    "type": view(type="t" * 64),
    "value": view(value=-(2**63)),
    "value float": view(value=1e308),
    "value 2^63-1": view(value=2**63 - 1),
    "slot": view(slot=2**32 - 1),
    "context": view(context={"a": "b" * 4090}),
    "slots": Impression("ann", "s1", NOW, list(range(1024))),
    "categories": put(categories=LONG_LIST[:64]),
    "category": put(categories=["c" * 256]),
    "labels": put(labels={f"l{n}": n for n in range(64)}),
    "label": put(labels={"k" * 128: "line\nbreak" + "b" * 1014, "n": -(2**63), "t": LONG_LIST[:64], "x": None}),
    "timestamp in the future": put(timestamp=2**53 - 1),
    "comment": put(comment="c" * 4095 + "\n"),
    "embeddings": put(embeddings={f"e{n}": VECTOR[:4] * 4096 for n in range(8)}),
    "request": slate(request=nested(15)),
    "extra": slate(extra={"a": "b" * 65_530}),
    "patch of nothing": ItemPatch("i1", NOW, None, None, None),
}


@pytest.mark.parametrize("event", ALLOWED.values(), ids=ALLOWED)
def test_limits_are_allowed_on_both_sides(event: Event) -> None:
    check(event)
    assert faults(event) == []


def test_a_message_names_field_value_and_rule() -> None:
    with pytest.raises(InvalidEvent, match=r"^value = nan; allowed: a finite number"):
        check(view(value=math.nan))
    with pytest.raises(InvalidEvent, match=r"^user = 'uuu.*\.\.\.; allowed: 1 to 512 bytes of UTF-8"):
        check(view(user="u" * 10_000))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_an_odd_number_in_a_context_that_is_on_a_log_stays_readable(number: float) -> None:
    """Earlier versions let it in, and the fold of their logs must not change."""
    assert faults(view(context={"a": number})) == []


# --- against the Rust reader ------------------------------------------------------------------------------------------

TEXT = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(codec=None), max_size=4),
    st.sampled_from(["", "\0", "\x7f", "\ud800", "i" * 512, "i" * 513, "é" * 257, "t" * 64, "t" * 65]),
)
NUMBER = st.one_of(
    st.integers(), st.floats(), st.sampled_from([-1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), NOW + AHEAD + 1])
)
ANYTHING = st.one_of(
    st.none(), st.booleans(), TEXT, NUMBER, st.binary(max_size=4), st.lists(TEXT, max_size=2), st.just({"a": {"b": []}})
)
LABEL = st.dictionaries(TEXT, ANYTHING | st.lists(TEXT, max_size=3), max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "value": st.none() | NUMBER,
    "slot": st.none() | NUMBER,
    "context": st.none() | LABEL,
    "labels": LABEL,
    "categories": st.none() | st.lists(TEXT, max_size=3),
    "embeddings": st.none()
    | st.dictionaries(TEXT, st.binary(max_size=12) | st.floats().map(lambda x: struct.pack("<d", x)), max_size=2),
    "timestamp": st.none() | NUMBER,
    "slots": st.lists(st.integers(), max_size=3),
    "request": st.integers(0, 20).map(nested) | LABEL,
    "extra": st.none() | st.integers(0, 20).map(nested) | LABEL,
    "items": st.lists(st.tuples(TEXT, *(st.just(x) for x in (0.5, "viewed", 1.0, 1.0, False))), max_size=3),
}


@st.composite
def events(draw: st.DrawFn) -> Event:
    """A sound event of any type with a few fields replaced: mostly by near misses, sometimes by anything."""
    kind = draw(st.sampled_from(list(SOUND)))
    fields = {name: getattr(SOUND[kind], name) for name in kind.__struct_fields__}
    for name in draw(st.lists(st.sampled_from(list(fields)), max_size=3)):
        near = NUMBER if name == "ts" else FIELDS.get(name, TEXT)
        fields[name] = draw(st.one_of(near, near, ANYTHING))
    return kind(**fields)


@given(events())
def test_what_is_accepted_here_is_accepted_by_the_fold(event: Event) -> None:
    """And so what the fold refuses is refused here: each event either raises `InvalidEvent` or has no fault."""
    try:
        check(event)
    except InvalidEvent:
        return
    assert faults(event) == []


@given(events())
def test_what_is_accepted_reads_back(event: Event) -> None:
    try:
        check(event)
    except InvalidEvent:
        return
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event)
    if isinstance(event, Feedback) and event.value is not None:
        event = msgspec.structs.replace(event, value=float(event.value))  # a whole number is read as what it is typed
    assert msgspec.msgpack.encode(decoded) == msgspec.msgpack.encode(event)


@given(events().filter(lambda event: isinstance(event, Feedback)))
def test_feedback_is_decided_alike_in_both_directions(event: Event) -> None:
    """No rule for feedback is stricter here than there, but for what may stand in `context`."""
    try:
        check(event)
        accepted = True
    except InvalidEvent as err:
        if err.details["field"] == "context":
            return
        accepted = False
    try:
        found = faults(event)
    except (ValueError, TypeError, OverflowError):  # it does not even have bytes
        assert not accepted
        return
    assert accepted == (found == [])
