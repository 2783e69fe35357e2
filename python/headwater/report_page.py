"""A report as one HTML file: headings, sentences, tables and charts, for the commands that measure something.

* The shell: `page`, `Section`, and what stands in one: `paragraph`, `bullets`, `table`, `code`.
* The charts: `line_chart`, `scatter_chart`, `bar_chart`, drawn by matplotlib's SVG backend (`pip install
  'headwater[report]'`; the shell and the tables do not need it).

A page loads nothing, runs no script, is dark or light as the reader's system is, and fits a phone: charts shrink with
the page, wide tables scroll by themselves. The same arguments give the same bytes: no date, no random ids. Text is
escaped unless it is `Html`, so names out of a log are safe. This module computes nothing; `write_page` puts a page
where it is wanted.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headwater.errors import HeadwaterError, InvalidInput, StoreError


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


class Section(NamedTuple):
    """A heading and what stands below it, in order: what the functions of this module return, or plain text."""

    heading: str
    parts: Sequence[str]


class Series(NamedTuple):
    """One line or cloud of points: `low` and `high`, when given, are drawn as a band, `labels` beside the points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    labels: Sequence[str] | None = None


# Colours that keep apart on white and on near-black, for the colour-blind too (Okabe and Ito, lightened in the dark).
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#7a6a00", "#56a0d3", "#cc3344", "#666666")
_DARK = ("#5bb0e8", "#ff9248", "#3ecfa3", "#de8fd2", "#dccb4e", "#9ccbf0", "#ff7d8a", "#b0b0b0")
# Drawn in these, replaced by what the page's style sheet says: no chart uses them for anything else.
_INK, _FAINT = "#010203", "#040506"
_MARKS = tuple(f"#0a0b{place:02x}" for place in range(len(_LIGHT)))

_STYLE = (
    ":root{color-scheme:light dark;--paper:#fff;--ink:#1d2126;--soft:#5b6570;--rule:#d9dee3;--head:#f3f5f7;"
    + "".join(f"--c{place}:{colour};" for place, colour in enumerate(_LIGHT))
    + "}@media(prefers-color-scheme:dark)"
    "{:root{--paper:#14171a;--ink:#e4e7ea;--soft:#9aa5b1;--rule:#343b42;--head:#1d2226;"
    + "".join(f"--c{place}:{colour};" for place, colour in enumerate(_DARK))
    + "}}*{box-sizing:border-box}"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:64rem;margin:0 auto;"
    "padding:1rem}h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.2rem;margin-top:2rem}"
    ".lead,figcaption,caption{color:var(--soft)}.wide{overflow-x:auto;margin:1rem 0}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}"
    "caption{text-align:left;padding-bottom:.3rem}th{background:var(--head)}"
    "td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}td.text,th.text{text-align:left;white-space:normal}"
    "figure{margin:1rem 0}figure svg{display:block;width:100%;max-width:46rem;height:auto}"
    "svg *{stroke-linejoin:round;stroke-linecap:butt}"
    "svg text{font-family:system-ui,sans-serif}pre{overflow-x:auto;background:var(--head);padding:.7rem}"
)


def page(title: str, sections: Iterable[Section], *, lead: str = "") -> str:
    """The whole file: `title` in the window and on top, `lead` below it, then the sections."""
    esc = html.escape
    body = "".join(
        f"<section><h2>{esc(section.heading)}</h2>{''.join(_part(part) for part in section.parts)}</section>"
        for section in sections
    )
    below = f'<p class="lead">{esc(lead)}</p>' if lead else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{esc(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{esc(title)}</h1>{below}{body}</body></html>\n"
    )


def check_page_name(path: Path, field: str = "html", suffixes: tuple[str, ...] = (".html",)) -> None:
    """Raise `InvalidInput` for a file of another kind: before anything is measured, not after it."""
    if path.suffix not in suffixes:
        rule = f"names ending in {' or '.join(suffixes)}"
        raise InvalidInput(f"{path}: allowed: {rule}", field=field, value=str(path), rule=rule)


def write_page(path: Path, text: str) -> None:
    """Write a page or a picture. Raises `StoreError`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as err:
        raise StoreError(f"{path}: cannot be written: {err.strerror or err}", path=str(path)) from err


def _part(part: str) -> str:
    return part if isinstance(part, Html) else paragraph(part)


def paragraph(text: str) -> Html:
    """A paragraph of plain text."""
    return Html(f"<p>{html.escape(text)}</p>")


def bullets(texts: Iterable[str]) -> Html:
    """A list; empty when there is nothing to say."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return Html(f"<ul>{items}</ul>" if items else "")


def code(text: str) -> Html:
    """Text as it was typed: a command, a configuration."""
    return Html(f"<pre>{html.escape(text)}</pre>")


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "", text: Iterable[int] = ()
) -> Html:
    """A table; the first column stands left, the others right; those in `text` (from 0) left and broken into lines.

    Cells are shown by `str`; `None` is a dash. Raises `InvalidInput` for a row that is not as long as the headings.
    """
    left = set(text)

    def cell(tag: str, place: int, value: object) -> str:
        shown = "-" if value is None else value
        look = ' class="text"' if place in left else ""
        return f"<{tag}{look}>{shown if isinstance(shown, Html) else html.escape(str(shown))}</{tag}>"

    def cells(tag: str, values: Sequence[object]) -> str:
        if len(values) != len(headings):
            raise InvalidInput(f"table: a row of {len(values)} cells under {len(headings)} headings", field="rows")
        return "".join(cell(tag, place, value) for place, value in enumerate(values))

    head, body = cells("th", headings), "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return Html(f'<div class="wide"><table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    times: bool = False,
    from_zero: bool = False,
) -> Html:
    """Lines over a common axis, with bands where a series has `low` and `high`. `times`: x is UTC milliseconds.

    Raises `InvalidInput` for series of unequal lengths, `HeadwaterError` without matplotlib.
    """
    _check_lengths(series)

    def draw(axes: Any) -> None:
        for place, line in enumerate(series):
            colour, x = _mark(place), [value / 86_400_000 for value in line.x] if times else list(line.x)
            marker = "o" if len(x) <= 30 else ""
            axes.plot(x, line.y, color=colour, label=line.name, linewidth=1.8, marker=marker, markersize=3.5)
            if line.low is not None and line.high is not None:
                axes.fill_between(x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
        if times:
            _date_axis(axes)
        _scales(axes, log_x, log_y, from_zero)

    return _figure(draw, title, x_label, y_label, legend=len(series) > 1)


def scatter_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> Html:
    """Points, with `labels` beside them: what is bought with what. Raises as `line_chart`."""
    _check_lengths(series)

    def draw(axes: Any) -> None:
        for place, cloud in enumerate(series):
            axes.scatter(cloud.x, cloud.y, color=_mark(place), label=cloud.name, s=28)
            for x, y, label in zip(cloud.x, cloud.y, cloud.labels or (), strict=False):
                note = axes.annotate(label, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=9.5)
                note.set_in_layout(False)
        _scales(axes, log_x, log_y, from_zero=False)

    return _figure(draw, title, x_label, y_label, legend=len(series) > 1)


def bar_chart(
    groups: Sequence[str],
    bars: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str = "",
    errors: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Html:
    """Horizontal bars: for each of `groups` (named on the left, the first on top) one bar of each series of `bars`.

    `errors` gives, by series, the ends (low, high) of each bar's interval. Raises as `line_chart`.
    """
    for name, values in bars.items():
        if len(values) != len(groups):
            raise InvalidInput(f"bars of {name!r}: {len(values)} values for {len(groups)} groups", field="bars")
    thick = 0.8 / max(len(bars), 1)

    def draw(axes: Any) -> None:
        for place, (name, values) in enumerate(bars.items()):
            at = [row + (place - (len(bars) - 1) / 2) * thick for row in range(len(groups))]
            ends = (errors or {}).get(name)
            reach = None
            if ends is not None:
                pairs = list(zip(values, ends, strict=True))
                # Matplotlib wants distances; an interval that does not hold its own value is drawn as far as it goes.
                reach = [[max(v - low, 0.0) for v, (low, _) in pairs], [max(high - v, 0.0) for v, (_, high) in pairs]]
            look = {"color": _mark(place), "ecolor": _INK, "capsize": 2}
            axes.barh(at, list(values), height=thick, label=name, xerr=reach, **look)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.invert_yaxis()

    height = 1.1 + max(len(groups) * max(len(bars), 1) * 0.2, len(groups) * 0.3)
    return _figure(draw, title, x_label, "", legend=len(bars) > 1, height=height)


def _check_lengths(series: Sequence[Series]) -> None:
    for line in series:
        lengths = {len(values) for values in (line.x, line.y, line.low, line.high, line.labels) if values is not None}
        if len(lengths) > 1:
            raise InvalidInput(f"series {line.name!r}: x, y, low, high and labels of unequal lengths", field="series")


def _mark(place: int) -> str:
    return _MARKS[place % len(_MARKS)]


def _scales(axes: Any, log_x: bool, log_y: bool, from_zero: bool) -> None:
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    if from_zero and not log_y:
        axes.set_ylim(bottom=0)


def _date_axis(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz="UTC", minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]


def _figure(
    draw: Callable[[Any], None], title: str, x_label: str, y_label: str, *, legend: bool, height: float = 3.4
) -> Html:
    """One chart with its title as a caption, in the page's colours."""
    try:
        import matplotlib
        from cycler import cycler
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as err:
        raise HeadwaterError("charts need matplotlib: pip install 'headwater[report]'") from err
    look: dict[Any, Any] = {
        "svg.fonttype": "none",  # letters stay letters: small, searchable, in the reader's own font
        "svg.hashsalt": title,
        "font.size": 12.0,
        "font.family": ["DejaVu Sans"],  # measures the text; it comes with matplotlib
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _FAINT,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "grid.color": _FAINT,
        "axes.prop_cycle": cycler(color=_MARKS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 10.5,
        "timezone": "UTC",
    }
    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault) | look):
        figure = Figure(figsize=(6.6, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.grid(visible=True, linewidth=0.5)
        axes.set_axisbelow(True)
        draw(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if legend:
            figure.legend(loc="outside upper left", ncols=3)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"), None)
        )
    caption = html.escape(title)
    return Html(f"<figure><figcaption>{caption}</figcaption>{_in_page_colours(out.getvalue(), title)}</figure>")


def _in_page_colours(svg: str, title: str) -> str:
    """The `<svg>` element alone, coloured by the page's style sheet, its ids its own among all charts of a page."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.S)
    svg = svg.replace(_INK, "var(--ink)").replace(_FAINT, "var(--rule)")
    for place, colour in enumerate(_MARKS):
        svg = svg.replace(colour, f"var(--c{place})")
    asked = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", svg))
    own = hashlib.sha256((title + svg).encode()).hexdigest()[:8]
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in asked else "", svg)
    svg = re.sub(r'(url\(|href=")#([\w-]+)', rf"\1#{own}-\2", svg)
    # Width and height come from the style sheet; the view box stays.
    return re.sub(
        r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg ',
        lambda found: f'<svg role="img" aria-label="{html.escape(title, quote=True)}" {found[1] or ""}',
        svg,
        count=1,
    )
