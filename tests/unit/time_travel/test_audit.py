"""The audit names the visitors who really led to a pair: as many as the slow exact model counts, and nobody else."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Explanation, Slate
from headwater.audit import NAMED, audit_reasons
from headwater.config import config_from_table
from headwater.events.frame import FrameWriter
from headwater.events.log import decode_frames
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import subject_of
from headwater.events.types import Feedback
from headwater.simulate import simulate_shop
from headwater.slate import Reason
from reference.cooccurrence import Reference
from reference.merges import MergingReference
from reference.sessions import sessions_of

START = 1_750_000_000_000
MINUTE = 60_000
DAY = 1440 * MINUTE


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("audit") / "shop"
    simulation = simulate_shop(seed=5, events=6000)
    with Engine.open(place, clock="log") as engine:
        engine.put_items(simulation.items)
        engine.ingest(simulation.events, progress=False)
        for n, item in enumerate(engine.trending(n=3).item_ids):
            engine.track("view", user="visitor", item=item, ts=engine.now() + n * MINUTE)
    return place


def logged(engine: Engine) -> dict[str, Feedback]:
    found = {}
    for batch in engine.log.read():
        for position, _, events in decode_frames(batch):
            found |= {f"{position}:{n}": e for n, e in enumerate(events) if isinstance(e, Feedback)}
    return found


def asked_of(engine: Engine, users: list[str]) -> list[tuple[Slate, Explanation]]:
    slates = [engine.recommend(user, 10, record=False) for user in users]
    return [(slate, engine.explain(slate, r.item, audit=True)) for slate in slates for r in slate]


def test_as_many_draws_as_the_exact_model_counts_and_the_events_are_theirs(shop: Path) -> None:
    with Engine.open(shop, read_only=True, clock="log") as engine:
        events = logged(engine)
        by_user: dict[str, list[Feedback]] = defaultdict(list)
        for event in events.values():
            by_user[event.user].append(event)
        draws = {}
        for user, own in by_user.items():
            model = Reference(engine.config.generation)
            for event in own:
                model.fold(event)
            draws[user] = model.counts
        checked: Counter[str] = Counter()
        fewer = 0
        users = sorted(by_user)
        for slate, explanation in asked_of(engine, ["visitor", *users[:: len(users) // 5]]):
            assert explanation.audit is not None
            assert explanation.audit.complete
            item = explanation.item
            for reason in explanation.audit.reasons:
                assert reason.unnamed == 0
                assert len(reason.witnesses) == min(reason.found, NAMED)
                for witness in reason.witnesses:
                    on_seed, on_item = events[witness.seed.id], events[witness.item.id]
                    assert on_seed.user == on_item.user == witness.user != slate.user
                    assert (on_seed.item, on_item.item) == (reason.seed, item)
                    assert (on_item.type, on_item.ts) == (witness.item.type, witness.item.ts)
                if reason.source != "session-knn":
                    others = [counts[reason.source] for user, counts in draws.items() if user != slate.user]
                    assert reason.found == sum(counts.pair[reason.seed, item] for counts in others)
                else:
                    # As many as the index counted, less the asker's own earlier sessions.
                    voted = [r.count for r in explanation.reasons if (r.source, r.seed) == (reason.source, reason.seed)]
                    assert reason.found == voted[0] if slate.user == "visitor" else reason.found <= voted[0]
                    fewer += reason.found < both_in_a_session(by_user, slate.user, reason.seed, item, engine)
                checked[reason.source] += reason.found > 0
        assert checked["session-knn"] > 10
        assert fewer > 0, "some sessions hold both items and did not vote"
        assert checked["also_viewed"] > 10
        assert sum(checked.values()) > checked["session-knn"] + checked["also_viewed"]


def both_in_a_session(
    by_user: dict[str, list[Feedback]], asker: str | None, seed: str, item: str, engine: Engine
) -> int:
    config = engine.config.generation
    found = 0
    for user, events in by_user.items():
        if user != asker:
            sessions, _ = sessions_of(events, int(config.session_gap_minutes * MINUTE))
            touched = [{e.item for e in s.events if e.type not in config.negative} for s in sessions]
            found += sum({seed, item} <= items for items in touched)
    return found


def test_without_audit_nobody_else_is_named(shop: Path) -> None:
    with Engine.open(shop, read_only=True, clock="log") as engine:
        others = {event.user for event in logged(engine).values()} - {"visitor"}
        slate = engine.recommend("visitor", 10, record=False)
        witnessed = 0
        for r in slate:
            plain = engine.explain(slate, r.item)
            assert plain.audit is None
            assert "audit" not in plain.to_dict()
            assert not {value for value in strings(plain.to_dict()) if value in others}
            audited = engine.explain(slate, r.item, audit=True)
            named = {w["user"] for reason in audited.to_dict()["audit"]["reasons"] for w in reason["witnesses"]}
            assert named <= others
            witnessed += len(named)
            assert audited.text.startswith(plain.text)
            assert all(f"audit: {reason.source} from {reason.seed}" in audited.text for reason in audited.audit.reasons)
        assert witnessed


def strings(plain: Any) -> set[str]:
    if isinstance(plain, dict):
        return set().union(*map(strings, plain.values()), set())
    if isinstance(plain, list):
        return set().union(*map(strings, plain), set())
    return {plain} if isinstance(plain, str) else set()


def three_fans() -> Engine:
    """Three visitors saw a, then b; bob saw a."""
    engine = Engine.open(":memory:", clock="log")
    for n, user in enumerate(("ann", "eve", "dan")):
        engine.track("view", user=user, item="a", ts=START + n * MINUTE)
        engine.track("view", user=user, item="b", ts=START + n * MINUTE + 10_000)
    engine.track("view", user="bob", item="a", ts=START + 10 * MINUTE)
    return engine


def test_what_came_after_the_slate_is_not_told() -> None:
    with three_fans() as engine:
        slate = engine.recommend("bob", 3, record=False)
        before = audited(engine, slate)
        assert before == {"also_viewed": {"ann", "eve", "dan"}, "session-knn": {"ann", "eve", "dan"}}
        engine.track("view", user="late", item="a", ts=START + 11 * MINUTE)
        engine.track("view", user="late", item="b", ts=START + 12 * MINUTE)
        assert audited(engine, slate) == before


def audited(engine: Engine, slate: Slate) -> dict[str, set[str]]:
    audit = engine.explain(slate, "b", audit=True).audit
    assert audit is not None
    return {reason.source: {w.user for w in reason.witnesses} for reason in audit.reasons}


def test_who_is_forgotten_is_counted_and_not_named() -> None:
    with three_fans() as engine:
        slate = engine.recommend("bob", 3, record=False)
        engine.forget("eve")
        assert audited(engine, slate) == {"also_viewed": {"ann", "dan"}, "session-knn": {"ann", "dan"}}
        explanation = engine.explain(slate, "b", audit=True)
        assert explanation.audit is not None
        assert {(r.found, r.unnamed) for r in explanation.audit.reasons} == {(3, 1)}
        assert "1 by forgotten visitors" in explanation.text
        assert "eve" not in strings(explanation.to_dict())
        # Coming back does not undo the wish.
        engine.track("view", user="eve", item="a", ts=START + 20 * MINUTE)
        assert "eve" not in strings(engine.explain(slate, "b", audit=True).to_dict())


def test_only_those_who_touched_the_item_last_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.audit.FOLLOWED", 2)
    with three_fans() as engine:
        slate = engine.recommend("bob", 3, record=False)
        explanation = engine.explain(slate, "b", audit=True)
        assert explanation.audit is not None
        assert (explanation.audit.followed, explanation.audit.complete) == (2, False)
        assert audited(engine, slate) == {"also_viewed": {"eve", "dan"}, "session-knn": {"eve", "dan"}}
        assert "only the 2 visitors" in explanation.text


def test_reasons_that_nobody_else_caused_need_no_scan() -> None:
    with three_fans() as engine:
        slate = engine.recommend("bob", 3, record=False)
        audit = audit_reasons(engine.log, engine.config, slate, "b", [])
        assert (audit.followed, audit.reasons, audit.complete) == (0, [], True)
        assert engine.explain(slate, "zzz", audit=True).audit == audit


CONFIG = config_from_table(
    {
        "generation": {
            "relations": [
                {"name": "seen", "from_types": ["view"], "to_types": ["view", "buy"], "window": 2, "unit_cap": 3},
                {"name": "bought", "from_types": ["view"], "to_types": ["buy", "rating>=4"], "unit": "user",
                 "within_days": 0.01, "window": 3, "unit_cap": 3},
                {"name": "together", "from_types": ["buy"], "to_types": ["buy"], "unit": "basket"},
            ]
        },
        "query": {"sources": {"seen": 1.0}},
    }
)  # fmt: skip
feedback = st.builds(
    Feedback,
    type=st.sampled_from(["view", "buy", "rating", "impression"]),
    user=st.sampled_from(["ann", "eve"]),
    item=st.sampled_from("abcde"),
    ts=st.integers(0, 100).map(lambda minute: START + minute * MINUTE),
    value=st.sampled_from([3.0, 5.0]),
    basket=st.sampled_from([None, "x", "y"]),
    session=st.sampled_from([None, None, None, "s", "t"]),
)


@given(st.lists(feedback, max_size=30))
def test_any_log_gives_the_draws_of_the_exact_model(events: list[Feedback]) -> None:
    """Late events, explicit sessions, full units, baskets: both count alike, each of two visitors for themselves."""
    log, writer = MemoryLog(), FrameWriter("test", 1)
    models = {user: Reference(CONFIG.generation) for user in ("ann", "eve")}
    for event in events:
        log.append(list(writer.pack(subject_of(event, CONFIG.generation.partitions), [event], START + DAY)))
        if event.type != "impression":
            models[event.user].fold(event)
    slate = Slate(kind="recommend", id="1-1", user="bob", about=[], n=1, items=[], positions=[log.last()], now=START)
    for item in "abcde":
        links = [(relation.name, seed) for relation in CONFIG.generation.relations for seed in "abcde" if seed != item]
        reasons = [Reason(source, seed, None, 0.0, 0.0) for source, seed in links]
        audit = audit_reasons(log, CONFIG, slate, item, reasons)
        assert [(r.source, r.seed) for r in audit.reasons] == links
        for reason in audit.reasons:
            assert reason.found == sum(m.counts[reason.source].pair[reason.seed, item] for m in models.values())


def merging_shop(
    steps: list[tuple[str, str, int] | tuple[str, str]],
) -> tuple[Engine, MergingReference, dict[str, str]]:
    """Visits (user, item, minutes) and merges (from, into), played to an engine and to the slow model."""
    engine = Engine.open(":memory:", clock="log")
    model = MergingReference(engine.config.generation)
    account: dict[str, str] = {}
    for step in steps:
        if len(step) == 3:
            user, item, minutes = step
            known = account.get(user, user)
            event = Feedback("view", user, item, START + minutes * MINUTE)
            engine.track_many([event])
            model.fold(Feedback("view", known, item, event.ts))
        elif account.get(step[0], step[0]) == step[0] != account.get(step[1], step[1]):
            into = account.get(step[1], step[1])
            engine.merge(*step)
            model.merge(step[0], into)
            account = {u: into if a == step[0] else a for u, a in account.items()} | {step[0]: into}
    return engine, model, account


visits = st.tuples(
    st.sampled_from(["u1", "u2", "v1", "v2"]), st.sampled_from("abcd"), st.integers(0, 8).map(lambda n: n * 12)
)
merges = st.tuples(st.sampled_from(["v1", "v2", "u1"]), st.sampled_from(["u1", "u2"])).filter(lambda m: m[0] != m[1])


@given(st.lists(st.one_of(visits, visits, visits, merges), min_size=5, max_size=40), st.sampled_from("abcd"))
def test_visitors_who_turn_out_to_be_others_are_followed(
    steps: list[tuple[str, str, int] | tuple[str, str]], item: str
) -> None:
    engine, model, _ = merging_shop(steps)
    with engine:
        slate = engine.recommend("asker", 10, record=False)
        relations = [
            r.name for r in engine.config.generation.relations if "view" in r.from_types and "view" in r.to_types
        ]
        reasons = [Reason(name, seed, None, 0.0, 0.0) for name in relations for seed in "abcd" if seed != item]
        audit = audit_reasons(engine.log, engine.config, slate, item, reasons)
        found = {(r.source, r.seed): r.found for r in audit.reasons}
        assert found == {(r.source, r.seed): model.counts[r.source].pair[str(r.seed), item] for r in reasons}


def test_what_a_merged_visitor_did_is_the_askers_own() -> None:
    with three_fans() as engine:
        engine.merge("ann", "bob")
        slate = engine.recommend("bob", 3, record=False)
        audit = audit_reasons(engine.log, engine.config, slate, "b", [Reason("also_viewed", "a", None, 0.0, 0.0)])
        assert {w.user for r in audit.reasons for w in r.witnesses} == {"eve", "dan"}
