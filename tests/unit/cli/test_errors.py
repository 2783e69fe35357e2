"""Errors of the command line: an interruption is told once."""

import click
import pytest

from headwater.cli.errors import ErrorReportingGroup
from interrupts import press, press_amid_polars


@click.group(cls=ErrorReportingGroup)
def group() -> None:
    """Commands that are interrupted."""


group.command("plain")(press)
group.command("twice")(press_amid_polars)


@pytest.mark.parametrize("command", ["plain", "twice"])
def test_an_interruption_is_told_once(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        group.main([command])
    assert ended.value.code == 130
    told = "headwater: interrupted; what was acknowledged is kept, the same command continues\n"
    assert capsys.readouterr() == ("", told)
