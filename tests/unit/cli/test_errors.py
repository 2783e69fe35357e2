"""Errors of the command line: an interruption is told once."""

import ctypes
import operator
from functools import partial

import click
import pytest

from headwater.cli.errors import ErrorReportingGroup


@click.group(cls=ErrorReportingGroup)
def group() -> None:
    """Commands that are interrupted."""


@group.command()
def plain() -> None:
    """As Python tells of Ctrl-C."""
    raise KeyboardInterrupt


@group.command()
def twice() -> None:
    """As polars does: its operation raises, and Python has not yet seen the signal.

    Calls of C functions one after the other, between which Python does not look for signals.
    """
    raised = partial(ctypes.pythonapi.PyErr_SetNone, ctypes.py_object(KeyboardInterrupt))
    list(map(operator.call, [ctypes.pythonapi.PyErr_SetInterrupt, raised]))


@pytest.mark.parametrize("command", ["plain", "twice"])
def test_an_interruption_is_told_once(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        group.main([command])
    assert ended.value.code == 130
    told = "headwater: interrupted; what was acknowledged is kept, the same command continues\n"
    assert capsys.readouterr() == ("", told)
