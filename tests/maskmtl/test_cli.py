import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from maskmtl.checkpoint import save_model
from maskmtl.cli import main
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    save_model(MaskMTL(TASKS), folder, {"summary": "untrained"})
    return str(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, demo_face_paths):
    """Thirty demo faces under UTKFace names, and one name that lacks a field."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    for i, path in enumerate(demo_face_paths[:30]):
        (folder / f"{i}_{i % 2}_{i % 5}_201701{i + 1:02d}000000001.jpg.chip.jpg").write_bytes(path.read_bytes())
    (folder / "61_1_20170109142408075.jpg.chip.jpg").write_bytes(demo_face_paths[0].read_bytes())
    return folder


@pytest.fixture(scope="module")
def prepared(pictures):
    out = pictures.parent / "prepared"
    assert main(["prepare", str(pictures), "--out", str(out)]) == 0
    return out


def test_prepare_says_what_it_left_out(pictures, tmp_path, capsys):
    assert main(["prepare", str(pictures), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "30 faces in" in out and "1 pictures were not taken" in out


def test_evaluate_prints_one_json_object_and_nothing_else(pictures, model, capsys):
    assert main(["evaluate", str(pictures), "--model", model, "--masks", "none,surgical", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "untrained" and list(result["masks"]) == ["none", "surgical"]
    for figures in result["masks"].values():
        assert figures["n"] == 30
        assert 0 <= figures["gender_accuracy"] <= 1 and 0 <= figures["ethnicity_accuracy"] <= 1
        assert figures["age_mae"] >= 0


def test_a_prepared_folder_and_its_pictures_give_the_same_figures(pictures, prepared, model, capsys):
    results = []
    for faces in (pictures, prepared):
        assert main(["evaluate", str(faces), "--model", model, "--masks", "surgical", "--split", "all", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out)["masks"]["surgical"])
    for key, value in results[0].items():
        assert results[1][key] == pytest.approx(value, abs=1e-4)


def test_predict_writes_parquet_and_csv(prepared, model, tmp_path):
    common = ["predict", str(prepared), "--model", model, "--masks", "none,surgical", "--split", "all"]
    assert main([*common, "--out", str(tmp_path / "p.parquet")]) == 0
    table = pd.read_parquet(tmp_path / "p.parquet")
    assert len(table) == 30 * 2 * 3
    assert main([*common, "--out", str(tmp_path / "p.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == 60
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv", "p.parquet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--masks", "veil"], "mask should be one of"),
        (["--model", "nobody"], "model should be one of"),
        (["--split", "parts"], "split should be one of"),
    ],
)
def test_wrong_arguments_end_in_a_sentence(prepared, model, arguments, message, capsys):
    assert main(["evaluate", str(prepared), "--model", model, "--json", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and "Traceback" not in captured.err


def test_faces_that_are_not_there(model, tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "nowhere"), "--model", model]) == 2
    assert "which does not exist" in capsys.readouterr().err
    assert main(["predict", str(tmp_path), "--model", model, "--out", "x.txt"]) == 2
    assert "out should end in .parquet or .csv" in capsys.readouterr().err


def test_a_place_that_can_not_be_written_to(pictures, capsys):
    assert main(["prepare", str(pictures), "--out", "/proc/nowhere/out"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_device_that_is_not_there(model, prepared, tmp_path, capsys):
    for device in ("bogus", "meta", "cuda:99"):
        assert main(["evaluate", "demo", "--model", model, "--device", device]) == 2
        assert f"device should be one that torch can use here, got '{device}'" in capsys.readouterr().err
    run = ["train", str(prepared), "--run", str(tmp_path / "run")]
    assert main([*run, "--device", "bogus"]) == 2
    assert main([*run, "--threads", "-1"]) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_prepare_leaves_neither_files_nor_processes(tmp_path, demo_face_paths, number):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(1500):  # far more than half a second's work
        (pictures / f"{i}.jpg").symlink_to(demo_face_paths[i % len(demo_face_paths)])
    command = [sys.executable, "-m", "maskmtl.cli", "prepare", str(pictures), "--out", str(tmp_path / "out" / "faces")]
    process = subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/.faces*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)  # the workers begin
    # Ctrl-C goes to every process of a terminal, SIGTERM to one
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=120)  # ends only when no process holds its pipes any more
    assert (process.returncode, err) == (130, "maskmtl: stopped, nothing half-made was left\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_train_then_resume_then_evaluate(prepared, tmp_path, capsys):
    run = tmp_path / "run"
    quick = ["--epochs", "2", "--masks", "none", "--batch-size", "8", "--threads", str(torch.get_num_threads())]
    assert main(["train", str(prepared), "--run", str(run), "--sharing", "hierarchical", *quick]) == 0
    assert main(["train", str(prepared), "--run", str(run), *quick]) == 2  # the folder is taken
    assert "resume it" in capsys.readouterr().err
    assert main(["train", str(prepared), "--run", str(run), "--resume", "--lr", "1"]) == 2
    assert main(["train", str(prepared), "--run", str(run), "--resume"]) == 0  # nothing left to do
    assert main(["evaluate", str(prepared), "--model", str(run), "--json"]) == 0
    captured = capsys.readouterr()
    n = json.loads(captured.out[captured.out.index("{") :])["masks"]["none"]["n"]
    splits = pd.read_parquet(prepared / "manifest.parquet")["random"]
    assert n == (splits == "test").sum()  # the default leaves out what the model has seen


def test_an_interrupt_stops_cleanly_between_batches(prepared, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "maskmtl.cli", "train", str(prepared), "--run", str(run), "--epochs", "500"]
    process = subprocess.Popen([*command, "--masks", "none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "last.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "go on with --resume" in out and "Traceback" not in err
    epochs = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert epochs and epochs == list(range(1, len(epochs) + 1))
    assert not [name for name in os.listdir(run) if name.endswith(".partial")]


def test_models_and_help(capsys):
    assert main(["models", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    with pytest.raises(SystemExit) as failed:
        main(["fly"])
    assert failed.value.code == 2


def test_the_command_starts_without_heavy_imports():
    heavy = "[m for m in ('torch', 'cv2', 'pandas') if m in sys.modules]"
    code = f"import sys, maskmtl.cli; maskmtl.cli._parser(lambda command: None); print({heavy})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
