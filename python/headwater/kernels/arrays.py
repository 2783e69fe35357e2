"""What the kernels accept: C-contiguous numpy arrays of a stated type and shape, and numbers within bounds.

Content (NaN, infinities, magnitudes) is checked by the kernels themselves, in the pass that reads it.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from headwater.errors import InvalidArray

MAX_THREADS = 1024


def refuse(field: str, rule: str) -> NoReturn:
    """Raises `InvalidArray`."""
    raise InvalidArray(f"{field}: {rule}", field=field, rule=rule)


def array_of(field: str, value: Any, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array itself if it has this type, this shape (None: any length) and lies row by row in memory."""
    if isinstance(value, np.ndarray):
        have = value.shape
        if len(have) == len(shape):
            for length, want in zip(have, shape, strict=True):
                if want is not None and length != want:
                    break
            else:
                if value.dtype == dtype and value.flags.c_contiguous:
                    return value
    return _explain(field, value, np.dtype(dtype), shape)


def _explain(field: str, value: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NoReturn:
    """Refuses what `array_of` does not take; apart, so that what is fine costs little."""
    wanted = f"a C-contiguous numpy array of {dtype.name}, shape {shape_text(shape)}"
    if not isinstance(value, np.ndarray):
        refuse(field, f"{type(value).__name__}; allowed: {wanted}")
    if value.dtype != dtype:
        refuse(field, f"dtype {value.dtype}; allowed: {wanted}")
    if value.flags.c_contiguous:
        refuse(field, f"shape {shape_text(value.shape)}; allowed: {wanted}")
    refuse(field, f"shape {shape_text(value.shape)}, strides {value.strides}; allowed: {wanted}: see ascontiguousarray")


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape as text; lengths that are free are shown as `n`."""
    return "(" + ", ".join("n" if length is None else str(length) for length in shape) + ")"


def int_of(field: str, value: Any, low: int, high: int) -> int:
    """An integer within bounds. Raises `InvalidArray`."""
    try:
        number = operator.index(value)
    except TypeError:
        refuse(field, f"{value!r:.80}; allowed: an integer, {low} to {high}")
    if isinstance(value, bool) or not low <= number <= high:
        refuse(field, f"{value!r:.80}; allowed: an integer, {low} to {high}")
    return number


def float_of(field: str, value: Any, low: float, high: float) -> float:
    """A number within bounds. Raises `InvalidArray`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        refuse(field, f"{value!r:.80}; allowed: a number, {low} to {high}")
    if not low <= number <= high:
        refuse(field, f"{value!r:.80}; allowed: a number, {low} to {high}")
    return number


def mask_of(field: str, value: Any, length: int) -> tuple[NDArray[np.uint8] | None, bool]:
    """A filter as bytes, and whether they are packed bits: bool of shape (length,), or uint8 of (ceil(length / 8),)."""
    if value is None:
        return None, False
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return array_of(field, value, np.uint8, (-(-length // 8),)), True
    return array_of(field, value, np.bool_, (length,)).view(np.uint8), False
