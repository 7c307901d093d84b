import cv2
import numpy as np
import pytest

from maskmtl.masks.detector import Box, overlap, suppress
from maskmtl.masks.landmarks import METHODS, FaceMesh, Landmarks, anchors, mean_face


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh()


@pytest.fixture(scope="module")
def faces(demo_face_paths):
    paths = list(demo_face_paths)
    return [cv2.imread(str(path))[..., ::-1].copy() for path in paths[:: max(1, len(paths) // 12)][:12]]


def noise(side=128, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_mean_face_has_the_mean_positions_published_for_utkface():
    right_eye, left_eye, _, right_mouth, left_mouth = anchors(mean_face()) * 200
    np.testing.assert_allclose([right_eye, left_eye], [(60, 59), (138, 60)], atol=2)
    np.testing.assert_allclose([right_mouth, left_mouth], [(65, 138), (133, 138)], atol=2)
    assert mean_face()[152, 1] * 200 == pytest.approx(193, abs=2)  # chin


def test_demo_faces_are_found_by_the_mesh_near_the_mean_face(mesh, faces):
    found = mesh.many(np.stack(faces))
    assert set(found.method) == {"mesh"}
    assert found.presence.min() >= 0.9
    assert found.points.dtype == np.float32
    drift = np.linalg.norm(found.points[..., :2] - mean_face()[:, :2], axis=-1).mean(axis=1)
    assert drift.max() < 0.1


def test_the_nose_is_nearer_than_the_ears(mesh, faces):
    points, _, _ = mesh(faces[0])
    assert points[4, 2] < points[[234, 454], 2].min()


@pytest.mark.parametrize("side", [64, 200, 500])
def test_fractions_do_not_depend_on_the_size_of_the_crop(mesh, faces, side):
    for face in faces[:4]:
        other = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA if side < 128 else cv2.INTER_LINEAR)
        error = np.linalg.norm(mesh(face)[0][:, :2] - mesh(other)[0][:, :2], axis=1)
        assert error.mean() < 0.012


@pytest.mark.parametrize("degrees", [-15, 15])
def test_landmarks_turn_with_the_picture(mesh, faces, degrees):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for face in faces[:6]:
        side = face.shape[0]
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), -degrees, 1.0)
        rotated = cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        expected = (mesh(face)[0][:, :2] - 0.5) @ turn.T + 0.5
        assert np.linalg.norm(mesh(rotated)[0][:, :2] - expected, axis=1).mean() < 0.025


def test_landmarks_mirror_with_the_picture(mesh, faces):
    for face in faces[:6]:
        points, flipped = mesh(face)[0], mesh(face[:, ::-1].copy())[0]
        eyes, mirrored = anchors(points)[[1, 0]], anchors(flipped)[:2]
        np.testing.assert_allclose(mirrored, eyes * [-1, 1] + [1, 0], atol=0.02)


@pytest.mark.parametrize(
    ("scale", "shift", "method"), [(0.7, (0.15, 0.10), "mesh"), (0.55, (0.22, 0.05), "detector+mesh")]
)
def test_a_face_out_of_place_is_found(mesh, faces, scale, shift, method):
    errors = []
    for face in faces:
        side = face.shape[0]
        matrix = np.array([[scale, 0, shift[0] * side], [0, scale, shift[1] * side]])
        moved = cv2.warpAffine(face, matrix, (side, side), borderValue=(128, 128, 128))
        points, _, found = mesh(moved)
        if found == method:
            expected = anchors(mesh(face)[0]) * scale + shift
            errors.append(np.linalg.norm(anchors(points) - expected, axis=1).max())
    assert len(errors) >= len(faces) // 3
    assert np.median(errors) < 0.02


@pytest.mark.parametrize("image", [noise(), np.zeros((128, 128, 3), np.uint8), np.full((48, 48, 3), 200, np.uint8)])
def test_no_face_gives_the_flagged_mean_face(mesh, image):
    points, presence, method = mesh(image)
    assert method == "template"
    assert presence < 0.9
    np.testing.assert_array_equal(points, mean_face())


def test_nothing_but_square_uint8_colour_is_accepted(mesh):
    with pytest.raises(ValueError, match=r"uint8 array \(H, W, 3\), got float64"):
        mesh(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="aligned square crop, got 9 x 8 px"):
        mesh(np.zeros((8, 9, 3), np.uint8))


def some_landmarks(n=3):
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.1, 1.1, (n, 468, 3)).astype(np.float32)
    return Landmarks(points, rng.random(n).astype(np.float32), np.array(METHODS * n)[:n])


def test_landmarks_survive_the_disk_to_half_a_thousandth(tmp_path):
    before = some_landmarks()
    before.save(tmp_path / "faces.npz")
    after = Landmarks.load(tmp_path / "faces.npz")
    np.testing.assert_allclose(after.points, before.points, atol=5e-4)
    np.testing.assert_array_equal(after.presence, before.presence)
    assert after.method.tolist() == ["mesh", "detector+mesh", "template"]
    with np.load(tmp_path / "faces.npz", allow_pickle=False) as data:
        assert data["points"].dtype == np.float16


def test_landmarks_select_and_concat():
    three = some_landmarks()
    assert three.select([2, 0]).method.tolist() == ["template", "mesh"]
    assert len(three.select(np.array([True, False, False]))) == 1
    joined = Landmarks.concat([three.select(slice(0, 1)), three.select(slice(1, None))])
    np.testing.assert_array_equal(joined.points, three.points)
    assert len(Landmarks.concat([])) == 0
    assert len(Landmarks.stack([])) == 0


def test_landmarks_that_do_not_belong_together_are_refused():
    with pytest.raises(
        ValueError, match=r"should have shapes \(N, 468, 3\), \(N,\), \(N,\), got \(3, 468, 3\), \(2,\)"
    ):
        Landmarks(np.zeros((3, 468, 3)), np.zeros(2), np.zeros(3, "<U13"))


def box(x, y, size, score):
    return Box(np.array([x, y], float), np.array([size, size], float), score, np.full((6, 2), float(x)))


def test_overlap_of_boxes_by_hand():
    assert overlap(box(0, 0, 2, 1), box(1, 0, 2, 1)) == pytest.approx(2 / 6)
    assert overlap(box(0, 0, 2, 1), box(5, 0, 2, 1)) == 0


def test_suppression_averages_a_cluster_by_score_and_keeps_the_rest():
    first, second = suppress([box(1, 0, 10, 0.3), box(0, 0, 10, 0.9), box(50, 0, 10, 0.5)])
    assert first.centre[0] == pytest.approx(0.25)  # (0.9 * 0 + 0.3 * 1) / 1.2
    assert first.score == 0.9
    assert second.centre[0] == 50
