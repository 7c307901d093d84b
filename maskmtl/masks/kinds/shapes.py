"""What materials are drawn with: soft lines, soft fills, rigid parts on a texture."""

import numpy as np

from maskmtl.masks.kinds.base import COLUMNS, ROWS, U, V


def line(distance: np.ndarray, width: float) -> np.ndarray:
    """A soft line, 1 where `distance` is 0."""
    return np.exp(-((distance / width) ** 2))


def inside(distance: np.ndarray, soft: float) -> np.ndarray:
    """1 where `distance` is negative, 0 where it is positive, with a ramp `soft` wide between."""
    return np.clip(0.5 - distance / soft, 0, 1)


def outline(power: int) -> np.ndarray:
    """(ROWS, COLUMNS) 0 on a rounded outline, growing to 1 in the middle; negative in the corners beyond."""
    return 1 - (np.abs(U) ** power + np.abs(2 * V - 1) ** power) ** (1 / power)


def around(u: float, v: float, right: tuple[float, float], down: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(ROWS, COLUMNS) x and y from a place of the texture, so that what is square in them is square on a face.

    right, down: how far one u and one v lead to the right and down there.
    """
    return right[0] * (U - u) + down[0] * (V - v), right[1] * (U - u) + down[1] * (V - v)


def bare() -> np.ndarray:
    """(ROWS, COLUMNS, 4) without any rigid part."""
    return np.zeros((ROWS, COLUMNS, 4), np.float64)


def lay(fixture: np.ndarray, colour: np.ndarray, share: np.ndarray) -> None:
    """Put a rigid part of (ROWS, COLUMNS) share and (ROWS, COLUMNS, 3) colour on what is there."""
    over = share[..., None]
    fixture[..., :3] = np.where(fixture[..., 3:] > 0, fixture[..., :3] * (1 - over) + colour * over, colour)
    fixture[..., 3] = np.maximum(fixture[..., 3], share)
