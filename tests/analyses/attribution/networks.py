"""Small networks to explain, one of them with pencil and paper."""

import torch
from torch import nn

from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS, Classes, Scalar, TaskSpec

IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


class ByHand(nn.Module):
    """Two channels relu(x) and relu(3 - x), then one linear head per task over their 8 values.

    IMAGE gives the activations A0 = [[1, 2], [3, 4]] and A1 = [[2, 1], [0, 0]].
    """

    def __init__(self):
        super().__init__()
        self.specs = TASKS
        self.conv = nn.Conv2d(1, 2, 1)
        self.encoder_conv = nn.ReLU()
        self.heads = nn.ModuleDict({task: nn.Linear(8, spec.target.out_features) for task, spec in TASKS.items()})
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
            self.conv.bias[:] = torch.tensor([0.0, 3.0])
            for head in self.heads.values():
                head.weight.zero_()
                head.bias.zero_()
            self.heads["age"].weight[0] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 4])  # weights of the maps: 1/4, 1
            self.heads["gender"].weight[0] = torch.tensor([0.0, -2, 0, 0, 2, 0, 0, 2])  # -1/2, 1
            self.heads["gender"].bias[0] = -1.0  # logit -4 + 4 - 1 = -1: class 0
            self.heads["ethnicity"].weight[2] = torch.tensor([4.0, 0, 0, 4, 0, -4, 0, 0])  # 2, -1; logit 4 + 16 - 4
            self.heads["ethnicity"].weight[4] = torch.tensor([0.0, 0, 0, 0, 0, 0, 0, -8])  # 0, -2; logit 0

    def map_layer(self, task):
        return self.encoder_conv

    def per_picture(self, maps):
        return maps

    def forward(self, x):
        features = self.encoder_conv(self.conv(x)).flatten(1)
        return {task: head(features) for task, head in self.heads.items()}


class Small(nn.Module):
    """A random network with what real ones have: batch norm, dropout, hidden layers, work in place after the layer."""

    specs = {  # noqa: RUF012
        "age": TaskSpec("age", Scalar("years", 0, 116, mean=33.0, std=20.0)),
        "glasses": TaskSpec("glasses", Classes(("no", "yes"))),
        "ethnicity": TASKS["ethnicity"],
    }

    def __init__(self, in_place=False):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.LeakyReLU(0.3), nn.BatchNorm2d(6))
        self.after = nn.ReLU(inplace=in_place)
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(
                    nn.Conv2d(6, 4, 3),
                    nn.Tanh(),
                    nn.AvgPool2d(2),
                    nn.Flatten(),
                    nn.Dropout(0.5),
                    nn.Linear(36, spec.target.out_features),
                )
                for task, spec in self.specs.items()
            }
        )

    def map_layer(self, task):
        return self.encoder[2]

    def per_picture(self, maps):
        return maps

    def forward(self, x):
        features = self.after(self.encoder(x))
        return {task: head(features) for task, head in self.heads.items()}


def small(**options):
    torch.manual_seed(0)
    model = Small(**options).eval()
    with torch.no_grad():
        model.encoder[2].running_mean.uniform_(-0.5, 0.5)
        model.encoder[2].running_var.uniform_(0.5, 2)
    return model, torch.rand(4, 3, 8, 8)


def maskmtl():
    torch.manual_seed(0)
    return MaskMTL(TASKS).eval(), torch.rand(2, 1, 48, 48)


class Head(nn.Module):
    """What Captum and pytorch-grad-cam need: a module whose output (B, 1) is the score that is explained."""

    def __init__(self, model, task, index):
        super().__init__()
        self.model, self.task, self.index = model, task, index

    def forward(self, x):
        return self.model.specs[self.task].target.score(self.model(x)[self.task], self.index)[:, None]
