"""Table rows to tensors: mask variants drawn once into a small uint8 cache, light augmentation on the fly."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskmtl.files import write_array
from maskmtl.manifest import Faces
from maskmtl.masks import MASKS, MIXED, MaskSpec, mask_seed, overlay
from maskmtl.photo import shrink
from maskmtl.workers import Workers

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the grey of OpenCV and Pillow
CHUNK = 64


def check_masks(masks: Iterable[str]) -> tuple[str, ...]:
    """The masks' texts as a tuple without repeats; ValueError for one that is neither 'none' nor a MaskSpec."""
    try:
        names = tuple(dict.fromkeys(name if name == "none" else str(MaskSpec.parse(name)) for name in masks))
    except ValueError as error:
        raise ValueError(f"{error}; 'none' is a bare face") from error
    if not names:
        raise ValueError(f"masks should name at least one of {['none', *MASKS, MIXED]}, got none")
    return names


def wear(image: np.ndarray, points: np.ndarray, face_id: str, mask: str, seed: int) -> np.ndarray:
    """One face (H, W, 3) uint8 with a mask on, or as it is for 'none'. The same seed draws the same mask."""
    if mask == "none":
        return image
    return overlay(image, points, mask=mask, seed=mask_seed(seed, face_id, mask)).image


def as_tensor(images: np.ndarray, channels: int) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> (N, channels, S, S) float32 in 0..1; one channel is the luma of BT.601."""
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    if channels == 1:
        x = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return x


Told = Callable[[int, int], object]  # faces done, faces in all; what it raises ends the work


def _nobody(done: int, total: int) -> None:
    pass


def render(faces: Faces, mask: str, *, size: int, seed: int, progress: Told = _nobody) -> np.ndarray:
    """Every face wearing `mask`, (N, size, size, 3) uint8, drawn by a pool of processes at the cached resolution."""
    out = np.empty((len(faces), size, size, 3), np.uint8)
    chunks = [range(i, min(i + CHUNK, len(faces))) for i in range(0, len(faces), CHUNK)]
    ids = faces.table["face_id"].to_numpy()
    jobs = (
        (faces.images[c.start : c.stop], faces.landmarks.points[c.start : c.stop], ids[c.start : c.stop])
        for c in chunks
    )
    draw = partial(_render_chunk, mask=mask, size=size, seed=seed)
    with closing(_map(draw, jobs, parallel=mask != "none" and len(chunks) > 4)) as parts:  # who raises waits for none
        for chunk, drawn in zip(chunks, parts, strict=True):
            out[chunk.start : chunk.stop] = drawn
            progress(chunk.stop, len(faces))
    return out


def _map(function, jobs: Iterator, *, parallel: bool) -> Generator:
    workers = os.cpu_count() or 1
    if not parallel or workers == 1:
        yield from map(function, jobs)
        return
    with Workers(workers) as pool:
        yield from pool.map(function, jobs)


def _render_chunk(job: tuple[np.ndarray, np.ndarray, np.ndarray], *, mask: str, size: int, seed: int) -> np.ndarray:
    images, points, ids = job
    worn = (wear(i, p, face_id, mask, seed) for i, p, face_id in zip(images, points, ids, strict=True))
    return np.stack([shrink(image, size) for image in worn])


def cached_render(
    faces: Faces, mask: str, *, size: int, seed: int, folder: Path, progress: Told = _nobody
) -> np.ndarray:
    """render() of at least one face, kept as a file in `folder`.

    The file is named after the faces' ids, digests and landmarks and the first face as drawn, in every kind where any
    may be drawn: other faces, crops, landmarks or ways to draw a mask get another file.
    """
    named = hashlib.blake2b("".join(faces.table["face_id"] + faces.table["digest"]).encode(), digest_size=8)
    named.update(np.ascontiguousarray(faces.landmarks.points).tobytes())
    for one in MASKS if mask == MIXED else (mask,):
        named.update(render(faces.select([0]), one, size=size, seed=seed).tobytes())
    path = folder / f"{mask.replace(':', '-')}-{size}px-seed{seed}-{named.hexdigest()}.npy"
    if not path.is_file():
        write_array(path, render(faces, mask, size=size, seed=seed, progress=progress))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def augment(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Light augmentation: (B, C, S, S) in 0..1 -> (B, C, size, size) in 0..1.

    Mirrored by half; rotated by up to 8 degrees, scaled by 0.9 to 1.1 and shifted by up to 4 % of the side; brightness
    and contrast varied by up to 20 %. Drawn per face from `generator`.
    """
    n = len(x)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    angle = uniform(-8, 8) * (torch.pi / 180)
    scale = uniform(0.9, 1.1)
    mirror = (torch.rand(n, generator=generator) < 0.5).float() * -2 + 1
    theta = torch.stack(
        [
            torch.stack([mirror * scale * angle.cos(), -scale * angle.sin(), uniform(-0.08, 0.08)], dim=1),
            torch.stack([mirror * scale * angle.sin(), scale * angle.cos(), uniform(-0.08, 0.08)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [n, x.shape[1], size, size], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = uniform(0.8, 1.2).view(-1, 1, 1, 1), uniform(0.8, 1.2).view(-1, 1, 1, 1)
    return (((x - mean) * contrast + mean) * brightness).clamp(0, 1)
