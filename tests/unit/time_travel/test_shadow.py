"""A shadow answers logged requests under another configuration; its figures are those of the slates themselves."""

import re
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from headwater import Engine, Slate
from headwater.active_query import query_version
from headwater.errors import ConfigError, InvalidInput
from headwater.ranking_distance import distance
from headwater.served_slates import ServedSlates
from headwater.shadow import MOST_DIFFERENT, ShadowReport, shadow_directory
from headwater.shadow_page import page, plots, shadow_table, write_plot
from reference.visited_shop import shop_config, visited_shop

POPULAR = "[query.sources]\npopular = 1.0\n"
SCENARIOS = "[query.scenarios.home]\nexploration = 0.2\n[query.scenarios.wide]\ndiversity = 0.5\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Slate]]:
    place = tmp_path_factory.mktemp("shadow") / "shop"
    return place, visited_shop(place)


def toml(place: Path, text: str) -> Path:
    place.write_text(text)
    return place


SAME = """
[query.scenarios.home]
exploration = 0.2
[query.scenarios.wide]
diversity = 0.5
sources = { also_viewed = 1.0, trending = 0.5, popular = 0.5 }
"""


def test_the_same_configuration_differs_in_nothing(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    place, slates = shop
    report = shadow_directory(place, toml(tmp_path / "same.toml", SAME))
    assert report.shadow_config == query_version(shop_config().query)
    assert report.logged_configs == {report.shadow_config: len(slates)}
    for group in (report.overall, *report.scenarios.values(), *report.visitors.values(), *report.histories.values()):
        assert (group.identical, group.overlap) == (1.0, 1.0)
        assert group.rbo == pytest.approx(1.0)
        assert group.logged_items == group.shadow_items == group.common_items
        assert group.logged_sources == group.shadow_sources
        assert group.overlaps == [0] * 10 + [group.slates]
    assert report.overall.slates == len(slates)
    assert (report.most_different, report.refused) == ([], {})


def test_figures_are_those_of_the_slates(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    """The other configuration only knows popular items: asked slate by slate, it gives the same figures."""
    place, slates = shop
    report = shadow_directory(place, toml(tmp_path / "new.toml", POPULAR + SCENARIOS))
    apart, shadows = [], []
    with Engine.open(place, read_only=True) as engine:
        records = list(ServedSlates(engine.log, 86_400_000))
    by_id = {slate.id: slate for slate in slates}
    shadows = other_answers(place, records)
    for record in records:
        apart.append(distance(by_id[record.slate].item_ids, shadows[record.slate]))
    overall = report.overall
    assert overall.slates == len(slates)
    assert overall.identical == pytest.approx(mean(d.identical for d in apart))
    assert overall.overlap == pytest.approx(mean(d.overlap for d in apart))
    assert overall.rbo == pytest.approx(mean(d.rbo for d in apart))
    assert overall.rank_shift == pytest.approx(mean(d.rank_shift for d in apart if d.rank_shift is not None))
    logged_items = {item for slate in slates for item in slate.item_ids}
    shadow_items = {item for items in shadows.values() for item in items}
    assert (overall.logged_items, overall.shadow_items) == (len(logged_items), len(shadow_items))
    assert overall.common_items == len(logged_items & shadow_items)
    sources = Counter(r.source for slate in slates for r in slate)
    assert overall.logged_sources == pytest.approx({s: n / sources.total() for s, n in sources.items()})
    assert overall.shadow_sources["popular"] > 0.9
    assert 0.0 < overall.overlap < 0.9
    for groups in (report.scenarios, report.visitors, report.histories):
        assert sum(group.slates for group in groups.values()) == len(slates)
    assert {name: group.slates for name, group in report.scenarios.items()} == Counter(
        slate.scenario or "(default)" for slate in slates
    )
    assert set(report.visitors) == {"new", "known"}
    worst = report.most_different
    assert len(worst) == MOST_DIFFERENT
    assert [s.rbo for s in worst] == sorted(d.rbo for d in apart)[:MOST_DIFFERENT]
    assert worst[0].logged == by_id[worst[0].slate].item_ids
    assert worst[0].shadow == shadows[worst[0].slate]
    assert report.explored == sum(any(r.propensity < 1 for r in slate) for slate in slates)
    assert any("chance" in note for note in report.notes)


def other_answers(place: Path, records: list[Any]) -> dict[str, list[str]]:
    """Slate id -> items under the other configuration, each from a state rebuilt for it alone."""
    from headwater.actors.past_state import rebuild
    from headwater.answer import ask
    from headwater.config import config_from_table
    from headwater.core import query_json
    from headwater.store import directory_config

    scenarios = {"home": {"exploration": 0.2}, "wide": {"diversity": 0.5}}
    table = {"query": {"sources": {"popular": 1.0}, "scenarios": scenarios}}
    query = query_json(config_from_table(table).query)
    found = {}
    with Engine.open(place, read_only=True) as engine:
        for record in records:
            core = rebuild(engine.log, None, directory_config(place), 1, record.positions[0])
            answer = ask(core, dict(record.request), record.slate, query)
            found[record.slate] = [r.item for r in answer.items]
    return found


def test_a_stretch_and_a_limit(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    place, slates = shop
    new = toml(tmp_path / "new.toml", POPULAR + SCENARIOS)
    since, until = slates[10].positions[0], slates[30].positions[0]
    within = [s for s in slates if since <= s.positions[0] <= until]
    assert shadow_directory(place, new, since=since, until=until).overall.slates == len(within)
    assert shadow_directory(place, new, since=since, limit=4).overall.slates == 4
    for since, until in ((10_000_000, None), (30, 20)):
        with pytest.raises(InvalidInput, match="since"):
            shadow_directory(place, new, since=since, until=until)


def test_requests_that_the_other_configuration_refuses_are_counted(
    shop: tuple[Path, list[Slate]], tmp_path: Path
) -> None:
    place, slates = shop
    report = shadow_directory(place, toml(tmp_path / "new.toml", POPULAR))
    named = sum(slate.scenario is not None for slate in slates)
    assert sum(report.refused.values()) == named
    assert any("home" in reason for reason in report.refused)
    assert report.overall.slates == len(slates) - named
    assert "refused there" in page(report)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("[generation]\nsession_gap_minutes = 20.0\nshards = 4\n", {"session_gap_minutes", "shards"}),
        ('[generation]\nprofile = "media"\n', {"profile", "relations", "votes"}),
    ],
)
def test_another_generation_is_refused_with_its_keys(
    shop: tuple[Path, list[Slate]], tmp_path: Path, text: str, keys: set[str]
) -> None:
    with pytest.raises(ConfigError, match="one state") as refused:
        shadow_directory(shop[0], toml(tmp_path / "new.toml", text))
    assert {f"generation.{key}" for key in keys} <= set(refused.value.details["key"].split(", "))


def test_the_page_holds_the_figures_and_nothing_from_elsewhere(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    report = shadow_directory(shop[0], toml(tmp_path / "new.toml", POPULAR + SCENARIOS))
    whole = page(report)
    assert "Differences, not wins" in whole
    assert f"{report.overall.overlap:.3f}" in whole
    assert not re.search(r"<script|src=|href=|url\(", whole)
    drawing = ElementTree.fromstring(plots(report))
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert [f"{count:,}" for count in report.overall.overlaps] == texts[1:23:2]
    assert "popular" in texts
    for name in ("out.html", "out.svg"):
        write_plot(report, tmp_path / name)
        assert "<svg" in (tmp_path / name).read_text()
    with pytest.raises(InvalidInput, match=r"\.html or \.svg"):
        write_plot(report, tmp_path / "out.pdf")


def test_the_table_calls_them_differences(shop: tuple[Path, list[Slate]], tmp_path: Path) -> None:
    report = shadow_directory(shop[0], toml(tmp_path / "new.toml", POPULAR + SCENARIOS))
    shown = told(report)
    assert "differences between" in shown
    assert not re.search(r"\b(win|wins|better|worse|improve\w*)\b", shown)
    assert all(f"scenario: {name}" in shown for name in report.scenarios)


def told(report: ShadowReport) -> str:
    console = Console(width=200, markup=False)
    with console.capture() as capture:
        console.print(shadow_table(report))
    return capture.get()
