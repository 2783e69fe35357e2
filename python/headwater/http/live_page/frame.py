"""A page: head, navigation, content, and the headers that keep it strict."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from litestar import Response

from headwater.http.live_page.markup import Html, el, join, link, short
from headwater.http.live_page.style import STYLE

Body = Callable[[], object]

_LOGO = Html(
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" '
    'aria-hidden="true"><path d="M2 8c3.3-4 6.7-4 10 0s6.7 4 10 0"/><path d="M2 16c3.3-4 6.7-4 10 0s6.7 4 10 0" '
    'opacity=".55"/></svg>'
)
SCRIPT = """
const box=document.getElementById("live"),pulse=document.getElementById("pulse");
if(box){const source=new EventSource("/live/stream");
source.onmessage=e=>{box.innerHTML=JSON.parse(e.data);pulse.className="pulse on";pulse.lastChild.textContent="live"};
source.onerror=()=>{pulse.className="pulse";pulse.lastChild.textContent="not connected"}}
"""


def page(
    title: str, here: str, *content: object, experiments: bool = False, live: bool = False, status: int = 200
) -> Response[str]:
    """A whole page. `here` is the path of the entry of the navigation that it belongs to."""
    nonce = secrets.token_urlsafe(18)
    entries = [("/", "Live"), ("/item", "Items"), ("/user", "Users"), ("/letters", "Dead letters")]
    if experiments:
        entries.insert(3, ("/experiments", "Experiments"))
    links = [el("a", name, href=path, aria_current="page" if path == here else None) for path, name in entries]
    pulse = el("span", el("i"), el("span", "connecting"), class_="pulse", id="pulse") if live else None
    head = [
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", name="robots", content="noindex"),
        el("title", f"{title} · Headwater"),
        el("style", Html(STYLE), nonce=nonce),
        # Without scripts the page is loaded anew.
        el("noscript", el("meta", http_equiv="refresh", content="5")) if live else None,
    ]
    body = [
        el("header", el("div", el("a", _LOGO, "Headwater", href="/", class_="brand"), el("nav", links), pulse)),
        el("main", content),
        el("script", Html(SCRIPT), nonce=nonce) if live else None,
    ]
    text = join([Html("<!doctype html>"), el("html", el("head", head), el("body", body), lang="en")])
    return Response(text, status_code=status, media_type="text/html", headers=_headers(nonce))


def _headers(nonce: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }


def card(heading: object, *content: object, note: object = None) -> Html:
    """A block with a heading."""
    return el("section", el("h2", el("span", heading), el("small", note) if note else None), content, class_="card")


def empty(*paragraphs: object) -> Html:
    """What stands where there is nothing yet, and what would bring something."""
    return el("div", [el("p", paragraph) for paragraph in paragraphs], class_="empty")


def table(headings: list[tuple[str, str]], rows: list[list[object]]) -> Html:
    """A table that scrolls by itself. A heading's class (`num`, `id`, `wide` or nothing) is that of its column."""
    head = el("tr", [el("th", text, class_=kind or None, scope="col") for text, kind in headings])
    body = [
        el("tr", [el("td", cell, class_=kind or None) for cell, (_, kind) in zip(row, headings, strict=True)])
        for row in rows
    ]
    return el("div", el("table", el("thead", head), el("tbody", body)), class_="scroll")


def facts(rows: list[tuple[str, object]]) -> Html:
    """Names and values."""
    return el("dl", [[el("dt", name), el("dd", value)] for name, value in rows], class_="facts")


def item_link(item: str) -> Html:
    """To an item's page."""
    return link(short(item, 80), "/item", id=item)


def user_link(user: str) -> Html:
    """To a user's page."""
    return link(short(user, 80), "/user", id=user)
