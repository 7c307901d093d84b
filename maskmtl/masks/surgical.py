"""The pleated three-layer surgical mask."""

import cv2
import numpy as np

from maskmtl.masks.light import look
from maskmtl.masks.rendering import Overlay, render, texels
from maskmtl.masks.surface import FaceFrame, Surface

COLOURS = {  # reflectance, 0..1
    "blue": (0.55, 0.74, 0.86),
    "white": (0.87, 0.88, 0.88),
    "green": (0.60, 0.79, 0.72),
}
_WEIGHTS = (0.55, 0.25, 0.20)
# ear, above it, cheek, low cheek, side, jaw, low jaw, rim, wide and near the nose, mouth corner, rim nearer, keel
_SIDES = (
    (137, 123, 50, 187, 177, 215, 172, 149, 101, 126, 214, 148, 171),  # the picture's left
    (366, 352, 280, 411, 401, 435, 397, 378, 330, 355, 434, 377, 396),
)
_PLEATS = (0.30, 0.47, 0.64)  # v of the folds


def surgical(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> Overlay:
    """Draw a surgical mask; see maskmtl.masks.overlay for the arguments."""
    side = image.shape[0]
    frame = FaceFrame.of(landmarks, side)
    name = str(rng.choice(list(COLOURS), p=_WEIGHTS))
    colour = np.array(COLOURS[name]) * rng.uniform(0.93, 1.05) + rng.uniform(-0.025, 0.025, 3)
    surface = Surface(_net(frame, lift=rng.uniform(-0.04, 0.04)))
    texture = _texture(colour, *texels(surface, side), rng)
    picture, alpha = render(image, look(image, frame), surface, texture, _loops(frame, surface), rng=rng)
    return Overlay(picture, alpha, "surgical", name)


def _net(face: FaceFrame, *, lift: float) -> np.ndarray:
    """(5, 9, 3) control points: top edge, nose tip, mouth, chin, under the chin; `lift` moves the top edge up."""
    top = -0.5 * lift
    at = face.at
    nose, chin = at(4, 1, out=0.06), at(199, 175, out=0.09)
    lip = 0.5 * (nose + chin) + 0.05 * face.unit * face.out

    def half(side: int) -> list[list[np.ndarray]]:
        ear, ear_high, cheek, low_cheek, jaw_side, jaw, jaw_low, rim, wide, near, mouth, rim_mid, keel = _SIDES[side]
        s = 1 - 2 * side  # towards the nose
        return [
            [
                at(ear, ear_high, right=0.02 * s, down=top, out=0.02),
                at(cheek, ear_high, down=0.03 + top, out=0.05),
                at(wide, down=top, out=0.07),
                at(near, wide, down=top - 0.09, right=0.06 * s, out=0.08),
            ],
            [
                at(jaw_side, right=-0.01 * s, out=0.03),
                at(low_cheek, out=0.06),
                0.55 * at(low_cheek, out=0.08) + 0.45 * nose,
                0.28 * at(low_cheek, out=0.08) + 0.72 * nose,
            ],
            [
                at(jaw, right=-0.02 * s, out=0.02),
                at(mouth, out=0.07),
                0.55 * at(mouth, out=0.10) + 0.45 * lip,
                0.27 * at(mouth, out=0.10) + 0.73 * lip,
            ],
            [
                at(jaw, jaw_low, right=-0.04 * s),
                at(jaw_low, rim, right=-0.04 * s, out=0.04),
                0.5 * at(rim, out=0.04) + 0.5 * at(rim_mid, out=0.05),
                0.5 * at(rim_mid, out=0.05) + 0.5 * at(keel, out=0.06),
            ],
            [
                at(jaw_low, right=-0.05 * s, down=0.02),
                at(rim, right=-0.07 * s, down=0.07, out=-0.02),
                at(rim_mid, rim, right=-0.04 * s, down=0.09, out=-0.02),
                at(rim_mid, right=-0.02 * s, down=0.10, out=-0.02),
            ],
        ]

    left, right = half(0), half(1)
    centre = [at(197, 195, down=top, out=0.03), nose, lip, chin, at(152, down=0.10, out=-0.02)]
    return np.array([[*a, c, *b[::-1]] for a, c, b in zip(left, centre, right, strict=True)])


def _loops(face: FaceFrame, surface: Surface) -> list[np.ndarray]:
    """Two curves an ear, from the panel's corners to behind the ear; only on the sides that are seen."""
    t = np.linspace(0, 1, 12)[:, None]
    paths = []
    for column, ear, s in ((0, 234, -1), (-1, 454, 1)):
        outward = s * face.right
        top, bottom = surface.grid[1, column], surface.grid[-2, column]
        upper = face.at(ear, right=0.05 * s, down=-0.06, out=-0.10)
        lower = face.at(ear, right=0.02 * s, down=0.36, out=-0.08)
        if outward[2] > 0.3 or (upper - top) @ (outward * (1, 1, 0)) < 0.02 * face.unit:  # hidden by the face
            continue
        for start, end, sag in ((top, upper, -0.02), (bottom, lower, 0.02)):
            middle = 0.5 * (start + end) + sag * face.unit * face.down
            curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
            paths.append(curve[:, :2])
    return paths


def _texture(colour: np.ndarray, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, columns, 3) float32 reflectance: pleats, hems, nose wire, weave and creases."""
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, columns, dtype=np.float32)[None]
    fine = np.linspace(-0.1, 1.1, 1024, dtype=np.float32)
    profile = np.zeros(1024, np.float32)
    for fold in _PLEATS:
        below = (fine - fold - rng.uniform(-0.015, 0.015)) / 0.10
        shadow = np.where(below > 0, np.exp(-((below / 0.5) ** 2)), np.exp(-((below / 0.10) ** 2)))
        profile += rng.uniform(0.14, 0.2) * (0.5 * np.exp(-(((below + 0.35) / 0.3) ** 2)) - shadow)
    bent = v - 0.02 * (u**2 - 0.3)
    relief = 1 + profile[((bent + 0.1) * (1023 / 1.2)).astype(np.int32)] * (0.55 + 0.45 * u**2)
    edge = np.minimum(v, 1 - v)
    relief += 0.04 * (edge < 0.06) - 0.12 * np.exp(-(((edge - 0.065) / 0.012) ** 2))
    rim = 1 - np.abs(u)
    relief += 0.02 * (rim < 0.05) - 0.05 * np.exp(-(((rim - 0.055) / 0.012) ** 2))
    wire = np.exp(-(((v - 0.09) / 0.02) ** 2)) * np.clip((0.45 - np.abs(u)) / 0.1, 0, 1)
    relief += 0.04 * wire
    creases = cv2.resize(rng.standard_normal((10, 7), np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    weave = rng.standard_normal((rows, columns), np.float32)
    relief += 0.018 * creases + 0.012 * weave
    return relief[..., None] * colour.astype(np.float32)
