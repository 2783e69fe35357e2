"""HTML that cannot forget to escape: text is escaped when it enters an element, markup is a type of its own."""

from __future__ import annotations

import html
from collections.abc import Iterable
from urllib.parse import urlencode

Child = "str | Html | int | float | None | Iterable[Child]"


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


_VOID = frozenset({"input", "meta", "br", "hr"})
_SHOWN = 120


def el(tag: str, *children: object, **attributes: object) -> Html:
    """An element. Children are text (escaped), `Html`, or lists of them; `None` is nothing. An attribute of `None` or
    `False` is left out, one of `True` stands alone; `class_` is `class`, `_` becomes `-`."""
    told = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{told}>")
    return Html(f"<{tag}{told}>{join(children)}</{tag}>")


def join(children: object) -> Html:
    """Children one after another."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int | float):
        return Html(html.escape(str(children), quote=False))
    assert isinstance(children, Iterable)
    return Html("".join(join(child) for child in children))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def link(text: object, path: str, **query: object) -> Html:
    """A link within the site, its query encoded."""
    asked = {name: value for name, value in query.items() if value is not None}
    return el("a", text, href=path + ("?" + urlencode(asked) if asked else ""))


def short(text: str, most: int = _SHOWN) -> str:
    """Text of bounded length, for a place where a long id would push all else away."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
