"""The page of reports: nothing from elsewhere, escaped, the same bytes for the same arguments."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from headwater.errors import InvalidInput
from headwater.report_page import (
    Html,
    Section,
    Series,
    bar_chart,
    bullets,
    code,
    line_chart,
    page,
    scatter_chart,
    table,
)

DAY = 86_400_000


def charts() -> list[Html]:
    line = Series("a <b>", [1, 10, 100], [0.1, 0.2, 0.3], low=[0.0, 0.1, 0.2], high=[0.2, 0.3, 0.4])
    return [
        line_chart([line, Series("c", [1, 100], [0.3, 0.1])], title="lines & more", x_label="n", log_x=True),
        line_chart([Series("t", [1.5e12, 1.5e12 + 40 * DAY], [1, 2])], title="over time", times=True, from_zero=True),
        scatter_chart([Series("p", [1, 2], [1, 2], labels=["x", "y"])], title="trade-off"),
        bar_chart(["new", "old"], {"knn": [0.1, 0.2]}, title="bars", errors={"knn": [(0.05, 0.2), (0.3, 0.4)]}),
    ]


def drawing(chart: Html) -> ElementTree.Element:
    return ElementTree.fromstring(chart[chart.index("<svg") : chart.index("</svg>") + len("</svg>")])


def test_a_page_stands_alone() -> None:
    whole = page("Report <1>", [Section("Charts", charts())], lead="a & b")
    assert "<title>Report &lt;1&gt;</title>" in whole
    assert "a &amp; b" in whole
    assert "prefers-color-scheme:dark" in whole
    assert 'name="viewport"' in whole
    assert not re.search(r"<script|src=|@import|url\((?!#)|href=\"(?!#)", whole)


def test_charts_are_coloured_by_the_page_and_keep_their_ids_apart() -> None:
    whole = "".join(charts())
    assert not re.search(r"(?:fill|stroke): #", whole), "a colour that does not follow dark and light"
    ids = re.findall(r' id="([^"]+)"', whole)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", whole)) == set(ids)


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert charts() == charts()


def test_words_of_the_data_are_escaped() -> None:
    labels = [element.text for element in drawing(charts()[0]).iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <b>", "c", "n"} <= set(labels)
    section = Section("<h>", ["<p>", bullets(["<li>"]), code("<pre>"), table(["<th>"], [["<td>"], [Html("<b>x</b>")]])])
    whole = page("t", [section])
    for word in ("&lt;h&gt;", "&lt;p&gt;", "&lt;li&gt;", "&lt;pre&gt;", "&lt;th&gt;", "&lt;td&gt;", "<b>x</b>"):
        assert word in whole


def test_a_table_shows_a_dash_for_nothing() -> None:
    assert "<td>-</td>" in table(["a", "b"], [["x", None]])


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unequal lengths"):
        line_chart([Series("a", [1, 2], [1])], title="t")
    with pytest.raises(InvalidInput, match="1 values for 2 groups"):
        bar_chart(["a", "b"], {"s": [1]}, title="t")
    with pytest.raises(InvalidInput, match="a row of 1 cells under 2 headings"):
        table(["a", "b"], [["x"]])
