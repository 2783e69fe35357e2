"""Two runs side by side: by how much each percentile changed, and by how much beside its floor."""

from __future__ import annotations

from pathlib import Path

import msgspec

from headwater.bench.latency.figures import AtRate, Change, Comparison, LatencyRun
from headwater.errors import InvalidInput

_SETTINGS = ("mix", "arrivals", "asking", "patience_s")


def read_run(path: Path) -> LatencyRun:
    """An earlier run's JSON. Raises `InvalidInput` for another file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LatencyRun)
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        rule = "what `headwater bench latency --json` printed"
        raise InvalidInput(f"{path}: {err}; allowed: {rule}", field="compare", rule=rule) from err


def check_comparable(rates: list[float], earlier: LatencyRun, name: str) -> None:
    """Raise `InvalidInput` for a run at none of these rates: before they are measured, not after it."""
    before = [at.rate for at in earlier.rates]
    if not set(rates) & set(before):
        rule = f"a run at some of the rates {', '.join(f'{rate:g}' for rate in rates)}"
        theirs = ", ".join(f"{rate:g}" for rate in before) or "none"
        raise InvalidInput(f"{name}: nothing to compare, its rates are {theirs}; allowed: {rule}", field="compare")


def compare(now: LatencyRun, earlier: LatencyRun, name: str) -> Comparison:
    """Every percentile that both runs give, at the rates that both have; a remark if there is none."""
    before = {at.rate: at for at in earlier.rates}
    changes = [change for at in now.rates if at.rate in before for change in _changes(at, before[at.rate])]
    remarks = [] if changes else ["nothing to compare: no percentile is given by both runs"]
    remarks += [
        f"{key} differs: {earlier.settings.get(key)} earlier, {now.settings.get(key)} now"
        for key in _SETTINGS
        if earlier.settings.get(key) != now.settings.get(key)
    ]
    for key in ("cpu", "cores"):
        if earlier.machine.get(key) != now.machine.get(key):
            remarks.append(f"another machine: {key} was {earlier.machine.get(key)}")
    remarks += [
        f"the {which} run is partial" for which, run in (("earlier", earlier), ("new", now)) if not run.complete
    ]
    return Comparison(earlier=name, changes=changes, remarks=remarks)


def _changes(now: AtRate, earlier: AtRate) -> list[Change]:
    changes = []
    for verb, requests in now.target.verbs.items():
        if verb not in earlier.target.verbs:
            continue
        before = earlier.target.verbs[verb].latency.ms
        for percentile, value in requests.latency.ms.items():
            old = before.get(percentile)
            if value is None or not old:
                continue
            changes.append(
                Change(
                    rate=now.rate,
                    verb=verb,
                    percentile=percentile,
                    earlier_ms=old,
                    now_ms=value,
                    ratio=round(value / old, 3),
                    beside_floor=_beside_floor(now, earlier, verb, percentile),
                )
            )
    return changes


def _beside_floor(now: AtRate, earlier: AtRate, verb: str, percentile: str) -> dict[str, float]:
    found = {}
    for floor, verbs in now.ratio.items():
        mine = verbs.get(verb, {}).get(percentile)
        theirs = earlier.ratio.get(floor, {}).get(verb, {}).get(percentile)
        if mine and theirs:
            found[floor] = round(mine / theirs, 3)
    return found
