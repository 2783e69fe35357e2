"""Makes the golden files under `golden/`. From the repository's root:

    .venv/bin/python tests/replay/make_golden.py state    # after a change of the fold
    .venv/bin/python tests/replay/make_golden.py frames   # after new golden frames or events were added

`state` folds the checked-in log and writes `state.json`: digests, outcomes, and the FOLD_VERSION they hold for. A fold
that gives other digests is another fold: raise FOLD_VERSION with it, or logs in the field silently change their state.

`frames` writes `frames.json`, `refused.json` and `log.bin`, then does `state`. It refuses to change a golden frame
that is there: old frames lie in old logs. `--replace` does it all the same, for a format that was never released.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headwater.core import FOLD_VERSION, new_core
from replay.golden_events import golden_frames, older_frames, refused_frames
from replay.golden_log import golden_config, golden_log

GOLDEN = Path(__file__).parent / "golden"
_LENGTH = struct.Struct("<I")
_LONG = 4096


class State(NamedTuple):
    """What a log was folded into."""

    fold_version: int
    frames: int
    outcomes: dict[str, int]
    digest: dict[str, str]


def fold_state(frames: list[bytes], threads: int = 1, batch: int = 64) -> State:
    """Fold frames under the golden configuration."""
    core = new_core(golden_config(), threads)
    outcomes: Counter[str] = Counter()
    for at in range(0, len(frames), batch):
        outcomes.update(core.apply(at + 1, frames[at : at + batch])[0])
    return State(FOLD_VERSION, len(frames), dict(sorted(outcomes.items())), core.digest())


def read_log() -> list[bytes]:
    """The frames of `log.bin`: each behind its length, four bytes little-endian."""
    content = (GOLDEN / "log.bin").read_bytes()
    frames, at = [], 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        frames.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return frames


def read_state() -> State:
    """What `state.json` says."""
    return State(**json.loads((GOLDEN / "state.json").read_bytes()))


def read_frames(name: str) -> dict[str, dict[str, Any]]:
    """`frames` or `refused`: by name, with the bytes under `frame`."""
    entries: dict[str, dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_bytes())
    for entry in entries.values():
        zipped = entry.pop("zlib", None)
        entry["frame"] = zlib.decompress(base64.b64decode(zipped)) if zipped else bytes.fromhex(entry.pop("hex"))
    return entries


def _bytes_entry(frame: bytes) -> dict[str, str]:
    if len(frame) <= _LONG:
        return {"hex": frame.hex()}
    return {"zlib": base64.b64encode(zlib.compress(frame, 9)).decode()}


def write_state() -> None:
    """Write `state.json` and say what changed."""
    state = fold_state(read_log())
    path = GOLDEN / "state.json"
    if path.exists():
        old = read_state()
        if old.digest != state.digest and old.fold_version == state.fold_version:
            print(
                f"note: another digest under the same FOLD_VERSION {FOLD_VERSION}: raise it if this fold was released"
            )
    path.write_text(json.dumps(state._asdict(), indent=1) + "\n")
    print(f"{path.name}: {state.frames} frames, digest {state.digest['whole']}")


def write_frames(replace: bool) -> None:
    """Write all that is built by rule."""
    GOLDEN.mkdir(exist_ok=True)
    sound = {g.name: _bytes_entry(g.frame) for g in golden_frames()}
    sound |= {g.name: _bytes_entry(g.frame) for g in older_frames()}
    refused: dict[str, Any] = {
        r.name: {
            "frame_code": r.frame_code,
            "event_codes": r.event_codes,
            "fold_codes": r.fold_codes,
            **_bytes_entry(r.frame),
        }
        for r in refused_frames()
    }
    for name, entries in (("frames", sound), ("refused", refused)):
        _keep_old(name, entries, replace)
        (GOLDEN / f"{name}.json").write_text(json.dumps(entries, indent=1) + "\n")
        print(f"{name}.json: {len(entries)} frames")
    (GOLDEN / "log.bin").write_bytes(b"".join(_LENGTH.pack(len(f)) + f for f in golden_log()))


def _keep_old(name: str, entries: dict[str, Any], replace: bool) -> None:
    path = GOLDEN / f"{name}.json"
    old = json.loads(path.read_bytes()) if path.exists() and not replace else {}
    changed = [key for key, entry in old.items() if json.loads(json.dumps(entries.get(key))) != entry]
    if changed:
        sys.exit(f"{path.name}: {', '.join(changed)} would change; golden frames are only added to (see --replace)")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["state"]:
            write_state()
        case ["frames", *options] if options in ([], ["--replace"]):
            write_frames(bool(options))
            write_state()
        case _:
            sys.exit(__doc__)
