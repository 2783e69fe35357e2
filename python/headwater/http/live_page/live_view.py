"""The first page: what happens now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from headwater.http.live_page.chart import curve
from headwater.http.live_page.frame import card, empty, item_link, user_link
from headwater.http.live_page.markup import Html, el, join, link, short

_RECENT = 5
_SHOWN = 8
_WRITES = ("track", "track-many", "seen", "put-item", "put-items", "patch-item")
_QUESTIONS = ("recommend", "session", "rank", "similar", "trending")


def live_view(view: dict[str, Any], keys: bool, base: str) -> Html:
    """All that the stream renews. `base` is where the reader reached this server."""
    return join(
        [
            None if keys else _no_keys(),
            [
                el("p", f"{name.replace('_', ' ')}: {view[name]}", class_="warn")
                for name in ("snapshot_error", "slate_record_error", "trouble")
                if view.get(name)
            ],
            el("div", _tiles(view), class_="tiles"),
            _rates(view),
            el("div", _slates(view, keys, base), el("div", _latency(view), _trending(view)), class_="two"),
        ]
    )


def _no_keys() -> Html:
    return el(
        "p",
        "There are no API keys: every program on this machine can read, write and forget. ",
        el("code", "headwater key add DIR NAME --role admin"),
        " makes one.",
        class_="warn",
    )


def _tiles(view: dict[str, Any]) -> list[Html]:
    rates, latency = view["rates"], view["latency"]
    written, asked = _recent(rates["written"]), _recent(rates["question"])
    fresh = latency.get("track") or latency.get("track-many")
    answer = latency.get("recommend") or latency.get("session") or latency.get("rank")
    return [
        _tile("Events", written, "/s", f"{view['totals'].get('written', 0):,} since the start"),
        _tile("Questions", asked, "/s", f"{view['totals'].get('question', 0):,} since the start"),
        _tile("Freshness", _ms(fresh, "p50"), " ms", _p99(fresh) or "received to in every answer"),
        _tile("Answer", _ms(answer, "p50"), " ms", _p99(answer) or "a slate, inside the engine"),
    ]


def _tile(what: str, value: str, unit: str, more: str) -> Html:
    shown = [value, el("small", unit) if value != "–" else None]
    return el(
        "div",
        el("div", what, class_="what"),
        el("div", shown, class_="value"),
        el("div", more, class_="more"),
        class_="tile",
    )


def _recent(counts: list[int]) -> str:
    rate = sum(counts[-_RECENT:]) / _RECENT
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def _ms(sample: dict[str, float] | None, which: str) -> str:
    if sample is None:
        return "–"
    value = sample[which]
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _p99(sample: dict[str, float] | None) -> str | None:
    return None if sample is None else f"p50 of a minute · p99 {_ms(sample, 'p99')} ms"


def _rates(view: dict[str, Any]) -> Html:
    written = view["rates"]["written"]
    top = max(written)
    axis = el("div", [el("span", text) for text in ("60 s ago", "30 s", "now")], class_="axis")
    facts = f"position {view['position']:,} · {view['users']:,} users · {view['items']:,} items"
    return card(
        "Events a second",
        curve(written, f"events a second over the last minute, at most {top:,}"),
        axis,
        note=[f"peak {top:,}/s · " if top else "", facts],
    )


def _slates(view: dict[str, Any], keys: bool, base: str) -> Html:
    slates = view["slates"]
    if not slates:
        key = " \\\n  -H 'x-api-key: KEY'" if keys else ""
        json = "-H 'content-type: application/json' -d '{\"user\": \"bob\"}'"
        ask = f"curl -s {base}v1/recommend{key} \\\n  {json}"
        shown = empty(
            "No question was asked yet. The first slate appears here by itself, with the reason for each slot."
        )
        return card("Slates as they happen", shown, el("pre", ask))
    return card(
        "Slates as they happen",
        el("ul", [_slate(slate) for slate in slates[:_SHOWN]], class_="slates"),
        note=f"the latest {min(_SHOWN, len(slates))}",
    )


def _slate(slate: dict[str, Any]) -> Html:
    if slate["user"] is not None:
        who: object = user_link(slate["user"])
    else:
        who = short(", ".join(slate["about"]) or "somebody", 60)
    told = [slate["kind"], f"{slate['ms']:.2f} ms", clock(slate["ts"])]
    more = [slate["fallback"], *slate["degraded"]]
    return el(
        "li",
        el("div", el("b", who), [el("span", text) for text in told], class_="who"),
        slots(slate["items"], 3),
        [el("div", text, class_="note") for text in more if text],
    )


def slots(rows: list[dict[str, Any]], most: int = 100, slate: str | None = None) -> Html:
    """Slots with their reasons; with the slate's id each has a link to all of them."""
    return el(
        "ol",
        [
            el(
                "li",
                el("span", n, class_="n"),
                el("span", item_link(row["item"]), class_="id"),
                el(
                    "span",
                    source_dot(row["source"]),
                    short(row["reason"], 200),
                    _more(slate, row["item"]),
                    class_="why",
                ),
            )
            for n, row in enumerate(rows[:most], 1)
        ],
        class_="slots",
    )


def _more(slate: str | None, item: str) -> list[object] | None:
    return None if slate is None else [" · ", link("why", "/why", slate=slate, item=item)]


def source_dot(source: str) -> Html:
    """A dot in the source's colour, the same everywhere."""
    return el("i", class_=f"dot s{crc32(source.encode()) % 8}", title=source)


def moment(ts: int) -> str:
    """A time, UTC."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(ts: int) -> str:
    """The time of day, UTC."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%H:%M:%S")


def _latency(view: dict[str, Any]) -> Html:
    latency = view["latency"]
    verbs = [verb for verb in (*_QUESTIONS, *_WRITES) if verb in latency]
    if not verbs:
        return card("Latency", empty("Nothing in the last minute."), note="ms, last minute")
    rows = [
        el(
            "tr",
            el("td", verb),
            [el("td", f"{latency[verb][q]:.2f}", class_="num") for q in ("p50", "p90", "p99")],
        )
        for verb in verbs
    ]
    head = el("tr", el("th", ""), [el("th", q, class_="num") for q in ("p50", "p90", "p99")])
    return card("Latency", el("table", el("thead", head), el("tbody", rows)), note="ms, last minute")


def _trending(view: dict[str, Any]) -> Html:
    rows = view["trending"]
    if not rows:
        return card("Trending", empty("No item has more votes than its past lets expect."))
    lines = [
        el("tr", el("td", item_link(row["item"]), class_="id"), el("td", f"{row['score']:+.1f}", class_="num"))
        for row in rows
    ]
    return card("Trending", el("table", el("tbody", lines)), note="above what was expected")
