"""Events as MessagePack arrays: the order of their fields is the format."""

from __future__ import annotations

import msgspec
import pytest

from headwater.events.types import Event, Feedback
from replay.golden_events import events_by_name

# Fields in wire order; names may change, places may not. A new field goes to the end, with a default.
LAYOUT = {
    1: "Feedback type user item ts value event_id session basket slate slot context",
    2: "Impression user slate ts slots event_id",
    3: "UserMerge from_user into_user ts event_id",
    4: "MergeCarried from_user into_user ts sealed state",
    5: "MergeSettled from_user ts sealed",
    10: "ItemPut item ts categories labels is_hidden timestamp group_id embeddings comment",
    11: "ItemPatch item ts categories labels is_hidden timestamp group_id embeddings comment",
    12: "ItemDelete item ts",
    13: "UserPut user ts labels comment",
    14: "UserForget user ts",
    20: "SlateServed slate user ts request variant config_version scorer_version positions left_out candidates items"
    " extra",
    30: "ConfigActivated ts version body",
    31: "ModelActivated ts kind uri content_hash",
}
KINDS = list(Event.__args__)
EVENTS = [event for _, group in events_by_name().values() for event in group]


def test_layout() -> None:
    layout = {kind.__struct_config__.tag: " ".join((kind.__name__, *kind.__struct_fields__)) for kind in KINDS}
    assert layout == LAYOUT


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_an_array_behind_its_tag(event: Event) -> None:
    encoded = msgspec.msgpack.encode(event)
    fields = msgspec.msgpack.decode(encoded)
    assert fields[0] == type(event).__struct_config__.tag
    assert len(fields) == 1 + len(event.__struct_fields__)
    assert msgspec.msgpack.decode(encoded, type=Event) == event


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_trailing_fields_may_be_left_out(kind: type[Event]) -> None:
    event = next(event for event in EVENTS if type(event) is kind)
    required = len(kind.__struct_fields__) - len(kind.__struct_defaults__)
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(event))[: 1 + required]
    short = msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=Event)
    assert type(short) is kind
    for name in kind.__struct_fields__[:required]:
        assert getattr(short, name) == getattr(event, name)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=Event)


def test_events_do_not_change() -> None:
    event = Feedback("view", "u", "i", 0)
    with pytest.raises(AttributeError):
        event.user = "v"  # type: ignore[misc]
