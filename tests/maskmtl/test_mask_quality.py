"""The overlay's quality on demo and real faces, and its pixels on another machine."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from maskmtl.manifest import Faces
from maskmtl.masks import MASKS, WEARS, Overlay, mask_seed, overlay
from maskmtl.masks.landmarks import mean_face
from maskmtl.paths import ROOT
from tests.maskmtl.mask_measures import (
    EYE_OVERLAP,
    EYE_SHARE,
    LEAST_COVERAGE,
    LEAST_IOU,
    LIPS_COVERED,
    LIPS_SHARE,
    MASKTHEFACE_COVERAGE,
    halo,
    measure,
    region,
    yaw,
)

kinds = pytest.mark.parametrize("kind", MASKS)
DRAW = """
import hashlib, json, sys
import numpy as np
from maskmtl.masks import COLOURS, MASKS, PATTERNS, WEARS, overlay
from maskmtl.masks.patterns import paint
from maskmtl.masks.texture import VARIANTS, _material
with np.load(sys.argv[1]) as faces:
    images, points = faces["images"], faces["points"]
hashes = {}
def add(name, *parts):
    found = hashes.setdefault(name, hashlib.sha256())
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
for kind in MASKS:
    for variant in range(VARIANTS):
        add(f"material of {kind}", *(part for part in _material(kind, variant, 0) if part is not None))
for pattern in PATTERNS:
    for seed in range(8 if pattern != "plain" else 0):
        add(f"pattern {pattern}", paint(pattern, np.array(COLOURS["teal"]), np.random.default_rng(seed)))
for mask in (*MASKS, *(f"{MASKS[0]}:{wear}" for wear in WEARS)):
    for seed in range(12):
        drawn = overlay(images[seed % len(images)], points[seed % len(points)], mask=mask, seed=seed)
        add(mask, drawn.image, drawn.alpha, drawn.trim, np.float64(drawn.coverage))
print(json.dumps({name: found.hexdigest() for name, found in hashes.items()}))
"""


def every(faces: Faces, n: int) -> Faces:
    """n faces, evenly from first to last."""
    return faces.select(np.linspace(0, len(faces) - 1, min(n, len(faces))).astype(int))


def measures(faces: Faces, mask: str) -> pd.DataFrame:
    rows = []
    for image, points, face_id in zip(faces.images, faces.landmarks.points, faces.table["face_id"], strict=True):
        drawn = overlay(image, points, mask=mask, seed=mask_seed(0, face_id, mask))
        rows.append({"face_id": face_id, **measure(image, points, drawn)})
    return pd.DataFrame(rows).set_index("face_id")


@pytest.fixture(scope="module")
def demo(demo_faces: Faces) -> Faces:
    return every(demo_faces, 40)


@pytest.fixture(scope="module")
def real(utkface: Faces) -> Faces:
    found = utkface.select(utkface.landmarks.method != "template")
    return every(found, 200)


def check_right(table: pd.DataFrame, kind: str) -> None:
    """The measures of a kind worn right; a few faces of a small sample may miss what most of a large one must meet."""
    n = len(table)
    assert table["lower_face"].mean() > LEAST_COVERAGE[kind]
    bare = table.index[table["lips"] <= LIPS_COVERED].tolist()
    assert len(bare) <= np.ceil((1 - LIPS_SHARE) * n), f"lips show: {bare}"
    blind = table.index[table["eyes"] > EYE_OVERLAP].tolist()
    assert len(blind) <= np.ceil(EYE_SHARE * n), f"an eye is covered: {blind}"
    assert table["halo"].sum() == 0, f"halo: {table.index[table['halo'] > 0].tolist()}"
    assert table["leaks"].sum() == 0, f"changed without a record: {table.index[table['leaks'] > 0].tolist()}"
    assert table["iou"].mean() >= LEAST_IOU
    assert (table["pieces"] == 1).all(), f"in pieces: {table.index[table['pieces'] != 1].tolist()}"
    far = table.index[table["outside"] > 0.05].tolist()
    assert not far, f"beyond the face: {far}"


@kinds
def test_worn_right_on_demo_faces(demo, kind):
    check_right(measures(demo, kind), kind)


@kinds
def test_worn_right_on_real_faces(real, kind):
    check_right(measures(real, kind), kind)


@kinds
def test_worn_wrongly(demo, kind):
    nose_out, chin = measures(demo, f"{kind}:nose_out"), measures(demo, f"{kind}:chin")
    assert (nose_out["nose_tip"] < 0.1).mean() >= 0.95
    assert (nose_out["lips"] > LIPS_COVERED).mean() >= 0.95
    assert (chin["lips"] < 0.1).mean() >= 0.95
    assert (nose_out["leaks"] == 0).all() and (chin["leaks"] == 0).all()


def test_no_kind_covers_less_than_masktheface(demo):
    for kind, theirs in MASKTHEFACE_COVERAGE.items():
        assert measures(demo, kind)["lower_face"].mean() > theirs


@kinds
def test_every_wear_draws_something_on_the_template_s_landmarks(kind):
    photo = np.full((200, 200, 3), 120, np.uint8)
    for wear in WEARS:
        drawn = overlay(photo, mean_face(), mask=f"{kind}:{wear}", seed=0)
        assert (drawn.alpha > 0.5).mean() > 0.03


def flat(image, alpha, trim=None) -> Overlay:
    trim = np.zeros_like(alpha) if trim is None else trim
    return Overlay(image, alpha, trim, None, 0.0, 1.0, 0)


def test_measures_by_hand():
    points, photo = mean_face(), np.full((200, 200, 3), 90, np.uint8)
    nothing = measure(photo, points, flat(photo, np.zeros((200, 200), np.float32)))
    assert [nothing[name] for name in ("lower_face", "lips", "nose_tip", "eyes", "halo", "leaks")] == [0] * 6
    everything = measure(photo, points, flat(photo + 1, np.ones((200, 200), np.float32)))
    assert [everything[name] for name in ("lower_face", "lips", "nose_tip", "eyes", "iou")] == [1] * 5
    assert everything["outside"] == pytest.approx(0.1, abs=0.03)
    half = np.zeros((200, 200), np.float32)
    half[: round(points[13, 1] * 200)] = 1  # down to the line between the lips
    found = measure(photo, points, flat(photo, half))
    assert 0.3 < found["lips"] < 0.6 and found["eyes"] == 1
    changed = photo.copy()
    changed[:10, :10] += 1
    recorded = np.zeros((200, 200), np.float32)
    recorded[:10, :5] = 1
    found = measure(photo, points, flat(changed, recorded))
    assert (found["iou"], found["leaks"], found["pieces"]) == (0.5, 50, 1)


def test_a_halo_is_white_where_neither_the_photo_nor_the_cloth_is():
    photo, alpha = np.full((200, 200, 3), 90, np.uint8), np.zeros((200, 200), np.float32)
    alpha[50:100, 50:100], alpha[49, 50:100] = 1, 0.5
    cloth = photo.copy()
    cloth[50:100, 50:100] = 150
    cloth[49, 50:60] = 250
    assert halo(photo, flat(cloth, alpha)).sum() == 10
    white = cloth.copy()
    white[50:100, 50:100] = 250
    assert halo(photo, flat(white, alpha)).sum() == 0
    assert halo(np.full_like(photo, 240), flat(cloth, alpha)).sum() == 0


def test_region_is_cut_at_the_edge():
    square = np.array([[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 1.5]])
    assert region(square, 10).sum() == 36 and not region(square + 2, 10).any()


def test_yaw_of_the_mean_face_turned_by_hand():
    turn = np.radians(25)
    matrix = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    straight = mean_face()
    assert yaw(straight @ matrix.T) - yaw(straight) == pytest.approx(25, abs=1)


OTHER_MACHINES = {
    "numpy": {"NPY_DISABLE_CPU_FEATURES": " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))},
    "opencv": {"OPENCV_CPU_DISABLE": "SSE4.2,AVX,FP16,AVX2,FMA3,AVX_512F,AVX512-SKX"},
    "ipp": {"OPENCV_IPP": "disabled"},
    "opencl": {"OPENCV_OPENCL_RUNTIME": "disabled"},
    "blas": {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
}
OTHER_MACHINES["all"] = {name: value for env in OTHER_MACHINES.values() for name, value in env.items()}


@pytest.fixture(scope="module")
def drawn_here(demo, tmp_path_factory):
    path = tmp_path_factory.mktemp("faces") / "faces.npz"
    few = every(demo, 3)
    np.savez(path, images=few.images[:], points=few.landmarks.points)
    return path, hashes(path, {})


def hashes(path, env):
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(path)], env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("machine", OTHER_MACHINES)
def test_the_same_pixels_without_this_machine_s_vector_units(drawn_here, machine):
    """Other code paths of NumPy, OpenCV and BLAS, as another processor would take them."""
    path, here = drawn_here
    there = hashes(path, OTHER_MACHINES[machine])
    assert [name for name in here if there[name] != here[name]] == []


def test_the_switches_are_heeded():
    """Otherwise the test above would compare this machine with itself."""
    code = """
import cv2
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
print([name for name in __cpu_dispatch__ if __cpu_features__[name]], cv2.ipp.useIPP(), cv2.getCPUFeaturesLine())
"""
    env = {**os.environ, **OTHER_MACHINES["all"]}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] False ")
    dispatched = [name for name in done.stdout.split() if name.startswith("*")]
    assert all(name.endswith("?") or name == "*SSE4.1" for name in dispatched)  # ? = known and not used
