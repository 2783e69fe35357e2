"""Recorded slates are made again bit for bit, and what is not the recorded one is named with a reason."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from headwater import Engine, Slate
from headwater.core import generation_of
from headwater.errors import InvalidInput
from headwater.events.frame import FrameWriter
from headwater.events.memory_log import MemoryLog
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import subject_of
from headwater.events.types import SlateServed
from headwater.served_slates import ServedSlates, find_record
from headwater.slate_record import SCORER_VERSION
from headwater.slate_replay import replay_slate, replay_slates
from headwater.store import directory_config
from headwater.verify import verify_directory
from reference.visited_shop import shop_config, visited_shop

DAY = 86_400_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Slate]]:
    place = tmp_path_factory.mktemp("slate_replay") / "shop"
    return place, visited_shop(place)


def record_again(place: Path, slate: str, **changes: Any) -> str:
    """Append a changed record of a slate under a new id."""
    config = directory_config(place)
    log = SqliteLog(place, generation_of(config.generation))
    served = find_record(slate, log)
    assert served is not None
    changed = msgspec.structs.replace(served, slate="changed", **changes)
    subject = subject_of(changed, config.generation.partitions)
    log.append(list(FrameWriter("test", log.epoch).pack(subject, [changed], served.ts)))
    log.close()
    return "changed"


def copied(place: Path, target: Path) -> Path:
    shutil.copytree(place, target)
    return target


def test_all_slates_are_made_again_with_one_fold(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    config = directory_config(place)
    log = SqliteLog(place, generation_of(config.generation), read_only=True)
    calls: list[tuple[int, int]] = []
    report = replay_slates(log, config, progress=lambda done, total: calls.append((done, total)))
    log.close()
    assert (report.slates, report.identical, report.different) == (len(slates), len(slates), [])
    assert report.equal
    assert report.scorers == {SCORER_VERSION: len(slates)}
    assert calls == [(n + 1, len(slates)) for n in range(len(slates))]


def test_a_stretch_of_the_log_and_a_limit(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    with Engine.open(place, read_only=True) as engine:
        positions = [slate.positions[0] for slate in slates]
        since, until = positions[20], positions[40]
        wanted = [p for p in positions if since <= p <= until]
        report = replay_slates(engine.log, engine.config, since=since, until=until)
        assert (report.slates, report.identical, report.since, report.until) == (len(wanted),) * 2 + (since, until)
        assert replay_slates(engine.log, engine.config, since=since, limit=5).slates == 5
        assert replay_slates(engine.log, engine.config, since=engine.position + 1).slates == 0


@pytest.mark.parametrize("n", [0, 7, 31, 59])
def test_one_slate_is_the_recorded_one(shop: tuple[Path, list[Slate]], n: int) -> None:
    place, slates = shop
    slate = slates[n]
    replay = replay_slate(place, slate.id)
    assert (replay.identical, replay.differences, replay.reasons) == (True, [], [])
    served = [(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in slate]
    assert replay.remade == replay.logged == served
    assert (replay.position, replay.now) == (slate.positions[0], slate.now)
    assert shown(replay).count("equal") == len(slate)
    assert "identical" in shown(replay)


def test_an_unknown_slate_is_refused(shop: tuple[Path, list[Slate]]) -> None:
    with pytest.raises(InvalidInput, match="no record in the log names it"):
        replay_slate(shop[0], "1-100000")


def shown(replay: object) -> str:
    console = Console(width=160, markup=False)
    with console.capture() as capture:
        console.print(replay)
    return capture.get()


def test_the_last_bit_of_a_score_is_a_difference(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    place = copied(shop[0], tmp_path / "shop")
    # A slate that explored is drawn by its id, and the changed record has another one.
    slate = next(s for s in shop[1] if len(s) > 3 and not s.exploring.floor)
    items: list[Any] = [(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in slate]
    item, score, *rest = items[2]
    items[2] = (item, score + score * 2**-52, *rest)
    replay = replay_slate(place, record_again(place, slate.id, items=items))
    assert replay.differences == [f"slot 2: score {items[2][1]!r} logged, {score!r} made again"]
    assert replay.reasons == ["same scorer, same configuration: the state, the record or the code is not what it was"]
    assert "differs" in shown(replay)
    report = verify_directory(place, directory_config(place), 1, slates=True)
    assert report.slates is not None
    assert (report.equal, report.slates.identical) == (False, len(shop[1]))
    assert [(p.where, p.what.split(":")[0]) for p in report.problems] == [("slate changed", "slot 2")]


def test_another_scorer_and_another_configuration_are_named(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    place = copied(shop[0], tmp_path / "shop")
    slate = next(s for s in shop[1] if len(s) > 3 and not s.exploring.floor)
    record_again(place, slate.id, scorer_version="rrf-0", config_version="0" * 16, items=[])
    replay = replay_slate(place, "changed")
    assert not replay.identical
    assert replay.differences == [f"0 slots logged, {len(slate)} made again"]
    assert replay.reasons == [
        f"scorer rrf-0 made it, today's is {SCORER_VERSION}",
        f"configuration {'0' * 16} answered it, at its position {slate.config} is active",
    ]


def test_a_request_that_is_refused_today_is_a_difference(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    place = copied(shop[0], tmp_path / "shop")
    record = replay_slate(place, shop[1][0].id)
    record_again(place, record.slate, request={"user": "v1", "n": 5, "now": record.now, "scenario": "gone"})
    replay = replay_slate(place, "changed")
    assert not replay.identical
    assert "refused" in replay.differences[0]
    assert "gone" in replay.differences[0]


def test_verify_says_that_all_slates_are_sound(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    report = verify_directory(place, directory_config(place), 2, slates=True)
    assert (report.equal, report.problems) == (True, [])
    assert report.slates is not None
    assert report.slates.slates == len(slates)
    assert report.to_dict()["slates"]["equal"] is True
    assert "slates" not in verify_directory(place, directory_config(place), 2).to_dict()


def test_records_come_in_the_order_of_the_positions_that_answered() -> None:
    """Records stand in the log out of order, several in one frame, and once they repeat a frame."""
    config = shop_config()
    log = MemoryLog()
    writer = FrameWriter("test", 1)
    asked = [7, 3, 9, 3, 1, 8, 2]

    def served(n: int, position: int) -> SlateServed:
        return SlateServed(f"s{n}", "ann", 1000 + n, {}, None, "", "", [position], [], None, [])

    subject = subject_of(served(0, 1), config.generation.partitions)
    groups = [[served(n, p) for n, p in enumerate(asked[:3])], [served(n + 3, p) for n, p in enumerate(asked[3:])]]
    frames = [frame for group in groups for frame in writer.pack(subject, list(group), 2000)]
    log.append([*frames, frames[0], *[frames[1]] * 7])
    records = ServedSlates(log, DAY)
    assert [(s.positions[0], s.slate) for s in records] == [
        (1, "s4"), (2, "s6"), (3, "s1"), (3, "s3"), (7, "s0"), (8, "s5"), (9, "s2"),
    ]  # fmt: skip
    assert (len(records), records.first_position()) == (7, 1)
    assert records.set_aside["repeat-frame"] == 3 + 4 * 7
    assert [s.slate for s in ServedSlates(log, DAY, since=3, until=8)] == ["s1", "s3", "s0", "s5"]
    assert len(ServedSlates(log, DAY, since=4, until=6)) == 0


def test_slates_of_many_users_and_of_many_threads_are_made_again(tmp_path: Path) -> None:
    """Threads ask while others write: records stand behind positions in any order."""
    with Engine.open(tmp_path / "shop", config=shop_config(), clock="log") as engine:
        for n in range(200):
            engine.track("view", user=f"u{n % 20}", item=f"i{n % 17}", ts=1_750_000_000_000 + n * 60_000)

        def visit(thread: int) -> None:
            for n in range(40):
                user = f"u{(thread * 7 + n) % 25}"
                if thread % 2:
                    engine.track("view", user=user, item=f"i{n * thread % 17}", ts=engine.now() + 60_000)
                engine.recommend(user, 8, scenario="home" if n % 3 else None)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(visit, range(4)))
        frame = engine.recommend_many([f"u{n}" for n in range(30)], 6, scenario="home", record=True)
        assert frame["propensity"].min() < 1.0
        report = engine.verify(slates=True)
        assert report.slates is not None
        assert (report.slates.slates, report.slates.identical) == (4 * 40 + 30, 4 * 40 + 30)
        assert (report.equal, report.problems) == (True, [])
