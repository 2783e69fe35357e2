"""`replay --slate`, `verify --slates`, `shadow`, `explain --audit` and `--as-of`, as processes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e2e.command_process import headwater
from headwater import Slate
from headwater.core import generation_of
from headwater.events.frame import FrameWriter
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import subject_of
from headwater.served_slates import find_record
from headwater.store import directory_config
from reference.visited_shop import visited_shop

pytestmark = pytest.mark.e2e


def answer(place: Path, *arguments: str | int, code: int = 0) -> Any:
    result = headwater(place, *arguments, "--json")
    assert result.code == code, result
    return json.loads(result.out)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Slate]]:
    place = tmp_path_factory.mktemp("travel")
    return place, visited_shop(place / "shop", events=2000, visits=30)


def plain(slate: Slate) -> list[tuple[Any, ...]]:
    return [(r.item, r.score, r.source, r.propensity, r.propensity_cascade) for r in slate]


def named(items: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r["item"], r["score"], r["source"], r["propensity"], r["propensity_cascade"]) for r in items]


def test_replay_makes_a_slate_again(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    for slate in (slates[0], slates[-1]):
        replay = answer(place, "replay", "shop", "--slate", slate.id)
        assert replay["identical"] is True
        assert named(replay["remade"]) == named(replay["logged"]) == plain(slate)
    shown = headwater(place, "replay", "shop", "--slate", slates[3].id)
    assert (shown.code, shown.err) == (0, "")
    assert "identical" in shown.out


def test_replay_says_what_is_wrong(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    unknown = headwater(place, "replay", "shop", "--slate", "7-7")
    assert (unknown.code, "no record" in unknown.err) == (2, True)
    mixed = headwater(place, "replay", "shop", "--slate", slates[0].id, "--until", 3)
    assert (mixed.code, "--slate" in mixed.err) == (2, True)


def test_a_slate_that_differs_is_a_failure(tmp_path: Path) -> None:
    slates = visited_shop(tmp_path / "shop", events=1000, visits=5)
    config = directory_config(tmp_path / "shop")
    log = SqliteLog(tmp_path / "shop", generation_of(config.generation))
    served = find_record(slates[0].id, log)
    assert served is not None
    forged = msgspec.structs.replace(served, slate="forged", items=served.items[::-1])
    subject = subject_of(forged, config.generation.partitions)
    log.append(list(FrameWriter("forger", 1).pack(subject, [forged], served.ts)))
    log.close()
    replay = answer(tmp_path, "replay", "shop", "--slate", "forged", code=1)
    assert replay["identical"] is False
    assert replay["differences"][0].startswith("slot 0: item ")
    report = answer(tmp_path, "verify", "shop", "--slates", code=1)
    assert (report["slates"]["slates"], report["slates"]["identical"]) == (6, 5)
    assert [problem["where"] for problem in report["problems"]] == ["slate forged"]


def test_verify_makes_all_slates_again(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    report = answer(place, "verify", "shop", "--slates")
    assert report["slates"]["identical"] == report["slates"]["slates"] == len(slates)
    shown = headwater(place, "verify", "shop", "--slates")
    assert f"{len(slates)} of {len(slates)}" in shown.out


def test_shadow_reports_differences(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    (place / "new.toml").write_text(
        "[query.sources]\npopular = 1.0\n[query.scenarios.home]\n[query.scenarios.wide]\ndiversity = 0.9\n"
    )
    since = slates[10].positions[0]
    report = answer(place, "shadow", "shop", "--config", "new.toml", "--since", since, "--plot", "out.html")
    assert report["overall"]["slates"] == sum(s.positions[0] >= since for s in slates)
    assert 0 < report["overall"]["overlap"] < 1
    assert "Differences, not wins" in (place / "out.html").read_text()
    shown = headwater(place, "shadow", "shop", "--config", "new.toml", "--limit", 5, "--plot", "out.svg")
    assert (shown.code, shown.err) == (0, "")
    assert "differences between" in shown.out
    wrong = headwater(place, "shadow", "shop", "--config", "new.toml", "--plot", "out.png")
    assert (wrong.code, ".html or .svg" in wrong.err) == (2, True)
    (place / "other.toml").write_text("[generation]\nshards = 3\n")
    other = headwater(place, "shadow", "shop", "--config", "other.toml")
    assert (other.code, "shards: log 8, other.toml 3" in other.err) == (2, True)


def test_as_of_asks_the_past(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    slate = next(s for s in slates if s.kind == "recommend" and not s.exploring.floor and s.scenario is None)
    arguments = ("recommend", "shop", slate.user or "", "-n", slate.n, "--now", slate.now, "--as-of")
    for moment in (slate.id, slate.positions[0]):
        again = answer(place, *arguments, moment)
        assert named(again["items"]) == plain(slate)
        assert again["positions"] == slate.positions
    item = slate[0].item
    early, late = (answer(place, "trending", "shop", "--as-of", s.positions[0]) for s in (slates[0], slates[-1]))
    assert early["items"] != late["items"]
    for verb in (("similar", "shop", item), ("session", "shop", item), ("rank", "shop", "v1", item)):
        assert answer(place, *verb, "--as-of", slate.id)["positions"] == slate.positions
    for wrong, code in (("8-8", 2), (10_000_000, 1), (0, 2)):
        assert headwater(place, *arguments, wrong).code == code
    assert headwater(place, "session", "shop", "--user", "v1", "--as-of", 5).code == 2
    assert headwater(place, *arguments, slate.id, "--record").code == 2


def test_explain_names_others_only_to_operators(shop: tuple[Path, list[Slate]]) -> None:
    place, slates = shop
    audited = []
    for slate in slates:
        for r in slate:
            if len(audited) < 3 and any(reason.source == "also_viewed" for reason in r.reasons):
                audited.append((slate.id, r.item))
    assert audited
    for slate_id, item in audited:
        told = answer(place, "explain", "shop", slate_id, item, "--audit")
        reasons = told.pop("audit")["reasons"]
        assert any(reason["source"] == "also_viewed" and reason["witnesses"] for reason in reasons)
        assert told == answer(place, "explain", "shop", slate_id, item)
        users = {witness["user"] for reason in reasons for witness in reason["witnesses"]}
        shown = headwater(place, "explain", "shop", slate_id, item).out
        assert "audit" not in shown
        assert not any(f" {user} " in shown for user in users)
        assert "audit: also_viewed from" in headwater(place, "explain", "shop", slate_id, item, "--audit").out
