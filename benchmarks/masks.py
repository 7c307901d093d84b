"""Masks per second on all cores, beside what MaskTheFace was measured at on one.

    python -m benchmarks.masks FACES [--n 500]

FACES: a prepared folder, or an archive of which --n pictures are prepared in a temporary folder first. In order:
    overlay   from cached pixels and landmarks, at the prepared size; nothing is written
    whole     JPEG decoded, landmarks, overlay, picture (JPEG, quality 95) and alpha (PNG) written; the JPEGs are the
              archive's own, or the prepared faces encoded at quality 95
    fresh     masks for training, 256 faces at 64 px (48 px before augmentation cuts them), in one process of one thread
images_per_cpu_second is what a core does when it has nothing else to do: on a busy machine the other figure says
more of the load than of the code. Peak memory is the largest worker's, after its first share of the work and at the
end, and this process's own.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from maskmtl.manifest import is_prepared, load_faces
from maskmtl.masks import MASKS, MIXED, FaceMesh, mask_seed, overlay
from maskmtl.masks.fresh import FreshMasks
from maskmtl.photo import centre_square, read_photo, shrink
from maskmtl.workers import Workers

MASKTHEFACE = {"surgical": 15.3, "kn95": 14.9, "cloth": 11.4, "n95": 10.1, "gas": 6.5}  # images/s, one shared core
SIDE, FRESH_SIDE, FRESH_FACES = 200, 64, 256
CHUNK = 25
Done = tuple[int, int, float, int]  # process, images, seconds of CPU, peak MB


def peak_mb() -> int:
    """This process's peak. Linux hands a parent's ru_maxrss down to what it starts, but not VmHWM."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


@lru_cache(maxsize=1)
def mesh() -> FaceMesh:
    return FaceMesh()


def draw_chunk(job: tuple[np.ndarray, np.ndarray, np.ndarray], *, mask: str) -> Done:
    started = time.process_time()
    for image, points, face_id in zip(*job, strict=True):
        overlay(image, points, mask=mask, seed=mask_seed(0, face_id, mask))
    return os.getpid(), len(job[0]), time.process_time() - started, peak_mb()


def whole_chunk(job: tuple[int, list[bytes]], *, out: Path) -> Done:
    started = time.process_time()
    first, pictures = job
    for i, data in enumerate(pictures, first):
        photo = shrink(centre_square(read_photo(data)), SIDE)
        points, presence, _ = mesh()(photo)
        drawn = overlay(photo, points, mask=MASKS[i % len(MASKS)], seed=i, presence=presence)
        cv2.imwrite(str(out / f"{i}.jpg"), drawn.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(out / f"{i}.png"), np.rint(drawn.alpha * 255).astype(np.uint8))
    return os.getpid(), len(pictures), time.process_time() - started, peak_mb()


def rate(pool: Workers, work: Callable[..., Done], jobs: list) -> dict[str, float]:
    """Images per second, and MB of the largest worker after its first job and at the end."""
    started = time.perf_counter()
    done = list(pool.map(work, jobs))
    seconds = time.perf_counter() - started
    n = sum(n for _, n, *_ in done)
    first: dict[int, int] = {}
    for process, *_, peak in done:
        first.setdefault(process, peak)
    return {
        "images_per_second": round(n / seconds, 1),
        "images_per_cpu_second": round(n / sum(cpu for *_, cpu, _ in done), 1),
        "worker_peak_mb_first": max(first.values()),
        "worker_peak_mb": max(peak for *_, peak in done),
    }


def fresh_rates(images: np.ndarray, points: np.ndarray) -> dict[str, object]:
    """Masks per second and kind of one process, median of five epochs; what is cached is cached in one before."""
    fresh, rows = FreshMasks(images, points), np.arange(len(images))
    rates: dict[str, object] = {}
    for mask in (*MASKS, MIXED):
        seconds, cpu = [], []
        for epoch in range(6):
            seeds = np.array([mask_seed(epoch, str(row), mask) for row in rows], np.uint64)
            started = time.perf_counter(), time.process_time()
            fresh.draw(rows, [mask] * len(rows), seeds)
            seconds.append(time.perf_counter() - started[0])
            cpu.append(time.process_time() - started[1])
        rates[mask] = {
            "images_per_second": round(len(rows) / float(np.median(seconds[1:]))),
            "images_per_cpu_second": round(len(rows) / float(np.median(cpu[1:]))),
        }
    return {**rates, "worker_peak_mb": peak_mb()}


def pictures(source: Path, n: int) -> Iterator[bytes]:
    """JPEG files: the archive's own, or a prepared folder's faces."""
    if is_prepared(source):
        for image in load_faces(source).images[:n]:
            yield cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        return
    from maskmtl.sources import read_source

    yield from (picture.data for picture in islice((p for p in read_source(source)[0] if p.reason is None), n))


def prepared(files: list[bytes], folder: Path) -> Path:
    from maskmtl.prepare import prepare  # and with it torch, which the workers need not load

    (folder / "pictures").mkdir()
    for i, data in enumerate(files):
        (folder / "pictures" / f"{i}.jpg").write_bytes(data)
    prepare(folder / "pictures", folder / "prepared", align=False)
    return folder / "prepared"


def measure(source: Path, n: int, temporary: Path) -> dict[str, object]:
    files = list(pictures(source, n))
    faces = load_faces(source if is_prepared(source) else prepared(files, temporary))
    n, cores = min(n, len(faces)), os.cpu_count() or 1
    images, points, ids = faces.images[:n], faces.landmarks.points[:n], faces.table["face_id"].to_numpy(str)[:n]
    cuts = [slice(i, i + CHUNK) for i in range(0, n, CHUNK)]
    cached = [(images[cut], points[cut], ids[cut]) for cut in cuts]
    encoded = [(i, files[i : i + CHUNK]) for i in range(0, len(files), CHUNK)]
    out = temporary / "out"
    out.mkdir()
    with Workers(cores) as pool:
        list(pool.map(partial(draw_chunk, mask=MIXED), cached))  # starts the processes and fills their caches
        overlays = {mask: rate(pool, partial(draw_chunk, mask=mask), cached) for mask in (*MASKS, MIXED)}
    with Workers(cores) as pool:
        list(pool.map(partial(whole_chunk, out=out), encoded[: 2 * cores]))
        whole = rate(pool, partial(whole_chunk, out=out), encoded)
    with Workers(1) as pool:
        small = np.stack([shrink(image, FRESH_SIDE) for image in images[:FRESH_FACES]])
        fresh = pool.submit(fresh_rates, small, points[:FRESH_FACES]).result()
    return {
        "faces": n,
        "cores": cores,
        "load": round(os.getloadavg()[0], 1),
        "masktheface_images_per_second_on_one_core": MASKTHEFACE,
        "overlay": overlays,
        "whole": whole,
        "fresh_64px_per_core": fresh,
        "this_process_peak_mb": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--n", type=int, default=500)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(args.faces, args.n, Path(temporary)), indent=2))


if __name__ == "__main__":
    main()
