"""Who is being forgotten is not carried; whoever forgets waits for what is under way, and not for ever."""

from __future__ import annotations

import asyncio

from headwater.cluster.held_back import HeldBack


def test_until_let_go_or_the_time_is_over() -> None:
    now = 100.0
    held = HeldBack(5, lambda: now)
    asyncio.run(held.hold(["ann", "bob"]))
    assert "ann" in held
    assert "cid" not in held
    held.let_go(["ann", "cid"])
    assert "ann" not in held
    now = 104.9
    assert "bob" in held
    now = 105.0
    assert "bob" not in held


def test_what_is_under_way_is_waited_for() -> None:
    async def forgotten() -> list[str]:
        held, done = HeldBack(5), []

        async def forget() -> None:
            await held.hold(["ann", "bob"])
            done.append("forgotten")

        with held.writing("ann"):
            forgetting = asyncio.ensure_future(forget())
            await asyncio.sleep(0)
            assert "ann" in held
            await asyncio.sleep(0)
            done.append("written")
        await forgetting
        await held.hold(["ann"])
        return done

    assert asyncio.run(forgotten()) == ["written", "forgotten"]


def test_a_write_that_fails_is_over_too() -> None:
    async def forgotten() -> None:
        held = HeldBack(5)
        try:
            with held.writing("ann"):
                raise OSError
        except OSError:
            await held.hold(["ann"])

    asyncio.run(asyncio.wait_for(forgotten(), 30))
