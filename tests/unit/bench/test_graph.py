"""`headwater bench graph`: every size and filter has its row, in the table too."""

from headwater.bench.graph_bench import ADMITTED, GRAPH_HEADINGS, graph_cells, run_graphs
from headwater.bench.markdown import graph_sections
from headwater.bench.scale import TINY


def test_every_size_and_filter_has_a_row() -> None:
    rows = run_graphs(TINY)
    assert [(row.vectors, row.admitted) for row in rows] == [(3000, admitted) for admitted in ADMITTED]
    for row in rows:
        assert row.recall == 1.0, "so few are scanned"
        assert row.walked == 0.0
        assert row.megabytes > 0.1
    assert all(len(cells) == len(GRAPH_HEADINGS) for cells in graph_cells(rows))
    assert "3,000 x 64" in graph_sections(rows)["graphs"]
