"""Grad-CAM for three heads: our one pass against Captum's and pytorch-grad-cam's, on the default model.

    python benchmarks/gradcam.py [--faces 1024] [--batch 64] [--repeats 5] [--device cpu]

The three are timed in turns in one process on the same demo faces, repeated up to --faces; the rivals get
them in batches, ours makes its own. The default model also reads each picture's mirror image: Captum's map of that is
turned back and added as ours is, pytorch-grad-cam leaves it as a map of its own. The ratio is of the medians. Memory is
what each adds to the peak of a fresh process, or of the GPU.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

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

Method = Callable[[MaskMTL, Tensor], dict[str, np.ndarray]]


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
        maps[task] = model.per_picture(method.attribute(x, target=0).detach()[:, 0]).cpu().numpy()
    return maps


def pytorch_grad_cam(model: MaskMTL, x: Tensor) -> dict[str, np.ndarray]:
    maps = {}
    for task in model.specs:
        with GradCAM(Score(model, task), [model.map_layer(task)]) as method:
            maps[task] = method(x, None)  # the only output
    return maps


METHODS = (ours, captum, pytorch_grad_cam)


def run(method: Method, model: MaskMTL, x: Tensor, batch: int) -> dict[str, np.ndarray]:
    if method is ours:
        return method(model, x)
    parts = [method(model, few) for few in x.split(batch)]
    return {task: np.concatenate([part[task] for part in parts]) for task in model.specs}


def prepared(faces: int, device: str) -> tuple[MaskMTL, Tensor]:
    model = load_model(DEFAULT_MODEL, device)
    images = open_faces("demo").images
    return model, to_input(images[np.arange(faces) % len(images)], model)


def peak_added(method: Method, faces: int, batch: int, device: str) -> int:
    """MB, in the process that calls this first."""
    model, x = prepared(faces, device)
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(method, model, x, batch)
        return (torch.cuda.max_memory_allocated() - before) // 2**20
    run(method, model, x[:2], batch)  # what the libraries load once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(method, model, x, batch)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    memory = {}
    for method in METHODS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            memory[method.__name__] = pool.submit(peak_added, method, args.faces, args.batch, args.device).result()
    model, x = prepared(args.faces, args.device)
    maps = {method.__name__: run(method, model, x, args.batch) for method in METHODS}  # also the warm-up
    seconds: dict[str, list[float]] = {method.__name__: [] for method in METHODS}
    for _ in range(args.repeats):
        for method in METHODS:
            started = time.perf_counter()
            run(method, model, x, args.batch)  # ends with the maps on the CPU
            seconds[method.__name__].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    difference = max(
        float(np.abs(maps["ours"][task] - maps["captum"][task]).max() / np.abs(maps["captum"][task]).max())
        for task in model.specs
    )
    result = {
        "faces": args.faces,
        "device": args.device,
        "threads": torch.get_num_threads(),
        "maps_per_second": {name: round(3 * args.faces / value) for name, value in medians.items()},
        "times_faster_than": {name: round(value / medians["ours"], 2) for name, value in medians.items()},
        "peak_memory_added_mb": memory,
        "largest_difference_to_captum": difference,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
