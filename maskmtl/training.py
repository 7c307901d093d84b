"""One plain training loop that stops cleanly and resumes exactly.

A run folder holds:
    config.json          the configuration
    pictures.json        digests of the pictures and labels that it learns from and validates on
    metrics.jsonl        one line per epoch: learning rate, losses, validation figures, seconds, and how
                         many of them were spent waiting for pictures
    model.safetensors    the weights of the best epoch by validation, with model.json (the card) and seen.npy
    last.safetensors     weights, optimiser state and number of the last whole epoch, and the best one
All randomness of an epoch comes from (seed, epoch), so a run that resumes at an epoch's start repeats to the bit what
it would have done undisturbed, on the same machine and number of threads.
"""

import copy
import json
import math
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from maskmtl import __version__
from maskmtl.balancing import BALANCINGS, balancing
from maskmtl.checkpoint import SEEN, load_tensors, save_model, save_tensors, seen_digests, usable_device
from maskmtl.dataset import as_tensor, augment, cached_render, check_masks
from maskmtl.distillation import Teacher
from maskmtl.fairness import FAIRNESS, Adversary, GroupDRO, balanced_order, group_of
from maskmtl.files import write_array, write_json, write_text
from maskmtl.losses import Mean, constant_losses, terms
from maskmtl.manifest import Faces
from maskmtl.masks.fresh import FreshMasks
from maskmtl.networks import ENCODERS, SHARING, MaskMTL
from maskmtl.tasks import TASKS, Classes, Distribution, Scalar, TaskSpec

LAST = "last.safetensors"
STATE = ("epoch", "best_epoch", "best_score")
PICTURES = "pictures.json"  # identity of what a run learns from and validates on
BEFORE = {"config.json", PICTURES, "variants"}  # what a run leaves that ended before its first epoch did
MARGIN = 4 / 3  # cached training images are this much larger than the input, so that augmentation does not blur them
AGE_LOSSES = {"l1_z": "l1", "l1_years": "l1", "mse_z": "mse", "mse_years": "mse"}
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class TrainConfig:
    """What a run is made of; recipes.py has named ones.

    sharing, nonlocal_block, channels, encoder, size, mirror: the network, as MaskMTL takes them. tie: weight of soft
    sharing's regulariser. balancing: one of BALANCINGS.
    masks: each face wears one of these per epoch, drawn evenly; or 'none' with probability `bare`, the others evenly.
    draws: how many different masks a face may wear, drawn beforehand; 0 for a fresh one each epoch, drawn on the fly.
    age_loss: L1 or mean squared error, on years (the paper, its notebook) or on standardised years (z); or
    'distribution', over whole years (tasks.Distribution).
    schedule: 'constant' (the paper) or 'cosine', one cosine to zero after a warm-up of 5 % of the steps.
    patience: stop after this many epochs without a better one; 0 for never.
    fairness: 'balanced' sampling of groups, 'group_dro' or 'adversarial' (fairness.py), or 'none'.
    mixup: alpha of the Beta distribution that two faces of a batch are mixed by (Zhang et al. 2018, arXiv 1710.09412),
    the losses of both their labels mixed likewise; 0 for none.
    average: the decay per step of an exponential average of the weights (Tarvainen and Valpola 2017), which is what
    is validated and kept; 0 for none.
    teacher: a model's name or folder whose answers for the bare faces are learnt beside the labels (distillation.py);
    '' for none.
    precision: 'bf16' runs the forward pass in bfloat16 where that is safe (autocast); weights stay float32.
    """

    sharing: str = "hierarchical"
    nonlocal_block: bool = True
    channels: int = 1
    encoder: str = "fig1"
    size: int | None = None
    mirror: bool = False
    tie: float = 1e-3
    balancing: str = "fixed"
    protocol: str = "random"
    masks: tuple[str, ...] = ("none", "surgical")
    bare: float | None = None
    draws: int = 2
    epochs: int = 40
    patience: int = 0
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    schedule: str = "cosine"
    age_loss: str = "l1_z"
    augment: bool = True
    fairness: str = "none"
    mixup: float = 0.0
    average: float = 0.0
    teacher: str = ""
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        if len(check_masks(self.masks)) < len(self.masks):
            raise ValueError(f"masks should each be named once, got {list(self.masks)}")
        allowed: dict[str, Iterable[Any]] = {
            "sharing": SHARING, "channels": (1, 3), "encoder": ENCODERS, "balancing": BALANCINGS,
            "schedule": ("constant", "cosine"), "age_loss": (*AGE_LOSSES, "distribution"), "precision": PRECISIONS,
            "fairness": FAIRNESS,
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} should be one of {list(values)}, got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} should be positive, got {getattr(self, name)}")
        for name in ("tie", "patience", "mixup", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} should be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average should be in 0..1, below 1, got {self.average}")
        if self.bare is not None and not (0 < self.bare < 1 and "none" in self.masks and len(self.masks) > 1):
            raise ValueError(
                f"bare should be in 0..1, for 'none' among several masks, got {self.bare} for {list(self.masks)}"
            )
        if self.draws < 0:
            raise ValueError(f"draws should be 0 (fresh masks each epoch) or more, got {self.draws}")

    @staticmethod
    def from_json(values: dict[str, Any]) -> "TrainConfig":
        """Raises ValueError for what is no configuration of this version."""
        try:
            return TrainConfig(**{**values, "masks": tuple(values["masks"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"a run's configuration should be one of maskmtl {__version__}, got {error!r}") from error


class Stopped(Exception):
    """The run was asked to stop; the last whole epoch is saved."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: called after each batch."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float

    @property
    def done(self) -> int:
        """Batches of the whole run so far."""
        return (self.epoch - 1) * self.batches + self.batch

    @property
    def total(self) -> int:
        return self.epochs * self.batches


def train(
    faces: Faces,
    run: Path,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    device: str | torch.device | None = None,
    cache: Path | None = None,
    drawing: Callable[[int, int], object] | None = None,
    progress: Callable[[Progress], object] | None = None,
    log: Callable[[dict[str, Any]], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a model on the train split, choose its epoch on the val split, and leave it in the folder `run`.

    resume: go on where the run in this folder stopped, with its own configuration. cache: folder for drawn masks
    (default: in the run folder). drawing: told how many faces of how many are drawn, mask by mask, before the first
    batch. stop: asked meanwhile and after each batch; when True, Stopped is raised and nothing is lost.
    Raises ValueError for a configuration or data that can't be trained on.
    """
    if resume:
        config = _resumed_config(run, config)
    elif run.exists() and {path.name for path in run.iterdir()} - BEFORE:
        raise ValueError(f"run should be a new folder, got {str(run)!r}, which has files: resume it or name another")
    config = config or TrainConfig()
    device = usable_device(device)
    train_faces, val_faces = _training_faces(faces, "train"), _training_faces(faces, "val")
    specs = training_specs(train_faces.table, config.age_loss)
    size = config.size or ENCODERS[config.encoder].input_size

    def network() -> MaskMTL:
        return MaskMTL(
            specs, sharing=config.sharing, nonlocal_block=config.nonlocal_block, channels=config.channels,
            encoder=config.encoder, size=size, mirror=config.mirror,
        )  # fmt: skip

    if config.teacher:  # what can't be trained is refused before anything is written
        _teacher(config.teacher, network(), faces)
    else:
        network()
    balancing(config.balancing, list(specs), torch.ones(len(specs)))
    run.mkdir(parents=True, exist_ok=True)
    _keep_faces(run, resume=resume, train=train_faces, val=val_faces)
    write_json(run / "config.json", asdict(config))

    def drawn(done: int, total: int) -> None:
        if stop():
            raise Stopped("stopped while the faces were drawn")
        if drawing is not None:
            drawing(done, total)

    rendered = partial(cached_render, folder=cache or run / "variants", progress=drawn)
    big = round(size * MARGIN) if config.augment else size
    variants = (_Drawn if config.draws else _Fresh)(train_faces, config, big, rendered)
    val_images = {mask: rendered(val_faces, mask, size=size, seed=config.seed) for mask in config.masks}
    y_train, y_val = _labels(train_faces.table, specs, device), _labels(val_faces.table, specs, device)

    torch.manual_seed(config.seed)
    model = network()
    model.to(device).to(memory_format=torch.channels_last)
    teacher = _teacher(config.teacher, model, faces) if config.teacher else None
    bare = rendered(train_faces, "none", size=big, seed=config.seed) if teacher else None
    unit = constant_losses(specs, y_train)
    groups = group_of(train_faces.table)
    balance = balancing(config.balancing, list(specs), unit).to(device)
    adversary = Adversary(specs).to(device) if config.fairness == "adversarial" else None
    reduce = GroupDRO(groups, unit).to(device) if config.fairness == "group_dro" else Mean()
    aside = nn.ModuleDict({"balancing": balance, "reduce": reduce} | ({"adversary": adversary} if adversary else {}))
    optimiser = torch.optim.AdamW(
        [
            {"params": list(model.parameters()), "weight_decay": config.weight_decay},
            {"params": list(aside.parameters()), "weight_decay": 0.0},
        ],
        lr=config.lr,
        fused=True,
    )
    kept = copy.deepcopy(model).requires_grad_(False) if config.average else model
    modules = nn.ModuleDict({"model": model, "aside": aside} | ({"average": kept} if config.average else {}))
    fresh: dict[str, Any] = {"epoch": 0, "best_epoch": 0, "best_score": -math.inf}
    state = _load_state(run, modules, optimiser) if (run / LAST).is_file() else fresh
    steps = -(-len(train_faces) // config.batch_size)

    for epoch in range(state["epoch"] + 1, config.epochs + 1):
        if config.patience and state["epoch"] - state["best_epoch"] >= config.patience:
            break
        started = time.monotonic()
        rng = np.random.default_rng([config.seed, epoch])
        torch.manual_seed(int(rng.integers(2**62)))  # dropout
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))  # augmentation
        order = balanced_order(groups, rng) if config.fairness == "balanced" else rng.permutation(len(train_faces))
        draw = variants.of_epoch(rng)
        totals = dict.fromkeys(specs, 0.0)
        model.train()
        balance.start(epoch)
        waited: list[float] = []
        for step, (rows, images) in enumerate(_ahead(draw, _batches(order, config.batch_size), waited)):
            done = (epoch - 1) * steps + step
            x = as_tensor(images, config.channels)
            if bare is not None:  # as further channels, so that what changes the face changes its twin
                x = torch.cat([x, as_tensor(bare[rows], config.channels)], dim=1)
            x = augment(x, size, generator) if config.augment else x
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, done / (config.epochs * steps))
            share = float(rng.beta(config.mixup, config.mixup)) if config.mixup else 1.0
            y = {name: labels[torch.from_numpy(rows)] for name, labels in y_train.items()}
            x = x.to(device)
            x = x if share == 1 else share * x + (1 - share) * x.flip(0)
            own, *twin = (
                part.contiguous(memory_format=torch.channels_last) for part in x.split(config.channels, dim=1)
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                outputs = model(own)
                answers = teacher.answers(twin[0]) if teacher else {}
            logits = {name: output.float() for name, output in outputs.items()}
            imitation = teacher.losses(logits, answers) if teacher else None
            losses = reduce(terms(specs, logits, y, rows, share, imitation))
            stacked = torch.stack(list(losses.values()))
            # a missing label's loss is NaN and left out: so the answers themselves are looked at
            if not all(values.isfinite().all() for values in (stacked, *logits.values(), *answers.values())):
                raise ValueError(f"losses should be finite, got {stacked.tolist()} in epoch {epoch}: try a smaller lr")
            optimiser.zero_grad()
            if adversary is not None:
                adversary(logits, y, share).backward(retain_graph=True)
            balance.backward(stacked, model)
            if config.sharing == "soft" and config.tie:
                (config.tie * model.tie()).backward()
            optimiser.step()
            if config.average:
                _follow(kept, model, min(config.average, done / (done + 20)))
            for name, value in losses.items():
                totals[name] += value.item() * len(rows) / len(order)
            if progress is not None:
                progress(Progress(epoch, config.epochs, step + 1, steps, stacked.sum().item()))
            if stop():
                raise Stopped(f"stopped in epoch {epoch}; {epoch - 1} whole epochs are saved in {run}")
        figures = {m: validate(kept, images, y_val, config.precision) for m, images in val_images.items()}
        score = skill(figures, y_val, specs)
        if not math.isfinite(score):  # the last step of an epoch may break what no loss has shown
            raise ValueError(f"validation figures should be finite, got {figures} in epoch {epoch}: try a smaller lr")
        line = {
            "epoch": epoch,
            "lr": learning_rate(config, (epoch * steps - 1) / (config.epochs * steps)),
            "train_loss": totals,
            "val": figures,
            "score": score,
            "seconds": round(time.monotonic() - started, 1),
            "seconds_for_data": round(sum(waited), 1),
        }
        if score > state["best_score"]:
            state.update(best_score=score, best_epoch=epoch)
            _save_seen(run, config.teacher, train_faces, val_faces)  # first: a model should never be without the list
            save_model(kept, run, _card(faces, train_faces, val_faces, config, line))
        state["epoch"] = epoch
        _save_state(run, modules, optimiser, state, line)
        if log is not None:
            log(line)
    return run


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an average of the weights and running statistics on by a step."""
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def learning_rate(config: TrainConfig, done: float) -> float:
    """Learning rate when the share `done` (0..1) of all steps is behind."""
    if config.schedule == "constant":
        return config.lr
    warm_up = 0.05
    if done < warm_up:
        return config.lr * (0.1 + 0.9 * done / warm_up)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def training_specs(table: pd.DataFrame, age_loss: str) -> dict[str, TaskSpec]:
    """TASKS as this run trains them: scalars get the criterion, and the training split's mean and deviation for z."""
    specs = {}
    for name, spec in TASKS.items():
        target = spec.target
        if isinstance(target, Scalar) and age_loss == "distribution":
            target = Distribution(target.unit, target.low, target.high, std=float(table[name].std()))
        elif isinstance(target, Scalar):
            target = replace(target, criterion=AGE_LOSSES[age_loss])
            if age_loss.endswith("_z"):
                target = target.standardised(table[name].mean(), table[name].std())
        specs[name] = TaskSpec(name, target)
    return specs


def skill(figures: dict[str, dict[str, float]], y: dict[str, Tensor], specs: dict[str, TaskSpec]) -> float:
    """One number to choose an epoch by: the mean over masks and tasks of accuracy, or 1 - MAE / MAE of the median."""
    values = []
    for name, spec in specs.items():
        labelled = y[name][~y[name].isnan()]
        for figure in figures.values():
            if isinstance(spec.target, Classes):
                values.append(figure[f"{name}_accuracy"])
            else:
                spread = float((labelled - labelled.median()).abs().mean()) or 1.0  # one unit where all are alike
                values.append(1 - figure[f"{name}_mae"] / spread)
    return float(np.mean(values))


@torch.inference_mode()
def validate(model: MaskMTL, images: np.ndarray, y: dict[str, Tensor], precision: str = "fp32") -> dict[str, float]:
    """Accuracy or MAE per task on (N, S, S, 3) images, over the labelled faces; leaves the model in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    logits: dict[str, list[Tensor]] = {name: [] for name in model.specs}
    for rows in _batches(np.arange(len(images)), 256):
        x = as_tensor(images[rows], model.input_channels).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for name, output in model(x).items():
                logits[name].append(output.float())
    figures = {}
    for name, spec in model.specs.items():
        labelled = ~y[name].isnan()
        answers = torch.cat(logits[name])
        y_true, y_pred = y[name][labelled], spec.target.decode(answers)[labelled]
        classes = isinstance(spec.target, Classes)
        figure = (y_true == y_pred).float().mean() if classes else (y_true - y_pred).abs().mean()
        broken = not answers.isfinite().all()  # decoded, they look like answers
        figures[f"{name}_{'accuracy' if classes else 'mae'}"] = math.nan if broken else float(figure)
    return figures


def _training_faces(faces: Faces, split: str) -> Faces:
    chosen = faces.in_split(split)
    if len(chosen) < 2:
        raise ValueError(f"faces should have a {split} split of at least two, got {len(chosen)}")
    for name in TASKS:
        if chosen.table[name].isna().all():
            raise ValueError(f"faces should have labels for {name} in the {split} split, got none")
    return chosen


def _teacher(name: str, model: MaskMTL, faces: Faces) -> Teacher:
    groups = faces.table["group_id"]
    seen = groups.isin(groups[np.isin(faces.digests, seen_digests(name))]) & (faces.table["split"] == "test")
    if seen.any():
        raise ValueError(
            f"teacher should have seen no picture of the test split nor a near-duplicate, {name!r} has of {seen.sum()}"
        )
    return Teacher(name, model)


def _labels(table: pd.DataFrame, specs: dict[str, TaskSpec], device: torch.device) -> dict[str, Tensor]:
    return {name: torch.tensor(table[name].to_numpy(np.float32), device=device) for name in specs}


def _batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


class _Drawn:
    """Masks drawn beforehand: one (N, S, S, 3) array for every mask and draw."""

    def __init__(self, faces: Faces, config: TrainConfig, size: int, rendered: Callable[..., np.ndarray]) -> None:
        draws = [1 if mask == "none" else config.draws for mask in config.masks]
        self._n, self._counts, self._config = len(faces), np.array(draws), config
        self._arrays = [
            rendered(faces, mask, size=size, seed=config.seed + draw)
            for mask, n in zip(config.masks, draws, strict=True)
            for draw in range(n)
        ]

    def of_epoch(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """What shows rows as they look this epoch: masks evenly, then one of that mask's draws."""
        mask, draw = _masks_of(self._config, self._n, rng), rng.random(self._n)
        first = np.cumsum(self._counts) - self._counts
        array = first[mask] + (draw * self._counts[mask]).astype(int)
        return lambda rows: np.stack([self._arrays[array[row]][row] for row in rows])


class _Fresh:
    """Masks drawn anew each epoch, on faces of the size that training wants."""

    def __init__(self, faces: Faces, config: TrainConfig, size: int, rendered: Callable[..., np.ndarray]) -> None:
        bare = rendered(faces, "none", size=size, seed=config.seed)
        self._faces, self._config = FreshMasks(bare, faces.landmarks.points), config

    def of_epoch(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """What shows rows as they look this epoch: masks evenly, each with a seed of its own."""
        mask = _masks_of(self._config, len(self._faces), rng)
        seed = rng.integers(2**62, size=len(self._faces))
        masks = self._config.masks
        return lambda rows: self._faces.draw(rows, [masks[mask[row]] for row in rows], seed[rows])


def _masks_of(config: TrainConfig, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) places in `config.masks`, one for each face of an epoch."""
    if config.bare is None:
        return rng.integers(len(config.masks), size=n)
    others = (1 - config.bare) / (len(config.masks) - 1)
    return rng.choice(len(config.masks), size=n, p=[config.bare if mask == "none" else others for mask in config.masks])


def _ahead(
    draw: Callable[[np.ndarray], np.ndarray], batches: Iterable[np.ndarray], waited: list[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each batch's rows and their pictures, the next one drawn while the caller works on this one.

    waited: gets the seconds for which the caller had to wait for each batch.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
        todo = iter(batches)
        while True:
            waiting.extend((rows, pool.submit(draw, rows)) for rows in islice(todo, 3 - len(waiting)))
            if not waiting:
                return
            rows, images = waiting.popleft()
            started = time.monotonic()
            found = images.result()
            waited.append(time.monotonic() - started)
            yield rows, found


def _resumed_config(run: Path, config: TrainConfig | None) -> TrainConfig:
    if not (run / "config.json").is_file():
        raise ValueError(f"run should be a folder to resume from, got {str(run)!r} without config.json")
    saved = TrainConfig.from_json(json.loads((run / "config.json").read_text()))
    if config is not None and config != saved:
        changed = [f.name for f in fields(saved) if getattr(saved, f.name) != getattr(config, f.name)]
        raise ValueError(f"a resumed run keeps its configuration, got other values for {changed}")
    return saved


def _save_state(run: Path, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, state: dict, line: dict) -> None:
    """The line first and the tensors, which hold the state too, in one write: a kill in between repeats the epoch."""
    lines = _lines(run, before=state["epoch"])
    write_text(run / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in [*lines, line]))
    tensors = modules.state_dict()
    for name, parameter in _trained(modules):
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{key}.{name}"] = value
    tensors["state"] = torch.tensor([state[key] for key in STATE], dtype=torch.float64)
    save_tensors(run / LAST, tensors)


def _lines(run: Path, before: int) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [line for line in lines if line["epoch"] < before]


def _load_state(run: Path, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    tensors = load_tensors(run / LAST)
    modules.load_state_dict({name: tensors[name] for name in modules.state_dict()})
    for name, parameter in _trained(modules):
        loaded = {key: tensors[f"optimiser.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        # the fused optimiser wants its state in the parameter's own memory layout and on its device
        state = {
            key: torch.empty_like(parameter, requires_grad=False).copy_(loaded[key])
            for key in ("exp_avg", "exp_avg_sq")
        }
        optimiser.state[parameter] = {"step": loaded["step"].to(parameter.device), **state}
    epoch, best_epoch, best_score = tensors["state"].tolist()
    return {"epoch": int(epoch), "best_epoch": int(best_epoch), "best_score": best_score}


def _trained(modules: nn.ModuleDict) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in modules.named_parameters() if parameter.requires_grad]


def variants_folder(prepared: Path) -> Path | None:
    """Where masked pictures of a prepared folder are kept for all runs; None, the run's own, where that can't be."""
    return prepared / "variants" if os.access(prepared, os.W_OK) else None


def _save_seen(run: Path, teacher: str, *parts: Faces) -> None:
    """What the model was trained and selected on; what its teacher has seen reaches it by the teacher's answers."""
    taught = [seen_digests(teacher)] if teacher else []
    write_array(run / SEEN, np.unique(np.concatenate([*(part.digests for part in parts), *taught])))


def _keep_faces(run: Path, *, resume: bool, **parts: Faces) -> None:
    """Note what is learnt and validated on; ValueError where a run would go on with other faces than it began with."""
    own = {name: part.identity(TASKS) for name, part in parts.items()}
    if resume and (run / PICTURES).is_file() and json.loads((run / PICTURES).read_text()) != own:
        raise ValueError(
            f"a resumed run keeps its faces, {str(run)!r} got others, or other labels, than it began with: they were "
            "prepared anew, or lie in another folder. Begin another run"
        )
    write_json(run / PICTURES, own)


def _card(
    faces: Faces, train_faces: Faces, val_faces: Faces, config: TrainConfig, line: dict[str, Any]
) -> dict[str, Any]:
    return {
        "training": asdict(config),
        "epoch": line["epoch"],
        "data": {"name": faces.name, "train": len(train_faces), "val": len(val_faces)},
        "val": line["val"],
        "versions": {
            "maskmtl": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
