"""Where on a face a mask's surface lies, worn right or wrongly."""

from functools import cache

import numpy as np

from maskmtl.masks.kinds import KINDS
from maskmtl.masks.spec import MaskSpec
from maskmtl.masks.straps import strap_ends
from maskmtl.masks.surface import Face, Frame, spline

# the top edge, as v of a mask worn right: 1/4 nose tip, 1/2 mouth
_START = {"right": 0.0, "nose_out": 0.34, "chin": 0.68}
# how far the lower edge slides down the neck, of the frame's unit
_DROP = {"right": 0.0, "nose_out": 0.10, "chin": 0.16}


def dress(frame: Frame, spec: MaskSpec, *, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """The (R, C, 3) px net of the mask's surface and the (4, 3) px ends of its straps.

    lift: how far the top edge moves up, in the frame's unit.
    """
    used, weights, shape = _places(spec.kind, spec.wear)
    found = weights[:, : len(used)] @ frame.points[used] + weights[:, -3:] @ (frame.unit * frame.axes)
    found = np.rint(found * 64) / 64
    net = found[:-4].reshape(*shape, 3)
    v = np.linspace(0, 1, shape[0])[:, None, None]
    return net - np.rint((1 - v) * (lift * frame.unit * frame.axes[1]) * 64) / 64, found[-4:]


@cache
def _places(kind: str, wear: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """The landmarks used, (n,); weights on them and on the axes, (R * C + 4, n + 3); (R, C)."""
    face = Face()
    net = np.asarray(KINDS[kind].net(face))
    rows, columns = net.shape[:2]
    net = np.tensordot(spline(rows, rows, _START[wear]), net, axes=1)
    v, u = np.linspace(0, 1, rows)[:, None], np.linspace(-1, 1, columns)
    net[..., -2] += _DROP[wear] * v
    if wear == "nose_out":  # a lip that smiles rises at its corners
        net[..., -2] -= 0.09 * (1 - v) * (1 - np.abs(2 * np.abs(u) - 1))
    places = np.concatenate([net.reshape(rows * columns, -1), strap_ends(face, KINDS[kind].straps)])
    used = np.flatnonzero((places[:, :-3] != 0).any(axis=0))
    return used, np.concatenate([places[:, used], places[:, -3:]], axis=1), (rows, columns)
