"""What goes over the wire: both encodings, refusals by name, errors there and back."""

import json

import msgspec
import pytest

from headwater import errors
from headwater.errors import HeadwaterError, InvalidQuery, NotReady, Overloaded
from headwater.protocol import (
    REQUESTS,
    Recommend,
    check_namespace,
    decode_request,
    encode,
    encode_error,
    encoding_of,
    error_of,
    fault_of,
    raise_refusal,
    slate_host,
)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_request_is_read_in_the_encoding_that_it_came_in(encoding: str) -> None:
    asked = {"user": 7, "n": 3, "params": {"max": 50, "brands": ["x", "y"]}, "after": 12}
    request, found = decode_request("recommend", encode(asked, encoding))
    assert found == encoding
    assert isinstance(request, Recommend)
    assert (request.user, request.n, request.params, request.after) == (7, 3, {"max": 50, "brands": ["x", "y"]}, 12)


def test_nothing_is_an_empty_request() -> None:
    assert decode_request("status", b"").encoding == "json"


@pytest.mark.parametrize(
    ("verb", "data", "field"),
    [
        ("recommend", b'{"user": "a", "m": 3}', "m"),
        ("recommend", b'{"n": 3}', "user"),
        ("recommend", b'{"user": "a", "n": "three"}', "n"),
        ("recommend", b'{"user": "a", "deadline_ms": 0}', "deadline_ms"),
        ("recommend", b'{"user": "a", "deadline_ms": 60001}', "deadline_ms"),
        ("track", b"[1, 2]", "request"),
        ("track", b"\xff\xfe", "request"),
        ("track", b"{" * 5000, "request"),
        ("track", b"\x81\xa4user", "request"),
    ],
)
def test_what_is_no_request_is_refused_by_name(verb: str, data: bytes, field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        decode_request(verb, data)
    assert refused.value.details["field"] == field
    assert verb in refused.value.message or field == "deadline_ms"


@pytest.mark.parametrize("first", [0x80, 0x8F, 0xDE, 0xDF])
def test_messagepack_maps_are_told_by_their_first_byte(first: int) -> None:
    assert encoding_of(bytes([first])) == "msgpack"
    assert encoding_of(b"{") == encoding_of(b"") == encoding_of(b"\x90") == "json"


def every(kind: type[HeadwaterError]) -> list[type[HeadwaterError]]:
    """An error and all kinds of it that callers may meet: modules may have some of their own."""
    kinds = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(found for child in kinds for found in every(child))]


@pytest.mark.parametrize("kind", every(errors.HeadwaterError), ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_itself(kind: type[HeadwaterError]) -> None:
    sent = encode_error(kind("why", field="n", retry_after_ms=70), "msgpack")
    with pytest.raises(kind) as raised:
        raise_refusal(sent)
    assert type(raised.value) is kind
    assert raised.value.message == "why"
    assert raised.value.details["field"] == "n"


def test_only_what_may_succeed_later_says_when() -> None:
    assert fault_of(InvalidQuery("no", retry_after_ms=5)).retry_after_ms is None
    assert fault_of(NotReady("soon")).retry_after_ms == 50
    assert fault_of(Overloaded("later", retry_after_ms=9)).retry_after_ms == 9
    told = json.loads(encode_error(Overloaded("later"), "json"))
    assert told == {"error": {"code": "overloaded", "message": "later", "retry_after_ms": 250, "field": None}}


def test_an_error_of_a_newer_host_keeps_its_code() -> None:
    unknown = msgspec.msgpack.encode({"error": {"code": "of-tomorrow", "message": "?"}})
    with pytest.raises(HeadwaterError) as raised:
        raise_refusal(unknown)
    assert raised.value.code == "of-tomorrow"
    assert HeadwaterError.code == "error"
    assert error_of(fault_of(NotReady("x"))).code == "not-ready"


def test_answers_are_no_refusals() -> None:
    for answer in ({"position": 1}, {"error_rate": 0.1}, [], {"error": "x", "more": 1}):
        raise_refusal(msgspec.msgpack.encode(answer))


def test_values_stay_out_of_errors_on_the_wire() -> None:
    err = InvalidQuery("n = 'secret'", field="n", value="x" * 10_000)
    assert len(encode_error(err, "json")) < 200


@pytest.mark.parametrize("name", ["", "A", "a.b", "a b", "*", ">", "a" * 33, "-a", "ä"])
def test_namespaces_cannot_reach_into_others(name: str) -> None:
    with pytest.raises(InvalidQuery):
        check_namespace(name)


def test_a_slate_names_its_host() -> None:
    assert slate_host("s0-1f-17") == "s0"
    assert slate_host("3-17") is None
    assert slate_host("s0-1f-17" + "x" * 1000) is None


def test_verbs_are_words_of_a_subject() -> None:
    assert all(verb.replace("_", "").isalpha() and verb.islower() for verb in REQUESTS)
    assert not {"log", "h", "beat"} & set(REQUESTS)
