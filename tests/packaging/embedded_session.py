"""Use the embedded engine as an installed package would be used. Run by `test_wheel.py` in an environment of its own.

Usage: python -I embedded_session.py DIRECTORY. Prints one JSON line.
"""

import importlib.util
import json
import sys
from pathlib import Path

import headwater as hw

NOT_NEEDED = ("ray", "nats", "uvloop", "usearch", "pytest", "maturin")
NOT_LOADED = ("polars", "rich", "click")


def main(directory: Path) -> dict[str, object]:
    loaded = [name for name in NOT_LOADED if name in sys.modules]
    with hw.Engine.open(directory) as engine:
        for item in ("kettle", "teapot", "lamp"):
            engine.put_item(item, categories=["home"])
        for user in ("ann", "ben", "cem", "dan"):
            for item in ("kettle", "teapot"):
                engine.track("view", user=user, item=item)
        position = engine.track("view", user="bob", item="kettle")
        slate = engine.recommend("bob", n=2, after=position)
        engine.flush()  # the slate's record is part of the log, and counts what it served
        report = engine.verify()
        digest = engine.digest()["whole"]
    with hw.Engine.open(directory, read_only=True) as engine:
        reopened = engine.digest()["whole"]
    return {
        "package": hw.__file__,
        "found_but_not_needed": [name for name in NOT_NEEDED if importlib.util.find_spec(name)],
        "loaded_by_import": loaded,
        "items": [item.item for item in slate],
        "reasons": [reason.text for reason in slate[0].reasons],
        "equal": report.equal,
        "digest": digest,
        "reopened": reopened,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
