"""Figures of a report as static SVG, and mean maps as small PNG pictures.

Places along the axis are percentages of the width, heights are pixels: text and marks keep their size on a phone and
on paper. Series, the masks, differ in colour and in shape as in the workbench's figures: a series is its place there.
Hollow marks are groups of fewer than 100 faces.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isnan, log10

import cv2
import numpy as np
from numpy.typing import NDArray

from analyses.fairness.groups import MODERATE
from analyses.figures import AGAINST, FOR, mask_color
from analyses.report.markup import Html, joined, tag
from analyses.report.words import Scale

SHAPES = (  # in the order of figures.SYMBOLS
    "M-5 0A5 5 0 1 1 5 0A5 5 0 1 1-5 0Z", "M0-6.5L6.5 0L0 6.5L-6.5 0Z", "M-4.8-4.8H4.8V4.8H-4.8Z", "M0-6L6 5H-6Z",
    "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z", "M0 6L6-5H-6Z",
    "M-5.5-3L-3-5.5L0-2.5L3-5.5L5.5-3L2.5 0L5.5 3L3 5.5L0 2.5L-3 5.5L-5.5 3L-2.5 0Z",
    "M0-7L1.8-2.4L6.7-2.2L2.9 .9L4.1 5.7L0 3L-4.1 5.7L-2.9 .9L-6.7-2.2L-1.8-2.4Z",
    "M0-6L5.7-1.9L3.5 4.9H-3.5L-5.7-1.9Z", "M-5-5.5H5L-5 5.5H5Z",
)  # fmt: skip
_DASHES = ("6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2 1 2 1 2", "3 6")
LABEL, ROW, GAP, TOP, BOTTOM = 17, 15, 7, 6, 40  # px
PANEL = 620  # px a figure is high at most, so that it fits on a page
LEFT, RIGHT = 6.0, 94.0  # % of the width


@dataclass(frozen=True)
class Dot:
    """One group's figure in one series; NaN ends where there is no interval, no band or no figure."""

    series: int
    value: float
    low: float
    high: float
    n: int
    band: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Row:
    label: str
    dots: tuple[Dot, ...]


def mark(series: int, *, hollow: bool = False) -> Html:
    color = mask_color(series)
    fill = "#fff" if hollow else color
    return tag("path", d=SHAPES[series % len(SHAPES)], fill=fill, stroke=color, stroke_width=2)


def legend(names: Mapping[int, str], shown: Iterable[int], *, lines: bool, bands: bool, hollow: bool) -> Html:
    """What the marks of `dot_charts` mean: of the series `shown`, and of lines, bands and hollow marks if any."""

    def sign(*inner: Html) -> Html:
        return tag("svg", *inner, width=22, height=16, viewBox="-11 -8 22 16", aria_hidden="true")

    entries = [joined(sign(mark(series)), names[series]) for series in shown]
    if hollow:
        entries.append(joined(sign(mark(0, hollow=True)), "fewer than 100 faces"))
    if bands:
        band = tag("rect", x=-10, y=-6, width=20, height=12, fill="#dcdcdc")
        entries.append(joined(sign(band), "expected if groups made no difference"))
    if lines:
        line = tag("path", d="M0-8V8", stroke="#333", stroke_width=1.5, stroke_dasharray=_DASHES[0])
        entries.append(joined(sign(line), "all faces"))
    return tag("span", *(tag("span", entry) for entry in entries), class_="legend")


def dot_charts(
    rows: Sequence[Row],
    title: str,
    axis: str,
    of: Scale,
    names: Mapping[int, str],
    *,
    overall: Mapping[int, float] | None = None,
    zero: bool = False,
) -> Iterator[Html]:
    """Dot and interval of each row's series, in as many figures of one axis as fit on pages.

    names: of all series. overall: a dashed line for a series, NaN for none. zero: a line at 0.
    """
    overall = overall or {}
    ends = _ends(rows, overall, zero)
    if ends is None:
        return
    high = max(LABEL + GAP + ROW * len(row.dots) for row in rows)
    step = max(1, (PANEL - TOP - BOTTOM) // high)
    parts = [rows[at : at + step] for at in range(0, len(rows), step)]
    dots = [dot for row in rows for dot in row.dots]
    signs = legend(
        names,
        sorted({dot.series for dot in dots}),
        lines=any(not isnan(value) for value in overall.values()),
        bands=any(not isnan(dot.band[0]) for dot in dots),
        hollow=any(dot.n < MODERATE and not isnan(dot.value) for dot in dots),
    )
    for i, part in enumerate(parts):
        name = title if len(parts) == 1 else f"{title} ({i + 1} of {len(parts)})"
        picture = _svg(part, name, axis, of, names, overall, zero, ends)
        yield tag("figure", tag("figcaption", tag("b", name), signs), picture)


def _ends(rows: Sequence[Row], overall: Mapping[int, float], zero: bool) -> tuple[float, float] | None:
    values = [value for row in rows for dot in row.dots for value in (dot.value, dot.low, dot.high, *dot.band)]
    known = [value for value in (*values, *overall.values(), *([0.0] if zero else [])) if not isnan(value)]
    if not any(not isnan(dot.value) for row in rows for dot in row.dots):
        return None
    low, high = min(known), max(known)
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _ticks(low: float, high: float, of: Scale, wanted: int = 7) -> list[float]:
    """Round values, in what is shown, between the ends."""
    low, high = of.factor * low, of.factor * high
    raw = (high - low) / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= raw)
    return [k * step / of.factor for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _svg(
    rows: Sequence[Row],
    title: str,
    axis: str,
    of: Scale,
    names: Mapping[int, str],
    overall: Mapping[int, float],
    zero: bool,
    ends: tuple[float, float],
) -> Html:
    def place(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - ends[0]) / (ends[1] - ends[0])

    def at(value: float) -> str:
        return f"{place(value):.2f}%"

    heights = [LABEL + GAP + ROW * len(row.dots) for row in rows]
    bottom = TOP + sum(heights)
    parts: list[Html] = []
    ticks = _ticks(*ends, of)
    whole = all(abs(of.factor * tick - round(of.factor * tick)) < 1e-9 for tick in ticks)
    for tick in ticks:
        shown = f"{of.factor * tick:,.0f}" if whole else f"{of.factor * tick:.{2 if of.decimals > 1 else 1}f}"
        parts.append(tag("line", x1=at(tick), x2=at(tick), y1=TOP, y2=bottom, class_="grid"))
        parts.append(tag("text", shown.replace("-", "\N{MINUS SIGN}"), x=at(tick), y=bottom + 15, text_anchor="middle"))
    parts.append(tag("text", axis, x="50%", y=bottom + 32, text_anchor="middle"))
    y, over = TOP, []
    for row, height in zip(rows, heights, strict=True):
        over.append(tag("text", row.label, x=2, y=y + 12, class_="label"))
        for i, dot in enumerate(row.dots):
            middle, color = y + LABEL + ROW * i + ROW / 2, mask_color(dot.series)
            if not isnan(dot.band[0]):
                width = f"{place(dot.band[1]) - place(dot.band[0]):.2f}%"
                parts.append(tag("rect", x=at(dot.band[0]), width=width, y=middle - 6, height=12, fill="#dcdcdc"))
            if not (isnan(dot.low) or isnan(dot.high)):
                over.append(
                    tag("line", x1=at(dot.low), x2=at(dot.high), y1=middle, y2=middle, stroke=color, stroke_width=2)
                )
            if not isnan(dot.value):
                sign = mark(dot.series, hollow=dot.n < MODERATE)
                over.append(tag("svg", sign, x=at(dot.value), y=middle, overflow="visible"))
        y += height
    for series, value in overall.items():
        if not isnan(value):
            line = {"stroke": mask_color(series), "stroke_dasharray": _DASHES[series % len(_DASHES)]}
            parts.append(tag("line", x1=at(value), x2=at(value), y1=TOP, y2=bottom, stroke_width=1.5, **line))
    if zero:
        parts.append(tag("line", x1=at(0), x2=at(0), y1=TOP, y2=bottom, stroke="#333", stroke_width=1.5))
    described = f"Dots with intervals along an axis of {axis}, for {' and '.join(names.values())}: " + "; ".join(
        f"{row.label}: " + ", ".join(of.value(dot.value) for dot in row.dots) for row in rows
    )
    return tag(
        "svg", tag("title", title), tag("desc", described), tag("g", *parts, *over, aria_hidden="true"),
        role="img", class_="chart", width="100%", height=bottom + BOTTOM,
    )  # fmt: skip


def map_picture(values: NDArray[np.floating], scale: float) -> str:
    """A signed map (h, w) as the URI of a PNG of its grid: vermilion for, blue against, white at 0, full at `scale`."""
    shares = np.clip(values / scale, -1, 1)[..., None] if scale > 0 else np.zeros((*values.shape, 1))
    color = np.where(shares > 0, FOR, AGAINST)
    pixels = np.rint(255 + np.abs(shares) * (color - 255.0)).astype(np.uint8)
    done, data = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def strongest(values: NDArray[np.floating]) -> str:
    """Where a map (h, w) has its most positive value, in words: 'upper left'."""
    if values.max() <= 0:
        return "nowhere"
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    thirds = (("upper", "middle", "lower")[3 * int(y) // values.shape[0]],
              ("left", "centre", "right")[3 * int(x) // values.shape[1]])  # fmt: skip
    return " ".join(thirds)
