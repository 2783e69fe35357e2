"""Graphs of large embeddings, grown behind the callers whose events made them due.

A graph only saves time: until it is grown, and while it is behind, questions scan or look beside it. So it holds nobody
up, and an engine that is closed or ends meanwhile lets go of it; the next one grows it again.
"""

from __future__ import annotations

import threading

from headwater.core import Core, graphs_due, grow_graphs, stop_graphs

_AGAIN_SECONDS = 0.02


class GraphGrowth:
    """Grows the graphs of one state on a thread of its own whenever any is due."""

    def __init__(self, core: Core, above: int) -> None:
        """`above`: an embedding of so many vectors or more gets a graph; 0: none does."""
        self._core = core
        self._above = above
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def begin_if_due(self) -> None:
        """Begin to grow if a graph is due and none is growing. Never raises."""
        thread = self._thread
        if not self._above or (thread is not None and thread.is_alive()) or not graphs_due(self._core, self._above):
            return
        with self._mutex:
            busy = self._thread is not None and self._thread.is_alive()
            if busy or self._closed.is_set():
                return
            thread = threading.Thread(target=grow_graphs, args=(self._core, self._above), name="graphs", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the next write tries again, and scans go on meanwhile
                return
            self._thread = thread

    def wait(self) -> None:
        """Until every graph that is due is grown."""
        while graphs_due(self._core, self._above) and not self._closed.is_set():
            self.begin_if_due()
            if not self._join():  # it ended already, or none could begin: there may be one in a moment
                self._closed.wait(_AGAIN_SECONDS)
        self._join()

    def close(self) -> None:
        """Let go of what is growing."""
        with self._mutex:
            self._closed.set()
        stop_graphs(self._core)
        self._join()

    def _join(self) -> bool:
        """Wait for the thread that grows; whether there was one."""
        with self._mutex:
            thread = self._thread
        if thread is None or not thread.is_alive():
            return False
        thread.join()
        return True
