import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmtl import dataset
from maskmtl.dataset import as_tensor, augment, cached_render, check_masks, render, wear
from maskmtl.photo import shrink


def test_grey_is_the_luma_of_bt601():
    images = np.zeros((3, 2, 2, 3), np.uint8)
    images[0, ..., 0] = images[1, ..., 1] = images[2, ..., 2] = 255
    torch.testing.assert_close(as_tensor(images, 1)[:, 0, 0, 0], torch.tensor([0.299, 0.587, 0.114]))
    assert as_tensor(images, 3).shape == (3, 3, 2, 2)
    assert as_tensor(images, 3)[1, :, 0, 0].tolist() == [0, 1, 0]


def test_rendering_in_processes_equals_one_by_one_and_is_cached(demo_faces, tmp_path):
    faces = demo_faces.select(np.arange(320))  # five chunks: a pool
    drawn = render(faces, "surgical", size=48, seed=3)
    for i in (0, 100, 319):
        face_id = faces.table["face_id"][i]
        alone = wear(faces.images[i], faces.landmarks.points[i], face_id, "surgical", 3)
        np.testing.assert_array_equal(drawn[i], shrink(alone, 48))
    few = faces.select(np.arange(3))
    first = cached_render(few, "surgical", size=48, seed=3, folder=tmp_path)
    np.testing.assert_array_equal(first, drawn[:3])
    assert len(list(tmp_path.iterdir())) == 1
    cached_render(few, "surgical", size=48, seed=3, folder=tmp_path)
    cached_render(faces.select(np.arange(1, 4)), "surgical", size=48, seed=3, folder=tmp_path)  # other faces
    cached_render(few, "surgical", size=48, seed=4, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    moved = replace(few.landmarks, points=few.landmarks.points + 0.05)  # as a better face mesh would
    again = cached_render(replace(few, landmarks=moved), "surgical", size=48, seed=3, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4 and not np.array_equal(again, first)
    moved.points[0] = few.landmarks.points[0]  # of the first face as ever
    cached_render(replace(few, landmarks=moved), "surgical", size=48, seed=3, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_new_way_to_draw_any_kind_is_not_taken_from_the_cache(demo_faces, tmp_path, monkeypatch):
    few = demo_faces.select(np.arange(2))
    cached_render(few, "mixed", size=48, seed=3, folder=tmp_path)
    as_ever = dataset.overlay

    def other_gas(image, points, *, mask, seed):
        drawn = as_ever(image, points, mask=mask, seed=seed)
        return replace(drawn, image=255 - drawn.image) if drawn.spec.kind == "gas" else drawn

    monkeypatch.setattr(dataset, "overlay", other_gas)
    cached_render(few, "mixed", size=48, seed=3, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_no_mask_is_the_face_itself(demo_faces):
    image = demo_faces.images[0]
    np.testing.assert_array_equal(wear(image, demo_faces.landmarks.points[0], "x", "none", 0), image)
    few = demo_faces.select(np.arange(2))
    np.testing.assert_array_equal(render(few, "none", size=few.images.shape[1], seed=0), few.images[:])


def test_augmentation_is_light_seeded_and_mirrors_by_half(demo_faces):
    x = as_tensor(np.stack([shrink(demo_faces.images[0], 64)] * 200), 1)

    def draw(seed: int) -> torch.Tensor:
        return augment(x, 48, torch.Generator().manual_seed(seed))

    y = draw(0)
    assert y.shape == (200, 1, 48, 48) and y.min() >= 0 and y.max() <= 1
    assert torch.equal(y, draw(0)) and not torch.equal(y, draw(1))
    plain = as_tensor(shrink(demo_faces.images[0], 48)[None], 1)[0].flatten()
    mirrored = as_tensor(np.ascontiguousarray(shrink(demo_faces.images[0], 48)[None, :, ::-1]), 1)[0].flatten()
    like = [np.corrcoef(v.flatten(), plain)[0, 1] > np.corrcoef(v.flatten(), mirrored)[0, 1] for v in y]
    assert 0.35 < np.mean(like) < 0.65
    best = [max(np.corrcoef(v.flatten(), plain)[0, 1], np.corrcoef(v.flatten(), mirrored)[0, 1]) for v in y]
    assert np.median(best) > 0.7  # still that face


def test_mask_names():
    assert check_masks(["none", "surgical", "none"]) == ("none", "surgical")
    with pytest.raises(ValueError, match=r"one of \['surgical', .*\], got 'veil' .*'none' is a bare face"):
        check_masks(["veil"])


def test_drawing_ends_with_what_its_progress_raises(demo_faces):
    def stop(done, total):
        assert (done, total) == (64, len(demo_faces))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        render(demo_faces, "surgical", size=48, seed=0, progress=stop)
    assert not multiprocessing.active_children()
