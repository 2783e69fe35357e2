"""`headwater bench http` asks a real server, at the rate that it says."""

import json

from click.testing import CliRunner

from headwater.bench.http_bench import http_table
from headwater.cli import main


def test_every_question_is_asked_and_counted() -> None:
    options = ["--rate", "50", "--seconds", "1", "--events", "2000", "--workers", "1", "--json"]
    done = CliRunner().invoke(main, ["bench", "http", *options])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert [row["what"] for row in figures["rows"]] == ["embedded", "HTTP, 1 workers"]
    for row in figures["rows"]:
        assert row["questions"] == 50
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert len(figures["added_p50_ms"]) == 1
    assert len(http_table(figures).rows) == 2
