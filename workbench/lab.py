"""The grid of the mask lab: every kind of mask along one variation, what each changes, and where answers flip."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd
import streamlit as st

from analyses.attribution.names import METHOD_NAMES
from analyses.face import signed
from analyses.figures import WEARS, drift_figure, map_overlay, map_scale
from analyses.mask_lab import MaskLab, mask_lab
from maskmtl.masks import COLOURS, MASKS, PATTERNS, MaskSpec
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes
from workbench import parts, resources
from workbench.address import kept
from workbench.chooser import ChosenFace
from workbench.parts import capital, mask_words, plain
from workbench.sidebar import current_name

COVERAGE, COLOUR, PATTERN, DRAWING = VARY = ("Coverage", "Colour", "Pattern", "Drawing")
DRAWINGS = 8
FAST = ("hirescam", "gradcam", "gradcampp", "layercam")  # of dozens of faces at once
PICTURE = "the picture"
WIDE, SIDE = 176, 116  # px of a cell's picture: of few columns, of many
ARROW = "⇄"


def show(model: MaskMTL, face: ChosenFace, specs: tuple[MaskSpec, ...], seed: int) -> None:
    """The section below the gallery: choices, summary, heat map, grid, downloads."""
    st.header("What each mask changes")
    left, middle, right = st.columns([2, 1, 1])
    vary = kept(
        left.segmented_control, "Every kind, along", VARY, default=COVERAGE, required=True, key="lab_vary",
        help="Coverage: worn right, under the nose, on the chin. Drawing: the same mask, drawn by chance again.",
    )  # fmt: skip
    fast = [method for method in parts.methods_for(model) if method in FAST]
    method = kept(
        middle.selectbox, "Maps", fast, index=fast.index("hirescam"), format_func=METHOD_NAMES.__getitem__,
        key="lab_method",
    )  # fmt: skip
    shown = kept(
        right.selectbox, "Show", [PICTURE, *model.specs], key="lab_show",
        format_func=lambda what: capital(what) if what == PICTURE else f"Map of {what}",
    )  # fmt: skip
    columns = columns_of(vary, seed)
    variants = [(replace(spec, **change), number) for spec in specs for change, number in columns.values()]

    def read(progress: parts.Progress) -> MaskLab:
        return mask_lab(
            model, face.crop, face.points, variants, face_id=face.face_id, presence=face.presence, method=method,
            progress=progress, turn=resources.one_at_a_time,
        )  # fmt: skip

    key = (resources.version(current_name()), vary, method, *map(str, specs), seed, face.key())
    try:
        found = parts.derive("lab_found", key, "Drawing and reading masks", "", read)
    except ValueError as error:
        st.error(plain(f"The masks can't be compared: {error}."))
        return
    if found is None:
        return
    show_summary(found, model)
    task = kept(
        st.segmented_control, "Drift of", list(model.specs), default=next(iter(model.specs)), required=True,
        key="lab_task", format_func=capital,
    )  # fmt: skip
    rows = placed(found.table, list(columns))
    of_task = rows[rows["task"] == task]
    unit = "" if isinstance(model.specs[task].target, Classes) else "years"
    alt = f"Drift of {task} by kind of mask and {vary.lower()}"
    figure = drift_figure(of_task, [capital(mask_words(kind)) for kind in MASKS], list(columns), unit=unit)
    parts.chart(figure, alt, "lab_drift")
    st.caption(
        ("The answer's distance from the bare face's, in years." if unit else
         f"Change of the probability of the bare face's answer, in points; {ARROW} where the answer flips.")
        + " Vermilion down, blue up, grey none. Of this one face, in drawn masks: it says nothing of other faces."
    )  # fmt: skip
    show_grid(found, rows, model, face.crop, list(columns), shown)
    open_in_face(found)
    parts.csv("Every variant (CSV)", "mask-lab.csv", lambda: found.table)


def columns_of(vary: str, seed: int) -> Mapping[str, tuple[dict[str, str], int]]:
    """Heading -> what changes of the mask, and the number of the drawing."""
    if vary == COVERAGE:
        return {words: ({"wear": wear}, seed) for wear, words in WEARS.items()}
    if vary == COLOUR:
        return {colour: ({"colour": colour}, seed) for colour in COLOURS}
    if vary == PATTERN:
        return {pattern: ({"pattern": pattern}, seed) for pattern in PATTERNS}
    return {f"no. {seed + i}": ({}, seed + i) for i in range(DRAWINGS)}


def placed(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with the row and the column of the grid that each variant stands in."""
    row, column = np.divmod(table["asked"].to_numpy(), len(columns))
    kinds = np.array([capital(mask_words(kind)) for kind in MASKS])
    return table.assign(row=kinds[row], column=np.array(columns)[column])


def show_summary(found: MaskLab, model: MaskMTL) -> None:
    """Per task: how many variants flip, and which moves it most."""
    lines = []
    for row in found.flips().itertuples():
        target = model.specs[str(row.task)].target
        where = found.table[(found.table["variant"] == row.variant) & (found.table["task"] == row.task)].iloc[0]
        most = f"most by {mask_words(where['mask'])}, drawing {where['seed']}"
        if isinstance(target, Classes):
            flips = (
                f"flips in **{row.flips} of {row.n}** variants" if row.flips else f"the same in all {row.n} variants"
            )
            lines.append(
                f"**{capital(row.task)}**, bare {where['bare']}: {flips}; {drift_words(row.drift, '')}, {most}"
            )
        else:
            spread = found.table[found.table["task"] == row.task]["drift"]
            away = f"{signed(spread.min())} to {signed(spread.max())} {target.unit} over {row.n} variants"
            lines.append(f"**{capital(row.task)}**, bare {where['bare']} {target.unit}: {away}; {most}")
    for variant, reason in found.failed.items():
        lines.append(f"Not drawn: {variant}: {reason}")
    st.markdown("\n".join(f"- {line}" for line in lines))


def drift_words(drift: float, unit: str) -> str:
    return f"{signed(drift)} {unit}" if unit else f"{signed(100 * drift)} points"


def show_grid(
    found: MaskLab, rows: pd.DataFrame, model: MaskMTL, image: np.ndarray, columns: list[str], shown: str
) -> None:
    """A table of pictures or maps, kinds by variation, each with every head's drift."""
    flips = kept(st.toggle, "Only where an answer flips", False, key="lab_flips")
    pictures = found.images
    if shown != PICTURE:
        maps = found.maps[shown]
        full = map_scale(*maps)
        pictures = np.stack(
            [map_overlay(face, values, scale=full) for face, values in zip(found.images, maps[1:], strict=True)]
        )
        parts.scale(
            full, f"of the {'logit' if isinstance(model.specs[shown].target, Classes) else 'output'}, all on one scale"
        )
    side = WIDE if len(columns) <= 3 else SIDE
    head = "".join(f'<th scope="col">{escape(capital(name))}</th>' for name in columns)
    body = []
    for name, of_row in rows.groupby("row", sort=False):
        cells = {
            str(column): cell(of_cell, pictures, flips, side)
            for column, of_cell in of_row.groupby("column", sort=False)
        }
        if any(cells.values()):
            tds = "".join(f"<td>{cells.get(column, '')}</td>" for column in columns)
            body.append(f'<tr><th scope="row">{escape(str(name))}</th>{tds}</tr>')
    if not body:
        st.info("No answer flips under any of these masks.")
        return
    st.html(
        '<div class="scroll" tabindex="0" role="region" aria-label="Every kind of mask by variation">'
        f'<table class="lab"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def cell(rows: pd.DataFrame, pictures: np.ndarray, only_flips: bool, side: int) -> str:
    """One variant: its picture and each head's drift; '' where it is filtered out."""
    if only_flips and not rows["flip"].any():
        return ""
    first = rows.iloc[0]
    uri = resources.data_uri(pictures[first["variant"]], 2 * side, quality=80)
    alt = f"{mask_words(first['mask'])}, drawing {first['seed']}"
    lines = []
    for row in rows.itertuples():
        words = f"{ARROW} {row.answer}" if row.flip else ""
        drift = drift_words(row.drift, "y" if np.isnan(row.probability) else "")
        lines.append(
            f"<small{' class=flip' if row.flip else ''}>{escape(row.task)} {escape(drift)} {escape(words)}</small>"
        )
    return f'<img src="{uri}" alt="{escape(alt)}" width="{side}" height="{side}">{"".join(lines)}'


def open_in_face(found: MaskLab) -> None:
    """A choice of variant, and the way to its maps and checks."""
    first = found.table.drop_duplicates("variant").set_index("variant")
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Look closer at", list(first.index), key="lab_open",
        format_func=lambda v: f"{capital(mask_words(first.loc[v, 'mask']))}, drawing {first.loc[v, 'seed']}",
    )  # fmt: skip
    if right.button("Open in Face", icon=":material/face:", width="stretch"):
        st.session_state["face_mask"] = str(first.loc[chosen, "mask"])
        st.session_state["face_seed"] = int(first.loc[chosen, "seed"])
        st.switch_page("views/face.py")
