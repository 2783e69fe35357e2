"""A process that erases users of a directory one after the other, made to be killed. Usage: eraser.py DIR FIRST."""

from __future__ import annotations

import sys

import headwater as hw

if __name__ == "__main__":
    directory, first = sys.argv[1], int(sys.argv[2])
    with hw.Engine.open(directory, clock="log") as engine:
        engine.snapshot()
        print("open", flush=True)
        for user in range(first, first + 1000):
            engine.erase(f"u{user}")
            print(user, flush=True)
