"""How well each kind of mask sits, on real faces: the quality protocol.

    python -m benchmarks.mask_quality PREPARED [--n 500] [--yaw 40] [--seed 0] [--sheet DIR]

Faces: --n by chance (--seed), and apart from them the --yaw faces of most yaw. Worn right, per kind:
    lower face   mean and deviation of its share under the panel; the lower face is the polygon of the jaw line from
                 ear level down and the middle of the nose bridge: the mesh's counterparts of dlib's 1..15 and 27..30
    lips         share of faces with more than 98 % of the outer lips covered
    eyes         share of faces with more than 5 % of either eye covered
    halo         pixels of the panel's edge (0 < alpha < 1) that are near-white while the photo there and the panel's
                 interior nearby are not
    iou          intersection over union of changed pixels and those with alpha or trim, over all faces together
    leaks        changed pixels without alpha and trim
    outside      share of faces with more than 2 % of the panel beyond the face's outline, above the mouth
    pieces       faces whose panel falls into several parts
Worn wrongly: nose_out leaves more than 90 % of the nose's tip bare and covers more than 98 % of the lips; chin leaves
more than 90 % of the lips bare. The measures themselves are in tests/maskmtl/mask_measures.py. A face counts for a
measure when the picture shows the region. Faces whose landmarks are the template's count only in the last table.
Prints Markdown. --sheet writes pictures of the worst faces and of those of most yaw: keep them out of the repository.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from analyses.fairness.intervals import wilson
from maskmtl.manifest import Faces, load_faces
from maskmtl.masks import MASKS, Overlay, mask_seed, overlay
from maskmtl.tasks import TASKS
from maskmtl.workers import Workers
from tests.maskmtl.mask_measures import EYE_OVERLAP, LIPS_COVERED, MASKTHEFACE_COVERAGE, TRIAL_COVERAGE, measure, yaw

CHUNK, WORST = 16, 10
TOO_FAR, BARE = 0.02, 0.10
AGES = [0, 5, 13, 20, 40, 60, 117]
# measure -> is more of it worse?
RIGHT = {"lower_face": False, "lips": False, "eyes": True, "halo": True, "iou": False, "outside": True, "pieces": True}
WRONG = {"nose_out": ("nose_tip", "lips"), "chin": ("lips",)}


@lru_cache(maxsize=1)
def opened(folder: str) -> Faces:
    return load_faces(Path(folder))


def draw(faces: Faces, row: int, mask: str, seed: int) -> Overlay:
    face_id = str(faces.table["face_id"].iloc[row])
    return overlay(faces.images[row], faces.landmarks.points[row], mask=mask, seed=mask_seed(seed, face_id, mask))


def measured(job: tuple[str, list[int], list[str], int]) -> list[dict[str, object]]:
    """One row per face and mask; an overlay that raises has an `error` and no measures."""
    folder, rows, masks, seed = job
    faces, table = opened(folder), []
    for row in rows:
        for mask in masks:
            line: dict[str, object] = {"row": row, "mask": mask, "error": ""}
            try:
                drawn = draw(faces, row, mask, seed)
                line |= measure(faces.images[row], faces.landmarks.points[row], drawn)
                line["empty"] = not (drawn.alpha > 0).any()
            except Exception as error:
                line["error"] = f"{type(error).__name__}: {error}"
            table.append(line)
    return table


def measure_all(folder: Path, rows: np.ndarray, masks: list[str], seed: int) -> pd.DataFrame:
    jobs = [(str(folder), rows[i : i + CHUNK].tolist(), masks, seed) for i in range(0, len(rows), CHUNK)]
    with Workers(os.cpu_count() or 1) as pool:
        return pd.DataFrame([line for part in pool.map(measured, jobs) for line in part])


def percent(flags: pd.Series) -> str:
    low, high = wilson(int(flags.sum()), len(flags))
    return f"{100 * flags.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def right_table(table: pd.DataFrame) -> str:
    rows = []
    for kind in MASKS:
        t = table[table["mask"] == kind]
        rows.append(
            {
                "kind": kind,
                "n": len(t),
                "lower face": f"{t['lower_face'].mean():.3f} ± {t['lower_face'].std():.3f}",
                "MaskTheFace": MASKTHEFACE_COVERAGE.get(kind, ""),
                "trial": TRIAL_COVERAGE.get(kind, ""),
                "lips > 98 %, % of faces": percent(t["lips"].dropna() > LIPS_COVERED),
                "eye > 5 %, % of faces": percent(t["eyes"] > EYE_OVERLAP),
                "halo, px": int(t["halo"].sum()),
                "iou": f"{t['iou'].mean():.4f} (least {t['iou'].min():.3f})",
                "leaks, px": int(t["leaks"].sum()),
                "outside, % of faces": percent(t["outside"] > TOO_FAR),
                "pieces, faces": int((t["pieces"] != 1).sum()),
            }
        )
    return markdown(rows)


def wrong_table(table: pd.DataFrame) -> str:
    rows = []
    for kind in MASKS:
        nose, chin = (table[table["mask"] == f"{kind}:{wear}"] for wear in WRONG)
        rows.append(
            {
                "kind": kind,
                "nose_out: nose tip bare, % of faces": percent(nose["nose_tip"].dropna() < BARE),
                "nose_out: lips > 98 %, % of faces": percent(nose["lips"].dropna() > LIPS_COVERED),
                "chin: lips bare, % of faces": percent(chin["lips"].dropna() < BARE),
            }
        )
    return markdown(rows)


def worst(table: pd.DataFrame, faces: Faces) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Mask, measure and the faces that do worst in it, where they are not perfect."""
    for mask, t in table.groupby("mask", sort=False):
        kind, _, wear = str(mask).partition(":")
        for name in WRONG.get(wear, RIGHT):
            more_is_worse = RIGHT.get(name, True) if not wear else (name == "nose_tip" or wear == "chin")
            perfect = {"pieces": 1.0}.get(name, 0.0 if more_is_worse else 1.0)
            chosen = t[t[name].notna() & (t[name] != perfect)].sort_values(name, ascending=not more_is_worse)
            if len(chosen):
                ids = faces.table["face_id"].to_numpy()
                yield (
                    f"{kind}:{wear}" if wear else kind,
                    name,
                    chosen.head(WORST).assign(face_id=lambda c, ids=ids: ids[c["row"].to_numpy(int)]),
                )


def failures(table: pd.DataFrame, faces: Faces, rows: np.ndarray) -> str:
    """Share of faces without a mask and on the template's landmarks, by group, with 95 % Wilson intervals."""
    people = faces.table.iloc[rows][list(TASKS)].assign(row=rows, template=faces.landmarks.method[rows] == "template")
    failed = table[(table["error"] != "") | table["empty"].fillna(True).astype(bool)]["row"].unique()
    people["failed"] = people["row"].isin(failed)
    people["age"] = pd.cut(people["age"], AGES, right=False, labels=[f"{a}-{b - 1}" for a, b in pairwise(AGES)])
    lines = []
    for by in (None, "ethnicity", "gender", "age"):
        for group, part in [("all", people)] if by is None else people.groupby(by, observed=True):
            names = getattr(TASKS[by].target, "names", None) if by else None
            name = names[int(group)] if names else group
            lines.append(
                {
                    "group": name if by is None else f"{by}: {name}",
                    "n": len(part),
                    "no mask, %": percent(part["failed"]),
                    "template, %": percent(part["template"]),
                }
            )
    return markdown(lines)


def sheet(pictures: list[tuple[str, np.ndarray]], columns: int) -> np.ndarray:
    """Captioned pictures in a grid, (H, W, 3) uint8."""
    tiles = []
    for caption, picture in pictures:
        tile = cv2.copyMakeBorder(picture, 0, 16, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        cv2.putText(tile, caption, (2, tile.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)])


def write_sheet(path: Path, pictures: list[tuple[str, np.ndarray]], columns: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet(pictures, columns)[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--yaw", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    faces = load_faces(args.faces)
    rows = np.sort(np.random.default_rng(args.seed).permutation(len(faces))[: args.n])
    found = np.flatnonzero(faces.landmarks.method != "template")
    turn = np.array([abs(yaw(faces.landmarks.points[row])) for row in found])
    turned = found[np.argsort(-turn, kind="stable")[: args.yaw]]

    masks = [*MASKS, *(f"{kind}:{wear}" for kind in MASKS for wear in WRONG)]
    everything = measure_all(args.faces, np.union1d(rows, turned), masks, args.seed)
    with_mask = everything[everything["error"] == ""]
    ours = with_mask[with_mask["row"].isin(np.intersect1d(rows, found))]
    print(f"## Worn right, {ours['row'].nunique()} faces\n\n{right_table(ours)}\n")
    print(f"## The {len(turned)} faces of most yaw, {turn.max():.0f} degrees and less\n")
    print(right_table(with_mask[with_mask["row"].isin(turned)]) + "\n")
    print(f"## Worn wrongly\n\n{wrong_table(ours)}\n")
    chance = everything[everything["row"].isin(rows)]
    print(f"## No mask, and the template's landmarks\n\n{failures(chance, faces, rows)}\n")
    for error, part in everything[everything["error"] != ""].groupby("error"):
        print(f"{len(part)} overlays failed: {error}\n")
    print("## Worst faces\n")
    for mask, name, chosen in worst(with_mask, faces):
        listed = ", ".join(f"{i} ({value:.3g})" for i, value in zip(chosen["face_id"], chosen[name], strict=True))
        print(f"- {mask}, {name}: {listed}")
        if args.sheet:
            pictures = []
            for row, value in zip(chosen["row"].astype(int), chosen[name], strict=True):
                caption = f"{faces.table['face_id'].iloc[row][:22]} {value:.3g}"
                pictures.append((caption, draw(faces, row, mask, args.seed).image))
            write_sheet(args.sheet / f"worst-{mask.replace(':', '-')}-{name}.png", pictures, 5)
    if args.sheet:
        for start in range(0, len(turned), 10):
            pictures = []
            for row in turned[start : start + 10]:
                pictures.append((f"{faces.table['face_id'].iloc[row][:28]}", faces.images[row]))
                pictures += [(kind, draw(faces, row, kind, args.seed).image) for kind in MASKS]
            write_sheet(args.sheet / f"yaw-{start:02d}.png", pictures, 1 + len(MASKS))


if __name__ == "__main__":
    main()
