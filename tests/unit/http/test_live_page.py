"""The live page's HTML: escaped by construction, under a strict policy, bounded, and honest where there is nothing."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from headwater.config import config_from_table
from headwater.http.live import Live
from headwater.http.live_page.chart import bar, curve
from headwater.http.live_page.markup import Html, el, link, short
from headwater.http.live_page.style import STYLE
from web.asking import Gateway

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Reader(HTMLParser):
    """What stands in a page: elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], "what is opened is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert el("p", "<b>", Html("<i>x</i>"), 3, None, ["&", el("q", "'")]) == "<p>&lt;b&gt;<i>x</i>3&amp;<q>'</q></p>"
    assert el("a", "x", href='"><script>', class_="a", hidden=True, id=None, aria_label="<") == (
        '<a href="&quot;&gt;&lt;script&gt;" class="a" hidden aria-label="&lt;">x</a>'
    )
    assert link("a", "/item", id="a&b=c/../<", none=None) == '<a href="/item?id=a%26b%3Dc%2F..%2F%3C">a</a>'
    assert short("x" * 500, 10) == "x" * 9 + "…"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        engine = gateway.engine
        engine.put_item(HOSTILE, categories=[HOSTILE], labels={"brand": HOSTILE, "tags": [HOSTILE]}, comment=HOSTILE)
        for user in (HOSTILE, "bob", "ann"):
            for item in (HOSTILE, "sku1", "../../etc/passwd"):
                engine.track("view", user=user, item=item)
        gateway.ok("POST", "/v1/recommend", {"user": HOSTILE, "n": 5})
        gateway.ok("POST", "/v1/session", {"items": [HOSTILE], "n": 5})
        yield gateway


PAGES = ("/", "/item", "/user", "/letters")


@pytest.mark.parametrize(
    "query", ["", {"id": HOSTILE}, {"id": "sku1"}, {"id": "nope"}, {"id": "x" * 10_240}, {"id": "\x00"}]
)
@pytest.mark.parametrize("path", PAGES)
def test_pages_hold_nothing_but_what_they_are_made_of(gateway: Gateway, path: str, query: dict[str, str]) -> None:
    response = gateway.request("GET", path, params=query or None)
    assert response.status_code in (200, 404, 422)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    nonce = re.findall(r"'nonce-([^']+)'", policy)
    assert len(set(nonce)) == 1
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    page = Reader(response.text)
    for tag, attributes in page.found:
        assert tag not in ("img", "iframe", "object", "link", "base"), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")], attributes
        if tag in ("script", "style"):
            assert attributes == {"nonce": nonce[0]}
        for name in ("href", "action"):
            assert (attributes.get(name) or "/").startswith("/"), attributes
    assert sum(tag == "script" for tag, _ in page.found) == (path == "/")
    assert len(response.content) < 200_000
    assert "x" * 600 not in response.text, "what was sent is not sent back whole"


def test_no_two_pages_share_a_nonce(gateway: Gateway) -> None:
    policies = {gateway.get("/").headers["content-security-policy"] for _ in range(5)}
    assert len(policies) == 5


def test_the_live_view_shows_what_happened(gateway: Gateway) -> None:
    text = gateway.get("/").text
    assert text.count("&lt;script&gt;alert(1)") >= 2
    assert "2 since the start" in text
    assert 'href="/user?id=%3C%2Ftitle' in text


def test_why_tells_the_parts_and_the_events(gateway: Gateway) -> None:
    slate = gateway.ok("POST", "/v1/recommend", {"user": "bob", "n": 3})
    item = slate["items"][0]["item"]
    page = gateway.request("GET", "/why", params={"slate": slate["slate"], "item": item})
    assert page.status_code == 200
    assert "Parts of the score" in page.text
    assert "The visitor&#x27;s own events" in page.text or "The visitor's own events" in page.text
    gone = gateway.request("GET", "/why", params={"slate": HOSTILE, "item": item})
    assert gone.status_code == 404
    Reader(gone.text)


def test_experiments_are_shown_where_there_are_some(gateway: Gateway) -> None:
    assert "Experiments" not in gateway.get("/").text
    assert gateway.get("/experiments").status_code == 404
    variants = {"plain": {"share": 0.5}, "mixed": {"share": 0.5, "query": {"diversity": 0.5}}}
    with Gateway(engine=config_from_table({"experiments": {"mixing": {"variants": variants}}})) as trying:
        trying.engine.track("view", user="bob", item="sku1")
        served = [trying.ok("POST", "/v1/recommend", {"user": f"u{n}"})["variant"] for n in range(20)]
        assert set(served) == {"mixing/plain", "mixing/mixed"}
        assert "Experiments" in trying.get("/").text
        page = trying.get("/experiments").text
        Reader(page)
        for variant in ("plain", "mixed"):
            count = served.count(f"mixing/{variant}")
            assert f'<td class="id">{variant}</td><td class="num">50.0%</td><td class="num">{count}</td>' in page


def test_curves_have_a_foot_at_zero_and_stay_inside() -> None:
    points = re.search(r'<polyline points="([^"]+)"', curve([0, 5, 10], "x"))
    assert points is not None
    assert points[1].split() == ["0.0,100.0", "300.0,50.0", "600.0,0.0"]
    assert 'width="100.00"' in bar(7.0, "x")
    assert 'width="0.00"' in bar(-1.0, "x")
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_rates_and_latencies_are_of_the_last_minute() -> None:
    live = Live()
    for _ in range(10):
        live.answered("track", "write", 0.002, object())
    live.answered("recommend", "question", 0.004, object())
    live.refused("recommend")
    view = live.view()
    assert view["totals"] == {"written": 10, "question": 1, "refused": 1}
    assert view["latency"]["track"] == {"count": 10, "p50": 2.0, "p90": 2.0, "p99": 2.0}
    assert {len(counts) for counts in view["rates"].values()} == {60}
    assert view["slates"] == []
