"""A panic of the Rust core is an error of the tree: pyo3's own exception for it is no `Exception`, so that it would
pass by every place that answers for errors."""

import pytest

from headwater.core import LineVisits
from headwater.errors import HeadwaterError, InternalError
from headwater.protocol import encode_error, raise_refusal


def test_a_panic_of_the_core_is_an_internal_error_with_its_message() -> None:
    with pytest.raises(InternalError, match="a defect of the core: capacity overflow") as caught:
        LineVisits(2**64 - 1)  # benchmarks' own: nothing that takes input from elsewhere lets a size like this through
    assert caught.value.details == {"reason": "capacity overflow"}


def test_clients_hear_of_it_as_internal() -> None:
    with pytest.raises(HeadwaterError, match="overflow") as caught:
        raise_refusal(encode_error(InternalError("a defect of the core: overflow", reason="overflow"), "msgpack"))
    assert type(caught.value) is InternalError
    assert caught.value.code == "internal"
