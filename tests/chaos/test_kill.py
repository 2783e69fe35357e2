"""Guarantee G3: an acknowledged event survives kill -9 of its writer, at any moment, and counts once."""

from pathlib import Path

import pytest

from chaos.rounds import Rounds

ROUNDS = 200


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_directory_outlives_two_hundred_writers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Rounds(tmp_path, seed=1) as rounds:
        for _ in range(ROUNDS):
            rounds.play()
    summary = rounds.summary()
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in summary.items()))
    assert summary["rounds"] == ROUNDS
    assert summary["refusals"] == 0
    # Otherwise the rounds did not test what they are for.
    assert summary["killed_before_an_acknowledgement"] < ROUNDS / 2
    assert summary["events"] > 50 * ROUNDS
    assert summary["sent_again"] > 0
    assert summary["imports_finished"] > 0
    assert summary["slates_recorded"] > 0
