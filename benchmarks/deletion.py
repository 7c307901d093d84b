"""Do the maps point at what the model uses? Deletion of a fifth of the picture, by each map against at random.

    python benchmarks/deletion.py [FACES] [--model NAME] [--split val] [--n 300] [--methods gradcam hirescam]

The fifth of the pixels where a map is highest is replaced by the mean face; the drop of the explained score is printed
beside the drop for random smooth patches of the same area. A map that does no better than random explains nothing.
Score: a logit for classes, years for age (in deviations). Intervals: 95 %, bootstrap over faces.
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analyses.attribution import METHODS, explain
from analyses.attribution.perturbation import curves, ranked
from analyses.attribution.scores import explained, scores
from analyses.fairness.intervals import bootstrap_mean
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.evaluation import choose
from maskmtl.inference import to_input
from maskmtl.manifest import open_faces

SHARE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", nargs="?", default="demo")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--split", default="all")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--methods", nargs="+", default=["gradcam", "hirescam"], choices=list(METHODS))
    args = parser.parse_args()
    model = load_model(args.model, "cpu")
    faces = choose(open_faces(args.faces), args.model, args.split)
    rows = np.sort(np.random.default_rng(0).permutation(len(faces))[: args.n])
    x = to_input(faces.images[rows], model)
    size = x.shape[-1]
    noise = torch.rand(len(x), 6, 6, generator=torch.Generator().manual_seed(0))
    orders: dict[str, dict[str, Tensor]] = {"random": dict.fromkeys(model.specs, noise)}
    for method in args.methods:
        maps = explain(model, x, method=method)
        orders[method] = {task: torch.from_numpy(values) for task, values in maps.values.items()}
    result: dict[str, dict[str, dict[str, object]]] = {}
    ties = torch.rand(x[:, 0].shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model(x)
        classes = explained(model, dict.fromkeys(model.specs), whole)
        before = scores(model, whole, classes)
        for task in model.specs:
            for name, order in orders.items():
                large = F.interpolate(order[task][:, None], size=(size, size), mode="bilinear", align_corners=False)
                ranks = ranked(large.transpose(0, 1), ties)
                after = curves(model, x, {task: classes[task]}, ranks, x.mean(dim=0).expand_as(x), (SHARE,))[task][0, 0]
                drop = (before[task] - after).numpy()
                low, high = bootstrap_mean(drop, 0)
                figures = {"drop": round(float(drop.mean()), 2), "ci": [round(low, 2), round(high, 2)]}
                result.setdefault(task, {})[name] = figures
    print(json.dumps({"faces": faces.name, "split": args.split, "n": len(x), "deleted": SHARE, **result}))


if __name__ == "__main__":
    main()
