"""Damaged snapshots: `verify` names them, and opening passes them over for an older one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import pytest

import headwater as hw
from e2e.damaged_store import Store, closed, config, flipped, path, says_broken, verify
from headwater.config import Config
from headwater.core import restore_core
from headwater.errors import SnapshotInvalid

__all__ = ["closed", "path"]

pytestmark = pytest.mark.e2e


def part_files(path: Path, position: int) -> list[Path]:
    return sorted((path / "snapshots" / f"{position:020d}").glob("*.hws"))


def test_any_flipped_byte_of_a_snapshot_is_refused(closed: Store) -> None:
    """Each byte of one part, a sample of each other part."""
    files = part_files(closed.path, closed.snapshots[0])
    parts = [(file.stem, file.read_bytes()) for file in files]
    assert restore_core(config(), 1, parts).position == closed.snapshots[0]
    random = Random(5)
    for index, (name, content) in enumerate(parts):
        offsets: Iterable[int] = range(len(content)) if name == "control" else random.sample(range(len(content)), 25)
        for offset in offsets:
            bad = bytearray(content)
            bad[offset] ^= 1 << random.randrange(8)
            with pytest.raises(SnapshotInvalid) as refused:
                restore_core(config(), 1, [*parts[:index], (name, bytes(bad)), *parts[index + 1 :]])
            assert refused.value.details["part"] == name


def test_verify_names_the_damaged_snapshot(closed: Store) -> None:
    random = Random(6)
    for position in closed.snapshots:
        for file in part_files(closed.path, position):
            with flipped(file, random.randrange(file.stat().st_size), 1 << random.randrange(8)):
                report = verify(closed.path)
            assert [problem.where for problem in report.problems] == [f"snapshot {position}"]
            assert file.stem in report.problems[0].what


def flip_body(path: Path, store: Store) -> None:
    file = part_files(path, store.snapshots[0])[5]
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)


def cut_part(path: Path, store: Store) -> None:
    file = part_files(path, store.snapshots[0])[5]
    file.write_bytes(file.read_bytes()[:-9])


def lose_part(path: Path, store: Store) -> None:
    part_files(path, store.snapshots[0])[5].unlink()


def foreign_part(path: Path, store: Store) -> None:
    part_files(path, store.snapshots[0])[5].write_bytes(b"Dear aunt, " * 50)


def other_part(path: Path, store: Store) -> None:
    files = part_files(path, store.snapshots[0])
    shutil.copyfile(files[6], files[5])


def older_part(path: Path, store: Store) -> None:
    shutil.copyfile(part_files(path, store.snapshots[1])[5], part_files(path, store.snapshots[0])[5])


def older_whole(path: Path, store: Store) -> None:
    for old, new in zip(part_files(path, store.snapshots[1]), part_files(path, store.snapshots[0]), strict=True):
        shutil.copyfile(old, new)


def other_generation(path: Path, store: Store) -> None:
    """The same positions, folded under another configuration."""
    other = config()
    changed = Config(
        generation=hw.config.fold_profile("media"), query=hw.config.query_profile("media"), engine=other.engine
    )
    with hw.Engine.open(path.with_name("other"), config=changed) as engine:
        for number in range(store.snapshots[0] - engine.position):
            engine.track("view", user="u", item=f"i{number}")
        made = Path(engine.snapshot())
    target = path / "snapshots" / f"{store.snapshots[0]:020d}"
    assert made.name == target.name
    shutil.rmtree(target)
    shutil.copytree(made, target)


def a_file_for_a_folder(path: Path, store: Store) -> None:
    folder = path / "snapshots" / f"{store.snapshots[0]:020d}"
    shutil.rmtree(folder)
    folder.write_bytes(b"not a folder")


SNAPSHOT_DAMAGE: list[tuple[Callable[[Path, Store], None], str]] = [
    (flip_body, "checksum does not match"),
    (cut_part, "checksum does not match"),
    (lose_part, "is missing"),
    (foreign_part, "not a Headwater snapshot part"),
    (other_part, "is another part's file"),
    (older_part, "stands at position"),
    (older_whole, "holds position"),
    (other_generation, "generation"),
    (a_file_for_a_folder, "is missing"),
]


@pytest.mark.parametrize(("damage", "what"), SNAPSHOT_DAMAGE, ids=lambda v: getattr(v, "__name__", ""))
def test_a_damaged_snapshot_is_named_and_passed_over(
    path: Path, closed: Store, damage: Callable[[Path, Store], None], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(path, closed)
    says_broken(path, f"snapshot {closed.snapshots[0]}", what)
    with caplog.at_level(logging.WARNING), hw.Engine.open(path, config=config()) as engine:
        assert engine.digest()["whole"] == closed.digest
        status = engine.status()
    assert status["recovered_from_snapshot"] == closed.snapshots[1]
    assert len(status["snapshots_passed_over"]) == 1
    assert what in status["snapshots_passed_over"][0]
    assert what in caplog.text


def test_without_any_sound_snapshot_the_whole_log_is_folded(path: Path, closed: Store) -> None:
    for position in closed.snapshots:
        for file in part_files(path, position):
            file.write_bytes(b"")
    with hw.Engine.open(path, config=config()) as engine:
        assert engine.digest()["whole"] == closed.digest
        assert engine.status()["recovered_from_snapshot"] == 0
        engine.snapshot()
    with hw.Engine.open(path, config=config()) as engine:
        assert engine.status()["recovered_from_snapshot"] == closed.last
