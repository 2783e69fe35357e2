"""The live page in headless Chromium: no error in its console, nothing wider than the screen, nothing of a hostile id
runs. Screenshots are kept in `artefacts/screenshots/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl
import pytest

from headwater import Engine
from headwater.http.keys import add_key
from headwater.simulate import simulate_shop
from web.serving import Served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = Path(__file__).parents[2] / "artefacts" / "screenshots"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
SCREENS = {"desk": (1200, 900), "phone": (390, 844)}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]


class Shop:
    """A server with some history and a hostile item, and what to ask it."""

    def __init__(self, served: Served, client: httpx.Client, last: int) -> None:
        self.served = served
        self.client = client
        self.last = last
        self.user = "u7"

    def happen(self, number: int) -> None:
        """Somebody looks at something and is answered."""
        for item in ("shoes-1", HOSTILE):
            event = {"type": "view", "user": self.user, "item": item, "ts": self.last + number * 20_000}
            assert self.client.post("/v1/track", json=event).status_code == 200
        assert self.client.post("/v1/recommend", json={"user": self.user, "n": 8}).status_code == 200
        assert self.client.post("/v1/session", json={"items": [HOSTILE], "n": 3}).status_code == 200


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("browser") / "shop"
    directory.mkdir()
    (directory / "headwater.toml").write_text('[engine]\nclock = "log"\n')
    simulated = simulate_shop(seed=1, events=5000)
    with Engine.open(directory) as engine:
        engine.put_items(simulated.items)
        engine.put_item(HOSTILE, categories=[HOSTILE], labels={"brand": HOSTILE}, comment=HOSTILE)
        engine.ingest(simulated.events, progress=False)
        engine.ingest(simulated.events.head(3).with_columns(pl.lit(HOSTILE + "\x01").alias("item")), progress=False)
    with Served(directory) as served, httpx.Client(base_url=served.url, timeout=30) as client:
        yield Shop(served, client, int(simulated.events["ts"].max()))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A page of the browser that notes what its console says and whom it asks."""

    def __init__(self, browser: Any, scheme: str, screen: str, **more: Any) -> None:
        width, height = SCREENS[screen]
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}, **more)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url.split("/")[2]))

    def check(self, served: Served, name: str) -> None:
        """Nothing wrong was said, nobody else was asked, nothing sticks out; a screenshot is kept."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)
        assert self.said == []
        assert self.asked == {served.url.removeprefix("http://")}
        root = "document.documentElement"
        assert self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0, f"{name} is wider than the screen"
        assert self.page.title() != "owned"
        assert self.page.locator("main script, main img").count() == 0


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("scheme", "screen"),
    [
        ("light", "desk"),
        ("dark", "phone"),
        pytest.param("light", "phone", marks=SLOW),
        pytest.param("dark", "desk", marks=SLOW),
    ],
)
def test_slates_appear_as_they_happen(shop: Shop, browser: Any, scheme: str, screen: str) -> None:
    from playwright.sync_api import expect

    tab = Tab(browser, scheme, screen)
    tab.page.goto(shop.served.url + "/")
    tab.page.wait_for_selector(".pulse.on")
    asked = tab.page.locator(".tile .more").nth(1)
    before = int(asked.inner_text().split()[0].replace(",", ""))
    shop.happen(1 + 2 * list(SCREENS).index(screen) + (scheme == "dark"))
    expect(asked).to_have_text(f"{before + 2:,} since the start", timeout=20_000)
    newest = tab.page.locator(".slates > li")
    assert newest.nth(0).get_by_text("session", exact=True).is_visible()
    assert newest.nth(1).locator("b a").inner_text() == shop.user
    assert newest.nth(1).locator("ol li").count() == 3
    tab.check(shop.served, f"live-{screen}-{scheme}")
    background = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 382) == (scheme == "light")
    tab.context.close()


@pytest.mark.parametrize("screen", ["phone", pytest.param("desk", marks=SLOW)])
@pytest.mark.parametrize(
    ("name", "path", "shows"),
    [
        ("item-hostile", f"/item?id={quote(HOSTILE)}", "What is known"),
        ("user", "/user?id=u7", "Would see now"),
        ("letters", "/letters", "bad-id"),
        pytest.param("item", "/item?id=shoes-1", "also viewed", marks=SLOW),
        pytest.param("item-none", "/item", "neighbours by every relation", marks=SLOW),
        pytest.param("item-unknown", "/item?id=nope", "No event and no put", marks=SLOW),
        pytest.param("user-unknown", f"/user?id={quote(HOSTILE + 'x' * 300)}", "Nothing is known", marks=SLOW),
        pytest.param("user-too-long", f"/user?id={'x' * 10_240}", "1 to 512 bytes", marks=SLOW),
    ],
)
def test_pages_show_what_they_are_asked_for(
    shop: Shop, browser: Any, name: str, path: str, shows: str, screen: str
) -> None:
    tab = Tab(browser, "light" if name != "user" else "dark", screen)
    tab.page.goto(shop.served.url + path)
    tab.said = [said for said in tab.said if "status of 404" not in said and "status of 422" not in said]
    assert tab.page.get_by_text(shows).first.is_visible()
    tab.check(shop.served, f"{name}-{screen}")
    tab.context.close()


def test_a_reader_finds_the_way_by_links_and_forms(shop: Shop, browser: Any) -> None:
    tab = Tab(browser, "light", "desk")
    shop.happen(9)
    tab.page.goto(shop.served.url + "/user")
    tab.page.fill("input[name=id]", shop.user)
    tab.page.click("button")
    tab.page.click("text=why >> nth=0")
    assert tab.page.get_by_text("Parts of the score").is_visible()
    tab.check(shop.served, "why-desk")
    tab.page.click("h1 a")
    tab.page.select_option("select[name=metric]", "lift")
    tab.page.click("button")
    assert "metric=lift" in tab.page.url
    assert tab.page.locator("th", has_text="lift").count() > 0
    tab.page.click("nav >> text=Live")
    tab.page.wait_for_selector(".pulse.on")
    tab.context.close()


def test_where_there_are_keys_the_browser_asks_for_one(tmp_path: Path, browser: Any) -> None:
    key = add_key(tmp_path, "operator", "admin")
    reader = add_key(tmp_path, "site", "reader")
    with Served(tmp_path) as served:
        for password, status in ((reader, 403), ("wrong", 401)):
            tab = Tab(browser, "light", "desk", http_credentials={"username": "x", "password": password})
            assert tab.page.goto(served.url + "/").status == status
            tab.context.close()
        tab = Tab(browser, "light", "desk", http_credentials={"username": "x", "password": key})
        tab.page.goto(served.url + "/")
        tab.page.wait_for_selector(".pulse.on")
        assert tab.page.get_by_text("There are no API keys").count() == 0
        assert "x-api-key" in tab.page.locator("pre").inner_text()
        tab.said = [said for said in tab.said if "status of 401" not in said]
        tab.check(served, "empty-desk")
        tab.context.close()
