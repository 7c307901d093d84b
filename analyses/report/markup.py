"""HTML and SVG as plain functions that escape: whatever is not `Html` already is text."""

import html
from collections.abc import Iterable, Sequence

_VOID = ("img", "meta", "link")


class Html(str):
    """Text that is markup; everything else gets escaped."""

    __slots__ = ()


def joined(*parts: object) -> Html:
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in parts))


def tag(name: str, /, *inner: object, **attributes: object) -> Html:
    """<name attributes>inner</name>; an underscore in an attribute's name is a dash, one at its end is dropped."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{joined(*inner)}</{name}>")


def listed(items: Iterable[object], kind: str = "ul") -> Html:
    return tag(kind, *(tag("li", item) for item in items))


def terms(pairs: Iterable[tuple[object, object]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", meaning)) for term, meaning in pairs))


def table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]], *, heads: int = 1) -> Html:
    """A table in a box that scrolls by itself where the page is narrow; the first `heads` cells of a row name it."""
    body = [
        tag(
            "tr",
            *(tag("th", cell, scope="row") for cell in row[:heads]),
            *(cell if isinstance(cell, Html) and cell.startswith("<td") else tag("td", cell) for cell in row[heads:]),
        )
        for row in rows
    ]
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    whole = tag("table", tag("caption", caption), top, tag("tbody", *body))
    return tag("div", whole, class_="wide", role="region", aria_label=caption, tabindex="0")


def folded(summary: str, *inner: object) -> Html:
    """Details that a reader opens; printed they are open."""
    return tag("details", tag("summary", summary), *inner)
