"""Moving faces into one shape and one colour, so that they can be averaged."""

import cv2
import numpy as np
from scipy.spatial import Delaunay

_EDGE = np.linspace(-0.3, 1.3, 9)  # where the picture is held still, in fractions of the side: beyond any chin
ANCHORS = np.array([(x, y) for x in _EDGE for y in _EDGE if {x, y} & {_EDGE[0], _EDGE[-1]}])  # (32, 2)
ROUNDS, SMOOTH = 3, 4.0  # of congealing: how often, and the blur of the flow in px


class Warp:
    """Moves faces into one shape: each triangle of a Delaunay triangulation of the shape's landmarks is affine.

    shape: (P, >=2) landmarks in fractions of the side. side: of the results, in px.
    The triangles are rasterised once, for any number of faces. A ring of fixed points around the picture keeps the rest
    of it in place.
    """

    def __init__(self, shape: np.ndarray, side: int) -> None:
        mesh = Delaunay(np.concatenate([shape[:, :2], ANCHORS]).astype(np.float64))
        centre = (np.arange(side) + 0.5) / side
        pixels = np.stack(np.meshgrid(centre, centre), axis=-1).reshape(-1, 2)
        triangle = mesh.find_simplex(pixels)
        assert (triangle >= 0).all()  # the ring lies outside of the picture
        affine = mesh.transform[triangle]
        first = np.einsum("nij,nj->ni", affine[:, :2], pixels - affine[:, 2])
        self.side = side
        self._corners = mesh.simplices[triangle]  # (side * side, 3)
        self._weights = np.column_stack([first, 1 - first.sum(axis=1)])

    def map(self, points: np.ndarray) -> np.ndarray:
        """(P, >=2) landmarks of a face -> (side, side, 2): where each pixel comes from, in fractions of its picture."""
        vertices = np.concatenate([points[:, :2], ANCHORS])
        return np.einsum("nk,nkj->nj", self._weights, vertices[self._corners]).reshape(self.side, self.side, 2)

    def __call__(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """A square picture (H, H, 3) with its landmarks -> (side, side, 3) float32 in the shape, 0..255."""
        return sample(image, self.map(points) * image.shape[0] - 0.5)  # OpenCV counts from the first pixel's centre


def sample(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Lanczos interpolation of a picture at (h, w, 2) pixel positions; float32, 0..255."""
    x, y = np.moveaxis(pixels.astype(np.float32), -1, 0)
    values = cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.clip(values, 0, 255)


def oval(shape: np.ndarray, side: int) -> np.ndarray:
    """(P, >=2) landmarks in fractions of the side -> (side, side) bool, their convex hull: the face without hair."""
    hull = cv2.convexHull((shape[:, :2] * side).astype(np.float32))
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), 1)
    return mask.astype(bool)


def colour(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(2, 3): mean and standard deviation per channel of the pixels `inside`."""
    return np.stack([image[inside].mean(axis=0), image[inside].std(axis=0)])


def recolour(image: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A gain and an offset per channel that turn one colour() into another; float32, 0..255."""
    gain = new[1] / np.maximum(old[1], 1.0)
    return np.clip((image - old[0]) * gain + new[0], 0, 255).astype(np.float32)


def congeal(stack: np.ndarray) -> np.ndarray:
    """Bring (n, h, w, 3) faces of one shape closer together by optical flow to their own mean, round after round.

    This aligns what has no landmarks: hairline, wrinkles, ears. The flow is smoothed, so that nothing is torn; the sum
    of the flows is zero at each pixel, so that the shape stays the mean shape.
    After Kemelmacher-Shlizerman and Seitz, Collection flow, CVPR 2012.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the flow depends on the number of threads, by which OpenCV cuts the picture into stripes
    try:
        return _congeal(stack)
    finally:
        cv2.setNumThreads(threads)


def _congeal(stack: np.ndarray) -> np.ndarray:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in stack]
    still = np.stack(np.meshgrid(*map(np.arange, stack.shape[2:0:-1])), axis=-1).astype(np.float32)
    moved = stack
    for _ in range(ROUNDS):
        target = cv2.cvtColor(moved.mean(axis=0).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        found = (flow.calc(target, own, np.zeros((*own.shape, 2), np.float32)) for own in grey)
        flows = np.stack([cv2.GaussianBlur(f, (0, 0), SMOOTH) for f in found])
        flows -= flows.mean(axis=0)
        moved = np.stack([sample(image, still + shift) for image, shift in zip(stack, flows, strict=True)])
    return moved
