import cv2
import numpy as np
import pytest

from maskmtl.masks.light import LUMA
from maskmtl.masks.patterns import PATTERNS, paint

GROUNDS = [(0.13, 0.17, 0.31), (0.66, 0.14, 0.15), (0.87, 0.88, 0.88), (0.05, 0.05, 0.05), (0.5, 0.5, 0.5)]
PRINTED = [pattern for pattern in PATTERNS if pattern != "plain"]


def _painted(pattern: str, ground: tuple[float, float, float], seed: int) -> np.ndarray:
    return paint(pattern, np.array(ground), np.random.default_rng(seed))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_seed_decides(pattern):
    first, again = (_painted(pattern, GROUNDS[0], 3) for _ in range(2))
    assert first.shape == (160, 224, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    different = {_painted(pattern, GROUNDS[0], seed).tobytes() for seed in range(12)}
    assert len(different) == (1 if pattern == "plain" else 12)


def test_plain_cloth_is_its_colour():
    cloth = _painted("plain", (0.2, 0.4, 1.0), 0)
    np.testing.assert_array_equal(cloth, np.broadcast_to([51, 102, 255], cloth.shape))
    cloth[0, 0] = 0  # the caller's own


@pytest.mark.parametrize("pattern", PRINTED)
@pytest.mark.parametrize("ground", GROUNDS)
def test_the_ground_is_the_commonest_colour_and_the_rest_stands_out(pattern, ground):
    expected = np.rint(np.array(ground) * 255)
    for seed in range(16):
        cloth = _painted(pattern, ground, seed)
        colours, counts = np.unique(cloth.reshape(-1, 3), axis=0, return_counts=True)
        np.testing.assert_array_equal(colours[counts.argmax()], expected)
        distance = np.abs(cloth.astype(float) @ LUMA - expected @ LUMA)
        assert (distance > 0.1 * 255).mean() > 0.015, seed


def test_edges_take_quarters_of_both_colours():
    colours = np.unique(_painted("dots", GROUNDS[1], 5).reshape(-1, 3), axis=0).astype(float)
    assert len(colours) == 5
    np.testing.assert_allclose(colours, np.linspace(colours[0], colours[-1], 5), atol=0.51)


def test_dots_stay_round_on_the_cloth():
    """Texels are 200 / 224 mm wide and 110 / 160 mm high: a dot of equal extent in mm has more rows than columns."""
    ratios = []
    for seed in range(40):
        cloth = _painted("dots", GROUNDS[3], seed).max(axis=2)
        _, _, stats, _ = cv2.connectedComponentsWithStats((cloth > (13 + cloth.max()) / 2).astype(np.uint8))
        x, y, width, height, _ = stats[1:].T
        whole = (x > 0) & (y > 0) & (x + width < 224) & (y + height < 160) & (height > 8)
        ratios += list((height[whole] * 110 / 160) / (width[whole] * 200 / 224))
    assert np.median(ratios) == pytest.approx(1, abs=0.06)


def test_an_unknown_pattern_is_told():
    with pytest.raises(ValueError, match=r"pattern should be one of .*'dots'.*, got 'paisley'"):
        _painted("paisley", GROUNDS[0], 0)
