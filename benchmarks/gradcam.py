"""Grad-CAM for three heads: our one pass against Captum's and pytorch-grad-cam's, on the default model.

    python benchmarks/gradcam.py [--faces 64] [--repeats 5]

The three are timed in turns in one process on the same demo faces; the ratio is of the medians. Memory is what each
adds to the process's peak, in the order of the table.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

from analyses.attribution import explain
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import to_input
from maskmtl.manifest import open_faces
from maskmtl.networks import MaskMTL


class Score(nn.Module):
    """The predicted answer's score of one head, (B, 1): what all three methods explain."""

    def __init__(self, model: MaskMTL, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, x: Tensor) -> Tensor:
        logits = self.model(x)[self.task]
        return self.model.specs[self.task].target.score(logits)[:, None]


def ours(model: MaskMTL, x: Tensor) -> dict[str, np.ndarray]:
    return explain(model, x).values


def captum(model: MaskMTL, x: Tensor) -> dict[str, np.ndarray]:
    maps = {}
    for task in model.specs:
        method = LayerGradCam(Score(model, task), model.map_layer(task))
        maps[task] = method.attribute(x, target=0).detach().numpy()[:, 0]
    return maps


def pytorch_grad_cam(model: MaskMTL, x: Tensor) -> dict[str, np.ndarray]:
    maps = {}
    for task in model.specs:
        with GradCAM(Score(model, task), [model.map_layer(task)]) as method:
            maps[task] = method(x, None)  # the only output
    return maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = load_model(DEFAULT_MODEL, "cpu")
    x = to_input(open_faces("demo").images[: args.faces], model)
    methods: tuple[Callable[[MaskMTL, Tensor], dict[str, np.ndarray]], ...] = (ours, captum, pytorch_grad_cam)
    seconds: dict[str, list[float]] = {method.__name__: [] for method in methods}
    memory, maps = {}, {}
    for method in methods:  # also the warm-up
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        maps[method.__name__] = method(model, x)
        memory[method.__name__] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    for _ in range(args.repeats):
        for method in methods:
            started = time.perf_counter()
            method(model, x)
            seconds[method.__name__].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    difference = max(
        float(np.abs(maps["ours"][task] - maps["captum"][task]).max() / np.abs(maps["captum"][task]).max())
        for task in model.specs
    )
    result = {
        "faces": args.faces,
        "threads": torch.get_num_threads(),
        "maps_per_second": {name: round(3 * args.faces / value) for name, value in medians.items()},
        "times_faster_than": {name: round(value / medians["ours"], 2) for name, value in medians.items()},
        "peak_memory_added_mb": memory,
        "largest_difference_to_captum": difference,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
