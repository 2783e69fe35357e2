"""The demonstration, on a small simulated shop and on tiny files of a public dataset."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headwater import Engine
from headwater.simulate import simulate_shop

pytestmark = pytest.mark.e2e


def demo(*arguments: str | int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "headwater"), "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def figures(*arguments: str | int) -> dict[str, Any]:
    done = demo(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def check(found: dict[str, Any]) -> None:
    """The keys that are promised, with sound values."""
    for name in ("events", "users", "items", "ingest_events_per_s", "rebuild_events_per_s"):
        assert found[name] > 0, name
    for name in ("recommend_ms", "similar_ms", "freshness_ms"):
        assert 0 < found[name]["p50"] <= found[name]["p99"], name
    assert all(found["bytes_per"][name] > 0 for name in ("user", "item", "pair"))
    assert set(found["digest"]) == {"live", "replay", "snapshot_tail"}
    assert len(set(found["digest"].values())) == 1
    assert found["digest_before_kill"] == found["digest"]["live"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A demonstration that kept its engine: where, and its figures."""
    place = tmp_path_factory.mktemp("demo") / "shop"
    return place, figures("--events", 5000, "--seed", 3, "--dir", place)


def test_the_figures_are_those_that_were_promised(kept: tuple[Path, dict[str, Any]]) -> None:
    place, found = kept
    check(found)
    shop = simulate_shop(seed=3, events=5000)
    assert found["events"] == 5000
    assert found["users"] == shop.events["user"].n_unique()
    assert found["items"] == len(shop.items)
    assert place.is_dir()


def test_the_same_seed_leaves_the_same_state(kept: tuple[Path, dict[str, Any]]) -> None:
    """Whenever it runs, and however its threads take turns."""
    _, found = kept
    again = figures("--events", 5000, "--seed", 3)
    assert again["digest"] == found["digest"]
    assert again["story"] == found["story"]


def test_the_kept_engine_holds_what_the_figures_say(kept: tuple[Path, dict[str, Any]]) -> None:
    place, found = kept
    with Engine.open(place, read_only=True, clock="log") as engine:
        assert engine.digest()["whole"] == found["digest"]["live"]
        assert engine.verify().equal
        visitor = engine.session_of("visitor").state
        assert visitor.events == 6, "five clicks and a dislike"
        assert [t.item for t in visitor.items if "negative" in t.roles] == [found["story"]["disliked"]]
        assert found["story"]["new_item_served"] > 0
        assert engine.item("brand-new").served >= found["story"]["new_item_served"]
        assert found["story"]["new_item_slot"] is not None
        assert sum(engine.session_of(f"late-{n}").state.events for n in range(7)) == 200


def test_the_shop_is_the_same_for_a_seed_and_another_for_another() -> None:
    shops = [simulate_shop(seed=seed, events=3000) for seed in (1, 1, 2)]
    assert shops[0].events.equals(shops[1].events)
    assert shops[0].items == shops[1].items
    assert not shops[0].events.equals(shops[2].events)
    digests = []
    for shop in shops[:2]:
        with Engine.open(":memory:") as engine:
            engine.ingest(shop.events, progress=False)
            digests.append([(r.item, r.score) for r in engine.trending(n=50, now=1_740_000_000_000)])
    assert digests[0] == digests[1]


def test_the_demonstration_is_told_to_people_and_cleans_up(tmp_path: Path) -> None:
    done = demo("--events", 2000, "--seed", 5)
    assert done.returncode == 0, done.stderr
    chapters = ("Bulk import", "A new visitor", "A dislike", "A filter", "A new item", "Similar items", "kill -9")
    for said in (*(f"{n}. {name}" for n, name in enumerate(chapters, 1)), "Latency", "Digests"):
        assert said in done.stdout, said
    assert "the visitor rejected it (event " in done.stdout
    assert "new, shown 0 times so far" in done.stdout
    assert "equal" in done.stdout
    assert "NOT EQUAL" not in done.stdout
    assert "because:" in done.stdout


def test_a_public_dataset_runs_through_it(tmp_path: Path) -> None:
    rows = ["timestamp,visitorid,event,itemid,transactionid"]
    shop = simulate_shop(seed=4, events=1000).events
    for kind, user, item, ts in shop.select("type", "user", "item", "ts").iter_rows():
        rows.append(f"{ts},{user},{ {'cart': 'addtocart', 'purchase': 'transaction'}.get(kind, kind) },{item},")
    (tmp_path / "events.csv").write_text("\n".join(rows) + "\n")
    found = figures("--dataset", "retailrocket", "--path", tmp_path)
    check(found)
    assert found["events"] == 1000
    assert found["users"] == shop["user"].n_unique()
    assert found["items"] == shop["item"].n_unique()
