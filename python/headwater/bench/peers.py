"""Peers: whichever of them are installed, on as many threads as ours."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def peer(name: str) -> ModuleType | None:
    """The peer's module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


@contextmanager
def threads(count: int) -> Iterator[bool]:
    """Hold numpy's and scipy's BLAS, and OpenMP, to `count` threads. Yields whether that could be done: it needs
    `threadpoolctl`."""
    threadpoolctl = peer("threadpoolctl")
    if threadpoolctl is None:
        yield False
        return
    with threadpoolctl.threadpool_limits(limits=count):
        yield True
