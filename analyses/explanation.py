"""Where a model looks on a whole set of faces: the energy of its maps by region, and what each region is worth."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.attribution import Attribution, explain, options_of
from analyses.attribution.leakage import leakage
from analyses.attribution.region_methods import region_effects
from analyses.attribution.regions import map_energy, worn_with_regions
from analyses.fairness.groups import group_labels
from analyses.fairness.intervals import bootstrap_mean
from maskmtl.dataset import check_masks
from maskmtl.files import write_atomic, write_json
from maskmtl.inference import to_input
from maskmtl.manifest import Faces
from maskmtl.networks import MaskMTL

ABLATION = "region_ablation"
ENERGY, EFFECTS, ABOUT = "regions.parquet", "effects.parquet", "explanation.json"


@dataclass(frozen=True)
class Explanation:
    """Tables of a set of faces; each map explains the model's own answer for that face under that mask."""

    energy: pd.DataFrame  # the columns of region_energy
    effects: pd.DataFrame  # the columns of region_effects, of region ablation: what the score loses without a region
    faces: pd.DataFrame  # their manifest's table
    about: dict[str, Any]  # what it was made of and with, as JSON can hold it

    def summary(self) -> pd.DataFrame:
        """task, method, mask, region, share, ci_low, ci_high, lift, effect, n: means over the n faces whose map has
        positive evidence and whose picture shows the region; intervals at 95 %, by bootstrap over faces; effect is the
        mean loss of score without the region, of the same faces."""
        keys = ["task", "method", "mask", "region"]
        effect = self.effects.set_index(["face_id", "mask", "task", "region"])["effect"]
        shown = self.energy[(self.energy["area"] > 0) & self.energy["share"].notna()]
        shown = shown.join(effect, on=["face_id", "mask", "task", "region"])
        rows = [
            (
                *key, of.share.mean(), *bootstrap_mean(of.share, self.about["seed"]), of.lift.mean(), of.effect.mean(),
                len(of),
            )
            for key, of in shown.groupby(keys, sort=False, observed=True)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=[*keys, "share", "ci_low", "ci_high", "lift", "effect", "n"])

    def leakage(self, by: Sequence[str] = ()) -> pd.DataFrame:
        """The table of `leakage`; `by` are groups as `group_labels` takes them, or 'mask'."""
        groups = [name for name in by if name != "mask"]
        energy = self.energy.drop(columns=[name for name in groups if name in self.energy])
        for name in groups:
            energy[name] = energy["face_id"].map(group_labels(self.faces, name).set_axis(self.faces["face_id"]))
        return leakage(energy, self.effects, by, seed=self.about["seed"])

    def save(self, folder: Path) -> None:
        """Two Parquet tables and a JSON file, each whole or not at all."""
        for name, table in ((ENERGY, self.energy), (EFFECTS, self.effects)):
            write_atomic(folder / name, partial(table.to_parquet, index=False))
        write_json(folder / ABOUT, self.about)

    @staticmethod
    def load(folder: Path, faces: Faces | None = None) -> "Explanation":
        """What `save` wrote, of these faces, whose groups it then knows; ValueError where there is no explanation."""
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            energy, effects = (pd.read_parquet(folder / name) for name in (ENERGY, EFFECTS))
        except (OSError, ValueError) as error:
            raise ValueError(f"folder should hold an explanation, got {str(folder)!r}: {error}") from error
        return Explanation(energy, effects, pd.DataFrame() if faces is None else faces.table, about)


def explain_faces(
    model: MaskMTL,
    faces: Faces,
    *,
    masks: Iterable[str] = ("none", "surgical"),
    methods: Iterable[str] = ("hirescam",),
    tasks: Sequence[str] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    keep: Callable[[str, str, int, Attribution], object] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Explanation:
    """Explain every face under every mask, by every method and by region ablation, and sum the maps by region.

    Faces are read and drawn `batch_size` at a time; the maps themselves go to `keep(method, mask, first row,
    attribution)`, or nowhere. `seed` draws the masks, the same as `predict`.
    """
    masks, methods = check_masks(masks), tuple(dict.fromkeys(methods))
    if not len(faces):
        raise ValueError("faces should be at least one, got none")
    if batch_size < 1:
        raise ValueError(f"batch_size should be at least 1, got {batch_size}")
    energy, effects, layers = [], [], {}
    for start in range(0, len(faces), batch_size):
        rows = np.arange(start, min(start + batch_size, len(faces)))
        ids = faces.table["face_id"].iloc[rows].tolist()
        variants = [
            worn_with_regions(image, points, face_id, masks, seed=seed, side=model.input_size)
            for image, points, face_id in zip(faces.images[rows], faces.landmarks.points[rows], ids, strict=True)
        ]
        for i, mask in enumerate(masks):
            images = np.stack([of_face[i][0] for of_face in variants])
            regions = np.stack([of_face[i][1] for of_face in variants])
            x = to_input(images, model)
            for method in dict.fromkeys((*methods, ABLATION)):
                own = {"regions": regions} if "regions" in options_of(method) else {}
                found = explain(model, x, tasks=tasks, method=method, **own)
                table = map_energy(found, regions, ids, mask)
                if method == ABLATION:
                    effects.append(region_effects(table))
                if method in methods:
                    layers[method] = found.layers
                    energy.append(table)
                    if keep is not None:
                        keep(method, mask, start, found)
            if progress is not None:
                progress(start * len(masks) + (i + 1) * len(rows), len(faces) * len(masks))
    about = {
        "model": model.name, "faces": faces.name, "n": len(faces), "masks": list(masks), "methods": list(methods),
        "layers": layers, "seed": seed, "versions": found.versions,
    }  # fmt: skip
    whole = [pd.concat(parts, ignore_index=True) for parts in (energy, effects)]
    return Explanation(whole[0], whole[1], faces.table, about)
