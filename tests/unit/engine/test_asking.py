"""Questions: what is shown and what never is, fallbacks, times, profiles, how an answer reads."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from headwater import Engine, Slate
from headwater.errors import InvalidQuery
from reference.cooccurrence import DAY

START = 19_000 * DAY
MINUTE = 60_000


def shop(**options: object) -> Engine:
    """Two worlds: lamps and shoes, each seen together by six visitors."""
    engine = Engine.open(":memory:", **options)  # type: ignore[arg-type]
    for world in ("lamp", "shoe"):
        engine.put_items([{"item": f"{world}{n}", "categories": [world]} for n in range(6)])
        for visitor in range(6):
            for n in range(6):
                if n != visitor:
                    engine.track(
                        "view", user=f"{world}-fan{visitor}", item=f"{world}{n}", ts=START + n * MINUTE + visitor
                    )
    return engine


NOW = START + DAY


def ids(slate: Slate) -> list[str]:
    return slate.item_ids


def test_a_click_changes_the_slate_and_the_slate_says_why() -> None:
    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW)
        lamps = engine.recommend("bob", 4, now=NOW, record=False)
        assert {item[:4] for item in ids(lamps)} == {"lamp"}
        assert lamps.fallback is None
        assert lamps[0].reasons[0].seed == "lamp0"
        assert "lamp0" in lamps[0].reason
        engine.track("view", user="bob", item="shoe0", ts=NOW + MINUTE)
        both = engine.recommend("bob", 4, now=NOW + MINUTE, record=False)
        assert ids(both) != ids(lamps)
        assert any(item.startswith("shoe") for item in ids(both))


def test_an_unknown_visitor_gets_popular_items_and_is_told() -> None:
    with shop() as engine:
        slate = engine.recommend("stranger", 5, now=NOW, record=False)
        assert len(slate) == 5
        assert slate.fallback == "unknown user: trending and popular items"
        assert {p.source for r in slate for p in r.parts} <= {"trending", "popular"}
        assert engine.session(["never seen"], 5, now=NOW).fallback == (
            "no known item in the session: trending and popular items"
        )


def test_an_empty_engine_answers_with_nothing_and_says_so() -> None:
    with Engine.open(":memory:") as engine:
        slate = engine.recommend("bob", 10, record=False)
        assert ids(slate) == []
        assert slate.fallback == "unknown user: trending and popular items; only 0 of 10 items can be shown"
        assert ids(engine.trending()) == []
        assert engine.session([]).items == []
        with pytest.raises(InvalidQuery, match="zzz"):
            engine.similar("zzz")


def test_a_visitor_without_usable_history_and_a_catalogue_of_three() -> None:
    with Engine.open(":memory:") as engine:
        engine.put_items([{"item": item, "categories": ["x"]} for item in ("a", "b", "c")])
        engine.put_user("bob", labels={"country": "fi"})
        for n, item in enumerate(("a", "b", "c")):
            engine.track("view", user="ann", item=item, ts=START + n * MINUTE)
        slate = engine.recommend("bob", 10, now=NOW, record=False)
        assert sorted(ids(slate)) == ["a", "b", "c"]
        assert slate.fallback == "no usable history: trending and popular items; only 3 of 10 items can be shown"
        assert len(slate) == len(set(ids(slate)))


ASKS: list[Callable[[Engine], Slate]] = [
    lambda e: e.recommend("bob", 100, now=NOW, record=False),
    lambda e: e.recommend("stranger", 100, now=NOW, record=False),
    lambda e: e.session(["lamp0", "shoe0"], 100, now=NOW),
    lambda e: e.similar("lamp0", 100, now=NOW),
    lambda e: e.similar("lamp0", 100, relation="also_viewed", metric="llr", now=NOW),
    lambda e: e.trending(n=100, now=NOW),
    lambda e: e.trending("lamp", 100, now=NOW),
]


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("how", ["hidden", "put hidden", "deleted"])
def test_hidden_and_deleted_items_are_never_shown(ask: Callable[[Engine], Slate], how: str) -> None:
    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW)
        assert "lamp3" in ids(ask(engine))
        if how == "hidden":
            engine.patch_item("lamp3", is_hidden=True)
        elif how == "put hidden":
            engine.put_item("lamp3", categories=["lamp"], is_hidden=True)
        else:
            engine.delete_item("lamp3")
        assert "lamp3" not in ids(ask(engine))
        engine.put_item("lamp3", categories=["lamp"])
        engine.track("view", user="shoe-fan1", item="lamp3", ts=NOW)
        assert "lamp3" in ids(ask(engine))


@pytest.mark.parametrize("ask", ["recommend", "session", "similar"])
def test_excluded_items_are_left_out(ask: str) -> None:
    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW)
        subject = ["lamp0"] if ask == "session" else "lamp0" if ask == "similar" else "bob"
        method = getattr(engine, ask)
        whole = ids(method(subject, 100, now=NOW))
        left = ids(method(subject, 100, now=NOW, exclude=["lamp2", "shoe1", "never seen"]))
        assert "lamp2" in whole
        assert left == [item for item in whole if item not in ("lamp2", "shoe1")]


@pytest.mark.parametrize("kind", ["dislike", "hide", "return"])
def test_negative_feedback_removes_the_item_until_the_visitor_returns_to_it(kind: str) -> None:
    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW)
        assert "lamp3" in ids(engine.recommend("bob", 100, now=NOW, record=False))
        engine.track(kind, user="bob", item="lamp3", ts=NOW + MINUTE)
        slate = engine.recommend("bob", 100, now=NOW + MINUTE, record=False)
        assert "lamp3" not in ids(slate)
        assert all(reason.seed != "lamp3" for r in slate for reason in r.reasons)
        engine.track("view", user="bob", item="lamp3", ts=NOW + 2 * MINUTE)
        assert "lamp3" in ids(engine.recommend("bob", 100, now=NOW + 2 * MINUTE, record=False))


def test_the_shop_excludes_what_was_bought_for_thirty_days() -> None:
    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW - MINUTE)
        engine.track("purchase", user="bob", item="lamp3", ts=NOW)

        def shown(now: int) -> bool:
            return "lamp3" in ids(engine.recommend("bob", 100, now=now, record=False))

        assert not shown(NOW)
        assert not shown(NOW + 30 * DAY)
        assert shown(NOW + 30 * DAY + 1)


def test_the_shop_demotes_what_was_viewed() -> None:
    with shop() as engine:
        before = {r.item: r.score for r in engine.recommend("bob", 100, now=NOW, record=False)}
        engine.track("impression", user="bob", item="lamp3", ts=NOW)
        assert {r.item: r.score for r in engine.recommend("bob", 100, now=NOW, record=False)} == before
        for user, seen in (("bob", "lamp3"), ("cem", "lamp4")):
            engine.track("view", user=user, item=seen, ts=NOW)
        query = engine.config.query
        for r in engine.recommend("bob", 100, now=NOW, record=False):
            worth = sum(query.sources[p.source] / (query.rrf_k + p.rank) for p in r.parts)
            assert r.score == pytest.approx(worth * (query.touched_factor if r.item == "lamp3" else 1.0))


def test_media_excludes_what_was_consumed_for_ever() -> None:
    with Engine.open(":memory:", profile="media") as engine:
        for n in range(5):
            for visitor in ("ann", "bob", "cem"):
                engine.track("rating", user=visitor, item=f"film{n}", ts=START + n * MINUTE, value=5.0)
        engine.track("rating", user="ann", item="film9", ts=START + 10 * MINUTE, value=4.0)
        engine.track("rating", user="dan", item="film1", ts=START, value=1.0)
        for now in (START + DAY, START + 5000 * DAY):
            assert ids(engine.recommend("bob", 100, now=now, record=False)) == ["film9"]
        assert "film1" not in ids(engine.recommend("dan", 100, now=START + DAY, record=False)), "rating<=2 rejects"
        engine.track("click", user="eve", item="film1", ts=START)
        assert "film2" in ids(engine.recommend("eve", 100, now=START + DAY, record=False))


def test_now_defaults_to_the_wall_clock_or_to_the_logs() -> None:
    with shop(clock="log") as engine:
        assert engine.now() == START + 5 * MINUTE + 4
        assert engine.recommend("x", record=False).now == engine.now()
        assert engine.trending().items == engine.trending(now=engine.now()).items
        assert engine.trending().fallback is None
    with shop() as engine:
        assert engine.now() > 1_700_000_000_000
        assert engine.trending().now >= 1_700_000_000_000
        assert engine.trending(now=START).now == START


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": -3}, "n"),
        ({"n": 1001}, "n"),
        ({"n": 10**30}, "n"),
        ({"n": 2.0}, "n"),
        ({"n": "5"}, "n"),
        ({"n": True}, "n"),
        ({"now": -1}, "now"),
        ({"now": 1 << 60}, "now"),
        ({"now": 1.5}, "now"),
        ({"now": float("nan")}, "now"),
        ({"exclude": "lamp0"}, "exclude"),
        ({"exclude": 5}, "exclude"),
        ({"exclude": [""]}, "exclude"),
        ({"exclude": [None]}, "exclude"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_and_the_rule(wrong: dict[str, object], field: str) -> None:
    with shop() as engine:
        for ask in (engine.recommend, engine.similar, lambda item, **more: engine.session([item], **more)):
            with pytest.raises(InvalidQuery) as caught:
                ask("lamp0", **wrong)  # type: ignore[operator]
            assert caught.value.details["field"] == field
            assert str(caught.value).startswith(field)


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda e: e.recommend(""), "user"),
        (lambda e: e.recommend(None), "user"),
        (lambda e: e.recommend("x" * 10_000), "user"),
        (lambda e: e.recommend("a\0b"), "user"),
        (lambda e: e.session("lamp0"), "items"),
        (lambda e: e.session([""]), "items"),
        (lambda e: e.session(None), "items"),
        (lambda e: e.similar("nothing"), "nothing"),
        (lambda e: e.similar("lamp0", relation="friends"), "friends.*also_viewed"),
        (lambda e: e.similar("lamp0", relation=5), "relation"),
        (lambda e: e.similar("lamp0", metric="euclid"), "euclid.*cosine"),
        (lambda e: e.trending("nowhere"), "nowhere"),
        (lambda e: e.trending(5), "category"),
        (lambda e: e.trending(n=0), "n = 0"),
        (lambda e: e.session_of("stranger"), "stranger"),
        (lambda e: e.explain("no-such", "lamp0"), "no-such"),
        (lambda e: e.explain(e.recommend("bob"), ""), "item"),
    ],
)
def test_unknown_names_are_typed_errors(ask: Callable[[Engine], object], named: str) -> None:
    with shop() as engine, pytest.raises(InvalidQuery, match=named):
        ask(engine)


def test_similar_by_one_relation_scores_by_its_metric_and_all_metrics_answer() -> None:
    with shop() as engine:
        counts = engine.similar("lamp0", relation="also_viewed", metric="count", now=START)
        assert {r.item for r in counts} == {f"lamp{n}" for n in range(1, 6)}
        assert all(r.score > 0 for r in counts)
        for metric in ("cosine", "jaccard", "conditional", "lift", "pmi", "phi", "llr"):
            slate = engine.similar("lamp0", relation="also_viewed", metric=metric, now=START)  # type: ignore[arg-type]
            assert slate.item_ids, metric
            assert not any(item.startswith("shoe") for item in slate.item_ids), metric


def test_an_item_never_seen_with_another_is_similar_by_its_categories() -> None:
    with shop() as engine:
        engine.put_item("lamp9", categories=["lamp"])
        slate = engine.similar("lamp9", 3, now=NOW)
        assert slate.fallback is not None
        assert {item[:4] for item in ids(slate)} == {"lamp"}


HOSTILE = '<script>alert("x")</script>&\'[bold]'


def test_hostile_ids_are_text_in_every_form_of_an_answer() -> None:
    from rich.console import Console

    with Engine.open(":memory:") as engine:
        for user in ("ann", "bob"):
            engine.track("view", user=user, item=HOSTILE, ts=START)
            engine.track("view", user=user, item="other", ts=START + MINUTE)
        engine.track("view", user=HOSTILE, item="other", ts=START)
        slate = engine.recommend(HOSTILE, now=NOW, record=False)
        assert HOSTILE in slate.item_ids
        html = slate._repr_html_()
        assert "<script>" not in html
        assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in html
        out = StringIO()
        console = Console(file=out, width=300)
        console.print(slate)
        console.print(engine.session_of("ann", now=NOW))
        console.print(engine.session_of(HOSTILE, now=NOW))
        assert out.getvalue().count("[bold]") >= 4
        similar = engine.similar(HOSTILE, now=NOW)
        assert "<script>" not in similar._repr_html_()


def test_answers_become_tables_and_plain_data() -> None:
    import msgspec
    import polars as pl

    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW)
        slate = engine.recommend("bob", 4, now=NOW, record=False)
        table = slate.to_polars()
        assert table["item"].to_list() == slate.item_ids
        assert table.schema == {
            "item": pl.String,
            "score": pl.Float64,
            "source": pl.String,
            "reason": pl.String,
            "propensity": pl.Float64,
            "propensity_cascade": pl.Float64,
        }
        assert table["propensity"].to_list() == [1.0] * 4
        assert engine.recommend("x", exclude=slate.item_ids, record=False, now=NOW).to_polars().height > 0
        assert engine.session([], now=0).to_polars().columns == table.columns
        plain = msgspec.json.decode(msgspec.json.encode(slate.to_dict()))
        assert [item["item"] for item in plain["items"]] == slate.item_ids
        assert plain["items"][0]["reasons"][0]["event"]["id"] == slate[0].reasons[0].event.id  # type: ignore[union-attr]
        assert [r.item for r in slate] == [slate[n].item for n in range(len(slate))]


def test_the_same_question_has_the_same_answer() -> None:
    with shop() as engine:
        engine.track("view", user="bob", item="lamp0", ts=NOW)
        for ask in ASKS:
            assert ask(engine).items == ask(engine).items


def test_items_that_were_only_looked_at_are_known_after_a_snapshot(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        engine.track("view", user="ann", item="seen")
        engine.track("impression", user="ann", item="only-shown")
        before = engine.recommend("bob", n=5, record=False)
        engine.snapshot()
    assert "only-shown" in [shown.item for shown in before], "the catalogue fills in with what exists"
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        assert engine.status()["recovered_from_snapshot"] > 0
        again = engine.recommend("bob", n=5, now=before.now)
        assert [shown.item for shown in again] == [shown.item for shown in before]
