"""Makes or checks `golden/obp.json`, from the repository's root:

    make obp-parity                                                            # checks
    .venv/bin/python tests/parity/make_obp_golden.py .venv/obp/bin/python      # makes, after the shop was changed

The argument is a Python with obp 0.4.1 (`make obp-parity` builds it). With `--check` nothing is written: obp's figures
of now must equal the golden ones and Headwater's, to 1e-9.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headwater.learning import estimators
from parity.obp_input import digest, exported_table, obp_input, target_of

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "obp.json"
TOLERANCE = 1e-9


def main(python: str, check: bool) -> int:
    """Ask obp; write or compare. The exit status."""
    with tempfile.TemporaryDirectory() as folder:
        table = exported_table(Path(folder))
    arguments = obp_input(table)
    command = [python, "-I", str(HERE / "obp_numbers.py")]
    done = subprocess.run(command, input=json.dumps(arguments), stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout) | {"input": digest(arguments)}
    target = target_of(table)
    ours = {name: getattr(estimators, name)(table, target).value for name in told["values"]}
    golden = json.loads(GOLDEN.read_text()) if check else told
    worst = 0.0
    for name, value in told["values"].items():
        gap = max(abs(value - ours[name]), abs(value - golden["values"][name]))
        worst = max(worst, gap)
        print(f"{name:6} obp {value!r}  headwater {ours[name]!r}  golden {golden['values'][name]!r}")
    print(f"obp {told['obp']}: largest difference {worst:.2e}, allowed {TOLERANCE:g}")
    if worst > TOLERANCE or golden["input"] != told["input"]:
        print("they differ, or the golden figures belong to another log", file=sys.stderr)
        return 1
    if not check:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(told, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    asked = [argument for argument in sys.argv[1:] if argument != "--check"]
    sys.exit(main(asked[0], "--check" in sys.argv[1:]))
