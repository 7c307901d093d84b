"""The report as one page of HTML that needs no script, no other file and no network, on a screen or on paper."""

from collections.abc import Sequence

from analyses.report.data import ReportData
from analyses.report.markup import Html, joined, tag
from analyses.report.sections import sections
from analyses.report.texts import NOTICE
from analyses.report.words import under

_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;color:#1a1a1a;background:#fff;
margin:0 auto;
max-width:64rem;padding:0 1rem 3rem;
overflow-wrap:break-word}
h1,h2,h3,h4{line-height:1.25}
h1{font-size:1.7rem;margin:1.2rem 0 .6rem}
h2{font-size:1.35rem;margin:2.6rem 0 .6rem;padding-top:.5rem;border-top:2px solid #1a1a1a}
h3{font-size:1.12rem;margin:1.8rem 0 .5rem}
h4{font-size:1rem;margin:1.4rem 0 .4rem}
a{color:#004b87}
:focus-visible{outline:3px solid #0072b2;outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:#fff;padding:.4rem .8rem;z-index:1}
.notice{border:1px solid #8a3c00;border-left-width:.5rem;padding:.6rem 1rem;margin:1rem 0;background:#fff8f2}
nav ul{columns:15rem;padding-left:1.2rem;margin:.4rem 0}
dl{margin:.5rem 0}
dl>div{display:grid;grid-template-columns:minmax(7rem,12rem) 1fr;gap:.1rem 1rem;padding:.2rem 0}
dt{font-weight:600}
dd{margin:0}
.findings li{margin:.5rem 0;padding-left:.3rem}
.wide{overflow-x:auto;margin:.6rem 0 1rem}
.beside{display:flex;flex-wrap:wrap;gap:0 2.5rem}
.beside caption{white-space:nowrap}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.2rem 0}
td,th{padding:.25rem .6rem .25rem 0;border-bottom:1px solid #ccc;text-align:left;vertical-align:top}
thead th{border-bottom:2px solid #1a1a1a;vertical-align:bottom}
th[scope=row]{font-weight:500;max-width:18rem}
td[style]{padding:.25rem .6rem;border:1px solid #fff}
td small{color:#1a1a1a;white-space:nowrap}
td img{display:block;image-rendering:pixelated;border:1px solid #999}
details{margin:.5rem 0 1rem}
summary{cursor:pointer;color:#004b87;padding:.2rem 0}
figure{margin:.8rem 0 1rem;max-width:46rem}
figcaption b{display:block}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.88rem}
.legend span{display:inline-flex;align-items:center;gap:.3rem}
.chart{display:block;font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;overflow:hidden}
.chart text{fill:#1a1a1a}
.chart .label{font-size:13px;font-weight:500;paint-order:stroke;stroke:#fff;stroke-width:4px}
.chart .grid{stroke:#e3e3e3}
code{font-size:.85em;overflow-wrap:anywhere}
h1,h2,h3,h4,p,li,dd,figcaption{overflow-wrap:anywhere}
@page{size:A4;margin:16mm 14mm 18mm;@bottom-right{content:counter(page) " / " counter(pages);font:9pt sans-serif}}
@media print{
body{font-size:10pt;max-width:none;padding:0;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.skip{display:none}
a{color:inherit;text-decoration:none}
.wide{overflow:visible}
table{font-size:8pt}
td,th{padding:.08rem .4rem .08rem 0;line-height:1.3}
tbody tr:first-child{break-before:avoid}
thead,thead tr{break-after:avoid}
.wide,details,figure{margin:.3rem 0 .5rem}
h2{margin-top:1.4rem}
h3,h4{margin-top:.8rem}
thead{display:table-header-group}
tr,figure,.notice,dl>div{break-inside:avoid}
h2,h3,h4,caption,summary{break-after:avoid}
details::details-content{content-visibility:visible;display:block;height:auto}
summary{list-style:none;color:inherit;font-style:italic}
summary::-webkit-details-marker{display:none}
}
"""


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # no script, whatever a name may hold


def report(data: ReportData) -> str:
    """The page; the same data give the same bytes."""
    return page(data, list(sections(data)))


def page(data: ReportData, made: Sequence[tuple[str, str, Html]]) -> str:
    """The page of sections that are made."""
    where = f"{data.faces}{f', split {data.split}' if data.split else ''}"
    about = f"Faces: {where} ({'; '.join(map(under, data.masks))})."
    return document(f"Fairness report: {data.model}", about, data.date, made)


def document(title: str, about: str, date: str, made: Sequence[tuple[str, str, Html]]) -> str:
    """A page with the notice, contents, and sections, each of an id, a title and a body."""
    links = [tag("li", tag("a", name, href=f"#{key}")) for key, name, _ in made]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(_STYLE)),
    )
    parts = [
        tag("section", tag("h2", name, id=f"{key}-title"), inner, id=key, aria_labelledby=f"{key}-title")
        for key, name, inner in made
    ]
    body = tag(
        "body",
        tag("a", "Skip to the report", class_="skip", href="#main"),
        tag("header", tag("h1", title), tag("p", about, " ", tag("time", date, datetime=date))),
        tag("aside", tag("p", NOTICE), class_="notice", aria_label="Notice"),
        tag("nav", tag("ul", *links), aria_label="Contents"),
        tag("main", *parts, id="main", tabindex="-1"),
    )
    return joined(Html("<!doctype html>\n"), tag("html", head, body, lang="en"), "\n")
