"""Is the data path of training ever the limit? Pictures a second, beside a plain DataLoader over the same JPEGs.

    python -m benchmarks.data_path PREPARED PICTURES [--n 2000]

PREPARED is the prepared folder of the pictures in the folder PICTURES. Both sides give float tensors (B, 3, 64, 64) in
batches of 128, in this process and on one thread, once bare and once with a fresh mask of any kind on every face:
    ours    pixels prepared once, masks drawn at the size that training for 48 px uses before it augments
    peer    torch's DataLoader over a Dataset that decodes a JPEG with Pillow, masks it at its own size from the
            prepared landmarks, and shrinks it
Prints JSON: images per second of CPU time (steadier than wall time) of both and their ratio, and peak memory.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maskmtl.dataset import as_tensor
from maskmtl.manifest import Faces, load_faces
from maskmtl.masks import MIXED, mask_seed, overlay
from maskmtl.masks.fresh import FreshMasks
from maskmtl.photo import shrink
from maskmtl.training import MARGIN

SIDE, BATCH = round(48 * MARGIN), 128


class Jpegs(Dataset):
    """What one writes first: open, decode, mask, shrink, to a tensor."""

    def __init__(self, faces: Faces, paths: list[Path], masked: bool) -> None:
        self._paths, self._points, self._masked = paths, faces.landmarks.points, masked

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self._paths[i]) as file:
            image = np.asarray(file.convert("RGB"))
        if self._masked:
            image = overlay(image, self._points[i], mask=MIXED, seed=mask_seed(0, self._paths[i].name, MIXED)).image
        return torch.from_numpy(shrink(image, SIDE)).permute(2, 0, 1).float() / 255


def ours(small: np.ndarray, faces: Faces, masked: bool) -> Iterator[Tensor]:
    fresh = FreshMasks(small, faces.landmarks.points)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(small))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        mask = MIXED if masked else "none"
        yield as_tensor(fresh.draw(rows, [mask] * len(rows), rng.integers(2**62, size=len(rows))), 3)


def rate(epoch: Callable[[], Iterator[Tensor]], n: int) -> float:
    """Images per second of CPU time, the better of two epochs after one that fills caches."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        assert sum(len(batch) for batch in epoch()) == n
        seconds.append(time.process_time() - started)
    return n / min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", metavar="PREPARED", type=Path)
    parser.add_argument("pictures", metavar="PICTURES", type=Path)
    parser.add_argument("--n", type=int, default=2000)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    faces = load_faces(args.prepared)
    faces = faces.select(np.arange(min(args.n, len(faces))))
    there = {path.name: path for path in args.pictures.rglob("*.jpg")}
    paths = [there[Path(name).name] for name in faces.table["path"]]
    small = np.stack([shrink(image, SIDE) for image in faces.images])
    found: dict[str, object] = {"images": len(faces)}
    for name, masked in (("bare", False), ("masked", True)):
        mine = rate(lambda masked=masked: ours(small, faces, masked), len(faces))
        peer = rate(lambda masked=masked: iter(DataLoader(Jpegs(faces, paths, masked), BATCH)), len(faces))
        found[name] = {"ours": round(mine), "dataloader": round(peer), "ratio": round(mine / peer, 1)}
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
