"""CPU and memory of processes while something runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Self

from headwater.errors import HeadwaterError

_EVERY_S = 0.5


class Watched:
    """Watches processes from `with` to its end: seconds of CPU, resident memory in MB at most.

    `processes`: a name for each process id; a process that ends meanwhile keeps what was seen of it.
    """

    def __init__(self, processes: Mapping[int, str]) -> None:
        try:
            import psutil
        except ImportError as err:
            raise HeadwaterError("CPU and memory need psutil: pip install 'headwater[latency]'") from err
        self._gone: type[Exception] = psutil.Error
        self._processes: dict[int, tuple[str, Any]] = {}
        for pid, name in processes.items():
            try:
                self._processes[pid] = (name, psutil.Process(pid))
            except psutil.Error:
                continue  # ended already: whoever asked for it will say so
        self.cpu: dict[str, float] = {}
        self.memory_mb: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._first = self._seconds()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        last = self._seconds()
        for pid, (name, _) in self._processes.items():
            used = last.get(pid, 0.0) - self._first.get(pid, 0.0)
            self.cpu[name] = round(self.cpu.get(name, 0.0) + max(0.0, used), 3)

    def _seconds(self) -> dict[int, float]:
        found = {}
        for pid, (_, process) in self._processes.items():
            try:
                times = process.cpu_times()
            except self._gone:
                continue
            found[pid] = float(times.user + times.system)
        return found

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        now: dict[str, float] = {}
        for name, process in self._processes.values():
            try:
                now[name] = now.get(name, 0.0) + process.memory_info().rss / 1e6
            except self._gone:
                continue
        for name, megabytes in now.items():
            self.memory_mb[name] = round(max(self.memory_mb.get(name, 0.0), megabytes), 1)
