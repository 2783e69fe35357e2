"""Fold a file of frames and print the digests. Usage: fold_frames.py FILE [THREADS] [FRAMES_AT_A_TIME].

A process of its own, so that the processor that it sees can be another one. It imports no more than the fold needs.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from headwater.config import Config, default_config
from headwater.core import Core, new_core

_LENGTH = struct.Struct("<I")


def write_frames(file: Path, frames: Sequence[bytes]) -> None:
    """Each frame behind its length."""
    file.write_bytes(b"".join(_LENGTH.pack(len(frame)) + frame for frame in frames))


def read_frames(file: Path) -> list[bytes]:
    """What `write_frames` wrote."""
    content = file.read_bytes()
    frames, at = [], 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        frames.append(content[at : at + length])
        at += length
    return frames


def fold(frames: Sequence[bytes], threads: int, step: int, config: Config | None = None) -> Core:
    """The state of frames applied `step` at a time."""
    core = new_core(config or default_config("shop"), threads)
    for start in range(0, len(frames), step):
        core.apply(start + 1, frames[start : start + step])
    return core


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[2:]]
    threads, step = (*numbers, 1, 512)[:2] if len(numbers) > 1 else (1, 512)
    print(json.dumps(fold(read_frames(Path(sys.argv[1])), threads, step).digest()))
