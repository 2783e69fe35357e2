"""How often intervals hold the truth, over many logs of the exploring shop. From the repository's root:

    .venv/bin/python tests/parity/coverage.py 400

Prints the rows of docs/guide-learning.md, section 5.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headwater.events.memory_log import MemoryLog
from headwater.learning import join
from headwater.learning.estimators import Estimate, ips, rips, sips, snips
from parity.obp_input import target_of
from reference.exploring_shop import REWARDS, WANTED, true_values, write_visits

ESTIMATORS = (ips, snips, rips, sips)


def main(seeds: int) -> None:
    """Estimate on each log, print the shares."""
    told: list[list[Estimate]] = [[] for _ in ESTIMATORS]
    for seed in range(seeds):
        log = MemoryLog()
        write_visits(log, seed)
        table = join(log, REWARDS).table
        target = target_of(table)
        for estimates, estimator in zip(told, ESTIMATORS, strict=True):
            estimates.append(estimator(table, target))
    values = true_values(WANTED)
    truths = [values.top, values.top, values.slate, values.slate]
    rows: dict[str, list[str]] = {}
    for estimates, truth in zip(told, truths, strict=True):
        inside = np.mean([e.low <= truth <= e.high for e in estimates])
        near = np.mean([abs(e.value - truth) <= 1.96 * e.standard_error for e in estimates])
        rows.setdefault("true value", []).append(f"{truth:.4f}")
        rows.setdefault("mean estimate", []).append(f"{np.mean([e.value for e in estimates]):.4f}")
        rows.setdefault("spread of estimates", []).append(f"{np.std([e.value for e in estimates], ddof=1):.4f}")
        rows.setdefault("mean standard error", []).append(f"{np.mean([e.standard_error for e in estimates]):.4f}")
        rows.setdefault("bootstrap interval holds it", []).append(f"{inside:.1%}")
        rows.setdefault("value within 1.96 standard errors", []).append(f"{near:.1%}")
        ess = np.mean([e.effective_sample_size for e in estimates])
        rows.setdefault("effective sample size", []).append(f"{ess:.0f}")
    for name, cells in rows.items():
        print("|", " | ".join([name, *cells]), "|")


if __name__ == "__main__":
    main(int(sys.argv[1]))
