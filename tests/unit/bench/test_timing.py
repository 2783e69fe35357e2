"""Subjects take turns, and what does not count is not counted."""

from __future__ import annotations

from collections.abc import Callable

from headwater.bench.timing import clocked, clocked_fresh, interleaved


def test_subjects_take_turns() -> None:
    order: list[str] = []

    def subject(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return run

    seconds = interleaved({"a": subject("a"), "b": subject("b")}, runs=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    order.clear()
    interleaved({"a": subject("a"), "b": subject("b")}, runs=1, warm_up=0, lead=2)
    assert order == ["a", "a", "a", "b", "b", "b"]


def test_a_fresh_subject_is_made_anew_each_time() -> None:
    made: list[list[int]] = []

    def setup() -> list[int]:
        made.append([])
        return made[-1]

    timed = clocked_fresh(setup, lambda held: held.append(1))
    assert timed() >= 0
    assert timed() >= 0
    assert made == [[1], [1]]


def test_several_calls_are_one_time() -> None:
    calls: list[int] = []
    assert clocked(lambda: calls.append(1), times=5)() >= 0
    assert len(calls) == 5
