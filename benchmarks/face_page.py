"""Upload to answer: what the Face page does with a photo, timed from its bytes to the six maps.

    python benchmarks/face_page.py [PHOTO] [--runs 20]

Decode, find the face, align it, draw the mask, predict bare and masked, one Grad-CAM per task for each. Prints the
median and range in milliseconds, each step's share, threads and peak memory. Without PHOTO, a demo face on a
1600 x 1200 canvas.
"""

import argparse
import io
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from analyses.face import read_face
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.paths import DEMO
from maskmtl.photo import find_faces, read_photo


def demo_photo() -> bytes:
    """A demo face of 480 px on a grey canvas, as JPEG."""
    canvas = Image.new("RGB", (1600, 1200), (128, 132, 136))
    with Image.open(sorted(DEMO.glob("*.jpg"))[0]) as face:
        canvas.paste(face.resize((480, 480), Image.Resampling.BICUBIC), (560, 300))
    out = io.BytesIO()
    canvas.save(out, "JPEG", quality=92)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    data = args.photo.read_bytes() if args.photo else demo_photo()
    model = load_model(DEFAULT_MODEL)
    steps: dict[str, list[float]] = {"decode": [], "find and align": [], "mask, predict, explain": []}
    totals = []
    for run in range(args.runs + 1):
        times = [time.perf_counter()]
        photo = read_photo(data)
        times.append(time.perf_counter())
        face = find_faces(photo)[0]
        times.append(time.perf_counter())
        reading = read_face(model, face.crop, face.points, masks=("none", "surgical"))
        times.append(time.perf_counter())
        assert all(len(values) == 2 for values in reading.attributions["gradcam"].values.values())
        if run:  # the first loads weights
            totals.append(times[-1] - times[0])
            for name, seconds in zip(steps, np.diff(times), strict=True):
                steps[name].append(seconds)
        else:
            first = times[-1] - times[0]
    result = {
        "model": model.name,
        "device": str(next(model.parameters()).device),
        "threads": torch.get_num_threads(),
        "runs": args.runs,
        "median_ms": round(1000 * statistics.median(totals), 1),
        "range_ms": [round(1000 * min(totals), 1), round(1000 * max(totals), 1)],
        "first_ms": round(1000 * first, 1),
        "steps_median_ms": {name: round(1000 * statistics.median(values), 1) for name, values in steps.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
