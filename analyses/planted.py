"""Drawn faces whose labels depend on a known region, a network trained on them, and how well maps find the region.

In a real face nobody knows where the evidence lies; here a cue per task, at a place that changes from face to face,
alone decides the label. No photograph is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import torch

from analyses.attribution.regions import on_grid
from analyses.attribution.result import Attribution
from analyses.fairness.intervals import bootstrap_mean, wilson
from maskmtl.dataset import as_tensor
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS, Classes, TaskSpec
from maskmtl.training import training_specs

SIDE, PATCH, RADIUS, NOISE = 48, 12, 5, 6  # px, px, px, deviation in levels of 0..255
MARGIN = 2  # px at least between the patch and the discs
OLDEST = 100
YOUNGER, OLDER = (240, 140, 20), (40, 225, 225)  # age's disc: orange, with a cyan core that grows with age
DOTS = np.array([(215, 30, 60), (225, 215, 40), (50, 190, 60), (45, 80, 225), (205, 50, 205)])  # ethnicity's disc
ABSENT = 0.2  # share of cues that training pictures lack
WITHIN, APART = 10, 0.5  # years that a right age may be off; deviations that its answer must be from the mean

_OFFSETS = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1].reshape(2, -1).T
_DISTANCES = np.hypot(*_OFFSETS.T)
DISC = _OFFSETS[np.argsort(_DISTANCES, kind="stable")][: (_DISTANCES <= RADIUS).sum()]  # from the centre outwards

Place = tuple[np.ndarray, np.ndarray]  # rows and columns of a cue's pixels
Colour = tuple[float, ...]


@dataclass(frozen=True)
class PlantedFaces:
    images: np.ndarray  # (N, 48, 48, 3) uint8 RGB
    labels: pd.DataFrame  # N rows, a column per task
    regions: dict[str, np.ndarray]  # task -> (N, 48, 48) bool, the cue's pixels; nowhere where there is no cue

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: slice | np.ndarray) -> "PlantedFaces":
        return PlantedFaces(
            self.images[rows], self.labels.iloc[rows], {task: of[rows] for task, of in self.regions.items()}
        )


def planted_labels(n: int, seed: int, absent: float = 0.0) -> pd.DataFrame:
    """Labels that know nothing of each other: age 0..100, gender 0 or 1, ethnicity 0..4, each even over its range.

    A share `absent` of them is NaN, for a face without that cue; the others are the same whatever the share.
    """
    rng = np.random.default_rng([seed, 0])
    labels = pd.DataFrame(
        {
            "age": rng.uniform(0, OLDEST, n),
            "gender": rng.integers(2, size=n).astype(float),
            "ethnicity": rng.integers(len(DOTS), size=n).astype(float),
        }
    )
    return labels.mask(rng.random(labels.shape) < absent)


def planted_faces(labels: pd.DataFrame, seed: int) -> PlantedFaces:
    """A face for each row of `labels`, NaN for no cue; face i depends on its own labels, `seed` and i alone.

    Age is the share of a disc near the mouth that is cyan instead of orange; gender the direction of the stripes of a
    patch anywhere, 0 for horizontal; ethnicity the colour of a disc on the forehead. All else, the cues' places, the
    phase and contrast of the stripes and the noise over all included, knows nothing of the labels: other labels with
    the same seed change pixels in the region of their cue, and no others. Cues do not overlap. ValueError for labels
    out of range.
    """
    for task, allowed in (("age", f"0..{OLDEST}"), ("gender", "0, 1"), ("ethnicity", f"0..{len(DOTS) - 1}")):
        known = labels[task].dropna()
        high = OLDEST if task == "age" else len(DOTS) - 1 if task == "ethnicity" else 1
        if (wrong := known[(known < 0) | (known > high) | ((task != "age") & (known % 1 != 0))]).size:
            raise ValueError(f"{task} should be {allowed}, got {wrong.iloc[0]}")
    images = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    regions = {task: np.zeros(images.shape[:3], bool) for task in TASKS}
    for i, row in enumerate(labels[list(TASKS)].to_dict("records")):
        rng = np.random.default_rng([seed, 1, i])
        image, places = _scene(rng)
        stripes, noise = _stripes(rng), rng.normal(0, NOISE, image.shape)
        for task, label in row.items():
            if np.isnan(label):
                continue
            rows, columns = places[task]
            regions[task][i, rows, columns] = True
            if task == "age":
                core = np.arange(len(DISC)) < round(label / OLDEST * len(DISC))
                image[rows, columns] = np.where(core[:, None], OLDER, YOUNGER)
            elif task == "gender":
                image[rows, columns] = (stripes.T if label else stripes).reshape(-1, 1)
            else:
                image[rows, columns] = DOTS[int(label)]
        images[i] = (image + noise).round().clip(0, 255)
    return PlantedFaces(images, labels, regions)


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Place]]:
    """A face before a background with distractors, (48, 48, 3) float, and where its cues belong."""
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = _muted(rng)

    def ellipse(centre: tuple[int, int], axes: tuple[int, int], colour: Colour, angle: float = 0) -> None:
        cv2.ellipse(image, centre, axes, angle, 0, 360, colour, -1, cv2.LINE_AA)

    def line(start: tuple[int, int], end: tuple[int, int]) -> None:
        cv2.line(image, start, end, _muted(rng), 2, cv2.LINE_AA)

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high))

    for _ in range(4):
        ellipse((draw(0, SIDE), draw(0, SIDE)), (draw(2, 10), draw(2, 10)), _muted(rng), rng.uniform(0, 180))
    for _ in range(2):
        line((draw(0, SIDE), draw(0, SIDE)), (draw(0, SIDE), draw(0, SIDE)))
    x, y, wide, high = draw(14, 35), draw(17, 32), draw(11, 15), draw(14, 18)
    ellipse((x, y - 3), (wide + 1, high), _muted(rng))  # hair
    ellipse((x, y), (wide, high), _muted(rng))
    for eye in (x - wide // 2, x + wide // 2):
        ellipse((eye, y - 2), (3, 2), (230, 230, 230))
        ellipse((eye, y - 2), (1, 1), _muted(rng))
    ellipse((x, y + high // 2), (wide // 2, 2), _muted(rng))  # mouth

    def disc(row: int) -> Place:
        centre = np.array((row, x + draw(2 - wide, wide - 1))).clip(RADIUS, SIDE - 1 - RADIUS)
        rows, columns = (centre + DISC).T
        return rows, columns

    mouth, forehead = disc(y + draw(6, high - 1)), disc(y - high + draw(2, 10))
    taken = np.zeros((SIDE, SIDE), np.uint8)
    for place in (mouth, forehead):
        taken[place] = 1
    near = cv2.dilate(taken, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1)))
    while True:
        top, left = draw(0, SIDE - PATCH + 1), draw(0, SIDE - PATCH + 1)
        if not near[top : top + PATCH, left : left + PATCH].any():
            break
    rows, columns = np.mgrid[top : top + PATCH, left : left + PATCH].reshape(2, -1)
    return image.astype(float), {"age": mouth, "gender": (rows, columns), "ethnicity": forehead}


def _muted(rng: np.random.Generator) -> Colour:
    """Any grey with a tinge: never a colour of the cues."""
    return tuple(rng.uniform(50, 205) + rng.uniform(-20, 20, 3))


def _stripes(rng: np.random.Generator) -> np.ndarray:
    """(12, 12) horizontal stripes, two pixels dark and two light."""
    light = (np.arange(PATCH) + rng.integers(4)) % 4 < 2
    return np.where(light, rng.uniform(185, 255), rng.uniform(0, 70))[:, None].repeat(PATCH, axis=1)


def train_planted(
    encoder: str = "compact", *, seed: int, steps: int = 240, batch_size: int = 32, lr: float = 2e-3
) -> MaskMTL:
    """A colour network with the non-local block, trained on planted faces of `seed`: test it on those of another.

    No picture is seen twice. A share ABSENT of the cues is left away while the label stays, as good as drawn at random:
    the best answer without a cue is then no class rather than another, and the mean age. Without such pictures a
    network may read one class, or a low age, off a cue's absence, and no map could be right about it.
    """
    labels = planted_labels(steps * batch_size, seed)
    faces = planted_faces(planted_labels(len(labels), seed, ABSENT), seed)
    specs = training_specs(labels, "l1_z")
    y = {task: torch.tensor(labels[task].to_numpy(np.float32)) for task in specs}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MaskMTL(specs, encoder=encoder, channels=3)
        optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
        for first in range(0, len(faces), batch_size):
            few = slice(first, first + batch_size)
            outputs = model(as_tensor(faces.images[few], 3))
            losses = [spec.target.loss(outputs[task], y[task][few]).mean() for task, spec in specs.items()]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def find_cues(attribution: Attribution, faces: PlantedFaces, specs: Mapping[str, TaskSpec]) -> pd.DataFrame:
    """How each map of a right answer meets the cue: one row per picture and question, with

    picture, question, method
    hit: the pointing game (Zhang et al. 2016, arXiv 1608.00507): some of the cue lies in the cell of the map's own grid
        where it is highest. A map without a positive value is no hit.
    chance: the share of cells that would be a hit.
    share: of the map's positive energy, in the cue's region (energy-based pointing game, Wang et al. 2020, arXiv
        1910.01279); NaN without positive energy.
    area: the region's share of the picture. lift: share / area.

    A class is asked for where it is the right one. Age is two questions: 'age, older' is what raises the answer where
    it is clearly above the mean, 'age, younger' what lowers it where it is clearly below: there, the negative of a map
    in the score's unit. Maps of no score are the same for both.
    """
    tables = []
    for question, task, values, asked in _questions(attribution, faces.labels, specs):
        values, region = np.maximum(values[asked], 0).astype(float), faces.regions[task][asked]
        inside = on_grid(region, (values.shape[1], values.shape[2])).reshape(len(values), -1)
        flat = values.reshape(len(values), -1)
        total, area = flat.sum(axis=1), region.mean(axis=(1, 2))
        share = np.divide((flat * inside).sum(axis=1), total, out=np.full(len(flat), np.nan), where=total > 0)
        at_peak = np.take_along_axis(inside, flat.argmax(axis=1)[:, None], axis=1)[:, 0]
        found = {"hit": (at_peak > 0) & (total > 0), "chance": (inside > 0).mean(axis=1), "share": share, "area": area}
        labels = {"picture": np.flatnonzero(asked), "question": question, "method": attribution.method}
        tables.append(pd.DataFrame({**labels, **found, "lift": share / area}))
    return pd.concat(tables, ignore_index=True)


def _questions(
    attribution: Attribution, labels: pd.DataFrame, specs: Mapping[str, TaskSpec]
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Question, task, what speaks for its answer (B, h, w), and which pictures it is asked of (B,)."""
    for task, values in attribution.values.items():
        target, logits = specs[task].target, torch.from_numpy(attribution.logits[task])
        off = np.abs(target.decode(logits).numpy() - labels[task].to_numpy())
        if isinstance(target, Classes):
            yield task, task, values, off == 0
        else:
            score = target.score(logits).numpy()
            yield f"{task}, older", task, values, (off <= WITHIN) & (score > APART)
            against = -values if attribution.unit == "score" else values
            yield f"{task}, younger", task, against, (off <= WITHIN) & (score < -APART)


def cue_table(found: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Rows of `find_cues` to one row per question and method: pointing, the share of hits, with its Wilson interval;
    the means of chance, area, share and lift, lift with a bootstrap interval over pictures; n, and how many of these
    maps are silent, without a positive value: no hits, and with no part in share and lift. Intervals: 95 %.
    """
    rows = []
    for (question, method), of_method in found.groupby(["question", "method"], sort=False):
        n, lift = len(of_method), of_method["lift"].dropna()
        low, high = wilson(int(of_method["hit"].sum()), n)
        lift_low, lift_high = bootstrap_mean(lift, seed)
        rows.append(
            {
                **{"question": question, "method": method, "pointing": of_method["hit"].mean()},
                **{"pointing_low": low, "pointing_high": high, "chance": of_method["chance"].mean()},
                **{"area": of_method["area"].mean(), "share": of_method["share"].mean(), "lift": lift.mean()},
                **{"lift_low": lift_low, "lift_high": lift_high, "n": n, "silent": n - len(lift)},
            }
        )
    return pd.DataFrame(rows)
