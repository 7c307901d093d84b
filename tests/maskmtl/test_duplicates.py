import cv2
import numpy as np

from maskmtl.duplicates import group_faces, near_pairs, thumbnail


def faces_of(images):
    return np.stack([thumbnail(image) for image in images])


def test_copies_mirrors_and_recompressed_faces_share_a_group_and_others_do_not(demo_faces):
    images = [np.array(demo_faces.images[i]) for i in (0, 100, 200, 300)]
    lighter = np.clip(images[0].astype(int) + 12, 0, 255).astype(np.uint8)
    mirrored = images[1][:, ::-1]
    recompressed = cv2.imdecode(cv2.imencode(".jpg", images[2], [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    everything = [*images, lighter, mirrored, recompressed]
    groups = group_faces(faces_of(everything), np.array([str(i) for i in range(7)]))
    assert groups[4] == groups[0] and groups[5] == groups[1] and groups[6] == groups[2]
    assert len(set(groups)) == 4


def test_equal_digests_join_even_flat_pictures():
    flat = np.zeros((2, 48, 48, 3), np.uint8)
    assert len(set(group_faces(faces_of(flat), np.array(["a", "b"])))) == 2  # a flat picture resembles nothing
    assert len(set(group_faces(faces_of(flat), np.array(["a", "a"])))) == 1


def test_pairs_do_not_depend_on_the_block_size():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    thumbnails = faces_of([base[i % 5] for i in range(23)])
    whole, blocks = (np.concatenate(list(near_pairs(thumbnails, block=block))) for block in (2048, 4))
    assert {tuple(p) for p in whole} == {tuple(p) for p in blocks}
    assert {tuple(p) for p in whole} == {(i, j) for i in range(23) for j in range(i + 1, 23) if i % 5 == j % 5}


def test_pictures_that_are_all_alike_are_one_group_across_blocks():
    one = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    thumbnails = faces_of([one] * 700 + [other] + [one] * 500)
    groups = group_faces(thumbnails, np.arange(1201).astype(str))
    assert len(set(groups)) == 2 and groups[0] == groups[1200] != groups[700]
