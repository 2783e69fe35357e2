"""Results for people: tables on a terminal, plots as PNG or SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.bench.ann_bench import ANN_HEADINGS, AnnRow, ann_cells
from headwater.bench.markdown import shown_time
from headwater.bench.peers import peer
from headwater.bench.row import Row
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from rich.table import Table

    from headwater.bench.recall_bench import RecallRow

_MARKS = {True: "yes", False: "no", None: ""}


def kernel_table(rows: Sequence[Row], machine: dict[str, Any]) -> Table:
    """One line per kernel."""
    from rich.table import Table

    title = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['simd']}; {machine['stream_gb_per_s']} GB/s, "
        f"{machine['int8_multiply_adds_g_per_s']} G int8 multiply-adds/s a core"
    )
    table = Table("kernel", "size", "threads", "ours", "peers (ratio)", "of limit", "to reach", "reached", title=title)
    for row in rows:
        ours = "-" if row.ours_us is None else f"{shown_time(row.ours_us)} / {row.per}"
        peers = "\n".join(
            f"{name}: absent" if us is None else f"{name}: {shown_time(us)} ({row.ratio[name]:.3g}x)"
            for name, us in row.peers.items()
        )
        share = "" if row.limit_fraction is None else f"{row.limit_fraction:.0%}"
        facts = "\n".join(f"{name} {value:,.4g}" for name, value in row.facts.items())
        said = "\n".join(part for part in (ours, facts, row.note if row.ours_us is None else "") if part)
        table.add_row(
            row.kernel,
            row.size,
            str(row.threads),
            said,
            peers,
            share,
            row.target,
            _MARKS[row.reached],
            end_section=True,
        )
    return table


def recall_table(rows: Sequence[RecallRow]) -> Table:
    """One line per log, relation and capacity."""
    from rich.table import Table

    table = Table("log", "relation", "C", "rows", "overflowing", "recall@50", "of these", "by events", "MB", "metric")
    for row in rows:
        if row.note:
            table.add_row(row.log, row.relation, "", "", "", row.note)
            continue
        table.add_row(
            row.log,
            row.relation,
            str(row.capacity),
            f"{row.rows:,}",
            f"{row.overflowing:.1%}",
            f"{row.recall:.4f}",
            "" if row.recall_overflowing is None else f"{row.recall_overflowing:.4f}",
            f"{row.recall_by_events:.4f}",
            f"{row.megabytes:,.1f}",
            row.metric,
        )
    return table


def ann_table(rows: Sequence[AnnRow]) -> Table:
    """One line per size and filter."""
    from rich.table import Table

    table = Table(*ANN_HEADINGS)
    for cells in ann_cells(rows):
        table.add_row(*cells)
    return table


def pyplot() -> Any:
    """matplotlib without a screen. Raises `HeadwaterError` where it is not installed."""
    if peer("matplotlib") is None:
        raise HeadwaterError("plots need matplotlib: pip install --group bench")
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def plot_kernels(rows: Sequence[Row], path: Path) -> None:
    """How many times a peer's speed each kernel has, one bar per peer, on a logarithmic axis.

    Raises `HeadwaterError` without matplotlib.
    """
    plotting = pyplot()
    bars = [
        (f"{row.kernel} ({row.size.split(':')[0].split(', ')[0]})\nvs {name}", ratio)
        for row in rows
        for name, ratio in row.ratio.items()
        if ratio is not None
    ]
    figure, axes = plotting.subplots(figsize=(10, 1 + 0.42 * max(1, len(bars))))
    axes.barh([name for name, _ in bars], [ratio for _, ratio in bars], color="#2b6cb0")
    for place, (_, ratio) in enumerate(bars):
        axes.text(ratio, place, f" {ratio:.3g}x", va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("times the peer's speed, same run, same input, same threads")
    save_figure(figure, plotting, path)


def plot_recall(rows: Sequence[RecallRow], path: Path) -> None:
    """Recall over capacity, one line per log and relation: all rows, and those that overflow."""
    plotting = pyplot()
    figure, (left, right) = plotting.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    measured = [row for row in rows if not row.note]
    for name in dict.fromkeys((row.log, row.relation, row.metric) for row in measured):
        line = sorted((r for r in measured if (r.log, r.relation, r.metric) == name), key=lambda r: r.capacity)
        label = ", ".join(name)
        left.plot([r.capacity for r in line], [r.recall for r in line], marker="o", label=label)
        over = [r for r in line if r.recall_overflowing is not None]
        right.plot([r.capacity for r in over], [r.recall_overflowing for r in over], marker="o", label=label)
    for axes, title in ((left, "all rows"), (right, "rows that overflow")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("capacity C of a row")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    left.set_ylabel("recall@50 against exact rows")
    left.legend(fontsize=7)
    save_figure(figure, plotting, path)


def save_figure(figure: Any, plotting: Any, path: Path) -> None:
    """Write a figure where it is wanted, and let it go."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plotting.close(figure)
