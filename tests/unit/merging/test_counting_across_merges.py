"""Merges at random places of random logs, against slow models: pair counts, and what is known of the account."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import Engine, Feedback, default_config
from headwater.actors.recovery import fold_log
from headwater.config import Config, Relation
from headwater.core import new_core, restore_core
from headwater.errors import InvalidQuery, MergeConflict
from reference.cooccurrence import DAY
from reference.merges import MergingReference
from reference.sessions import consumed_of, latest_by_item, windows_of

START = 19_000 * DAY
FOREVER = 36_500.0
ITEMS = [f"i{n}" for n in range(8)]
USERS = ["ann", "bob", "v1", "v2", "v3"]


def relation(name: str, unit: str, **more: object) -> Relation:
    types = {"from_types": ("view", "purchase"), "to_types": ("view", "purchase")}
    return Relation(name=name, unit=unit, half_life_days=FOREVER, **(types | more))  # type: ignore[arg-type]


RELATIONS = (
    relation("viewed", "session", window=3),
    relation("then_bought", "user", from_types=("view",), to_types=("purchase",), window=4, within_days=0.1),
    relation("basket", "basket", window=8),
    relation("few", "user", window=2, unit_cap=3, within_days=30.0),
)


def exact_config() -> Config:
    config = default_config("shop")
    generation = msgspec.structs.replace(
        config.generation, relations=RELATIONS, rapid_repeat_seconds=0.0, recent_items=6, consumed_items=4
    )
    query = msgspec.structs.replace(config.query, sources={r.name: 1.0 for r in RELATIONS}, shrinkage=0.0)
    return Config(generation=generation, query=query)


feedback = st.builds(
    Feedback,
    type=st.sampled_from(["view", "view", "purchase", "dislike", "other"]),
    user=st.sampled_from(USERS),
    item=st.sampled_from(ITEMS),
    ts=st.integers(0, 40).map(lambda n: START + n * 600_000),
    session=st.sampled_from([None, None, "s1", "s2"]),
    basket=st.sampled_from([None, "b1", "b2"]),
)
merge = st.tuples(st.sampled_from(USERS), st.sampled_from(USERS)).filter(lambda pair: pair[0] != pair[1])
history = st.lists(st.one_of(feedback, feedback, feedback, merge), min_size=1, max_size=50)


class Model:
    """Who is who, and what was counted."""

    def __init__(self, config: Config) -> None:
        self.counts = MergingReference(config.generation)
        self.account = {user: user for user in USERS}

    def fold(self, event: Feedback) -> None:
        self.counts.fold(msgspec.structs.replace(event, user=self.account[event.user]))

    def merge(self, old: str, new: str) -> bool:
        """Whether the merge is allowed."""
        account = self.account[new]
        if self.account[old] == account:
            return old != account
        if self.account[old] != old:
            return False
        self.account = {u: account if a == old else a for u, a in self.account.items()}
        self.counts.merge(old, account)
        return True


def run(engine: Engine, model: Model, steps: list[Feedback | tuple[str, str]]) -> None:
    """Play a history to both."""
    for step in steps:
        if isinstance(step, Feedback):
            model.fold(step)
            engine.track_many([step])
        elif model.merge(*step):
            report = engine.merge(*step)
            assert report.into_user == model.account[step[1]]
        else:
            with pytest.raises(MergeConflict):
                engine.merge(*step)


def long_history(seed: int) -> list[Feedback | tuple[str, str]]:
    """Evenly drawn and long enough that units and sessions of two users often meet: what shrinks well is short."""
    random = Random(seed)
    steps: list[Feedback | tuple[str, str]] = []
    for _ in range(random.randrange(5, 60)):
        if random.random() < 0.2:
            old, new = random.sample(USERS, 2)
            steps.append((old, new))
            continue
        steps.append(
            Feedback(
                type=random.choice(["view", "view", "purchase", "dislike", "other"]),
                user=random.choice(USERS),
                item=random.choice(ITEMS),
                ts=START + random.randrange(41) * 600_000,
                session=random.choice([None, None, "s1", "s2"]),
                basket=random.choice([None, "b1", "b2"]),
            )
        )
    return steps


def test_pair_counts_of_long_histories_equal_the_reference() -> None:
    for seed in range(150):
        compare_counts(long_history(seed))


@settings(max_examples=60)
@given(history)
def test_pair_counts_equal_the_reference(steps: list[Feedback | tuple[str, str]]) -> None:
    compare_counts(steps)


def compare_counts(steps: list[Feedback | tuple[str, str]]) -> None:
    model = Model(exact_config())
    with Engine.open(":memory:", config=exact_config(), threads=1) as engine:
        run(engine, model, steps)
        for relation in RELATIONS:
            counted = {
                (item, r.item): r.score
                for item in ITEMS
                if item in engine
                for r in engine.similar(item, 100, relation=relation.name, metric="count", now=START)
            }
            exact = model.counts.counts[relation.name].pair
            assert counted.keys() == exact.keys(), relation.name
            for pair, count in counted.items():
                assert count == pytest.approx(exact[pair], rel=0.01), (relation.name, pair)


@settings(max_examples=80)
@given(history)
def test_the_account_is_as_if_it_had_sent_everything(steps: list[Feedback | tuple[str, str]]) -> None:
    """In log order. Where an event of one came between two of another makes no difference to what is listed here."""
    config = exact_config()
    model = Model(config)
    with Engine.open(":memory:", config=config, threads=1) as engine:
        run(engine, model, steps)
        for user in USERS:
            all_of_account = in_log_order(steps, model, user)
            if not all_of_account:
                with pytest.raises(InvalidQuery):
                    engine.session_of(user)
                continue
            state = engine.session_of(user).state
            kept = config.generation.recent_items
            wanted = [item for item, _, _ in latest_by_item(all_of_account)][:kept]
            assert [item.item for item in state.items] == wanted
            assert state.events == len(all_of_account)
            assert state.windows == windows_of(all_of_account)
            consumed = consumed_of(all_of_account, config.generation)[: config.generation.consumed_items]
            assert state.consumed == consumed


def in_log_order(steps: list[Feedback | tuple[str, str]], model: Model, user: str) -> list[Feedback]:
    """All events of everyone who is the same person as `user` at the end."""
    person = {name for name, account in model.account.items() if account == model.account[user]}
    return [step for step in steps if isinstance(step, Feedback) and step.user in person]


@settings(max_examples=60)
@given(history, st.data())
def test_a_log_of_merges_has_one_digest(steps: list[Feedback | tuple[str, str]], data: st.DataObject) -> None:
    """Threads, batches, a snapshot at any position and its tail: the live state again."""
    config = exact_config()
    with Engine.open(":memory:", config=config, threads=1) as engine:
        run(engine, Model(config), steps)
        wanted = engine.digest()
        frames = [frame for batch in engine.log.read() for frame in batch.frames]
        parallel = new_core(config, 4)
        fold_log(parallel, engine.log)
        assert parallel.digest() == wanted
    cut = data.draw(st.integers(1, len(frames)), label="cut")
    core = new_core(config, 1)
    for at in range(cut):
        core.apply(at + 1, [frames[at]])
    restored = restore_core(config, 2, core.snapshot()[1])
    assert restored.digest() == core.digest()
    if cut < len(frames):
        restored.apply(cut + 1, frames[cut:])
    assert restored.digest() == wanted
