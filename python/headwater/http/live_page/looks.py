"""What the live page asks of an engine: a few verbs, each giving plain data for one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.arguments import query_id
from headwater.engine import Engine
from headwater.errors import InvalidQuery
from headwater.http.live import Live
from headwater.http.problems import Refused
from headwater.http.verbs import Nothing, Verb, Verbs, explained, known_item
from headwater.scenario import Metric
from headwater.slate import Slate, reason_dict

if TYPE_CHECKING:
    from headwater.http.cluster_engine import ClusterEngine

METRICS: tuple[str, ...] = Metric.__args__  # type: ignore[attr-defined]
_NEIGHBOURS = 12
_SLOTS = 10
_LETTERS = 100
_TAIL_BYTES = 64 << 10


class ItemLook(msgspec.Struct, frozen=True):
    """An item with its neighbours by one metric."""

    id: str
    metric: str | None


class UserLook(msgspec.Struct, frozen=True):
    """A user."""

    id: str


class WhyLook(msgspec.Struct, frozen=True):
    """One item of a slate."""

    slate: str
    item: str


def look_verbs(engine: Engine | ClusterEngine, live: Live, directory: str | None) -> dict[str, Verb]:
    """The verbs, over one engine; dead letters are those of the directory, if there is one."""
    relations = [relation.name for relation in engine.config.generation.relations]

    def live_look(verbs: Verbs, _: Nothing) -> dict[str, Any]:
        status = verbs.status()
        kept = (
            "position",
            "users",
            "items",
            "last_event_ts",
            "profile",
            "snapshot_error",
            "slate_record_error",
            "trouble",
        )
        return {
            **live.view(),
            **{name: status.get(name) for name in kept},
            "refusals": len(status["refusals"]),
            "trending": _slots(verbs.trending(None, 6)),
            "experiments": bool(_experiments(engine)),
        }

    def item_look(verbs: Verbs, asked: ItemLook) -> dict[str, Any]:
        item, view = known_item(verbs, asked.id)
        neighbours = {
            name: _slots(verbs.similar(item, _NEIGHBOURS, relation=name, metric=asked.metric)) for name in relations
        }
        fused = _slots(verbs.similar(item, _NEIGHBOURS))
        return {"item": item, "view": view.to_dict(), "neighbours": neighbours, "fused": fused}

    def experiments_look(verbs: Verbs, _: Nothing) -> dict[str, Any]:
        return {"experiments": _experiments(engine), "slates": live.variants()}

    def letters_look(verbs: Verbs, _: Nothing) -> dict[str, Any]:
        status = verbs.status()
        found = [] if directory is None else dead_letters(Path(directory))
        return {"refusals": status["refusals"][::-1], "outcomes": status["outcomes"], "files": found}

    return {
        "live-look": Verb(Nothing, live_look, "other"),
        "item-look": Verb(ItemLook, item_look, "other"),
        "user-look": Verb(UserLook, _user_look, "other"),
        "why-look": Verb(WhyLook, _why_look, "other", reads_log=True),
        "letters-look": Verb(Nothing, letters_look, "other", reads_log=True),
        "experiments-look": Verb(Nothing, experiments_look, "other"),
    }


def _user_look(verbs: Verbs, asked: UserLook) -> dict[str, Any]:
    user = query_id("user", asked.id)
    try:
        view = verbs.session_of(user).to_dict()
    except InvalidQuery:
        view = None  # a visitor of whom nothing is known is answered, too
    slate = verbs.recommend(user, _SLOTS, record=False)
    return {
        "user": user,
        "view": view,
        "slate": slate.id,
        "fallback": slate.fallback,
        "notes": [*slate.notes, *slate.degraded],
        "slots": _slots(slate),
    }


def _why_look(verbs: Verbs, asked: WhyLook) -> dict[str, Any]:
    return explained(verbs, asked.slate, asked.item).to_dict()


def _slots(slate: Slate) -> list[dict[str, Any]]:
    return [
        {
            "item": slot.item,
            "score": slot.score,
            "source": slot.source,
            "reason": slot.reason,
            "count": next((reason["count"] for reason in map(reason_dict, slot.reasons)), None),
        }
        for slot in slate.items
    ]


def _experiments(engine: Engine | ClusterEngine) -> dict[str, Any]:
    """The configuration's experiments as plain data; none where it has none."""
    plain: dict[str, Any] = msgspec.to_builtins(engine.config.query.experiments)
    return plain


def dead_letters(directory: Path) -> list[dict[str, Any]]:
    """The files of refused rows, newest first, each with its latest rows."""
    files: list[dict[str, Any]] = []
    for path in (directory / "deadletters").glob("*.jsonl"):
        try:
            stat = path.stat()
            with open(path, "rb") as file:
                file.seek(max(0, stat.st_size - _TAIL_BYTES))
                tail = file.read(_TAIL_BYTES)
        except OSError as err:
            raise Refused("store-error", f"{path.name} cannot be read: {err.strerror}") from err
        lines = tail.split(b"\n")
        if stat.st_size > _TAIL_BYTES:
            lines = lines[1:]
        rows = [row for row in map(_row, lines) if row is not None]
        files.append(
            {"name": path.name, "bytes": stat.st_size, "changed": int(stat.st_mtime * 1000), "rows": rows[-_LETTERS:]}
        )
    return sorted(files, key=lambda file: file["changed"], reverse=True)[:20]


def _row(line: bytes) -> dict[str, Any] | None:
    if not line:
        return None
    try:
        row = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None  # a line that is being written
    return row if isinstance(row, dict) else None
