"""How fast is an atlas made, and in how much memory?

    python -m benchmarks.atlas [FACES] [--n 500] [--mask surgical] [--by ethnicity] [--method hirescam] [--batch 64]

FACES is 'demo' or a prepared folder; --n faces, as often over as it takes, so that a small set shows the memory of a
large one. All tasks of the model, bare and one mask, which is two maps for each face and task. Prints JSON: faces per
second, peak memory of the process, and what of it came with the atlas, after model and faces were loaded.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch

from analyses.attribution.atlas import PERMUTATIONS, atlas
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.manifest import open_faces


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", metavar="FACES", nargs="?", default="demo")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--mask", default="surgical")
    parser.add_argument("--by", default="ethnicity")
    parser.add_argument("--method", default="hirescam")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--permutations", type=int, default=PERMUTATIONS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, faces = load_model(args.model, "cpu"), open_faces(args.faces)
    faces = faces.select(np.resize(np.random.default_rng(0).permutation(len(faces)), args.n))
    before, started = peak_mb(), time.perf_counter()
    made = atlas(
        model,
        faces,
        masks=[args.mask],
        by=args.by,
        method=args.method,
        batch_size=args.batch,
        permutations=args.permutations,
    )
    seconds = time.perf_counter() - started
    result = {
        "faces": len(faces),
        "model": model.name,
        "method": args.method,
        "tasks": list(made.mean),
        "masks": made.masks,
        "groups": made.groups,
        "grids": {task: maps.shape[2:] for task, maps in made.mean.items()},
        "threads": args.threads,
        "faces_per_second": round(len(faces) / seconds, 1),
        "peak_memory_mb": peak_mb(),
        "of_the_atlas_mb": peak_mb() - before,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
