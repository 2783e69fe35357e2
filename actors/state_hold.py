"""Answering while a fold or the encoding of a snapshot holds the state.

The core waits for whoever holds it, and an event loop that waits in there answers nobody else. Most holds are over
before a thread would have got its turn on a core, so they are waited for here first; only those that last longer send
questions to threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE_SECONDS = 0.002


class StateHold:
    """Counts who holds a state on another thread. For one event loop."""

    def __init__(self) -> None:
        self._holders = 0
        self._released: asyncio.Future[None] | None = None

    @property
    def held(self) -> bool:
        """Whether the core would make its caller wait."""
        return self._holders > 0

    @contextmanager
    def holding(self) -> Iterator[None]:
        """While the state is held."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders and self._released is not None:
                self._released.set_result(None)
                self._released = None

    async def ask(self, verb: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What `verb` says of the state: asked on the loop once nobody holds it, on a thread if that takes long."""
        if self.held and not await self._is_released():
            return await asyncio.to_thread(verb, *arguments, **named)
        return verb(*arguments, **named)

    async def _is_released(self) -> bool:
        if self._released is None:
            self._released = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._released], timeout=_PATIENCE_SECONDS)
        return not self.held
