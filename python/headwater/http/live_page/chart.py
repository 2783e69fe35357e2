"""Curves as SVG, drawn on the server; colours and strokes are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.http.live_page.markup import Html, el

_WIDTH, _HEIGHT = 600.0, 100.0


def curve(values: Sequence[float], label: str) -> Html:
    """A filled curve over the whole width, its foot at zero."""
    top = max([1.0, *map(float, values)])
    step = _WIDTH / max(1, len(values) - 1)
    points = [f"{n * step:.1f},{_HEIGHT - value / top * _HEIGHT:.1f}" for n, value in enumerate(values)]
    lines = [el("line", x1=0, x2=_WIDTH, y1=y, y2=y, class_="grid") for y in (0.0, _HEIGHT / 2, _HEIGHT)]
    return el(
        "svg",
        el("title", label),
        lines,
        el("polygon", points=f"0,{_HEIGHT} {' '.join(points)} {_WIDTH},{_HEIGHT}", class_="area"),
        el("polyline", points=" ".join(points), class_="line"),
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        preserveAspectRatio="none",
        class_="chart",
        role="img",
    )


def bar(share: float, label: str) -> Html:
    """A bar of 0 to 1 of the width."""
    width = max(0.0, min(1.0, share)) * 100
    return el(
        "svg",
        el("title", label),
        el("rect", width=100, height=8, rx=2, class_="back"),
        el("rect", width=f"{width:.2f}", height=8, rx=2, class_="front"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_="bar",
        role="img",
    )
