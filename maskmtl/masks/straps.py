"""What holds a mask on: the places behind the ears or the head, and the visible paths to them."""

from dataclasses import dataclass

import numpy as np

from maskmtl.masks.surface import Face, Frame, Surface

_SAG = np.array([[-0.02], [0.02]])  # how far the middle hangs, of the frame's unit
_STEPS = np.linspace(0, 1, 10)[:, None, None]
_BEZIER = ((1 - _STEPS) ** 2, 2 * _STEPS * (1 - _STEPS), _STEPS**2)
_EARS = ((234, -1), (454, 1))  # the side of the face at the ear, and which way is outward


@dataclass(frozen=True)
class Band:
    """width: share of the picture's side. colour: reflectance 0..1, `dark` on a dark mask. rows: where on the panel the
    two begin, 0..1."""

    width: float
    colour: tuple[float, float, float]
    dark: tuple[float, float, float]
    rows: tuple[float, float]


BANDS = {
    "ears": Band(0.009, (0.84, 0.84, 0.84), (0.15, 0.15, 0.16), (0.10, 0.90)),
    "head": Band(0.013, (0.80, 0.77, 0.66), (0.80, 0.77, 0.66), (0.22, 0.72)),
    "harness": Band(0.030, (0.13, 0.13, 0.14), (0.13, 0.13, 0.14), (0.22, 0.72)),
    "tied": Band(0.0, (0, 0, 0), (0, 0, 0), (0, 1)),
}


def strap_ends(face: Face, straps: str) -> np.ndarray:
    """(4, 471) places where the straps vanish: left upper and lower, right upper and lower (the picture's left)."""
    ends = []
    for ear, s in _EARS:
        if straps == "ears":
            ends += [
                face.at(ear, right=0.05 * s, down=-0.06, out=-0.10),
                face.at(ear, right=0.02 * s, down=0.36, out=-0.08),
            ]
        else:
            ends += [
                face.at(ear, right=0.03 * s, down=-0.20, out=-0.2),
                face.at(ear, right=0.02 * s, down=0.40, out=-0.2),
            ]
    return np.stack(ends)


def strap_paths(straps: str, surface: Surface, ends: np.ndarray, frame: Frame) -> list[np.ndarray]:
    """Polylines (n, 2) px from the panel's sides to the ends, on the sides of the face that are seen."""
    if straps == "tied":
        return []
    rows = [round(share * (len(surface.grid) - 1)) for share in BANDS[straps].rows]
    paths = []
    for column, s, pair in ((0, -1, ends[:2]), (-1, 1, ends[2:])):
        starts = surface.grid[rows, column]
        outward = s * frame.axes[0]
        along = (pair[0] - starts[0]) * outward
        if outward[2] > 0.3 or along[0] + along[1] < 0.02 * frame.unit:  # hidden by the face
            continue
        middle = 0.5 * (starts + pair) + _SAG * (frame.unit * frame.axes[1])
        curves = _BEZIER[0] * starts + _BEZIER[1] * middle + _BEZIER[2] * pair
        paths += list((np.rint(curves[..., :2] * 64) / 64).swapaxes(0, 1))
    return paths
