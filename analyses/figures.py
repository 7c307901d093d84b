"""Tables and arrays -> plotly figures and pictures; nothing is measured here.

Colours stay apart for colour-blind eyes: Okabe and Ito's set for masks, with a marker shape each, the same in every
figure; Cividis for shares; over a face Inferno, because the middle of Cividis is the grey of the face, and for signed
maps vermilion and blue about a colourless zero. Figures stay readable at a width of 400 px.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.colors import hex_to_rgb, sequential

from maskmtl.masks import MASKS, MIXED, MaskSpec
from maskmtl.tasks import TASKS

# Okabe and Ito 2008, without yellow, too pale for thin marks on white, and grey for their black, unseen on dark; those
# with a contrast of 3 on white come first
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#808080", "#E69F00", "#56B4E9")
FOR, AGAINST = hex_to_rgb(PALETTE[1]), hex_to_rgb(PALETTE[0])  # of signed maps
SYMBOLS = (
    "circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "x", "star", "pentagon", "hourglass",
)  # fmt: skip
DASHES = (
    "solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px,10px", "2px,8px", "14px,3px", "10px,3px,2px,3px",
)  # fmt: skip
PLACED = ("none", *MASKS, MIXED)  # each has its place among colours, symbols and dashes
KINDS = {"n95": "N95", "n95_valve": "N95 with valve", "kn95": "KN95", "gas": "gas mask", MIXED: "any kind, by chance"}
WEARS = {"right": "worn right", "nose_out": "nose out", "chin": "on the chin"}
NO_EVIDENCE = 0.01  # a map whose positive peak is below this share of its largest magnitude shows nothing
OPACITY = 0.8
BIN = 2.0


def mask_name(mask: str) -> str:
    """A mask's text in words: 'n95_valve:nose_out' -> 'N95 with valve, nose out'; 'none' is a bare face."""
    if mask == "none":
        return "bare"
    try:
        spec = MaskSpec.parse(mask)
    except ValueError:  # as someone typed it, or another tool calls it
        return mask
    wear = None if spec.wear == "right" else WEARS[spec.wear]
    return ", ".join(part for part in (KINDS.get(spec.kind, spec.kind), spec.colour, spec.pattern, wear) if part)


def mask_places(masks: Iterable[str]) -> dict[str, int]:
    """Each mask's place among colours, symbols and dashes: its kind's, which is the same in every figure.

    A second mask of a kind takes the next that is free, and so does a name that is no kind. The first is kept for bare
    faces, shown or not.
    """
    shown = list(dict.fromkeys(masks))
    taken = {PLACED.index(mask): mask for mask in shown if mask in PLACED}
    for mask in sorted(set(shown).difference(PLACED)):
        taken[next(place for place in count(_kind_place(mask)) if place not in taken)] = mask
    places = {mask: place for place, mask in taken.items()}
    return {mask: places[mask] for mask in shown}


def _kind_place(mask: str) -> int:
    try:
        return PLACED.index(MaskSpec.parse(mask).kind)
    except ValueError:
        return 1


def mask_color(place: int) -> str:
    """The colour at a place; others than that of bare faces come again, with another symbol and dash."""
    return PALETTE[1 + (place - 1) % (len(PALETTE) - 1)] if place else PALETTE[0]


def confusion_figure(counts: ArrayLike, names: Sequence[str]) -> go.Figure:
    """Heat map of counts (K, K), rows annotated, columns predicted: colour is the share of the row, 0..1."""
    matrix = np.asarray(counts)
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"counts should be {(len(names), len(names))} for names {list(names)}, got {matrix.shape}")
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
    text = [
        [f"{count:,}<br>{share:.0%}" if n else "" for count, share in zip(*row, strict=True)]
        for n, row in zip(support[:, 0], zip(matrix, shares, strict=True), strict=True)
    ]
    heat = go.Heatmap(
        z=shares,
        x=list(names),
        y=[f"{name}<br>n {n:,}" for name, n in zip(names, support[:, 0], strict=True)],
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        showscale=False,
        text=text,
        texttemplate="%{text}",
        xgap=2,
        ygap=2,
        hovertemplate="annotated %{y}, predicted %{x}: %{text}<extra></extra>",
    )
    figure = _figure(heat, height=110 + 58 * len(names))
    figure.update_xaxes(title="predicted", showgrid=False)
    figure.update_yaxes(title="annotated", showgrid=False, autorange="reversed")
    return figure


def audit_figure(
    rows: pd.DataFrame,
    *,
    axis: str,
    factor: float = 1.0,
    overall: Mapping[str, float] | None = None,
    zero: bool = False,
) -> go.Figure:
    """One statistic of one task, grouping and metric of an audit: a dot with its interval per group and mask.

    Grey bands: where 95 % of such groups would lie if groups made no difference. Hollow: fewer than 100 faces. overall:
    a dashed line per mask. factor turns values into the axis's unit; zero draws a line at 0.
    """
    for column in ("model", "task", "by", "metric", "statistic"):
        if rows[column].nunique() > 1:
            raise ValueError(f"rows should hold one {column}, got {sorted(rows[column].unique())}")
    groups, masks = list(rows["group"].unique()), list(rows["mask"].unique())
    figure = _figure(height=110 + len(groups) * (26 + 15 * len(masks)))
    step = 0.7 / max(len(masks), 1)
    for at, (mask, place) in enumerate(mask_places(masks).items()):
        of_mask, offset = rows[rows["mask"] == mask], (at - (len(masks) - 1) / 2) * step
        y = np.array([groups.index(group) for group in of_mask["group"]]) + offset
        for low, high, middle in zip(factor * of_mask["null_low"], factor * of_mask["null_high"], y, strict=True):
            if not np.isnan(low):
                figure.add_shape(
                    type="rect", x0=low, x1=high, y0=middle - 0.4 * step, y1=middle + 0.4 * step,
                    fillcolor="#dcdcdc", line_width=0, layer="below",
                )  # fmt: skip
        _add_dots(figure, of_mask, y, mask, place, by="group", digits=2, factor=factor)
        if overall and not np.isnan(overall.get(mask, np.nan)):
            figure.add_vline(factor * overall[mask], line=_overall_line(place))
    _name_groups(figure, rows, "group")
    figure.update_xaxes(title=axis, zeroline=zero, zerolinecolor="#666666")
    figure.update_layout(showlegend=True)
    return figure


def _add_dots(
    figure: go.Figure,
    rows: pd.DataFrame,
    y: NDArray[np.floating],
    mask: str,
    place: int,
    *,
    by: str,
    digits: int,
    factor: float = 1.0,
) -> None:
    """A mask's values at heights y, each with its interval; hollow where flagged."""
    color, symbol = mask_color(place), SYMBOLS[place % len(SYMBOLS)]
    value, low, high = (factor * rows[name] for name in ("value", "ci_low", "ci_high"))
    figure.add_scatter(
        x=value,
        y=y,
        mode="markers",
        name=mask_name(mask),
        customdata=np.stack([rows[by], low, high, rows["n"], rows["flag"]], axis=1),
        marker={
            "color": color,
            "size": 9,
            "line": {"color": color, "width": 2},
            "symbol": [f"{symbol}-open" if flag else symbol for flag in rows["flag"]],
        },
        error_x={"array": high - value, "arrayminus": value - low, "color": color, "thickness": 1.5, "width": 3},
        hovertemplate=f"%{{customdata[0]}}: %{{x:.{digits}f}} (%{{customdata[1]:.{digits}f}} to "
        f"%{{customdata[2]:.{digits}f}}), n %{{customdata[3]}} %{{customdata[4]}}",
    )


def _overall_line(place: int) -> dict[str, object]:
    return {"color": mask_color(place), "dash": DASHES[(1 + place) % len(DASHES)], "width": 1.5}


def _name_groups(figure: go.Figure, rows: pd.DataFrame, by: str) -> None:
    groups = list(rows[by].unique())
    figure.update_yaxes(
        tickvals=list(range(len(groups))),
        ticktext=[_group_label(rows[rows[by] == group], group) for group in groups],
        range=[len(groups) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )


def _group_label(rows: pd.DataFrame, group: str) -> str:
    low, high = rows["n"].min(), rows["n"].max()
    return f"{group}<br>n {low:,}" if low == high else f"{group}<br>n {low:,}–{high:,}"


def reliability_figure(table: pd.DataFrame) -> go.Figure:
    """Rows of `analyses.assessment.reliability`: how often answers of each confidence are right, per mask."""
    figure = _figure(height=340)
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": "#888888", "dash": "dot", "width": 1.5}, hoverinfo="skip",
        name="as confident as right",
    )  # fmt: skip
    for mask, place in mask_places(table["mask"].unique()).items():
        rows, color = table[table["mask"] == mask], mask_color(place)
        figure.add_scatter(
            x=rows["confidence"],
            y=rows["accuracy"],
            mode="lines+markers",
            name=mask_name(mask),
            marker={"color": color, "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8},
            line={"color": color, "dash": DASHES[place % len(DASHES)], "width": 1.5},
            error_y={
                "array": rows["ci_high"] - rows["accuracy"],
                "arrayminus": rows["accuracy"] - rows["ci_low"],
                "thickness": 1,
                "width": 2,
            },
            customdata=rows[["n"]],
            hovertemplate="confidence %{x:.0%}: right %{y:.0%}, n %{customdata[0]}",
        )
    low = min(0.9, float(table["confidence"].min()), float(table["ci_low"].min())) if len(table) else 0
    span = [max(0.0, low - 0.05), 1.02]
    figure.update_xaxes(title="mean confidence of a tenth of the faces", tickformat=".0%", range=span)
    figure.update_yaxes(title="share right", tickformat=".0%", range=span)
    figure.update_layout(showlegend=True)
    return figure


def curves_figure(metrics: pd.DataFrame, *, axis: str, best: int | None = None, percent: bool = False) -> go.Figure:
    """One metric of `Run.metrics` by epoch: a line per task and mask, solid where there is none.

    best: the epoch whose weights are kept. percent: the values are shares.
    """
    figure = _figure(height=300)
    places = mask_places(filter(None, metrics["mask"].unique()))
    for (task, mask), rows in metrics.groupby(["task", "mask"], sort=False):
        place, dash = _task_place(str(task)), DASHES[places.get(mask, 0) % len(DASHES)]
        figure.add_scatter(
            x=rows["epoch"],
            y=rows["value"],
            mode="lines+markers" if len(rows) < 30 else "lines",
            name=f"{task}, {mask_name(mask)}" if mask else str(task),
            line={"color": PALETTE[place], "dash": dash, "width": 2},
            marker={"symbol": SYMBOLS[place], "size": 6},
            hovertemplate=f"epoch %{{x}}: %{{y:{'.1%' if percent else '.3f'}}}",
        )
    if best is not None:
        figure.add_vline(best, line={"color": "#808080", "dash": "dot", "width": 1.5})
    last = int(metrics["epoch"].max()) if len(metrics) else 1
    figure.update_xaxes(title="epoch", range=[0.5, last + 0.5], tickformat="d", dtick=-(-last // 8))
    figure.update_yaxes(title=axis, tickformat=".0%" if percent else None)
    figure.update_layout(showlegend=True)
    return figure


def drift_figure(table: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], *, unit: str = "") -> go.Figure:
    """Heat map of one task's drift (`mask_lab`): `row` by `column` of the table, in `unit` or else in points.

    Blue up, vermilion down about a grey zero; a flip has its sign.
    """
    factor = 1 if unit else 100
    values = np.full((len(rows), len(columns)), np.nan)
    text = np.full(values.shape, "", object)
    for entry in table.itertuples():
        place = list(rows).index(str(entry.row)), list(columns).index(str(entry.column))
        values[place] = factor * entry.drift
        text[place] = f"{'⇄ ' if entry.flip else ''}{factor * entry.drift:+.{1 if unit else 0}f}"
    full = max(float(np.nanmax(np.abs(values), initial=0)), 1.0)
    heat = go.Heatmap(
        z=values, x=list(columns), y=list(rows), zmin=-full, zmax=full, text=text, texttemplate="%{text}",
        showscale=False,
        colorscale=[(0, PALETTE[1]), (0.5, "#e4e4e4"), (1, PALETTE[6])], xgap=2, ygap=2,
        hovertemplate="%{y}, %{x}: %{text} " + (unit or "points") + "<extra></extra>", textfont={"color": "#111111"},
    )  # fmt: skip
    figure = _figure(heat, height=90 + 34 * len(rows))
    figure.update_xaxes(showgrid=False, side="top")
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return figure


def loss_figure(losses: Sequence[Sequence[float]], batches: int) -> go.Figure:
    """The summed loss of single batches so far: pairs (batch of the run, loss); `batches` are in an epoch."""
    figure = _figure(height=240)
    figure.add_scatter(
        x=[done / max(batches, 1) for done, _ in losses], y=[loss for _, loss in losses], mode="lines",
        line={"color": PALETTE[0], "width": 1.5}, hovertemplate="epoch %{x:.2f}: %{y:.3f}", name="loss",
    )  # fmt: skip
    figure.update_xaxes(title="epochs done")
    figure.update_yaxes(title="loss of a batch")
    return figure


def error_figure(predictions: pd.DataFrame, *, unit: str = "years") -> go.Figure:
    """How the errors of one value task spread: share of faces per 2 units of predicted − annotated, per mask."""
    if predictions["task"].nunique() != 1:
        raise ValueError(f"predictions should be of one task, got {sorted(predictions['task'].unique())}")
    known = predictions.dropna(subset=["y_true"])
    errors = known["y_pred"] - known["y_true"]
    reach = BIN * np.ceil(max(errors.abs().max(), BIN) / BIN + 0.5) if len(errors) else BIN
    edges = np.arange(-reach - BIN / 2, reach + BIN, BIN)  # zero is the middle of a bin
    figure = _figure(height=300)
    for mask, place in mask_places(known["mask"].unique()).items():
        of_mask = errors[known["mask"] == mask]
        shares = np.histogram(of_mask, edges)[0] / len(of_mask)
        figure.add_scatter(
            x=(edges[1:] + edges[:-1]) / 2,
            y=shares,
            mode="lines",
            name=f"{mask_name(mask)}, n {len(of_mask):,}",
            line={"shape": "hvh", "color": mask_color(place), "dash": DASHES[place % len(DASHES)]},
            hovertemplate="%{x} " + unit + ": %{y:.1%}",
        )
    figure.update_xaxes(title=f"predicted − annotated ({unit})", zeroline=True, zerolinecolor="#666666")
    figure.update_yaxes(title="share of faces", tickformat=".0%", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return figure


def map_scale(*maps: NDArray[np.floating], mode: str = "positive") -> float:
    """The magnitude that full colour stands for, so that several maps (h, w) can be shown on one scale.

    0 means that no map has anything to show: under 'positive' a map counts only if its positive peak reaches 1 % of
    its largest magnitude, under 'signed' if it is not all zero.
    """
    return max((_peak(values, mode) for values in maps), default=0.0)


def _peak(values: NDArray[np.floating], mode: str) -> float:
    if mode not in ("positive", "signed"):
        raise ValueError(f"mode should be one of ['positive', 'signed'], got {mode!r}")
    magnitude = float(np.abs(values).max())
    peak = magnitude if mode == "signed" else float(values.max())
    return peak if peak > 0 and peak >= NO_EVIDENCE * magnitude else 0.0


def map_overlay(
    face: NDArray[np.uint8],
    values: NDArray[np.floating],
    *,
    scale: float | None = None,
    mode: str = "positive",
    opacity: float = OPACITY,
) -> NDArray[np.uint8]:
    """A raw map (h, w) in colour over the face (H, W, 3) in grey, as (H, W, 3) uint8.

    Full colour, `opacity` (0..1) strong, stands for `scale`, the map's own `map_scale` by default. 'positive' shows
    what speaks for the score, in Inferno; 'signed' shows for in vermilion and against in blue. A map without anything
    to show (`map_scale(values) == 0`: say "no positive evidence") leaves the grey face as it is.
    """
    if face.ndim != 3 or face.shape[2] != 3 or face.dtype != np.uint8:
        raise ValueError(f"face should be (H, W, 3) uint8, got {face.shape} {face.dtype}")
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"values should be a finite map (h, w), got {values.shape}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity should be in 0..1, got {opacity}")
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    full = map_scale(values, mode=mode) if scale is None else scale
    if not (full > 0 and map_scale(values, mode=mode) > 0):
        return grey
    height, width = face.shape[:2]
    # linear: a cubic curve overshoots, and would show evidence beside a steep negative edge that has none
    smooth = cv2.resize(values.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    shares = np.clip(smooth / full, 0 if mode == "positive" else -1, 1)[..., None]
    if mode == "positive":
        stops = np.array([hex_to_rgb(color) for color in sequential.Inferno])
        at = np.linspace(0, 1, len(stops))
        color = np.concatenate([np.interp(shares, at, stops[:, channel]) for channel in range(3)], axis=2)
    else:
        color = np.where(shares > 0, FOR, AGAINST)
    alpha = opacity * np.abs(shares)
    blend: NDArray[np.float64] = (1 - alpha) * grey + alpha * color
    return np.rint(blend).astype(np.uint8)


def outlined(picture: NDArray[np.uint8], found: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) with a thin white line around the True cells of a grid (h, w) over it."""
    height, width = picture.shape[:2]
    cells = cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(np.pad(cells, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(-1, -1))
    return np.asarray(cv2.drawContours(picture.copy(), lines, -1, (255, 255, 255), 1), np.uint8)


def _task_place(task: str) -> int:
    """A task's place in PALETTE and SYMBOLS: the same wherever tasks are shown."""
    return (list(TASKS).index(task) if task in TASKS else len(TASKS)) % len(PALETTE)


def _figure(*traces: go.Heatmap, height: int) -> go.Figure:
    figure = go.Figure(traces)
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 8, "r": 8, "t": 32, "b": 8},
        font_size=13,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        showlegend=False,
    )
    figure.update_xaxes(automargin=True, title_standoff=8)
    figure.update_yaxes(automargin=True, title_standoff=8)
    return figure
