"""Evaluations for people: tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.evaluate.run import Table

if TYPE_CHECKING:
    from rich.table import Table as Shown


def accuracy_table(table: Table) -> Shown:
    """One row a source."""
    from rich.table import Table as Grid
    from rich.text import Text

    first = next(iter(table.rows.values()))
    metrics = [key for key, value in first.items() if isinstance(value, float)]
    grid = Grid("source", *metrics, "evaluations", "skipped", "cold", "p90 us", title=table.protocol)
    for source, row in table.rows.items():
        times = row["query_us"]
        figures = [f"{row[metric]:.4f}" for metric in metrics]
        counts = [f"{row[key]:,}" for key in ("evaluations", "skipped", "cold")]
        grid.add_row(Text(source), *figures, *counts, "-" if times is None else f"{times['p90']:,.0f}")
    facts = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in table.facts.items())
    grid.caption = Text("\n".join([facts, *table.notes]))
    return grid
