"""Who was forgotten is a stranger in the past too, whenever they asked for it and whether or not they came back."""

from pathlib import Path

import pytest

from headwater import Engine
from headwater.errors import InvalidQuery
from headwater.slate_replay import replay_slate

START = 1_750_000_000_000
MINUTE = 60_000


def played(engine: Engine) -> None:
    for n in range(12):
        for user in ("ann", "bob", "eve"):
            engine.track("view", user=user, item=f"i{(n * 5 + len(user)) % 9}", ts=START + n * MINUTE)


def test_the_past_knows_nothing_of_who_was_forgotten_since() -> None:
    with Engine.open(":memory:", clock="log") as engine:
        played(engine)
        position = engine.position
        before = engine.recommend("ann", 5, record=False)
        assert before.about
        stranger = engine.recommend("never seen", 5, as_of=position)
        assert engine.recommend("ann", 5, as_of=position).item_ids == before.item_ids
        engine.forget("ann")
        for come_back in (False, True):
            if come_back:
                engine.track("view", user="ann", item="i1", ts=START + 60 * MINUTE)
            for asked in (position, before):
                past = engine.recommend("ann", 5, as_of=asked, now=before.now)
                assert past.item_ids == stranger.item_ids
                assert past.about == []
                assert past.user is None
                assert any("forgotten since" in note for note in past.notes)
            ranked = engine.rank("ann", ["i1", "i2"], as_of=position)
            assert any("forgotten since" in note for note in ranked.notes)
        since = engine.recommend("ann", 5, as_of=engine.position)
        assert since.user == "ann"
        assert since.about == ["i1"]
        assert engine.recommend("bob", 5, as_of=position).about


def test_their_recorded_slates_are_not_explained_and_still_verify(tmp_path: Path) -> None:
    place = tmp_path / "shop"
    with Engine.open(place, clock="log") as engine:
        played(engine)
        slate = engine.recommend("ann", 3)
        other = engine.recommend("bob", 3)
        engine.flush()
        engine.forget("ann")
    with Engine.open(place, read_only=True, clock="log") as engine:
        with pytest.raises(InvalidQuery, match="forgotten since"):
            engine.explain(slate.id, slate[0].item)
        assert engine.explain(other.id, other[0].item).user == "bob"
        report = engine.verify(slates=True)
        assert report.equal
    assert replay_slate(place, slate.id).identical


def test_a_merged_visitor_is_forgotten_with_the_account() -> None:
    with Engine.open(":memory:", clock="log") as engine:
        played(engine)
        position = engine.position
        engine.merge("eve", "bob")
        engine.forget("bob")
        for user in ("eve", "bob"):
            assert engine.recommend(user, 3, as_of=position).about == []
