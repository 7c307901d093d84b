"""A model on disk: a folder with model.safetensors and a JSON card that rebuilds the network. No pickle is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskmtl.files import whole_folder, write_atomic, write_bytes, write_json
from maskmtl.networks import MaskMTL
from maskmtl.paths import MODELS, runs_folder
from maskmtl.tasks import TaskSpec

WEIGHTS, CARD, SEEN = "model.safetensors", "model.json", "seen.npy"
FORMAT = 1
DEFAULT_MODEL = "maskmtl-compact"


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file whole or not at all."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    try:
        write_atomic(path, lambda partial: save_file(plain, partial))
    except SafetensorError as error:  # no space left, for one
        raise OSError(f"{str(path)!r} can't be written: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights should be a safetensors file, got {str(path)!r}: {error}") from error


def save_model(model: MaskMTL, folder: Path, card: dict[str, Any]) -> None:
    """Write weights and card; the card gets what rebuilds the network: format, tasks and network."""
    save_tensors(folder / WEIGHTS, model.state_dict())
    tasks = [spec.to_json() for spec in model.specs.values()]
    write_json(folder / CARD, {"format": FORMAT, "tasks": tasks, "network": model.config, **card})


def load_model(name_or_path: str | Path, device: str | torch.device | None = None) -> MaskMTL:
    """A trained model in eval mode: a name under data/models (`maskmtl models` lists them), a run's name or folder.

    device: None means the GPU where there is one. Raises ValueError when there is no such model or device, or the
    model is broken.
    """
    folder, card = model_folder(name_or_path), read_card(name_or_path)
    try:
        specs = {task["name"]: TaskSpec.from_json(task) for task in card["tasks"]}
        network = card["network"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"card should be JSON with 'tasks' and 'network', got {str(folder / CARD)!r}: {error!r}"
        ) from error
    if card.get("format") != FORMAT:
        raise ValueError(f"card should have format {FORMAT}, got {card.get('format')} in {str(folder / CARD)!r}")
    try:
        model = MaskMTL(specs, **network)
    except TypeError as error:
        raise ValueError(f"network should be one of this version, got {network} in {str(folder / CARD)!r}") from error
    try:
        model.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:
        raise ValueError(f"weights should fit the network of {CARD}, got: {error}") from error
    model.name, model.card = folder.resolve().name, card
    return model.to(usable_device(device)).to(memory_format=torch.channels_last).eval()


def read_card(name_or_path: str | Path) -> dict[str, Any]:
    """A model's card, by its name or folder. ValueError where there is none that can be read."""
    path = model_folder(name_or_path) / CARD
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"card should be JSON with 'tasks' and 'network', got {str(path)!r}: {error!r}") from error


def for_others(card: dict[str, Any]) -> dict[str, Any]:
    """A card that leaves the machine: it names the teacher, not where that lies here."""
    training = card.get("training")
    if not isinstance(training, dict) or not isinstance(teacher := training.get("teacher"), str):
        return card
    return {**card, "training": {**training, "teacher": Path(teacher).name}}


def model_folder(name_or_path: str | Path) -> Path:
    """Where a model lies: by its name, its folder, or the name of a run. ValueError where there is none."""
    for folder in (MODELS / name_or_path, Path(name_or_path), runs_folder() / name_or_path):
        if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
            return folder
    names = [card["name"] for card in available_models()]
    raise ValueError(f"model should be one of {names} or a folder with {WEIGHTS} and {CARD}, got {str(name_or_path)!r}")


def available_models() -> list[dict[str, Any]]:
    """The cards of the models that come with the project, by name; the default one first."""
    folders = [card.parent for card in sorted(MODELS.glob(f"[!.]*/{CARD}"))]
    cards = [{"name": f.name, **json.loads((f / CARD).read_text(encoding="utf-8"))} for f in folders]
    return sorted(cards, key=lambda card: (card["name"] != DEFAULT_MODEL, card["name"]))


def seen_digests(name_or_path: str | Path) -> np.ndarray:
    """Digests (uint64) of the picture files that a model was trained or selected on; empty without a list."""
    path = model_folder(name_or_path) / SEEN
    return np.load(path, allow_pickle=False) if path.is_file() else np.zeros(0, np.uint64)


def best_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device by its name, or the best one for None; ValueError when torch can't use it here."""
    if not device:
        return best_device()
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(f"device should be one that torch can use here, got {str(device)!r}: {reason}") from error
    return torch.device(device)


def publish(run: str | Path, name: str) -> Path:
    """Copy a run's best weights, card and list of seen pictures to data/models/NAME; matrices at half precision.

    Vectors (biases, batch norms) stay float32: their range is wide and they weigh nothing. Raises ValueError when the
    name is taken or is not a plain name.
    """
    folder = MODELS / name
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"name should be a plain name, got {name!r}")
    if folder.exists():
        raise ValueError(f"name should be new, got {name!r}: remove {str(folder)!r} first")
    source = model_folder(run)
    tensors = load_tensors(source / WEIGHTS)
    card = for_others(read_card(source))
    with whole_folder(folder) as partial:
        save_tensors(partial / WEIGHTS, {k: t.half() if t.ndim > 1 else t for k, t in tensors.items()})
        write_json(partial / CARD, card)
        if (source / SEEN).is_file():
            write_bytes(partial / SEEN, (source / SEEN).read_bytes())
    return folder
