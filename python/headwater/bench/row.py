"""One line of the kernel benchmark, and its arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """One kernel at one size, beside its peers.

    Times are medians in microseconds of what `per` names. `ratio`: a peer's time over ours, above 1 ours is faster.
    `limit_fraction` is the time that the machine's limit would need over ours: around 1 there is nothing to gain.
    What is absent (a peer that is not installed, a dataset that is not there) is None, and `note` says why.
    """

    kernel: str
    size: str
    threads: int
    ours_us: float | None
    peers: dict[str, float | None]
    ratio: dict[str, float | None]
    limit_fraction: float | None
    per: str = "call"
    limit: str = ""
    """What the limit is."""
    target: str = ""
    reached: bool | None = None
    note: str = ""
    facts: dict[str, float] = {}


class Target(msgspec.Struct, frozen=True):
    """What is to be reached: at most so many microseconds, and so many times a peer's speed."""

    at_most_us: float | None = None
    ratios: dict[str, float] = {}
    shown: str = ""

    def reached(self, ours_us: float, ratio: Mapping[str, float | None]) -> bool | None:
        """Whether it is; None when a peer that it names is absent and nothing else failed."""
        if self.at_most_us is not None and ours_us > self.at_most_us:
            return False
        found = [None if ratio.get(peer) is None else ratio[peer] for peer in self.ratios]
        for have, want in zip(found, self.ratios.values(), strict=True):
            if have is not None and have < want:
                return False
        return None if None in found else True


def make_row(
    kernel: str,
    size: str,
    seconds: Mapping[str, Sequence[float]],
    *,
    units: int = 1,
    threads: int = 1,
    per: str = "call",
    limit_us: float | None = None,
    limit: str = "",
    target: Target | None = None,
    note: str = "",
    absent: Sequence[str] = (),
    facts: Mapping[str, float] | None = None,
) -> Row:
    """The row of repeated timings: `seconds["ours"]` and one entry per peer, each of `units` times what `per` names."""
    times: dict[str, float | None] = {name: median(all_) / units * 1e6 for name, all_ in seconds.items()}
    ours = times.pop("ours")
    assert ours is not None
    times |= dict.fromkeys(absent)
    ratio = {name: None if peer is None else peer / ours for name, peer in times.items()}
    target = target or Target()
    missing = f"not installed: {', '.join(absent)}" if absent else ""
    return Row(
        kernel=kernel,
        size=size,
        threads=threads,
        ours_us=figures(ours),
        peers={name: None if peer is None else figures(peer) for name, peer in times.items()},
        ratio={name: None if x is None else figures(x) for name, x in ratio.items()},
        limit_fraction=None if limit_us is None else figures(limit_us / ours),
        per=per,
        limit=limit,
        target=target.shown,
        reached=target.reached(ours, ratio) if target.shown else None,
        note="; ".join(part for part in (note, missing) if part),
        facts={} if facts is None else {name: figures(value) for name, value in facts.items()},
    )


def absent_row(kernel: str, size: str, why: str, target: str = "") -> Row:
    """The row of what could not be measured here."""
    return Row(
        kernel=kernel,
        size=size,
        threads=0,
        ours_us=None,
        peers={},
        ratio={},
        limit_fraction=None,
        target=target,
        note=f"not measured: {why}",
    )


def figures(value: float) -> float:
    """Four significant figures: more would be noise."""
    return float(f"{value:.4g}")
