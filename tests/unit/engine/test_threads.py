"""Many threads on one engine: nothing lost, nothing twice, each reads its own writes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater import Engine
from reference.cooccurrence import DAY

START = 19_000 * DAY
THREADS, EVENTS = 8, 60


@pytest.mark.parametrize("where", [":memory:", "directory"])
def test_writers_and_askers_together(where: str, tmp_path: Path) -> None:
    place = ":memory:" if where == ":memory:" else str(tmp_path)
    with Engine.open(place) as engine:

        def work(worker: int) -> list[int]:
            positions = []
            for n in range(EVENTS):
                user = f"user{worker}"
                position = engine.track(
                    "view",
                    user=user,
                    item=f"item{(worker * 7 + n) % 40}",
                    ts=START + n * 60_000,
                    event_id=f"{worker}-{n}",
                )
                slate = engine.recommend(user, 5, after=position, now=START + n * 60_000)
                assert slate.about[0] == f"item{(worker * 7 + n) % 40}"
                assert slate.positions[0] >= position
                if n % 10 == 0:
                    engine.trending(now=START)
                    engine.similar(f"item{(worker * 7 + n) % 40}", now=START)
                    engine.put_item(f"item{n % 40}", categories=[f"c{worker}"])
                    engine.digest()
                    engine.status()
                positions.append(position)
            return positions

        with ThreadPoolExecutor(THREADS) as pool:
            positions = [p for worker in pool.map(work, range(THREADS)) for p in worker]
        assert len(positions) == THREADS * EVENTS
        for worker in range(THREADS):
            assert engine.session_of(f"user{worker}", now=START).state.events == EVENTS
        engine.flush()
        outcomes = engine.status()["outcomes"]
        assert outcomes["recorded"] == THREADS * EVENTS, "one record for each slate"
        assert "repeat-event" not in outcomes
        report = engine.verify()
        assert report.equal, report.problems
        digest = engine.digest()
    if where == "directory":
        with Engine.open(place) as again:
            assert again.digest() == digest


def test_threads_with_the_same_event_count_it_once() -> None:
    with Engine.open(":memory:") as engine, ThreadPoolExecutor(THREADS) as pool:
        track = lambda _: engine.track("view", user="ann", item="a", ts=START, event_id="same")  # noqa: E731
        list(pool.map(track, range(100)))
        assert engine.session_of("ann", now=START).state.events == 1
        assert engine.status()["outcomes"]["repeat-event"] == 99


def test_import_while_others_track(tmp_path: Path) -> None:
    import polars as pl

    rows = 4000
    frame = pl.DataFrame(
        {
            "type": ["view"] * rows,
            "user": [f"bulk{n % 50}" for n in range(rows)],
            "item": [f"item{n % 90}" for n in range(rows)],
            "ts": [START + n * 60_000 for n in range(rows)],
        }
    )
    with Engine.open(tmp_path) as engine, ThreadPoolExecutor(4) as pool:
        bulk = pool.submit(engine.ingest, frame, progress=False, chunk_rows=500)
        singles = [pool.submit(engine.track, "view", user=f"live{n}", item="x", ts=START) for n in range(100)]
        assert bulk.result().outcomes["applied"] >= rows
        assert all(single.result() > 0 for single in singles)
        assert sum(engine.session_of(f"bulk{n}", now=START).state.events for n in range(50)) == rows
        assert engine.verify().equal
