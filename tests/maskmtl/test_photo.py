import io

import cv2
import numpy as np
import pytest
from PIL import Image

from maskmtl.masks import FaceMesh, mask_seed, overlay
from maskmtl.masks.landmarks import anchors, mean_face
from maskmtl.photo import MAX_SIDE, centre_square, find_faces, read_photo, shrink


@pytest.fixture(scope="module")
def faces(demo_face_paths):
    """Demo faces as 200 px chips."""
    paths = list(demo_face_paths)
    images = [cv2.imread(str(path))[..., ::-1].copy() for path in paths[:: max(1, len(paths) // 12)][:12]]
    return [cv2.resize(image, (200, 200), interpolation=cv2.INTER_CUBIC) for image in images]


def encode(picture, kind="PNG", **options):
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def gradient(height=30, width=40):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / (width - 1), y * 255 / (height - 1), 0 * x + 90], axis=-1).astype(np.uint8)


def scene(chips, size=(700, 900), shade=(140, 135, 120)):
    """Faces put on a plain canvas at (x, y, side)."""
    canvas = np.full((*size, 3), shade, np.uint8)
    for chip, (x, y, side) in chips:
        shape = (side, side)
        canvas[y : y + side, x : x + side] = cv2.resize(chip, shape, interpolation=cv2.INTER_AREA)
    return canvas


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 8), ("WEBP", 12)])
def test_formats_give_the_same_picture(kind, tolerance):
    options = {} if kind == "PNG" else {"quality": 95}
    photo = read_photo(encode(gradient(), kind, **options))
    assert photo.dtype == np.uint8
    assert np.abs(photo.astype(int) - gradient()).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA"])
def test_every_colour_mode_becomes_rgb(mode):
    picture = Image.fromarray(gradient()).convert(mode)
    photo = read_photo(encode(picture, "JPEG" if mode == "CMYK" else "PNG"))
    assert photo.shape == (30, 40, 3)
    np.testing.assert_allclose(photo.mean(), np.asarray(picture.convert("RGB")).mean(), atol=3)


def test_sixteen_bits_are_scaled_not_cut():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    photo = read_photo(encode(Image.fromarray(values)))
    np.testing.assert_array_equal(photo[..., 0].ravel(), np.arange(256))


def test_transparency_lies_on_white():
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:, 4:, 3] = 255
    photo = read_photo(encode(picture))
    assert (photo[:, :4] == 255).all() and (photo[:, 4:] == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_honoured(orientation):
    upright = gradient()
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],  # shown turned 90 degrees clockwise
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation](upright)
    tag = Image.Exif()
    tag[0x0112] = orientation
    photo = read_photo(encode(np.ascontiguousarray(stored), exif=tag))
    np.testing.assert_array_equal(photo, upright)


def test_damaged_tags_do_not_lose_the_picture():
    data = encode(gradient(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    assert read_photo(data).shape == (30, 40, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_huge_photo_is_reduced(kind):
    picture = Image.new("RGB", (10_000, 10_000), (10, 200, 30))
    photo = read_photo(encode(picture, kind))
    assert photo.shape == (MAX_SIDE, MAX_SIDE, 3)
    np.testing.assert_allclose(photo[1000, 1000], (10, 200, 30), atol=3)


def test_a_photo_beyond_the_limit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="at most 120 megapixels"):
        read_photo(encode(Image.new("1", (12_000, 11_000))))


def test_the_bomb_that_pillow_refuses_is_refused_in_the_same_sentence():
    with pytest.raises(ValueError, match="at most 120 megapixels"):
        read_photo(encode(Image.new("1", (20_000, 20_000))))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "got an empty file"),
        (b"hello, this is text", "JPEG, PNG or WebP picture, got 19 bytes of something else"),
        (b"GIF89a" + bytes(40), "got a GIF file"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "got a HEIC"),
        (encode(gradient(300, 300), "JPEG")[:900], "damaged"),
        (encode(gradient(300, 300), "PNG")[:500], "damaged"),
        (encode(gradient(300, 300), "WEBP")[:200], "damaged"),
    ],
)
def test_what_is_no_photo_is_refused_in_a_sentence(data, message):
    with pytest.raises(ValueError, match=message):
        read_photo(data)


def test_a_path_is_not_a_photo():
    with pytest.raises(TypeError, match="bytes of a picture file, got str"):
        read_photo("face.jpg")


@pytest.mark.filterwarnings("error")
def test_random_damage_never_raises_anything_but_value_error():
    rng = np.random.default_rng(0)
    tag = Image.Exif()
    tag[0x0112] = 6
    files = [encode(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP")] + [encode(gradient(), "JPEG", exif=tag)]
    outcomes = {"read": 0, "refused": 0}
    for turn in range(600):
        data = bytearray(files[turn % len(files)])
        for at in rng.integers(0, len(data), rng.integers(1, 12)):
            data[at] = rng.integers(0, 256)
        try:
            assert read_photo(bytes(data)).shape[2] == 3
            outcomes["read"] += 1
        except ValueError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_an_aligned_chip_comes_back_nearly_itself(faces):
    for chip in faces:
        (face,) = find_faces(chip)
        assert face.crop.shape == (200, 200, 3) and face.crop.dtype == np.uint8
        assert np.abs(face.crop.astype(float) - chip).mean() < 14
        reference, _, _ = FaceMesh()(chip)
        shift = np.linalg.norm(anchors(face.points) - anchors(reference), axis=1) * 200
        assert shift.max() < 16


def test_crops_are_aligned_to_the_mean_face(faces):
    for side in (90, 300, 600):
        (face,) = find_faces(scene([(faces[0], (150, 40, side))]))
        assert np.abs(anchors(face.points)[:2] - anchors(mean_face())[:2]).max() < 0.05


def test_points_belong_to_the_crop(faces):
    (face,) = find_faces(scene([(faces[1], (200, 200, 300))]))
    again, _, method = FaceMesh()(face.crop)
    assert method == "mesh"
    assert np.linalg.norm(face.points[:, :2] - again[:, :2], axis=1).mean() < 0.015


def test_the_box_lies_where_the_face_is(faces):
    (face,) = find_faces(scene([(faces[0], (500, 300, 200))]))
    x, y, width, height = face.box
    assert 490 < x < 560 and 280 < y < 360
    assert 120 < width < 220 and 140 < height < 240
    assert face.score >= 0.9


def test_several_faces_come_largest_first(faces):
    chips = [(faces[0], (40, 60, 160)), (faces[3], (500, 200, 320)), (faces[5], (100, 420, 220))]
    found = find_faces(scene(chips))
    assert len(found) == 3
    for face, (_, (x, y, side)) in zip(found, sorted(chips, key=lambda c: -c[1][2]), strict=True):
        middle = np.array(face.box[:2]) + np.array(face.box[2:]) / 2
        assert np.abs(middle - (x + side / 2, y + side / 2)).max() < 0.2 * side


def test_a_small_face_in_a_large_photo_is_found(faces):
    (face,) = find_faces(scene([(faces[2], (1300, 800, 90))], size=(1200, 1900)))
    assert 1290 < face.box[0] < 1340


@pytest.mark.parametrize("degrees", [-45, -20, 20, 45])
def test_a_tilted_face_comes_back_upright(faces, degrees):
    for chip in faces[:4]:
        canvas = scene([(chip, (150, 150, 200))], size=(500, 500))
        matrix = cv2.getRotationMatrix2D((249.5, 249.5), degrees, 1.0)
        tilted = cv2.warpAffine(canvas, matrix, (500, 500), borderMode=cv2.BORDER_REPLICATE)
        (upright,), (face,) = find_faces(canvas), find_faces(tilted)
        middle = (slice(50, 160), slice(50, 150))
        assert np.abs(face.crop[middle].astype(float) - upright.crop[middle]).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_tag_gives_the_same_crop(faces, orientation):
    upright = scene([(faces[0], (100, 60, 200))], size=(350, 450))
    (expected,) = find_faces(upright)
    store = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, 1)  # the turn that the tag undoes
    turning = Image.Exif()
    turning[0x0112] = store
    stored = read_photo(encode(upright, exif=turning))
    tag = Image.Exif()
    tag[0x0112] = orientation
    (face,) = find_faces(read_photo(encode(stored, exif=tag)))
    np.testing.assert_array_equal(face.crop, expected.crop)


def test_most_masked_faces_are_found_too(faces):
    found = 0
    for chip in faces:
        points, _, _ = FaceMesh()(chip)
        masked = overlay(chip, points, mask="surgical", seed=mask_seed(0, "face", "surgical")).image
        found += len(find_faces(scene([(masked, (200, 150, 300))]))) == 1
    assert found >= 0.75 * len(faces)


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((300, 400, 3), np.uint8),
        np.full((500, 300, 3), 230, np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8),
        cv2.resize(np.random.default_rng(1).integers(0, 256, (12, 16, 3)).astype(np.uint8), (400, 300)),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((5, 2000, 3), np.uint8),
        np.kron(np.indices((10, 10)).sum(axis=0) % 2, np.ones((30, 30)))[..., None].repeat(3, 2).astype(np.uint8) * 255,
    ],
    ids=["black", "white", "noise", "blobs", "one pixel", "a line", "chessboard"],
)
def test_no_face_in_what_shows_none(photo):
    assert find_faces(photo) == []


def test_find_faces_refuses_other_arrays():
    with pytest.raises(ValueError, match=r"uint8 array \(H, W, 3\), got float32 \(8, 8\)"):
        find_faces(np.zeros((8, 8), np.float32))


def test_centre_square():
    photo = np.arange(4 * 10 * 3, dtype=np.uint8).reshape(4, 10, 3)
    assert np.array_equal(centre_square(photo), photo[:, 3:7])
    assert np.array_equal(centre_square(photo.transpose(1, 0, 2)), photo[:, 3:7].transpose(1, 0, 2))


def test_shrinking_averages_areas():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[100], [200]], [[0], [100]]]
    assert shrink(image, 2)[..., 0].tolist() == [[100, 0], [0, 0]]
