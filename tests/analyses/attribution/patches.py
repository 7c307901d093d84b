"""A network whose evidence is known to the pixel, and pictures for it."""

import numpy as np
import torch
from torch import nn

from analyses.attribution import explain
from maskmtl.tasks import TASKS

SIDE = 24
PLACES = {"age": (2, 3), "gender": (10, 14), "ethnicity": (17, 5)}  # corner of a task's 5x5 patch of evidence


class Patches(nn.Module):
    """A linear score per task: the sum over one patch, so that integrated gradients tell the truth to the pixel."""

    specs = TASKS

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Identity())
        self.heads = nn.ModuleDict(
            {task: nn.Linear(2 * SIDE * SIDE, spec.target.out_features) for task, spec in TASKS.items()}
        )
        with torch.no_grad():
            self.encoder[0].weight[:] = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
            for task, (row, column) in PLACES.items():
                weight = torch.zeros(2, SIDE, SIDE)
                weight[:, row : row + 5, column : column + 5] = 1.0
                self.heads[task].weight.zero_()
                self.heads[task].weight[-1] = weight.flatten()  # female, others
                self.heads[task].bias.zero_()

    def map_layer(self, task):
        return self.encoder[1]

    def per_picture(self, maps):
        return maps

    def forward(self, x):
        features = self.encoder(x).flatten(1)
        return {task: head(features) for task, head in self.heads.items()}


def pictures(n, seed=0):
    """Dim noise with bright squares: the evidence, and six that say nothing."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 0.3, (n, 1, SIDE, SIDE)).astype(np.float32)
    for picture in x[:, 0]:
        for row, column in [*rng.integers(SIDE - 5, size=(6, 2)), *PLACES.values()]:
            picture[row : row + 5, column : column + 5] = rng.uniform(0.7, 0.9, (5, 5))
    return torch.from_numpy(x)


def truth(model, images):
    return explain(model, images, method="integrated_gradients", steps=2)
