"""The machine: what it is, and what it can do at most. Limits are measured, in the same run as the kernels."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from headwater import core
from headwater.bench.timing import clocked, interleaved

_RUNS = 5
_STREAM_BYTES = 128 << 20
_MULTIPLY_ADDS = 1_000_000_000


def describe() -> dict[str, Any]:
    """Processor, cores, caches, SIMD path and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return {
        "cpu": facts.get("model name", platform.processor()),
        "family_model_stepping": "/".join(facts.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "simd": core.simd_path(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "stream_gb_per_s": round(stream_bytes_per_s() / 1e9, 1),
        "int8_multiply_adds_g_per_s": round(multiply_adds_per_s() / 1e9, 1),
    }


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = (index / "level").read_text().strip(), (index / "type").read_text().strip()
        if kind != "Instruction":
            found[f"L{level}"] = (index / "size").read_text().strip()
    return found


@cache
def stream_bytes_per_s(size: int = _STREAM_BYTES) -> float:
    """Bytes per second that one core reads front to back, of an array of `size` bytes."""
    words = np.ones(max(size // 8, 1024), np.uint64)
    times = max(1, (16 << 20) // words.nbytes)
    seconds = interleaved({"read": clocked(lambda: core.stream_words(words), times)}, _RUNS)["read"]
    return words.nbytes / min(seconds)


@cache
def lines_per_s(size: int) -> float:
    """Cache lines per second that one core reads and writes at random places of `size` bytes, fetched ahead."""
    lines, visits = core.LineVisits(size), 2_000_000
    seconds = interleaved({"visit": clocked(lambda: lines.visit(visits))}, _RUNS)["visit"]
    return visits / min(seconds)


@cache
def multiply_adds_per_s() -> float:
    """int8 multiply-adds per second of one core with everything in registers."""
    seconds = interleaved({"dots": clocked(lambda: core.multiply_adds(_MULTIPLY_ADDS))}, _RUNS)["dots"]
    return _MULTIPLY_ADDS / min(seconds)
