"""Results as Markdown tables, put into a document's places for them, `<!-- name -->` to `<!-- /name -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.bench.ann_bench import ANN_HEADINGS, AnnRow, ann_cells
from headwater.bench.diversity_bench import DIVERSITY_HEADINGS, DiversityRow, diversity_cells
from headwater.bench.graph_bench import GRAPH_HEADINGS, GraphRow, graph_cells
from headwater.bench.ingest_bench import INGEST_HEADINGS, IngestRun, ingest_cells, ingest_held
from headwater.bench.latency.figures import LatencyRun
from headwater.bench.latency.show import HEADINGS, remarks, rows, title
from headwater.bench.operations_bench import HEADINGS as OPERATIONS_HEADINGS
from headwater.bench.operations_bench import OperationsRun, operations_cells
from headwater.bench.rebuild_bench import REBUILD_HEADINGS, RebuildRun, rebuild_cells
from headwater.bench.row import Row
from headwater.errors import InvalidInput

if TYPE_CHECKING:
    from headwater.bench.recall_bench import RecallRow

_REACHED = {True: "yes", False: "no", None: ""}


def kernel_sections(rows: Sequence[Row], machine: Mapping[str, Any]) -> dict[str, str]:
    """The sections `machine` and `kernels`."""
    flat = {key: value for key, value in machine.items() if not isinstance(value, dict)}
    flat |= {
        f"{key} {level}": size
        for key, levels in machine.items()
        if isinstance(levels, dict)
        for level, size in levels.items()
    }
    lines = [", ".join(f"{key.replace('_', ' ')} {value}" for key, value in flat.items())]
    table = [
        "| kernel | size | ours | peers (ours is so many times as fast) | of limit | to reach | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peers = (
            f"{name}: absent" if us is None else f"{name}: {shown_time(us)} ({row.ratio[name]:.3g}x)"
            for name, us in row.peers.items()
        )
        facts = (f"{name} {value:,.4g}" for name, value in row.facts.items())
        ours = row.note if row.ours_us is None else "; ".join((f"{shown_time(row.ours_us)} / {row.per}", *facts))
        share = "" if row.limit_fraction is None else f"{row.limit_fraction:.0%}"
        size = f"{row.size}; threads: {row.threads}" if row.threads else row.size
        cells = (row.kernel, size, ours, "; ".join(peers), share, row.target, _REACHED[row.reached])
        table.append("| " + " | ".join(cells) + " |")
    return {"machine": "\n".join(lines), "kernels": "\n".join(table)}


def recall_sections(rows: Sequence[RecallRow]) -> dict[str, str]:
    """The section `recall`."""
    table = [
        "| log | relation | metric | C | rows overflowing | recall@50 | of those rows | by events | MB of rows |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        over = "" if row.recall_overflowing is None else f"{row.recall_overflowing:.4f}"
        figures = (
            ("", row.note, "", "", "", "")
            if row.note
            else (
                str(row.capacity),
                f"{row.overflowing:.1%}",
                f"{row.recall:.4f}",
                over,
                f"{row.recall_by_events:.4f}",
                f"{row.megabytes:,.1f}",
            )
        )
        table.append("| " + " | ".join((row.log, row.relation, row.metric, *figures)) + " |")
    return {"recall": "\n".join(table)}


def ann_sections(rows: Sequence[AnnRow]) -> dict[str, str]:
    """The section `ann`."""
    return {"ann": _table(ANN_HEADINGS, ann_cells(rows))}


def graph_sections(rows: Sequence[GraphRow]) -> dict[str, str]:
    """The section `graphs`."""
    return {"graphs": _table(GRAPH_HEADINGS, graph_cells(rows))}


def diversity_sections(rows: Sequence[DiversityRow]) -> dict[str, str]:
    """The section `diversity`."""
    return {"diversity": _table(DIVERSITY_HEADINGS, diversity_cells(rows))}


def latency_sections(run: LatencyRun) -> dict[str, str]:
    """The section `latency`: the table, and what is to be kept in mind."""
    lines = [row for at in run.rates for row in rows(at)]
    told = "\n".join(f"- {line}" for line in remarks(run))
    return {"latency": f"{title(run)}\n\n{_table(HEADINGS, lines)}\n\n{told}"}


def ingest_sections(run: IngestRun) -> dict[str, str]:
    """The section `ingest`."""
    name = f"{run.source}, {run.events:,} events; {ingest_held(run)}"
    return {"ingest": f"{name}\n\n{_table(INGEST_HEADINGS, ingest_cells(run))}"}


def rebuild_sections(run: RebuildRun) -> dict[str, str]:
    """The section `rebuild`."""
    name = f"{run.source}, {run.events:,} events, {run.threads} threads, medians of {run.runs}"
    return {"rebuild": f"{name}\n\n{_table(REBUILD_HEADINGS, rebuild_cells(run))}"}


def operations_sections(run: OperationsRun) -> dict[str, str]:
    """The section `operations`."""
    name = f"{run.events:,} events of {run.users:,} users and {run.items:,} items, log {run.log_mb:,.0f} MB"
    return {"operations": f"{name}; {run.rate:g} questions/s\n\n{_table(OPERATIONS_HEADINGS, operations_cells(run))}"}


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def shown_time(us: float) -> str:
    """Microseconds in the unit that suits them."""
    if us >= 1000:
        return f"{us / 1000:,.3g} ms"
    return f"{us:.3g} us" if us >= 1 else f"{us * 1000:.3g} ns"


def update(path: Path, sections: Mapping[str, str], part: bool = False) -> None:
    """Replace sections of a document. Raises `InvalidInput`, with nothing changed, for one that has no place there.

    With `part` the sections' tables are only some of the rows: rows of the document whose first cell is that of none of
    them stay. Raises `InvalidInput`, too, where they stand under other columns.
    """
    path.write_text(_updated(path, sections, part), encoding="utf-8")


def check(path: Path, sections: Mapping[str, str], part: bool = False) -> None:
    """Raises what `update` would, before anything is measured: sections without rows will do."""
    _updated(path, sections, part)


def _updated(path: Path, sections: Mapping[str, str], part: bool) -> str:
    text = path.read_text(encoding="utf-8")
    for name, content in sections.items():
        place = re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.S)
        found = place.search(text)
        if not found:
            raise InvalidInput(f"{path} has no place for {name}: <!-- {name} --> and <!-- /{name} -->", field=name)
        new = content
        if part:
            merged = _merged(found[2], content)
            if merged is None:
                raise InvalidInput(
                    f"{path}: the table {name} has other columns, so its other rows cannot stay: "
                    "measure all of them, without --only",
                    field=name,
                )
            new = merged
        text = f"{text[: found.start()]}{found[1]}{new}\n{found[3]}{text[found.end() :]}"
    return text


def _merged(old: str, new: str) -> str | None:
    """The new table with the old one's other rows: rows of a name stand together, where the old ones stood or last.

    None where the old rows have other columns.
    """
    old_lines, new_lines = old.strip().splitlines(), new.splitlines()
    heading = new_lines[:2]
    if not old_lines or not heading[0].startswith("|"):
        return new
    if old_lines[:2] != heading:
        return None
    groups: dict[str, list[str]] = {}
    for line in old_lines[2:]:
        groups.setdefault(_first_cell(line), []).append(line)
    measured: dict[str, list[str]] = {}
    for line in new_lines[2:]:
        measured.setdefault(_first_cell(line), []).append(line)
    groups |= measured
    return "\n".join([*heading, *(line for lines in groups.values() for line in lines)])


def _first_cell(line: str) -> str:
    return line.split("|")[1].strip()
