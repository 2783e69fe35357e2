"""Questions while somebody holds the state: on the loop where that is soon over, on a thread where it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from headwater.actors.state_hold import StateHold
from headwater.errors import NotReady


def this_thread() -> int:
    return threading.get_ident()


def test_a_free_state_is_asked_on_the_loop() -> None:
    async def asked() -> int:
        return await StateHold().ask(this_thread)

    assert asyncio.run(asked()) == this_thread()


def test_a_short_hold_is_waited_for() -> None:
    async def asked() -> list[int]:
        hold = StateHold()
        loop = asyncio.get_running_loop()
        with hold.holding():
            questions = [loop.create_task(hold.ask(this_thread)) for _ in range(3)]
            await asyncio.sleep(0)
            assert hold.held
        assert not any(question.done() for question in questions)
        return await asyncio.gather(*questions)

    assert asyncio.run(asked()) == [this_thread()] * 3


def test_a_long_hold_sends_questions_to_a_thread() -> None:
    async def asked() -> int:
        hold = StateHold()
        with hold.holding():
            return await hold.ask(this_thread)

    assert asyncio.run(asked()) != this_thread()


def test_the_last_holder_releases() -> None:
    async def asked() -> bool:
        hold = StateHold()
        with hold.holding(), hold.holding():
            pass
        with hold.holding():
            with hold.holding():
                question = asyncio.get_running_loop().create_task(hold.ask(this_thread))
                await asyncio.sleep(0)
            assert hold.held
            return await question != this_thread()

    assert asyncio.run(asked())


@pytest.mark.parametrize("is_held", [False, True])
def test_what_the_core_raises_is_raised(is_held: bool) -> None:
    def refusing(position: int, *, after: int) -> Callable[[], None]:
        raise NotReady("not yet", position=position, after=after)

    async def asked() -> None:
        hold = StateHold()
        if not is_held:
            await hold.ask(refusing, 1, after=2)
        with hold.holding():
            await hold.ask(refusing, 1, after=2)

    with pytest.raises(NotReady, match="not yet"):
        asyncio.run(asked())
