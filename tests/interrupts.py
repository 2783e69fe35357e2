"""Ctrl-C, in both ways in which it reaches Python."""

import ctypes
import operator
import signal
from functools import partial


def press() -> None:
    """Ctrl-C, which Python sees at once."""
    signal.raise_signal(signal.SIGINT)


def press_amid_polars() -> None:
    """Ctrl-C as an operation of polars takes it: it raises, and Python, which has not yet seen the signal, may, too.

    Two C functions called one after the other, so that Python does not look for signals between them.
    """
    raised = partial(ctypes.pythonapi.PyErr_SetNone, ctypes.py_object(KeyboardInterrupt))
    list(map(operator.call, [ctypes.pythonapi.PyErr_SetInterrupt, raised]))
