"""States of the past are those that the engine went through, whatever they are rebuilt from."""

from pathlib import Path

import pytest

from headwater import Engine
from headwater.actors.past_state import STATES_KEPT, ForwardFold, PastStates, rebuild
from headwater.actors.snapshots import DirectorySnapshots
from headwater.config import default_config
from headwater.core import new_core
from headwater.errors import LogCorrupt
from headwater.events.log import EventLog

MINUTE = 60_000
START = 1_750_000_000_000


@pytest.fixture
def digests(tmp_path: Path) -> dict[int, str]:
    """Position -> digest of a directory `shop` as it grew; snapshots stand at 20 and 30."""
    config = default_config("shop")
    found = {}
    with Engine.open(tmp_path / "shop", config=config) as engine:
        for n in range(40):
            position = engine.track("view", user=f"u{n % 5}", item=f"i{n % 7}", ts=START + n * MINUTE)
            found[position] = engine.digest()["whole"]
            if position in (20, 30):
                engine.snapshot()
    return found


def opened(place: Path) -> Engine:
    return Engine.open(place / "shop", config=default_config("shop"), read_only=True)


def snapshots(place: Path) -> DirectorySnapshots:
    return DirectorySnapshots(place / "shop" / "snapshots")


class ReadsCounted:
    """A log that notes from which positions it was read."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.starts: list[int] = []

    def read(self, start: int = 1, **options: object) -> object:
        self.starts.append(start)
        return self.log.read(start, **options)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)


def test_every_position_gives_the_state_that_was(tmp_path: Path, digests: dict[int, str]) -> None:
    with opened(tmp_path) as engine:
        for position, digest in digests.items():
            core = rebuild(engine.log, snapshots(tmp_path), engine.config, 1, position)
            assert (core.position, core.digest()["whole"]) == (position, digest)
            core = rebuild(engine.log, None, engine.config, 2, position)
            assert core.digest()["whole"] == digest


def test_the_nearest_start_is_taken(tmp_path: Path, digests: dict[int, str]) -> None:
    with opened(tmp_path) as engine:
        log = ReadsCounted(engine.log)
        for position, start in ((19, 1), (20, 21), (29, 21), (35, 31)):
            rebuild(log, snapshots(tmp_path), engine.config, 1, position)  # type: ignore[arg-type]
            assert log.starts[-1] == start
        nearer = rebuild(engine.log, None, engine.config, 1, 25)
        rebuild(log, snapshots(tmp_path), engine.config, 1, 28, nearer)  # type: ignore[arg-type]
        assert log.starts[-1] == 26, "a state that stands nearer than any snapshot is folded on"
        farther = rebuild(engine.log, None, engine.config, 1, 25)
        rebuild(log, snapshots(tmp_path), engine.config, 1, 33, farther)  # type: ignore[arg-type]
        assert log.starts[-1] == 31


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, digests: dict[int, str]) -> None:
    for file in snapshots(tmp_path).path(30).glob("*.hws"):
        file.write_bytes(file.read_bytes()[:-7])
    with opened(tmp_path) as engine:
        core = rebuild(engine.log, snapshots(tmp_path), engine.config, 1, 32)
        assert core.digest()["whole"] == digests[32]


def test_a_position_that_the_log_does_not_have_is_refused(tmp_path: Path, digests: dict[int, str]) -> None:
    with opened(tmp_path) as engine:
        last = engine.log.last()
        with pytest.raises(LogCorrupt, match=f"ends at position {last}, asked for the state at {last + 1}"):
            rebuild(engine.log, None, engine.config, 1, last + 1)


def test_a_forward_fold_stops_at_each_position(tmp_path: Path, digests: dict[int, str]) -> None:
    with opened(tmp_path) as engine:
        fold = ForwardFold(new_core(engine.config, 1), engine.log)
        for position in (2, 3, 3, 11, 37):
            assert fold.reach(position).digest()["whole"] == digests[position]
        with pytest.raises(LogCorrupt):
            fold.reach(engine.log.last() + 1)


def test_states_are_kept_for_the_next_question_and_no_more_than_a_few(tmp_path: Path, digests: dict[int, str]) -> None:
    with opened(tmp_path) as engine:
        log = ReadsCounted(engine.log)
        past = PastStates(log, None, engine.config, 1)  # type: ignore[arg-type]
        for position in (10, 12, 12, 30, 5, 7, 31):
            with past.at(position) as core:
                assert core.digest()["whole"] == digests[position]
        assert log.starts == [1, 11, 13, 13, 1, 6, 31]
        assert len(past._kept) == STATES_KEPT
        past.clear()
        with past.at(31) as core:
            assert core.digest()["whole"] == digests[31]
        assert log.starts[-1] == 1
