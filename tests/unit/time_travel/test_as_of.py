"""`as_of`: what was answered then is answered again, and nothing that came later is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater import Engine, Slate
from headwater.errors import HeadwaterError, InvalidQuery, NotReady
from reference.visited_shop import visited_shop

ASKS: list[Callable[..., Slate]] = [
    lambda e, **o: e.recommend("v3", 8, **o),
    lambda e, **o: e.recommend("stranger", 8, **o),
    lambda e, **o: e.rank("v3", ["i1", "i2", "i3"], **o),
    lambda e, **o: e.session(["i1", "i2"], 8, **o),
    lambda e, **o: e.similar("i1", 8, **o),
    lambda e, **o: e.trending(None, 8, **o),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Slate]]:
    place = tmp_path_factory.mktemp("as_of") / "shop"
    return place, visited_shop(place)


def slots(slate: Slate) -> list[tuple[Any, ...]]:
    return [(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.reasons) for r in slate]


@pytest.mark.parametrize("ask", ASKS)
def test_every_verb_answers_as_it_did_then(ask: Callable[..., Slate]) -> None:
    with Engine.open(":memory:", clock="log") as engine:
        then: list[tuple[int, Slate]] = []
        for n in range(30):
            engine.track("view", user=f"v{n % 4}", item=f"i{n % 6}", ts=1_750_000_000_000 + n * 60_000)
            engine.track("view", user=f"w{n % 3}", item=f"i{n * n % 6}", ts=1_750_000_000_000 + n * 60_000)
            if n > 3:
                then.append((engine.position, ask(engine)))
        engine.flush()
        assert len({tuple(slate.item_ids) for _, slate in then}) > 1
        for position, slate in [*then, *reversed(then)]:
            for as_of in (position, [position]):
                again = ask(engine, as_of=as_of)
                assert slots(again) == slots(slate)
                assert (again.positions, again.now, again.recorded) == ([position], slate.now, False)


def test_a_slate_is_given_again_by_its_id(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    with Engine.open(place, read_only=True) as engine:
        explored = 0
        for slate in slates[::7]:
            if slate.kind != "recommend" or slate.feature_names:
                continue
            # The slate as it was served does not say what was excluded or asked for beside it: its record does.
            record = next(r for r in records(engine) if r.slate == slate.id)
            again = engine.recommend(
                record.user,
                record.request["n"],
                scenario=record.request.get("scenario"),
                exclude=record.request["exclude"],
                exploration=record.request.get("exploration"),
                as_of=slate.id,
            )
            assert slots(again) == slots(slate)
            assert (again.now, again.positions) == (slate.now, slate.positions)
            assert again.id != slate.id
            explored += slate.exploring.floor > 0
        assert explored


def records(engine: Engine) -> list[Any]:
    from headwater.served_slates import ServedSlates

    return list(ServedSlates(engine.log, 86_400_000))


def test_a_slate_that_was_not_recorded_is_known_while_it_is_remembered() -> None:
    with Engine.open(":memory:", clock="log") as engine:
        engine.track("view", user="ann", item="a")
        engine.track("view", user="ann", item="b")
        engine.track("view", user="bob", item="a")
        slate = engine.recommend("bob", 3, record=False)
        engine.track("view", user="bob", item="b")
        assert slots(engine.recommend("bob", 3, as_of=slate)) == slots(slate)
        assert slots(engine.recommend("bob", 3, as_of=slate.id)) == slots(slate)


def test_slates_of_the_past_are_not_recorded_and_can_be_explained() -> None:
    with Engine.open(":memory:", clock="log") as engine:
        for user in ("ann", "eve", "bob"):
            for n, item in enumerate(("a", "b", "c")[: 3 if user != "bob" else 1]):
                position = engine.track("view", user=user, item=item, ts=1_750_000_000_000 + n * 60_000)
        for item in ("b", "c"):
            engine.track("purchase", user="bob", item=item, ts=1_750_000_300_000)
        before = engine.flush()
        slate = engine.recommend("bob", 3, as_of=position, exploration=0.5)
        assert engine.flush() == before
        assert not slate.recorded
        assert engine.explain(slate.id, "b").slot == slate.item_ids.index("b")
        assert "not in slate" in engine.explain(slate.id, "zzz").text
        with pytest.raises(InvalidQuery, match="record"):
            engine.recommend("bob", 3, as_of=position, record=True)


BAD: list[tuple[object, type[HeadwaterError], str]] = [
    (0, InvalidQuery, "holds nothing before"),
    (-3, InvalidQuery, "holds nothing before"),
    ([], InvalidQuery, "a list with one position"),
    ([1, 2], InvalidQuery, "a list with one position"),
    (True, InvalidQuery, "a list with one position"),
    (2.0, InvalidQuery, "a list with one position"),
    (["3"], InvalidQuery, "a list with one position"),
    ("9-9", InvalidQuery, "neither remembered nor recorded"),
    (10_000_000, NotReady, "the log ends at"),
]


@pytest.mark.parametrize(("as_of", "error", "said"), BAD)
@pytest.mark.parametrize("ask", ASKS)
def test_a_moment_that_is_none_is_refused(
    ask: Callable[..., Slate], as_of: object, error: type[HeadwaterError], said: str
) -> None:
    with Engine.open(":memory:", clock="log") as engine:
        engine.track("view", user="v3", item="i1")
        with pytest.raises(error, match=said):
            ask(engine, as_of=as_of)


@pytest.mark.parametrize("ask", ASKS)
def test_the_past_and_what_is_new_do_not_go_together(ask: Callable[..., Slate]) -> None:
    with Engine.open(":memory:", clock="log") as engine:
        position = engine.track("view", user="v3", item="i1")
        with pytest.raises(InvalidQuery, match="as_of together with after"):
            ask(engine, as_of=position, after=position)


def test_the_configuration_of_then_answers(tmp_path: Path) -> None:
    from reference.visited_shop import shop_config

    place = tmp_path / "shop"
    with Engine.open(place, config=shop_config(), clock="log") as engine:
        for n in range(12):
            engine.track("view", user=f"u{n % 3}", item=f"i{n % 4}", ts=1_750_000_000_000 + n * 60_000)
        slate = engine.recommend("u0", 4)
        engine.flush()
    with Engine.open(place, config=shop_config(sources={"popular": 1.0}), clock="log") as engine:
        now = engine.recommend("u0", 4, record=False)
        assert {r.source for r in now} == {"popular"}
        then = engine.recommend("u0", 4, as_of=slate.id)
        assert slots(then) == slots(slate)
        assert then.config == slate.config != now.config
