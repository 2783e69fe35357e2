"""Merges in the next generation: what they carried is sealed anew by the state that is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater import Engine
from headwater.events.log import decode_frames
from headwater.events.types import Feedback, MergeCarried
from headwater.regenerate import regenerate

START = 1_700_000_000_000


def visit(engine: Engine, merge: bool) -> None:
    """A visitor and an account; with `merge` the visitor turns out to be the account, without it was so all along."""
    for n in range(12):
        user = "visitor" if merge and n % 3 else "ann"
        engine.track("view", user=user, item=f"i{n}", ts=START + n * 60_000)
    if merge:
        engine.merge("visitor", "ann")
        engine.merge("someone", "else")
    engine.track("view", user="visitor" if merge else "ann", item="i20", ts=START + 13 * 60_000)


@pytest.mark.parametrize("table", ["partitions = 5\n", "recent_items = 4\n", "affinity_half_life_days = 3\n", ""])
def test_a_merge_is_made_anew(tmp_path: Path, table: str) -> None:
    (tmp_path / "new.toml").write_text(f"[generation]\n{table}")
    with Engine.open(tmp_path / "old", clock="log") as engine:
        for n in range(25):
            engine.put_item(f"i{n}", categories=[f"c{n % 4}"])
        visit(engine, merge=True)
    regenerate(tmp_path / "old", tmp_path / "new", tmp_path / "new.toml", progress=False)
    with Engine.open(tmp_path / "new", clock="log") as engine:
        assert engine.verify().equal
        assert engine.status()["outcomes"].keys() <= {"applied", "recorded"}
        state = engine.session_of("visitor").state
        carried = [
            event
            for batch in engine.log.read()
            for _, _, events in decode_frames(batch)
            for event in events
            if isinstance(event, MergeCarried)
        ]
        assert len(carried) == 1
        for item in state.items:
            [batch] = engine.log.read(item.event.position, stop=item.event.position + 1)
            [(_, _, events)] = decode_frames(batch)
            event = events[item.event.index]
            assert isinstance(event, Feedback)
            assert (event.item, event.ts) == (item.item, item.event.ts)
        engine.track("view", user="visitor", item="i21", ts=START + 14 * 60_000)
        assert engine.session_of("ann").state.items[0].item == "i21"
        config = engine.config
    with Engine.open(":memory:", clock="log", config=config) as one:
        for n in range(25):
            one.put_item(f"i{n}", categories=[f"c{n % 4}"])
        visit(one, merge=False)
        same = one.session_of("ann").state
    assert [i.item for i in state.items] == [i.item for i in same.items]
    assert state.windows == same.windows
    assert dict(state.affinities) == pytest.approx(dict(same.affinities), rel=0.02)
