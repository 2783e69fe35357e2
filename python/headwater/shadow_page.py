"""A shadow report for people: a table on a terminal, and one HTML file with its plots inside.

The plots are drawn by hand, so that they need no matplotlib.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.report_page import Html, Section, bullets, check_page_name, table, write_page
from headwater.report_page import page as html_page
from headwater.shadow import Group, ShadowReport

if TYPE_CHECKING:
    from rich.console import Group as Shown

_HEADINGS = ("slates", "identical", "overlap", "rank-biased overlap", "mean rank shift", "distinct items", "in common")
_LOGGED, _SHADOW = "#4c6a92", "#c7813b"


def check_plot_name(path: Path) -> None:
    """Raise `InvalidInput` for a file that is not called .html or .svg."""
    check_page_name(path, "plot", (".html", ".svg"))


def write_plot(report: ShadowReport, path: Path) -> None:
    """Write the report as a page (`.html`), or its plots alone (`.svg`). Raises `InvalidInput`, `StoreError`."""
    check_plot_name(path)
    write_page(path, page(report) if path.suffix == ".html" else plots(report))


def _rows(report: ShadowReport) -> list[tuple[str, Group]]:
    """Every group with its name, the whole first."""
    named = [("all", report.overall)]
    for title, groups in (
        ("scenario", report.scenarios),
        ("visitor", report.visitors),
        ("history", report.histories),
    ):
        named += [(f"{title}: {name}", group) for name, group in groups.items()]
    return named


def _cells(group: Group) -> list[str]:
    shift = "-" if group.rank_shift is None else f"{group.rank_shift:.2f}"
    return [
        f"{group.slates:,}",
        f"{group.identical:.1%}",
        f"{group.overlap:.3f}",
        f"{group.rbo:.3f}",
        shift,
        f"{group.logged_items:,} / {group.shadow_items:,}",
        f"{group.common_items:,}",
    ]


def _notes(report: ShadowReport) -> list[str]:
    refused = [f"{count} requests are refused there: {reason}" for reason, count in report.refused.items()]
    return [*report.notes, *refused]


def shadow_table(report: ShadowReport) -> Shown:
    """Groups, source mix and the slates that differ most."""
    from rich.console import Group as Together
    from rich.table import Table
    from rich.text import Text

    title = f"differences between the logged slates of {report.since:,} to {report.until:,} and {report.shadow_config}"
    notes = Text("\n".join(_notes(report)))
    groups = Table("", *_HEADINGS, title=Text(title), caption=notes)
    for name, group in _rows(report):
        groups.add_row(Text(name), *_cells(group))
    sources = Table("source", "logged", "shadow", title="share of slots by source")
    for source, (was, now) in _mixes(report.overall).items():
        sources.add_row(Text(source), f"{was:.1%}", f"{now:.1%}")
    most = Table("slate", "user", "overlap", "logged", "shadow", title="slates that differ most")
    for slate in report.most_different[:10]:
        logged, shadow = ", ".join(slate.logged[:5]), ", ".join(slate.shadow[:5])
        most.add_row(Text(slate.slate), Text(slate.user), f"{slate.overlap:.2f}", Text(logged), Text(shadow))
    return Together(groups, sources, most)


def _mixes(group: Group) -> dict[str, tuple[float, float]]:
    """Source -> share of slots (logged, shadow), the largest first."""
    names = {*group.logged_sources, *group.shadow_sources}
    mixes = {name: (group.logged_sources.get(name, 0.0), group.shadow_sources.get(name, 0.0)) for name in names}
    return dict(sorted(mixes.items(), key=lambda entry: (-sum(entry[1]), entry[0])))


def page(report: ShadowReport) -> str:
    """The whole report as one HTML page."""
    configs = ", ".join(f"{version} ({count:,})" for version, count in report.logged_configs.items())
    most = [
        (s.slate, s.user, f"{s.overlap:.2f}", f"{s.rbo:.2f}", ", ".join(s.logged), ", ".join(s.shadow))
        for s in report.most_different
    ]
    headings = ("slate", "user", "overlap", "rank-biased overlap", "logged", "shadow")
    lead = (
        f"Slates logged at positions {report.since:,} to {report.until:,} under {configs or 'none'}, and the same "
        f"requests answered under {report.shadow_config} by the same states."
    )
    groups = table(("", *_HEADINGS), [(name, *_cells(group)) for name, group in _rows(report)])
    return html_page(
        "Differences, not wins",
        [
            Section("What differs", [bullets(_notes(report)), Html(f"<figure>{plots(report)}</figure>"), groups]),
            Section("Slates that differ most", [table(headings, most, text=(1, 4, 5))]),
        ],
        lead=lead,
    )


def plots(report: ShadowReport) -> str:
    """Slates by overlap, and the share of slots by source, as one SVG."""
    mixes = _mixes(report.overall)
    histogram, below = _histogram(report.overall.overlaps)
    bars, height = _paired_bars(mixes, below + 30)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" viewBox="0 0 760 {height}" '
        f'fill="currentColor" font-size="12" role="img" aria-label="differences">{histogram}{bars}</svg>'
    )


def _histogram(overlaps: list[int]) -> tuple[str, int]:
    """Columns of slates by overlap; the SVG and where it ends."""
    most, floor, width = max([*overlaps, 1]), 190, 58
    parts = ['<text x="10" y="16" font-weight="bold">slates by overlap of items</text>']
    for place, count in enumerate(overlaps):
        tall, x = round(140 * count / most), 20 + place * (width + 6)
        label = "100 %" if place == 10 else f"{place * 10}-{place * 10 + 10} %"
        parts.append(f'<rect x="{x}" y="{floor - tall}" width="{width}" height="{tall}" fill="{_LOGGED}"/>')
        parts.append(f'<text x="{x + width // 2}" y="{floor - tall - 4}" text-anchor="middle">{count:,}</text>')
        parts.append(f'<text x="{x + width // 2}" y="{floor + 16}" text-anchor="middle">{label}</text>')
    return "".join(parts), floor + 20


def _paired_bars(mixes: Mapping[str, tuple[float, float]], top: int) -> tuple[str, int]:
    """Two bars a source; the SVG and where it ends."""
    parts = [f'<text x="10" y="{top}" font-weight="bold">share of slots by source</text>']
    for x, color, name in ((220, _LOGGED, "logged"), (310, _SHADOW, "shadow")):
        parts.append(f'<rect x="{x}" y="{top - 10}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 17}" y="{top}">{name}</text>')
    y = top + 16
    for source, shares in mixes.items():
        parts.append(f'<text x="170" y="{y + 15}" text-anchor="end">{html.escape(source[:26])}</text>')
        for line, (share, color) in enumerate(zip(shares, (_LOGGED, _SHADOW), strict=True)):
            wide, at = round(480 * share, 1), y + line * 11
            parts.append(f'<rect x="180" y="{at}" width="{wide}" height="10" fill="{color}"/>')
            parts.append(f'<text x="{wide + 186}" y="{at + 9}">{share:.1%}</text>')
        y += 32
    return "".join(parts), y + 10
