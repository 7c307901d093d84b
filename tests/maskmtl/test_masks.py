import cv2
import numpy as np
import pytest

from maskmtl.masks import MASKS, WEARS, FaceMesh, MaskSpec, mask_seed, overlay
from maskmtl.masks.landmarks import mean_face
from maskmtl.masks.light import look
from maskmtl.masks.surface import Frame, Surface

LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
NOSE = [5, 4, 1, 2, 98, 327, 48, 278, 64, 294]
EYES = (
    [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
    [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
)
kinds = pytest.mark.parametrize("kind", sorted(MASKS))


@pytest.fixture(scope="module")
def faces(demo_face_paths):
    paths, mesh = list(demo_face_paths), FaceMesh()
    images = [cv2.imread(str(path))[..., ::-1].copy() for path in paths[:: max(1, len(paths) // 24)][:24]]
    return [(image, mesh(image)[0]) for image in images]


def draw(image, points, kind, seed=0, face_id="face"):
    return overlay(image, points, mask=kind, seed=mask_seed(seed, face_id, kind))


def covered(alpha, points, polygon):
    region = np.zeros(alpha.shape, np.uint8)
    cv2.fillPoly(region, [np.rint(points[polygon, :2] * alpha.shape[0]).astype(np.int32)], 1)
    return (alpha[region > 0] > 0.5).mean()


@kinds
def test_mouth_and_nose_are_covered_and_eyes_are_not(faces, kind):
    for image, points in faces:
        alpha = draw(image, points, kind).alpha
        assert covered(alpha, points, LIPS) > 0.98
        x, y = np.clip((points[NOSE, :2] * alpha.shape[0]).astype(int), 0, alpha.shape[0] - 1).T
        assert (alpha[y, x] > 0.5).all()
        for eye in EYES:
            assert covered(alpha, points, eye) < 0.005


@kinds
@pytest.mark.parametrize("side", [48, 128, 200, 512])
def test_pixels_outside_the_alpha_are_the_photo_s_own(faces, kind, side):
    for image, points in faces[:4]:
        photo = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        before = photo.copy()
        drawn = draw(photo, points, kind)
        np.testing.assert_array_equal(photo, before)
        assert drawn.image.dtype == np.uint8 and drawn.image.shape == photo.shape
        assert drawn.alpha.dtype == np.float32 and drawn.alpha.shape == photo.shape[:2]
        assert drawn.alpha.min() == 0 and drawn.alpha.max() <= 1
        bare = (drawn.alpha == 0) & (drawn.trim == 0)
        np.testing.assert_array_equal(drawn.image[bare], photo[bare])
        assert (drawn.image != photo).any(axis=-1)[drawn.trim > 0].all()
        assert 0.2 < (drawn.alpha > 0.5).mean() < 0.55


@kinds
def test_inside_the_panel_nothing_of_the_face_shows(faces, kind):
    image, points = faces[0]
    solid = draw(image, points, kind).alpha >= 1
    assert solid.mean() > 0.2
    marked = image.copy()
    x, y = (points[13, :2] * image.shape[0]).astype(int)
    assert solid[y - 1 : y + 2, x - 1 : x + 2].all()
    marked[y, x] = 255 - marked[y, x]
    change = np.abs(draw(marked, points, kind).image.astype(int) - draw(image, points, kind).image)
    assert change[y, x].max() <= 3  # the light may be read a little otherwise, the lips may not shine through


@kinds
def test_no_white_halo(faces, kind):
    """On the outline a pixel lies between the photo and the cloth: none is brighter than both."""
    for image, points in faces:
        drawn = draw(image, points, kind)
        edge = (drawn.alpha > 0.05) & (drawn.alpha < 0.95)
        side = image.shape[0]
        edge[:, : side // 4] = edge[:, -side // 4 :] = False  # there the ear loops are, which are white
        cloth = drawn.image[drawn.alpha > 0.95].reshape(-1, 3).max(axis=0)
        photo = cv2.dilate(image, np.ones((3, 3), np.uint8))
        brightest = np.maximum(photo, cloth).astype(int)
        assert edge.sum() > 50
        assert (drawn.image.astype(int) <= brightest + 2)[edge].all()


@kinds
def test_the_same_seed_gives_the_same_pixels_in_any_order(faces, kind):
    forward = [draw(image, points, kind, face_id=str(i)).image for i, (image, points) in enumerate(faces[:6])]
    order = [4, 1, 5, 0, 2, 3]
    backward = {i: draw(*faces[i], kind, face_id=str(i)).image for i in order}
    for i, picture in enumerate(forward):
        np.testing.assert_array_equal(picture, backward[i])
    assert (draw(*faces[0], kind, seed=1, face_id="0").image != forward[0]).any()


def test_seeds_depend_on_seed_face_and_mask_alone():
    first = mask_seed(0, "a", "surgical")
    assert first == mask_seed(0, "a", "surgical")
    assert first not in [mask_seed(1, "a", "surgical"), mask_seed(0, "b", "surgical"), mask_seed(0, "a", "cloth")]
    assert first == mask_seed(0, "a", "surgical:checks:red:chin")  # the same mask, worn wrong


def test_an_overlay_tells_how_to_draw_it_again(faces):
    image, points = faces[0]
    drawn = overlay(image, points, mask="mixed", seed=mask_seed(0, "face", "mixed"), presence=0.97)
    again = overlay(image, points, mask="mixed", seed=drawn.seed)
    np.testing.assert_array_equal(again.image, drawn.image)
    assert again.spec == drawn.spec and None not in (drawn.spec.colour, drawn.spec.pattern)
    assert drawn.spec.kind in MASKS and drawn.presence == 0.97 and 0.5 < drawn.coverage <= 1


def test_surgical_masks_come_in_their_colours_and_any_other_on_demand(faces):
    image, points = faces[0]
    found = {draw(image, points, "surgical", seed=seed).spec.colour for seed in range(30)}
    assert found == {"blue", "white", "green"}
    red = draw(image, points, "surgical:#c01010")
    inside = red.image[red.alpha > 0.95].mean(axis=0)
    assert red.spec.colour == "#c01010" and inside[0] > 2 * inside[1:].max()


@kinds
def test_mixed_masks_are_all_kinds(faces, kind):
    image, points = faces[0]
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    assert kind in {draw(small, points, "mixed", seed=seed).spec.kind for seed in range(60)}


@kinds
def test_worn_wrong_it_leaves_nose_or_mouth_bare(faces, kind):
    for image, points in faces[:8]:
        worn = {wear: draw(image, points, f"{kind}:{wear}" if wear != "right" else kind) for wear in WEARS}
        x, y = (points[1, :2] * len(image)).astype(int)
        assert worn["right"].alpha[y, x] > 0.9
        assert max(worn["nose_out"].alpha[y, x], worn["chin"].alpha[y, x]) < 0.1  # of a blurred edge
        assert covered(worn["nose_out"].alpha, points, LIPS) > 0.9
        assert covered(worn["chin"].alpha, points, LIPS) < 0.1
        assert worn["right"].coverage > worn["nose_out"].coverage > worn["chin"].coverage


def test_specs_are_read_and_written():
    for text in ("surgical", "cloth:checks:red", "n95:nose_out", "kn95:#aa3300:chin"):
        assert str(MaskSpec.parse(text)) == text
    assert MaskSpec.parse(" Cloth : red : checks ") == MaskSpec("cloth", "red", "checks")
    for text, message in (
        ("ski", "mask should be one of .*'surgical'.*, got 'ski'"),
        ("cloth:plaid", "detail should be a colour .*, got 'plaid'"),
        ("cloth:red:blue", "one colour, got 'red' and 'blue'"),
        ("", "got ''"),
    ):
        with pytest.raises(ValueError, match=message):
            MaskSpec.parse(text)


@kinds
@pytest.mark.parametrize("shift", [(0.5, 0.0), (-0.4, -0.2), (0.0, 0.6), (3.0, 3.0)])
def test_landmarks_outside_the_picture_clip_the_mask(faces, kind, shift):
    image, points = faces[0]
    moved = points + np.array([*shift, 0], np.float32)
    drawn = draw(image, moved, kind)
    bare = (drawn.alpha == 0) & (drawn.trim == 0)
    np.testing.assert_array_equal(drawn.image[bare], image[bare])
    whole = (draw(image, points, kind).alpha > 0.5).sum()
    assert (drawn.alpha > 0.5).sum() < whole


@kinds
def test_the_mask_moves_with_the_landmarks(kind):
    image = np.full((200, 200, 3), 120, np.uint8)
    points = mean_face() * 0.5 + np.array([0.1, 0.2, 0], np.float32)
    near = draw(image, points, kind).alpha
    far = draw(image, points + np.array([0.15, 0.05, 0], np.float32), kind).alpha
    np.testing.assert_allclose(near[:150, :150], far[10:160, 30:180], atol=0.02)


@kinds
def test_a_darker_photo_gets_a_darker_mask_and_a_grey_photo_a_grey_one(faces, kind):
    image, points = faces[0]
    plain = draw(image, points, kind)
    inside = plain.alpha > 0.95
    dark = draw((image * 0.4).astype(np.uint8), points, kind).image[inside].mean()
    assert dark < 0.75 * plain.image[inside].mean()
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    spread = np.ptp(draw(grey, points, kind).image[inside].astype(int), axis=1)
    assert spread.max() <= 2


def test_light_from_one_side_shades_the_other(faces):
    image, points = faces[0]
    side = image.shape[0]
    lit = (image * np.linspace(1.0, 0.3, side)[None, :, None]).astype(np.uint8)
    drawn = draw(lit, points, "surgical")
    columns = np.arange(side)
    solid = drawn.alpha > 0.95
    left, right = (drawn.image[solid & half[None]].mean() for half in (columns < 0.4 * side, columns > 0.6 * side))
    assert left > 1.1 * right


def test_a_blurred_photo_gives_a_blurred_edge(faces):
    image, points = faces[0]
    frame = Frame.of(points, image.shape[0])
    soft = cv2.GaussianBlur(image, (0, 0), 2.0)
    assert look(soft, frame).blur > look(image, frame).blur
    sharp_edge, soft_edge = (
        ((a := draw(photo, points, "surgical").alpha) > 0.3) & (a < 0.95) for photo in (image, soft)
    )
    assert soft_edge.sum() > sharp_edge.sum()


def test_blur_of_a_gaussian_edge_is_measured():
    stripes = np.where(np.arange(200) // 25 % 2, 200, 40).astype(np.uint8)[None, :, None]
    image = np.ascontiguousarray(np.broadcast_to(stripes, (200, 200, 3)))
    frame = Frame.of(mean_face(), 200)
    assert look(cv2.GaussianBlur(image, (0, 0), 1.5), frame).blur == pytest.approx(1.5, rel=0.1)


def test_a_surface_through_a_flat_net_is_flat_and_covers_its_rectangle():
    y, x = np.meshgrid([10.0, 20, 30, 40], [10.0, 25, 40, 55, 70], indexing="ij")
    surface = Surface(np.stack([x, y, np.zeros_like(x)], axis=-1))
    np.testing.assert_allclose(surface.sample(7, 9)[3, 4], [40, 25, 0], atol=1e-9)
    np.testing.assert_allclose(surface.normals, np.broadcast_to([0, 0, -1], surface.normals.shape), atol=1e-9)
    coverage = surface.coverage(np.zeros(2), (50, 80))
    assert coverage[25, 40] == 255 and coverage[5, 40] == 0
    assert coverage.sum() / 255 == pytest.approx(30 * 60, rel=0.02)
    across, down = surface.coordinates(np.zeros(2), coverage, (101, 201))
    np.testing.assert_allclose(across[25, 15:65], (np.arange(15, 65) - 10) / 60 * 200, atol=4)
    np.testing.assert_allclose(down[12:38, 40], (np.arange(12, 38) - 10) / 30 * 100, atol=4)


def test_the_near_part_of_a_folded_surface_hides_the_far_one():
    x = np.array([10.0, 40, 70, 40, 10])[None].repeat(4, axis=0)  # to the right, then back behind
    y = np.array([10.0, 20, 30, 40])[:, None].repeat(5, axis=1)
    z = np.array([0.0, 0, 15, 30, 30])[None].repeat(4, axis=0)
    wanted = np.full((50, 80), 255, np.uint8)
    across, _ = Surface(np.stack([x, y, z], axis=-1)).coordinates(np.zeros(2), wanted, (101, 201))
    assert across[25, 20:60].max() < 110  # of 200: nothing of the side that faces away


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((64, 64), np.uint8)}, r"uint8 array \(H, H, 3\), got uint8 \(64, 64\)"),
        ({"image": np.zeros((64, 64, 3))}, "got float64"),
        ({"image": [[1]]}, "got list"),
        ({"image": np.zeros((64, 32, 3), np.uint8)}, "square, 16 px or more, got 32 x 64 px"),
        ({"landmarks": np.zeros((1, 468, 3))}, r"shape \(468, 3\), one face's points, got \(1, 468, 3\)"),
        ({"landmarks": np.full((468, 3), np.nan)}, "finite"),
        ({"mask": "none"}, r"mask should be one of \[.*'surgical'.*\], got 'none'"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"image": np.zeros((64, 64, 3), np.uint8), "landmarks": mean_face(), "mask": "surgical"} | change
    with pytest.raises(ValueError, match=message):
        overlay(**arguments, seed=0)
