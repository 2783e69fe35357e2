"""Makes or checks `golden/ranx.json`, from the repository's root:

    make ranx-parity                                                             # checks
    .venv/bin/python tests/parity/make_ranx_golden.py .venv/ranx/bin/python      # makes, after the lists were changed

The argument is a Python with ranx (`make ranx-parity` builds it). With `--check` nothing is written: ranx's figures of
now must equal the golden ones and Headwater's, to 1e-12.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headwater.evaluate.metrics import accuracy
from parity.ranx_input import K, lists

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "ranx.json"
TOLERANCE = 1e-12


def main(python: str, check: bool) -> int:
    """Ask ranx; write or compare. The exit status."""
    asked = json.dumps({"lists": lists(), "k": K})
    command = [python, "-I", str(HERE / "ranx_numbers.py")]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout)
    golden = json.loads(GOLDEN.read_text()) if check else told
    worst = 0.0
    for k in K:
        ours = [accuracy(ranked, relevant, k) for ranked, relevant in lists()]
        for name, scores in told["scores"][str(k)].items():
            kept = golden["scores"][str(k)][name]
            for own, ranx, gold in zip(ours, scores, kept, strict=True):
                worst = max(worst, abs(ranx - getattr(own, name)), abs(ranx - gold))
    print(f"ranx {told['ranx']}: largest difference {worst:.2e}, allowed {TOLERANCE:g}")
    if worst > TOLERANCE:
        print("they differ, or the golden figures belong to other lists", file=sys.stderr)
        return 1
    if not check:
        GOLDEN.write_text(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    rest = [argument for argument in sys.argv[1:] if argument != "--check"]
    sys.exit(main(rest[0], "--check" in sys.argv[1:]))
