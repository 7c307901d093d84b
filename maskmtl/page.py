"""A page of HTML that needs no other file."""

import html
from collections.abc import Iterable, Sequence

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:80rem;padding:0 1rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse}td,th{padding:.25rem .6rem;border-bottom:1px solid #ccc;"
    "text-align:left}"
)


def html_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls by itself where the page is narrow; cells are escaped."""

    def tr(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(tr(row, "td") for row in rows)
    return f'<div class="wide"><table>\n{tr(head, "th")}\n{body}\n</table></div>'


def html_page(title: str, body: str, style: str = "") -> str:
    """A whole document with `title` as its first heading; `body` is HTML, `style` more CSS."""
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">\n<title>{name}</title>'
        f"<style>{_STYLE}{style}</style></head><body>\n<h1>{name}</h1>\n{body}\n</body></html>\n"
    )
