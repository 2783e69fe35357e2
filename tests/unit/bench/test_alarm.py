"""Wake-ups to the microsecond."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from headwater.bench.latency.alarm import Alarm


def ringing(use: Callable[[Alarm], Awaitable[None]]) -> None:
    async def main() -> None:
        alarm = Alarm(asyncio.get_running_loop())
        try:
            await use(alarm)
        finally:
            alarm.close()

    asyncio.run(main())


def times(count: int) -> list[int]:
    """The first of them has passed."""
    return [time.monotonic_ns() + n * 1_000_000 for n in range(-1, count - 1)]


def test_each_time_is_acted_on_once_it_has_come() -> None:
    async def use(alarm: Alarm) -> None:
        at, late = times(5), []
        await alarm.each(at, lambda place: late.append((place, time.monotonic_ns() - at[place])) is None)
        assert [place for place, _ in late] == [0, 1, 2, 3, 4]
        assert min(by for _, by in late) >= 0
        await alarm.each([], lambda _: True)
        await alarm.until(at[0])

    ringing(use)


def test_it_ends_where_that_is_said() -> None:
    async def use(alarm: Alarm) -> None:
        acted: list[int] = []
        await alarm.each(times(5), lambda place: acted.append(place) or place < 2)  # type: ignore[func-returns-value]
        assert acted == [0, 1, 2]

    ringing(use)


def test_what_is_raised_is_raised_where_it_is_awaited() -> None:
    async def use(alarm: Alarm) -> None:
        for at in (times(1), times(3)[1:]):
            with pytest.raises(ZeroDivisionError):
                await alarm.each(at, lambda _: 1 // 0 == 0)

    ringing(use)


def test_nothing_is_done_once_nobody_awaits_it() -> None:
    async def use(alarm: Alarm) -> None:
        acted: list[int] = []
        at = times(4)
        waiting = asyncio.ensure_future(alarm.each(at, lambda place: acted.append(place) is None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        before = list(acted)
        other = Alarm(asyncio.get_running_loop())
        await other.until(at[-1] + 1_000_000)  # the timer that was set has rung by then
        other.close()
        await asyncio.sleep(0)  # and who reads it, in the same turn
        assert acted == before

    ringing(use)
