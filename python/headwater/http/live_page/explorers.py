"""Pages about one thing: an item, a user, a reason, what was refused, what is tried."""

from __future__ import annotations

from typing import Any

from litestar import Response

from headwater.http.live_page.chart import bar
from headwater.http.live_page.frame import card, empty, facts, item_link, page, table, user_link
from headwater.http.live_page.live_view import moment, slots, source_dot
from headwater.http.live_page.looks import METRICS
from headwater.http.live_page.markup import Html, el, short


def item_page(id: str, metric: str, look: dict[str, Any] | None, experiments: bool) -> Response[str]:
    """An item and what goes with it; without an id the way to one."""
    search = el(
        "form",
        el(
            "input",
            type="search",
            name="id",
            value=short(id, 512),
            placeholder="Item id",
            aria_label="Item id",
            required=True,
        ),
        el("label", "by", _metrics(metric)),
        el("button", "Show"),
        action="/item",
        method="get",
    )
    if not id:
        lead = el("p", "What is known of an item, and its neighbours by every relation.", class_="lead")
        return page("Items", "/item", el("h1", "Items"), lead, search, experiments=experiments)
    if look is None:
        shown = card("Not known", empty("No event and no put ever named this item."))
        title = el("h1", short(id, 90))
        return page("Not known", "/item", title, search, shown, experiments=experiments, status=404)
    view = look["view"]
    found = [
        card(name.replace("_", " "), _neighbours(rows, metric), note=metric)
        for name, rows in look["neighbours"].items()
        if rows
    ]
    missing = [name.replace("_", " ") for name, rows in look["neighbours"].items() if not rows]
    fused = card("All relations together", _neighbours(look["fused"], "fused score"), note="fused by rank")
    if missing:
        found.append(card("Without neighbours yet", empty(", ".join(missing))))
    return page(
        short(id, 60),
        "/item",
        el("h1", short(id, 90)),
        search,
        el("div", card("What is known", facts(_item_facts(view))), fused if look["fused"] else None, class_="half"),
        el("div", found, class_="half"),
        experiments=experiments,
    )


def _metrics(chosen: str) -> Html:
    return el("select", [el("option", m, value=m, selected=m == chosen) for m in METRICS], name="metric")


def _item_facts(view: dict[str, Any]) -> list[tuple[str, object]]:
    state = "visible" if view["visible"] else "hidden" if view["is_hidden"] else "not shown"
    rows: list[tuple[str, object]] = [("state", state if view["put"] else f"{state}; only events named it")]
    if view["categories"]:
        rows.append(("categories", _tags(view["categories"])))
    rows += [
        (short(name, 60), _tags(value) if isinstance(value, list) else short(str(value), 300))
        for name, value in view["labels"].items()
    ]
    rows += [
        ("votes", f"{view['votes']:,}"),
        ("popularity", f"{view['popularity']:,.1f}"),
        ("trend", f"{view['trend']:+.2f}"),
        ("served", f"{view['served']:,} times"),
    ]
    if view["group_id"] is not None:
        rows.append(("group", view["group_id"]))
    if view["embeddings"]:
        rows.append(("embeddings", ", ".join(f"{name} ({size})" for name, size in view["embeddings"].items())))
    if view["born"] is not None:
        rows.append(("born", moment(view["born"])))
    if view["comment"]:
        rows.append(("comment", short(view["comment"], 400)))
    return rows


def _tags(values: list[str]) -> list[Html]:
    return [el("span", short(value, 60), class_="tag") for value in values]


def _neighbours(rows: list[dict[str, Any]], metric: str) -> Html:
    top = max((abs(row["score"]) for row in rows), default=0.0) or 1.0
    return table(
        [("item", "id"), (metric, "num"), ("", "")],
        [
            [item_link(row["item"]), _number(row["score"]), bar(abs(row["score"]) / top, f"{row['score']:.4g}")]
            for row in rows
        ],
    )


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}"


def user_page(id: str, look: dict[str, Any] | None, experiments: bool) -> Response[str]:
    """A user, and what would be shown to them now; without an id the way to one."""
    search = el(
        "form",
        el(
            "input",
            type="search",
            name="id",
            value=short(id, 512),
            placeholder="User id",
            aria_label="User id",
            required=True,
        ),
        el("button", "Show"),
        action="/user",
        method="get",
    )
    if look is None:
        lead = el("p", "Session, tastes, and what a user would be shown now, with reasons.", class_="lead")
        return page("Users", "/user", el("h1", "Users"), lead, search, experiments=experiments)
    view = look["view"]
    return page(
        short(id, 60),
        "/user",
        el("h1", short(id, 90)),
        search,
        el("div", _would_see(look), el("div", _session(view), _tastes(view)), class_="two"),
        _touched(view),
        experiments=experiments,
    )


def _would_see(look: dict[str, Any]) -> Html:
    told = [text for text in (look["fallback"], *look["notes"]) if text]
    why = "Nothing can be shown: the catalogue is empty, or everything is consumed, hidden or filtered."
    shown = slots(look["slots"], slate=look["slate"]) if look["slots"] else empty(why)
    return card(
        "Would see now", [el("p", text, class_="note lone") for text in told], shown, note=f"slate {look['slate']}"
    )


def _session(view: dict[str, Any] | None) -> Html:
    if view is None:
        return card("Session", empty("Nothing is known of this user: no event, or forgotten."))
    return card(
        "Session",
        facts(
            [
                ("number", view["session"]),
                ("began", moment(view["started"])),
                ("last event", moment(view["last"])),
                ("events in it", view["session_events"]),
                ("carts, purchases", f"{view['carts']}, {view['purchases']}"),
                ("dwell", f"{view['dwell_ms'] / 1000:,.0f} s"),
                ("events in all", f"{view['events']:,}"),
                ("consumed", f"{len(view['consumed']):,} items"),
            ]
        ),
    )


def _tastes(view: dict[str, Any] | None) -> Html | None:
    if view is None or not view["affinities"]:
        return None
    top = max(abs(entry["weight"]) for entry in view["affinities"]) or 1.0
    rows: list[list[object]] = [
        [short(entry["tag"], 60), f"{entry['weight']:.1f}", bar(abs(entry["weight"]) / top, f"{entry['weight']:.2f}")]
        for entry in view["affinities"][:12]
    ]
    return card("Tastes", table([("tag", "id"), ("weight", "num"), ("", "")], rows))


def _touched(view: dict[str, Any] | None) -> Html | None:
    if view is None:
        return None
    rows: list[list[object]] = [
        [
            item_link(touch["item"]),
            touch["type"],
            "this session" if touch["in_session"] else "earlier",
            moment(touch["ts"]),
            el("code", touch["event"]),
        ]
        for touch in view["items"]
    ]
    headings = [("item", "id"), ("last event", ""), ("session", ""), ("time", "time"), ("event", "")]
    return card("Recent items", table(headings, rows), note=f"{len(rows)} remembered exactly")


def why_page(told: dict[str, Any], experiments: bool) -> Response[str]:
    """Why an item stands in a slate."""
    where = "is not in this slate" if told["slot"] is None else f"stands in slot {told['slot'] + 1}"
    user = told["user"]
    lead = el(
        "p",
        "Slate ",
        el("code", told["slate"]),
        " for " if user else "",
        user_link(user) if user else "",
        class_="lead",
    )
    top = max((abs(part["share"]) for part in told["parts"]), default=0.0) or 1.0
    parts: list[list[object]] = [
        [
            [source_dot(part["source"]), part["source"]],
            part["rank"],
            f"{part['raw']:.4g}",
            f"{part['share']:.4f}",
            bar(part["share"] / top, f"{part['share']:.4f}"),
        ]
        for part in told["parts"]
    ]
    headings = [("source", ""), ("rank", "num"), ("raw", "num"), ("share", "num"), ("", "")]
    cards = [card("Parts of the score", table(headings, parts), note=f"score {told['score']:.4f}")] if parts else []
    if told["reasons"]:
        cards.append(card("Because", el("ul", [el("li", reason["text"]) for reason in told["reasons"]])))
    if told["rules"]:
        cards.append(card("Rules", el("ul", [el("li", rule) for rule in told["rules"]])))
    events: list[list[object]] = [
        [
            el("code", event["id"]),
            event.get("type", "–"),
            item_link(event["item"]) if "item" in event else "–",
            moment(event["ts"]) if "ts" in event else "–",
        ]
        for event in told["events"]
    ]
    if events:
        named = [("event", ""), ("type", ""), ("item", "id"), ("time", "time")]
        cards.append(card("The visitor's own events", table(named, events), note="as the log holds them"))
    title = el("h1", item_link(told["item"]), f" {where}")
    return page("Why", "/user", title, lead, cards, experiments=experiments)


def letters_page(look: dict[str, Any], experiments: bool) -> Response[str]:
    """What was refused."""
    lead = el("p", "What was refused, and why. Nothing of it was applied.", class_="lead")
    refusals: list[list[object]] = [[f"{row['position']}:{row['index']}", row["reason"]] for row in look["refusals"]]
    outcomes: list[list[object]] = [
        [name, f"{count:,}"] for name, count in sorted(look["outcomes"].items(), key=lambda pair: -pair[1])
    ]
    shown = (
        table([("event", ""), ("reason", "wide")], refusals)
        if refusals
        else empty("The log holds no event that the fold refused.")
    )
    cards = [
        el(
            "div",
            card("Refused by the fold", shown, note="latest 20"),
            card("Outcomes of all events", table([("outcome", ""), ("events", "num")], outcomes)),
            class_="half",
        )
    ]
    for file in look["files"]:
        rows: list[list[object]] = [
            [row.get("row", "–"), row.get("reason", "–"), row.get("field", "–"), short(str(row.get("value", "")), 200)]
            for row in file["rows"][::-1]
        ]
        headings = [("row", ""), ("reason", ""), ("field", ""), ("value", "wide")]
        cards.append(card(file["name"], table(headings, rows), note=f"latest {len(rows)} · {moment(file['changed'])}"))
    if not look["files"]:
        cards.append(card("Rows refused by imports", empty("No import left rows aside.")))
    return page("Dead letters", "/letters", el("h1", "Dead letters"), lead, cards, experiments=experiments)


def experiments_page(look: dict[str, Any]) -> Response[str]:
    """The experiments of the configuration, with what was served of each variant since this server started."""
    cards = []
    for name, experiment in look["experiments"].items():
        rows: list[list[object]] = [
            [variant, f"{own.get('share', 0):.1%}", f"{look['slates'].get(f'{name}/{variant}', 0):,}"]
            for variant, own in experiment.get("variants", {}).items()
        ]
        until = [f"{key} {moment(experiment[key])}" for key in ("start", "end") if experiment.get(key)]
        shown = table([("variant", "id"), ("share", "num"), ("slates since the start", "num")], rows)
        cards.append(card(name, shown, note=" · ".join(until)))
    lead = el(
        "p", "What is tried on whom. ", el("code", "headwater report DIR"), " says what it earned.", class_="lead"
    )
    return page("Experiments", "/experiments", el("h1", "Experiments"), lead, cards, experiments=True)


def problem_page(title: str, detail: str, status: int) -> Response[str]:
    """What went wrong, for a reader."""
    return page(title, "", el("h1", title), el("p", detail, class_="lead"), status=status)
