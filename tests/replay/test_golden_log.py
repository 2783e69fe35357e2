"""A log that is checked in together with the digest that this FOLD_VERSION makes of it."""

from __future__ import annotations

import pytest

from headwater.core import FOLD_VERSION, new_core, restore_core
from replay.golden_log import golden_config, golden_log
from replay.make_golden import fold_state, read_log, read_state

COMMAND = ".venv/bin/python tests/replay/make_golden.py state"
LOG = read_log()


def test_the_log_is_what_the_rules_make() -> None:
    assert golden_log() == LOG, "the generator changed: make_golden.py frames"


def test_the_state_holds_for_this_fold_version() -> None:
    assert read_state().fold_version == FOLD_VERSION, f"FOLD_VERSION changed: {COMMAND}"


def test_the_fold_makes_the_golden_state() -> None:
    state, golden = fold_state(LOG), read_state()
    assert state.frames == golden.frames
    assert state.outcomes == golden.outcomes
    assert state.digest == golden.digest, (
        "this fold makes another state of an old log: existing logs and snapshots would silently change. "
        f"Undo it, or raise FOLD_VERSION and then run {COMMAND}"
    )


def test_the_log_holds_every_outcome() -> None:
    expected = {
        *("applied", "exposure", "recorded", "rapid-repeat", "repeat-event", "repeat-frame", "bad-config"),
        *("beyond-dedup-horizon", "beyond-frame-window"),
        *("wrong-subject", "future-ts", "bad-id", "bad-type", "bad-value", "bad-ts", "bad-field", "bad-event"),
    }
    assert expected <= read_state().outcomes.keys()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 7, 512])
def test_threads_and_batches_do_not_matter(threads: int, batch: int) -> None:
    assert fold_state(LOG, threads, batch) == fold_state(LOG)


@pytest.mark.parametrize("cut", [0, 1, len(LOG) // 3, len(LOG) // 2, len(LOG) - 1, len(LOG)])
def test_snapshot_and_tail_make_the_same_state(cut: int) -> None:
    core = new_core(golden_config(), 2)
    core.apply(1, LOG[:cut])
    position, parts = core.snapshot()
    assert position == cut
    restored = restore_core(golden_config(), 1, parts)
    assert restored.position == cut
    assert restored.digest() == core.digest()
    restored.apply(cut + 1, LOG[cut:])
    assert restored.digest() == read_state().digest
    assert restored.stats()["outcomes"] == read_state().outcomes
