"""What the cohort card is worth, on val: which pictures are told to be unlike faces, and what similar faces tell.

Of val's faces 2,000 make the record and 1,000 others are asked about; 6,000 training faces, drawn by chance, say what
the model knows. The test split is not touched.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from analyses.reference import RARE, SIMILAR, Reference, cohorts, features_of, make_reference
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import decode, to_input
from maskmtl.manifest import load_faces
from maskmtl.metrics import wilson
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes

SIDE = 200
ASKED = 1000  # faces that are asked about
CORRUPTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": lambda image, rng: rng.integers(0, 256, image.shape),
    "flat grey": lambda image, rng: np.full(image.shape, 128),
    "very dark": lambda image, rng: image * 0.1,
    "strong blur": lambda image, rng: cv2.GaussianBlur(image, (0, 0), 12),
    "corner, enlarged": lambda image, rng: cv2.resize(image[:50, :50], (SIDE, SIDE)),
    "colours inverted": lambda image, rng: 255 - image,
    "three grey levels": lambda image, rng: image // 85 * 85,
    "turned by 90 degrees": lambda image, rng: np.rot90(image),
    "upside down": lambda image, rng: image[::-1],
    "lower half grey": lambda image, rng: np.where(np.arange(SIDE)[:, None, None] > SIDE // 2, 128, image),
}


def distances(reference: Reference, model: MaskMTL, images: np.ndarray) -> np.ndarray:
    parts = [features_of(model, to_input(images[i : i + 250], model)) for i in range(0, len(images), 250)]
    return reference.place(np.concatenate(parts))[1]


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.unlike", description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    args = parser.parse_args()
    model, faces, rng = load_model(args.model), load_faces(args.prepared), np.random.default_rng(0)
    train, val = faces.in_split("train"), faces.in_split("val")
    train = train.select(np.sort(rng.permutation(len(train))[:6000]))
    order = rng.permutation(len(val))
    known, asked = val.select(np.sort(order[:2000])), val.select(np.sort(order[2000 : 2000 + ASKED]))
    reference = make_reference(model, train, known, known, split="val")
    images = asked.images[:]
    base, limit = distances(reference, model, images), np.quantile(reference.known[0], 1 - RARE)
    print(f"| picture | AUROC against faces of val | warned of (95 % interval, n {len(images):,}) |\n|---|---|---|")
    for name, change in {"as it is": lambda image, rng: image, **CORRUPTIONS}.items():
        found = distances(reference, model, np.stack([change(image, rng) for image in images]).astype(np.uint8))
        score = roc_auc_score(np.r_[np.zeros(len(base)), np.ones(len(found))], np.r_[base, found])
        hits = int((found > limit).sum())
        low, high = wilson(hits, len(found))
        print(f"| {name} | {score:.2f} | {100 * hits / len(found):.1f} % ({100 * low:.1f}–{100 * high:.1f}) |")
    of_faces = cohorts(reference, model, images, [False] * len(images))
    decoded = decode(model, to_input(images, model))
    print(f"\nwhat {SIMILAR} similar faces tell of {len(images):,} bare ones:")
    for t, (task, spec) in enumerate(model.specs.items()):
        y_true, y_pred = asked.table[task].to_numpy(float), decoded[task]["y_pred"]
        told = np.array([cohort.table["value"].iloc[t] for cohort in of_faces])
        if isinstance(spec.target, Classes):
            right = (y_true == y_pred).astype(float)
            rate = np.mean(reference.y_true[:, t] == reference.y_pred[0, :, t])
            sure = decoded[task]["probabilities"].max(axis=1)
            scores = {"similar faces": told, "one rate for all": rate, "the model's own probability": sure}
            words = ", ".join(f"{name} {np.mean((p - right) ** 2):.4f}" for name, p in scores.items())
            print(f"{task}: Brier score of {words}")
        else:
            r = np.corrcoef(told, np.abs(y_true - y_pred))[0, 1]
            print(f"{task}: expected and actual error correlate by {r:.2f}")


if __name__ == "__main__":
    main()
