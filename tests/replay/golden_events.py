"""The golden frames: each event type with and without its optional fields, and every way to be refused.

Frames are built from a header and a body by hand, so that those that no writer makes can be made too. Names are
stable: a golden frame is never changed, only new ones are added (another format version gets its own).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import google_crc32c
import msgspec

from headwater.events.frame import FORMAT_VERSION, HEADER_LEN, MAX_FRAME
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject, partition_of, stable_hash
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

PARTITIONS = 4
PRODUCER = stable_hash("golden")
NOW = 1_700_000_000_000
MAX_FUTURE_MS = 24 * 3_600_000
USER = "ann"
SUBJECT = Subject(0, partition_of(USER, PARTITIONS))
_ELSEWHERE = next(u for u in ("bob", "cem", "dua", "eva") if partition_of(u, PARTITIONS) != SUBJECT.partition)
_VECTOR = struct.pack("<4f", 0.5, -1.0, 2.0, 0.0)


class GoldenFrame(NamedTuple):
    """A sound frame by name: what is in it, and its bytes."""

    name: str
    subject: Subject
    events: list[Event]
    frame: bytes


class RefusedFrame(NamedTuple):
    """A frame of which something is refused: the whole (`frame_code`) or single events (`event_codes` by index).

    `fold_codes` are those that only the fold can give, which knows what a partition owns.
    """

    name: str
    frame_code: str | None
    event_codes: dict[int, str]
    fold_codes: dict[int, str]
    frame: bytes


def raw_frame(
    body: bytes,
    *,
    count: int = 1,
    subject: tuple[int, int] = SUBJECT,
    name: str = "",
    version: int = FORMAT_VERSION,
    flags: int = 0,
    magic: bytes = b"HWF",
    length: int | None = None,
    appended: int = NOW,
    flip: int = 0,
) -> bytes:
    """Any header around any body, with the checksum that fits, or one that differs by `flip`.

    `name` makes the epoch, so that no frame is a repeat of another one.
    """
    head = struct.pack(
        "<3sBBBHQQQqII",
        *(magic, version, subject[0], flags, subject[1], PRODUCER, stable_hash(name), 1, appended, count),
        len(body) if length is None else length,
    )
    return head + struct.pack("<I", google_crc32c.value(head + body) ^ flip) + body


def golden_slate() -> SlateServed:
    """A slate record with everything in it."""
    return SlateServed(
        slate="s1",
        user=USER,
        ts=NOW,
        request={"user": USER, "n": 2, "filter": {"all": [["category", "shoes"]]}, "exclude": []},
        variant="b",
        config_version="c1",
        scorer_version="rrf-1",
        positions=[1, 2, 2],
        left_out=["host-3"],
        candidates=[("i1", "bought", 0.25)],
        items=[("i1", 0.5, "bought", 0.75, 0.75, False), ("i2", 0.25, "trending", 1.0, 0.75, True)],
        extra={"features": {"names": ["rank"], "values": [[1.0], [2.0]]}, "temperature": 0.5},
    )


def _bare(slate: SlateServed) -> SlateServed:
    return msgspec.structs.replace(slate, request={}, variant=None, candidates=None, items=[], extra=None)


def events_by_name() -> dict[str, tuple[Subject, list[Event]]]:
    """Every event type: the fewest fields, all of them, and the limits."""
    labels: dict[str, Any] = {"brand": "acme", "price": 9.5, "stock": -3, "new": True, "tags": ["a", "é"], "gone": None}
    full_item: dict[str, Any] = {
        "categories": ["shoes", "shoes/running"],
        "labels": labels,
        "is_hidden": True,
        "timestamp": NOW - 1,
        "group_id": "g1",
        "embeddings": {"text": _VECTOR, "image": _VECTOR[:4]},
        "comment": "two\nlines",
    }
    slate = golden_slate()
    catalogue, control = CATALOGUE_SUBJECT, CONTROL_SUBJECT
    return {
        "feedback": (SUBJECT, [Feedback("view", USER, "i1", NOW)]),
        "feedback-full": (
            SUBJECT,
            [
                Feedback(
                    *("rating", USER, "ï1/ü", NOW + MAX_FUTURE_MS, 4.5, "e-1", "s-1", "b-1", "sl-1", 3),
                    context={"device": "phone", "n": 1, "x": 0.5, "on": True, "none": None},
                )
            ],
        ),
        "feedback-integer-value": (SUBJECT, [Feedback("rating", USER, "i1", 0, value=4)]),
        "feedback-limits": (SUBJECT, [Feedback("t" * 64, USER, "i" * 512, NOW, -0.0, "é" * 256, slot=2**32 - 1)]),
        "feedback-many": (SUBJECT, [Feedback("view", USER, f"i{n}", NOW + n) for n in range(40)]),
        "impression": (SUBJECT, [Impression(USER, "s1", NOW, [0, 1, 300])]),
        "impression-full": (SUBJECT, [Impression(USER, "s1", NOW, [], "e-2")]),
        "user-put": (SUBJECT, [UserPut(USER, NOW)]),
        "user-put-full": (SUBJECT, [UserPut(USER, NOW, labels, "a comment")]),
        "user-forget": (SUBJECT, [UserForget(USER, NOW)]),
        "slate-served-extra": (SUBJECT, [slate]),
        "slate-served-without-extra": (SUBJECT, [msgspec.structs.replace(slate, extra=None)]),
        "slate-served-empty": (SUBJECT, [_bare(slate)]),
        "item-put": (catalogue, [ItemPut("i1", NOW)]),
        "item-put-full": (catalogue, [ItemPut("i1", NOW, **full_item)]),
        "item-patch": (catalogue, [ItemPatch("i1", NOW)]),
        "item-patch-full": (catalogue, [ItemPatch("i1", NOW, **full_item)]),
        "item-delete": (catalogue, [ItemDelete("i1", NOW)]),
        "user-merge-sealing": (SUBJECT, [UserMerge(USER, "known-1", NOW)]),
        "user-merge-sealing-full": (SUBJECT, [UserMerge(USER, "known-1", NOW, "e-3")]),
        "merge-carried": (SUBJECT, [MergeCarried("anon-1", USER, NOW, 7 << 16 | 3, b"\x00\x01\xff")]),
        "merge-settled": (SUBJECT, [MergeSettled(USER, NOW, 7 << 16 | 3)]),
        "config-activated": (control, [ConfigActivated(NOW, "c1", '{"n":"ü"}')]),
        "model-activated": (control, [ModelActivated(NOW, "blender", "file:///m/1", "sha256:00ff")]),
        "mixed": (
            SUBJECT,
            [Feedback("view", USER, "i1", NOW), UserPut(USER, NOW), Feedback("cart", USER, "i1", NOW)],
        ),
    }


def golden_frames() -> list[GoldenFrame]:
    """All sound frames."""
    encode = msgspec.msgpack.Encoder().encode
    return [
        GoldenFrame(name, subject, events, raw_frame(encode(events), count=len(events), subject=subject, name=name))
        for name, (subject, events) in events_by_name().items()
    ]


def _merge_with_id() -> UserMerge:
    return UserMerge("anon-1", USER, NOW, "e-3")


def older_frames() -> list[GoldenFrame]:
    """Frames of a writer that did not know the trailing fields yet, and the events that they are today."""
    older: dict[str, tuple[Subject, list[Any], Event]] = {
        "feedback-5": (SUBJECT, [1, "view", USER, "i1", NOW], Feedback("view", USER, "i1", NOW)),
        "feedback-7": (
            SUBJECT,
            [1, "view", USER, "i1", NOW, 2.5, "e-1"],
            Feedback("view", USER, "i1", NOW, 2.5, "e-1"),
        ),
        "impression-5": (SUBJECT, [2, USER, "s1", NOW, [1]], Impression(USER, "s1", NOW, [1])),
        "user-merge-4": (CONTROL_SUBJECT, [3, "anon-1", USER, NOW], UserMerge("anon-1", USER, NOW)),
        "item-put-3": (CATALOGUE_SUBJECT, [10, "i1", NOW], ItemPut("i1", NOW)),
        "item-put-5": (CATALOGUE_SUBJECT, [10, "i1", NOW, ["c"], {"k": 1}], ItemPut("i1", NOW, ["c"], {"k": 1})),
        "item-patch-3": (CATALOGUE_SUBJECT, [11, "i1", NOW], ItemPatch("i1", NOW)),
        "user-put-4": (SUBJECT, [13, USER, NOW, {"k": "v"}], UserPut(USER, NOW, {"k": "v"})),
    }
    frames = [
        GoldenFrame(
            f"older/{name}", subject, [event], raw_frame(_pack([fields]), subject=subject, name=f"older/{name}")
        )
        for name, (subject, fields, event) in older.items()
    ]
    # Once today's; they keep their names.
    slate = msgspec.structs.replace(golden_slate(), extra=None)
    for name, event in (("slate-served", slate), ("slate-served-bare", _bare(slate))):
        body = _pack([[20, *msgspec.structs.astuple(event)[:-1]]])
        frames.append(GoldenFrame(name, SUBJECT, [event], raw_frame(body, name=name)))
    for name, merge in (("user-merge", UserMerge("anon-1", USER, NOW)), ("user-merge-full", _merge_with_id())):
        frame = raw_frame(_pack([merge]), subject=CONTROL_SUBJECT, name=name)
        frames.append(GoldenFrame(name, CONTROL_SUBJECT, [merge], frame))
    return frames


def refused_frames() -> list[RefusedFrame]:
    """Every code, most of them in several ways."""
    return _refused_headers() + _refused_bodies() + _refused_events() + _refused_by_the_fold()


def _refused_headers() -> list[RefusedFrame]:
    body = msgspec.msgpack.encode([Feedback("view", USER, "i1", NOW)])
    sound = raw_frame(body)
    huge = msgspec.msgpack.encode([Feedback("view", USER, "i1", NOW, context={"x": "y" * MAX_FRAME})])
    whole = {
        "empty": ("short-header", b""),
        "header-cut": ("short-header", sound[: HEADER_LEN - 1]),
        "magic": ("bad-magic", raw_frame(body, magic=b"HWG")),
        "zeros": ("bad-magic", bytes(len(sound))),
        "version-0": ("unknown-version", raw_frame(body, version=0)),
        "version-2": ("unknown-version", raw_frame(body, version=2)),
        "version-255": ("unknown-version", raw_frame(body, version=255)),
        "flags": ("unknown-flags", raw_frame(body, flags=1)),
        "subject-kind": ("unknown-subject", raw_frame(body, subject=(3, 0))),
        "catalogue-with-partition": ("unknown-subject", raw_frame(body, subject=(1, 1))),
        "control-with-partition": ("unknown-subject", raw_frame(body, subject=(2, 9))),
        "too-large": ("too-large", raw_frame(huge)),
        "body-cut": ("length-mismatch", sound[:-1]),
        "body-longer": ("length-mismatch", sound + b"\xc0"),
        "length-zero": ("length-mismatch", raw_frame(body, length=0)),
        "crc": ("bad-crc", raw_frame(body, flip=1)),
        "crc-of-body": ("bad-crc", sound[:-1] + bytes([sound[-1] ^ 1])),
        "crc-of-header": ("bad-crc", sound[:24] + bytes([sound[24] ^ 1]) + sound[25:]),
        "count-zero": ("bad-count", raw_frame(b"\x90", count=0)),
        "count-beyond-16-bits": ("bad-count", raw_frame(body, count=65_536)),
    }
    return [RefusedFrame(name, code, {}, {}, frame) for name, (code, frame) in whole.items()]


def _refused_bodies() -> list[RefusedFrame]:
    view = msgspec.msgpack.encode(Feedback("view", USER, "i1", NOW))
    deep = b"\x91" * 20 + b"\xc0"
    bodies = {
        "count-too-small": ("bad-count", 1, b"\x92" + view + view),
        "count-too-large": ("bad-count", 3, b"\x92" + view + view),
        "count-first": ("bad-count", 2, b"\x91" + b"\xc1"),
        "count-of-long-head": ("bad-count", 1, b"\xdc\x00\x02" + view + view),
        "no-body": ("bad-body", 1, b""),
        "no-array": ("bad-body", 1, b"\x81" + view + b"\xc0"),
        "nil": ("bad-body", 1, b"\xc0"),
        "event-cut": ("bad-body", 1, b"\x91" + view[:-1]),
        "event-missing": ("bad-body", 2, b"\x92" + view),
        "trailing-bytes": ("bad-body", 1, b"\x91" + view + b"\xc0"),
        "reserved-byte": ("bad-body", 1, b"\x91\xc1"),
        "text-longer-than-frame": ("bad-body", 1, b"\x91\x95\x01\xdb\xff\xff\xff\xff"),
        "array-longer-than-frame": ("bad-body", 1, b"\x91\xdd\xff\xff\xff\xff"),
        "too-deep": ("bad-body", 2, b"\x92" + view + deep),
    }
    return [RefusedFrame(name, code, {}, {}, raw_frame(body, count=n)) for name, (code, n, body) in bodies.items()]


def _refused_events() -> list[RefusedFrame]:
    """Single events between two sound ones: index 1 is refused, its neighbours count."""
    feedback: dict[str, Any] = {"type": "view", "user": USER, "item": "i9", "ts": NOW}

    def bad(**changes: Any) -> list[Any]:
        fields = dict.fromkeys(Feedback.__struct_fields__) | feedback | changes
        return [1, *fields.values()]

    view = bad()
    events: dict[str, tuple[str, object]] = {
        "id-empty": ("bad-id", bad(user="")),
        "id-nil": ("bad-id", bad(user=None)),
        "id-number": ("bad-id", bad(item=7)),
        "id-bytes": ("bad-id", bad(item=b"i9")),
        "id-long": ("bad-id", bad(item="i" * 513)),
        "id-10-kb": ("bad-id", bad(user="u" * 10_000)),
        "id-nul": ("bad-id", bad(item="a\0b")),
        "id-newline": ("bad-id", bad(item="a\n")),
        "id-del": ("bad-id", bad(item="a\x7f")),
        "event-id-empty": ("bad-id", bad(event_id="")),
        "session-number": ("bad-id", bad(session=1)),
        "basket-long": ("bad-id", bad(basket="b" * 513)),
        "slate-nul": ("bad-id", bad(slate="\0")),
        "type-empty": ("bad-type", bad(type="")),
        "type-long": ("bad-type", bad(type="t" * 65)),
        "type-control": ("bad-type", bad(type="vi\tew")),
        "type-first-of-two": ("bad-type", bad(type="", user="")),
        "value-nan": ("bad-value", bad(value=float("nan"))),
        "value-infinite": ("bad-value", bad(value=float("-inf"))),
        "value-text": ("bad-value", bad(value="4")),
        "value-bool": ("bad-value", bad(value=True)),
        "value-beyond-64-bits": ("bad-value", bad(value=2**63)),
        "ts-negative": ("bad-ts", bad(ts=-1)),
        "ts-2-53": ("bad-ts", bad(ts=2**53)),
        "ts-float": ("bad-ts", bad(ts=float(NOW))),
        "ts-nil": ("bad-ts", bad(ts=None)),
        "ts-2-64": ("bad-ts", bad(ts=2**64 - 1)),
        "ts-too-far": ("future-ts", bad(ts=NOW + MAX_FUTURE_MS + 1)),
        "slot-negative": ("bad-field", bad(slot=-1)),
        "slot-beyond-32-bits": ("bad-field", bad(slot=2**32)),
        "slot-float": ("bad-field", bad(slot=1.0)),
        "context-list": ("bad-field", bad(context=["a"])),
        "context-large": ("bad-field", bad(context={"a": "b" * 4096})),
        "no-event": ("bad-event", "view"),
        "nil": ("bad-event", None),
        "map": ("bad-event", {"type": "view"}),
        "empty": ("bad-event", []),
        "tag-unknown": ("bad-event", [9, *view[1:]]),
        "tag-text": ("bad-event", ["1", *view[1:]]),
        "tag-nested": ("bad-event", [[1], *view[1:]]),
        "fields-missing": ("bad-event", view[:4]),
        "fields-beyond": ("bad-event", [*view, None]),
        **_refused_slates(),
        "user-put-labels": ("bad-field", [13, USER, NOW, ["a"], None]),
        "user-put-label-nan": ("bad-field", [13, USER, NOW, {"a": float("nan")}, None]),
    }
    frames = []
    for name, (code, event) in events.items():
        body = [bad(item="i1"), event, bad(item="i2")]
        frames.append(RefusedFrame(f"event-{name}", None, {1: code}, {}, raw_frame(_pack(body), count=3, name=name)))
    # Bytes that are no UTF-8 where an id should be: MessagePack says text, so only the reader of the field notices.
    raw = _pack([bad(item="i1"), bad(item="XXX"), bad(item="i2")]).replace(b"\xa3XXX", b"\xa3\xff\xfe\xfd")
    frames.append(RefusedFrame("event-id-no-utf8", None, {1: "bad-id"}, {}, raw_frame(raw, count=3, name="id-no-utf8")))
    return frames + _refused_items()


def _refused_slates() -> dict[str, tuple[str, object]]:
    items, extra = (field + 1 for field in map(SlateServed.__struct_fields__.index, ("items", "extra")))

    def bad(field: int, value: object) -> list[object]:
        fields = [20, *msgspec.structs.astuple(golden_slate())]
        fields[field] = value
        return fields

    values = {
        "items-nil": (items, None),
        "items-map": (items, {"i9": 1}),
        "slot-text": (items, ["i9"]),
        "slot-empty": (items, [["i9", 0.5], []]),
        "item-number": (items, [[9, 0.5]]),
        "item-long": (items, [["i" * 513]]),
        "item-nul": (items, [["i9"], ["a\0"]]),
        "extra-list": (extra, ["a"]),
        "extra-large": (extra, {"a": "b" * 65_536}),
    }
    return {f"slate-{name}": ("bad-field", bad(field, value)) for name, (field, value) in values.items()}


def _refused_items() -> list[RefusedFrame]:
    nan = struct.pack("<2f", 1.0, float("nan"))
    fields: dict[str, list[Any]] = {
        "categories-text": ["shoes"],
        "categories-65": [[f"c{n}" for n in range(65)]],
        "category-empty": [[""]],
        "category-number": [[1]],
        "category-long": [["c" * 257]],
        "labels-list": [[], ["a"]],
        "labels-65": [[], {f"l{n}": n for n in range(65)}],
        "label-key-empty": [[], {"": 1}],
        "label-key-long": [[], {"k" * 129: 1}],
        "label-key-number": [[], {1: 1}],
        "label-nan": [[], {"a": float("nan")}],
        "label-map": [[], {"a": {"b": 1}}],
        "label-bytes": [[], {"a": b"b"}],
        "label-long": [[], {"a": "b" * 1025}],
        "label-nul": [[], {"a": "\0"}],
        "label-beyond-64-bits": [[], {"a": 2**63}],
        "label-tags-65": [[], {"a": [f"t{n}" for n in range(65)]}],
        "label-tag-number": [[], {"a": [1]}],
        "hidden-number": [[], {}, 1],
        "timestamp-float": [[], {}, False, 1.5],
        "group-empty": [[], {}, False, None, ""],
        "embeddings-list": [[], {}, False, None, None, [nan]],
        "embeddings-9": [[], {}, False, None, None, {f"e{n}": _VECTOR for n in range(9)}],
        "embedding-nan": [[], {}, False, None, None, {"e": nan}],
        "embedding-huge": [[], {}, False, None, None, {"e": struct.pack("<2f", 1.0, -1.1e15)}],
        "embedding-torn": [[], {}, False, None, None, {"e": _VECTOR[:-1]}],
        "embedding-empty": [[], {}, False, None, None, {"e": b""}],
        "embedding-4097": [[], {}, False, None, None, {"e": _VECTOR[:4] * 4097}],
        "embedding-text": [[], {}, False, None, None, {"e": "abcd"}],
        "embedding-name-empty": [[], {}, False, None, None, {"": _VECTOR}],
        "comment-long": [[], {}, False, None, None, None, "c" * 4097],
        "comment-nul": [[], {}, False, None, None, None, "\0"],
    }
    frames = []
    for tag in (10, 11):
        for name, given in fields.items():
            body = [[tag, "i1", NOW], [tag, "i9", NOW, *given], [tag, "i2", NOW]]
            full = f"{'put' if tag == 10 else 'patch'}-{name}"
            frame = raw_frame(_pack(body), count=3, subject=CATALOGUE_SUBJECT, name=full)
            frames.append(RefusedFrame(full, None, {1: "bad-field"}, {}, frame))
    return frames


def _refused_by_the_fold() -> list[RefusedFrame]:
    """Sound events in a frame of another subject; the header alone does not show it."""
    view, put = Feedback("view", USER, "i1", NOW), ItemPut("i1", NOW)
    other, merge = Feedback("view", _ELSEWHERE, "i9", NOW + 1), UserMerge("anon-1", USER, NOW)
    misplaced: dict[str, tuple[Subject, list[Event]]] = {
        "another-partition": (SUBJECT, [view, other, Feedback("view", USER, "i2", NOW)]),
        "item-among-feedback": (SUBJECT, [view, put, Feedback("view", USER, "i2", NOW)]),
        "merge-among-feedback": (SUBJECT, [view, merge, Feedback("view", USER, "i2", NOW)]),
        "feedback-among-items": (CATALOGUE_SUBJECT, [put, view, ItemPut("i2", NOW)]),
        "item-in-control": (CONTROL_SUBJECT, [merge, put, merge]),
        "forget-elsewhere": (SUBJECT, [view, UserForget(_ELSEWHERE, NOW), Feedback("view", USER, "i2", NOW)]),
        "slate-elsewhere": (
            SUBJECT,
            [view, msgspec.structs.replace(golden_slate(), user=_ELSEWHERE), Feedback("view", USER, "i2", NOW)],
        ),
        "seal-elsewhere": (SUBJECT, [view, UserMerge(_ELSEWHERE, USER, NOW), Feedback("view", USER, "i2", NOW)]),
        "settled-elsewhere": (SUBJECT, [view, MergeSettled(_ELSEWHERE, NOW, 1), Feedback("view", USER, "i2", NOW)]),
        "put-elsewhere": (SUBJECT, [view, UserPut(_ELSEWHERE, NOW), Feedback("view", USER, "i2", NOW)]),
    }
    frames = [
        RefusedFrame(
            name, None, {}, {1: "wrong-subject"}, raw_frame(_pack(events), count=3, subject=subject, name=name)
        )
        for name, (subject, events) in misplaced.items()
    ]
    four, two = {"e": _VECTOR}, {"e": _VECTOR[:8]}
    eight = {f"e{n}": _VECTOR for n in range(8)}
    embedded: dict[str, tuple[str, list[Event]]] = {
        "put-of-another-dimension": (
            "wrong-dimension",
            [ItemPut("i1", NOW, embeddings=four), ItemPut("i9", NOW, embeddings=two)],
        ),
        "patch-of-another-dimension": (
            "wrong-dimension",
            [ItemPut("i1", NOW, embeddings=four), ItemPatch("i1", NOW, embeddings=two)],
        ),
        "put-of-a-ninth-embedding": (
            "too-many-embeddings",
            [ItemPut("i1", NOW, embeddings=eight), ItemPut("i9", NOW, embeddings=four)],
        ),
    }
    for name, (code, events) in embedded.items():
        body = _pack([*events, ItemPut("i2", NOW)])
        frames.append(
            RefusedFrame(name, None, {}, {1: code}, raw_frame(body, count=3, subject=CATALOGUE_SUBJECT, name=name))
        )
    beyond = raw_frame(_pack([view]), subject=(0, PARTITIONS))
    return [*frames, RefusedFrame("partition-beyond", None, {}, {0: "unknown-subject"}, beyond)]


def _pack(body: object) -> bytes:
    return msgspec.msgpack.encode(body)
