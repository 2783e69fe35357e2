"""Progress of long work: a bar on a terminal, a caller's function, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Call = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """Shows nothing."""


def progress_call(progress: bool | Call, what: str) -> AbstractContextManager[Call]:
    """A context that gives a function (done, in all): a bar for `True`, nothing for `False`, else the caller's own."""
    if callable(progress):
        return _given(progress)
    return _bar(what) if progress else _given(ignore_progress)


@contextmanager
def _given(call: Call) -> Iterator[Call]:
    yield call


@contextmanager
def _bar(what: str) -> Iterator[Call]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
