"""The token bucket: a burst of one second, then the rate; more at once than a bucket holds is owed."""

import pytest

from headwater.cluster import rate
from headwater.cluster.rate import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate, "time", clock)
    return clock


def test_a_burst_of_one_second_then_the_rate(clock: Clock) -> None:
    bucket = TokenBucket(10)
    assert [bucket.take(1) for _ in range(11)] == [True] * 10 + [False]
    assert bucket.wait_ms(1) == 100
    clock.now += 0.11
    assert [bucket.take(1), bucket.take(1)] == [True, False]
    clock.now += 60
    assert [bucket.take(1) for _ in range(11)] == [True] * 10 + [False]


def test_more_than_a_bucket_holds_is_given_when_it_is_full_and_owed(clock: Clock) -> None:
    bucket = TokenBucket(10)
    assert bucket.take(30)
    assert not bucket.take(1)
    clock.now += 2.0
    assert not bucket.take(1)
    clock.now += 0.2
    assert bucket.take(1)


def test_no_rate_is_no_limit() -> None:
    bucket = TokenBucket(0)
    assert all(bucket.take(10**9) for _ in range(10))
    assert bucket.wait_ms(5) == 0
