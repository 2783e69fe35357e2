"""Every kernel beside its peers and the machine's limit, in one run: `headwater bench kernels`."""

from __future__ import annotations

from collections.abc import Callable, Collection

from headwater.bench import cooccurrence_rows, diversity_rows, filter_rows, fold_rows, scoring_rows, session_rows
from headwater.bench.row import Row
from headwater.bench.scale import Scale
from headwater.errors import InvalidInput

FAMILIES: dict[str, Callable[[Scale], list[Row]]] = {
    "scoring": scoring_rows.rows,
    "diversity": diversity_rows.rows,
    "filter": filter_rows.rows,
    "cooccurrence": cooccurrence_rows.rows,
    "session": session_rows.rows,
    "fold": fold_rows.rows,
}


def run_kernels(
    scale: Scale, only: Collection[str] = (), starting: Callable[[str], object] = lambda name: None
) -> list[Row]:
    """The rows of all families, or of those in `only`. `starting` is told each family's name before it runs.

    Raises `HeadwaterError` where ours or a peer gives a wrong answer: then there is nothing to compare.
    """
    unknown = set(only) - set(FAMILIES)
    if unknown:
        raise InvalidInput(f"no kernels named {', '.join(sorted(unknown))}; allowed: {', '.join(FAMILIES)}")
    rows = []
    for name, measure in FAMILIES.items():
        if not only or name in only:
            starting(name)
            rows += measure(scale)
    return rows
