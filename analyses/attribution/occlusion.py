"""What the score loses when a window of the picture is hidden."""

from collections.abc import Mapping

import torch
from torch import Tensor

from analyses.attribution.result import Maps
from analyses.attribution.scores import blocks, explained, flat, scores
from maskmtl.networks import MaskMTL


@torch.no_grad()
def occlusion(
    model: MaskMTL,
    images: Tensor,
    index: Mapping[str, Tensor | None],
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: float | None = None,
) -> Maps:
    """Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2), on the pixels' own grid.

    A pixel's value is the mean, over the windows that cover it, of score(picture) - score(with the window hidden). All
    heads share the forward pass of a hidden window. Departures: a difference of scores instead of the score itself, and
    the mean, as Captum has it; the last window of a row or column ends at the border instead of beyond it.

    `window` and `stride` are in px; a sixth of the side, and half a window, by default. `fill` is the level 0..1 that
    hides; None is the picture's own mean per channel.
    """
    side = images.shape[-1]
    window = max(1, side // 6) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= window <= side:
        raise ValueError(f"window should be in 1..{side} px, got {window}")
    if not 1 <= stride <= window:
        raise ValueError(f"stride should be in 1..{window} px, or pixels are left out, got {stride}")
    hidden = _windows(side, window, stride).to(images.device)
    empty = flat(images) if fill is None else torch.full_like(flat(images), fill)

    logits = model(images)
    classes = explained(model, index, logits)
    before = scores(model, logits, classes)
    drops = {task: images.new_zeros(len(hidden), len(images)) for task in index}
    for at, few in blocks(len(hidden), images):
        variants = torch.where(hidden[at, None, None], empty[few], images[few])  # (v, b, C, S, S)
        asked = {task: wanted[few] for task, wanted in classes.items()}
        for task, after in scores(model, model.forward(variants.flatten(0, 1)), asked).items():
            drops[task][at, few] = before[task][few] - after.view(len(variants), -1)
    shares = hidden / hidden.sum(dim=0)
    values = {task: torch.einsum("vb,vhw->bhw", drop, shares.to(drop)) for task, drop in drops.items()}
    return Maps(values, logits, dict.fromkeys(index, "input"))


def _windows(side: int, window: int, stride: int) -> Tensor:
    """(V, side, side) bool, True inside of a window."""
    starts = torch.tensor([*range(0, side - window, stride), side - window])[:, None]
    inside = (torch.arange(side) >= starts) & (torch.arange(side) < starts + window)  # (starts, side)
    return (inside[:, None, :, None] & inside[None, :, None, :]).flatten(0, 1)
