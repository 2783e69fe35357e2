"""What Open Bandit Pipeline estimates: JSON of `obp_input` on standard input, JSON of figures on standard output.

Run in an environment with obp 0.4.1, without torch. obp imports torch everywhere, for policies learned by gradient and
for the types in its annotations. None of its numpy estimators calls it: an empty module of that name stands in, and
anything that did use it would fail. For the same reason `obp.ope` is entered without its `__init__`, which would import
plots and regressions. Only estimators run here, unchanged.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def estimators() -> tuple[Any, Any]:
    """`obp.ope.estimators` and `obp.ope.estimators_slate`."""
    torch = types.ModuleType("torch")
    torch.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
    sys.modules["torch"] = torch
    spec = importlib.util.find_spec("obp")
    assert spec is not None
    assert spec.origin is not None
    ope = types.ModuleType("obp.ope")
    ope.__path__ = [str(Path(spec.origin).parent / "ope")]
    sys.modules["obp.ope"] = ope
    single = importlib.import_module("obp.ope.estimators")
    return single, importlib.import_module("obp.ope.estimators_slate")


def main() -> None:
    """Read, estimate, print."""
    arguments = json.load(sys.stdin)
    slot = {name: np.array(values) for name, values in arguments["slot"].items()}
    slates = {name: np.array(values) for name, values in arguments["slates"].items()}
    single, many = estimators()
    length = int(slates["position"].max()) + 1
    values = {
        "ips": single.InverseProbabilityWeighting().estimate_policy_value(**slot),
        "snips": single.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**slot),
        "rips": many.SlateRewardInteractionIPS(len_list=length).estimate_policy_value(**slates),
        "sips": many.SlateStandardIPS(len_list=length).estimate_policy_value(**slates),
    }
    print(json.dumps({"obp": version("obp"), "values": {name: float(value) for name, value in values.items()}}))


if __name__ == "__main__":
    main()
