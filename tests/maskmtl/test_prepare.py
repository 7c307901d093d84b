import json
import os
import tarfile

import numpy as np
import pandas as pd
import pytest

from maskmtl.manifest import load_faces, open_faces
from maskmtl.prepare import _some, prepare
from maskmtl.sources import Picture

NAMES = ["26_1_3_20170105000000001", "30_0_0_20170113000000002", "4_0_2_20170118000000003", "80_1_1_20170119000000004"]


@pytest.fixture
def folder(tmp_path, demo_face_paths):
    """Four good faces, and one of each thing that can be wrong."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, path in zip(NAMES, demo_face_paths[:: len(demo_face_paths) // 4], strict=False):
        (pictures / f"{name}.jpg.chip.jpg").write_bytes(path.read_bytes())
    good = demo_face_paths[0].read_bytes()
    (pictures / "61_1_20170109142408075.jpg.chip.jpg").write_bytes(good)
    (pictures / "20_7_0_20170116184028385.jpg.chip.jpg").write_bytes(good)
    (pictures / "21_1_0_20170116184028385.jpg.chip.jpg").write_bytes(good[: len(good) // 2])
    (pictures / "22_1_0_20170116184028385.jpg.chip.jpg").write_bytes(b"")
    return pictures


def test_good_faces_are_taken_and_each_other_listed_with_its_reason(folder, tmp_path):
    done = prepare(folder, tmp_path / "out")
    assert (done.faces, done.rejected) == (4, 4)
    faces = load_faces(tmp_path / "out")
    assert sorted(faces.table["face_id"]) == sorted(NAMES)
    row = faces.table.set_index("face_id").loc[NAMES[0]]
    assert (row["age"], row["gender"], row["ethnicity"], row["captured"]) == (26, 1, 3, "20170105000000001")
    reasons = pd.read_csv(tmp_path / "out" / "rejected.csv").set_index("path")["reason"]
    assert "4 fields" in reasons["61_1_20170109142408075.jpg.chip.jpg"]
    assert "gender should be in 0..1" in reasons["20_7_0_20170116184028385.jpg.chip.jpg"]
    assert reasons["21_1_0_20170116184028385.jpg.chip.jpg"] and reasons["22_1_0_20170116184028385.jpg.chip.jpg"]
    assert faces.images.shape == (4, 200, 200, 3) and len(faces.landmarks) == 4
    parts = load_faces(tmp_path / "out", "parts").table.set_index("face_id")["split"]
    assert parts[NAMES].tolist() == ["train", "test", "val", "val"]


def test_an_archive_gives_the_same_faces_as_its_folder(folder, tmp_path):
    archive = tmp_path / "faces.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="UTKFace")
    prepare(folder, tmp_path / "a")
    prepare(archive, tmp_path / "b", workers=1)
    a, b = load_faces(tmp_path / "a"), load_faces(tmp_path / "b")
    by_id = b.table.set_index("face_id").loc[a.table["face_id"]].reset_index()
    pd.testing.assert_frame_equal(a.table, by_id[a.table.columns])


def test_a_pool_of_workers_gives_the_same_as_one(tmp_path, demo_face_paths):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, path in enumerate(demo_face_paths[:80]):
        (pictures / f"{i}_1_0_20170105000000001.jpg").write_bytes(path.read_bytes())
    prepare(pictures, tmp_path / "one", workers=1)
    prepare(pictures, tmp_path / "two", workers=2)
    for name in ("faces.u8", "landmarks.npz", "rejected.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    one, two = load_faces(tmp_path / "one"), load_faces(tmp_path / "two")
    pd.testing.assert_frame_equal(one.table, two.table)


@pytest.mark.parametrize("variable", ["MASKMTL_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_demo_faces_open_where_nothing_can_be_cached(monkeypatch, variable, demo_faces):
    for name in ("MASKMTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "/proc/nowhere")
    faces = open_faces("demo")
    pd.testing.assert_frame_equal(faces.table, demo_faces.table)
    assert faces.name == "demo" and np.array_equal(faces.images[:3], demo_faces.images[:3])


def test_own_columns_survive_and_missing_labels_stay_missing(tmp_path, demo_face_paths):
    table = pd.DataFrame(
        {
            "path": [str(p) for p in demo_face_paths[:3]],
            "age": [5, None, 70],
            "site": ["hall", "yard", "hall"],
            "split": ["test", "train", "test"],
        }
    )
    table.to_csv(tmp_path / "own.csv", index=False)
    prepare(tmp_path / "own.csv", tmp_path / "out", align=False)
    faces = load_faces(tmp_path / "out")
    assert faces.table["site"].tolist() == ["hall", "yard", "hall"]
    assert faces.table["age"].isna().tolist() == [False, True, False]
    assert faces.table["gender"].isna().all()
    assert faces.table["split"].tolist() == ["test", "train", "test"]


def test_own_splits_that_divide_near_duplicates_are_counted(tmp_path, demo_face_paths):
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(demo_face_paths[0].read_bytes())
    rows = [(str(demo_face_paths[0]), "train"), (str(copy), "test"), (str(demo_face_paths[9]), "test")]
    pd.DataFrame(rows, columns=["path", "split"]).to_csv(tmp_path / "own.csv", index=False)
    assert prepare(tmp_path / "own.csv", tmp_path / "out", align=False).divided == 2


def test_a_plain_folder_opens_without_a_trace_left(folder):
    faces = open_faces(folder)
    assert len(faces) == 4 and faces.table["split"].isna().all()
    assert sorted(p.name for p in folder.parent.iterdir()) == ["pictures"]


def test_nothing_is_overwritten_unasked(folder, tmp_path):
    prepare(folder, tmp_path / "out")
    before = (tmp_path / "out" / "prepare.json").read_bytes()
    with pytest.raises(ValueError, match="add --overwrite"):
        prepare(folder, tmp_path / "out")
    assert (tmp_path / "out" / "prepare.json").read_bytes() == before
    prepare(folder, tmp_path / "out", overwrite=True, size=64)
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["size"] == 64
    with pytest.raises(ValueError, match="name a new folder"):  # never a folder that prepare did not make
        prepare(folder, folder, overwrite=True)


def test_overwriting_loses_neither_the_old_nor_the_new(folder, tmp_path, monkeypatch):
    prepare(folder, tmp_path / "out", size=64)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(OSError, match="is a link or a mount"):
        prepare(folder, tmp_path / "link", overwrite=True)
    before = (tmp_path / "out" / "prepare.json").read_text()
    as_ever = os.rename

    def rename(old, new):
        if ".partial" in str(old) and not str(new).endswith(".partial"):
            monkeypatch.setattr("os.rename", as_ever)
            raise OSError("no space left on device")
        as_ever(old, new)

    monkeypatch.setattr("os.rename", rename)
    with pytest.raises(OSError, match="no space left"):
        prepare(folder, tmp_path / "out", overwrite=True, size=96)
    assert (tmp_path / "out" / "prepare.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out", "pictures"]


def test_large_pictures_are_held_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("maskmtl.prepare.BYTES", 100)
    pictures = iter([Picture("a", bytes(60)), Picture("b", bytes(60)), Picture("c", bytes(60))])
    assert [picture.path for picture in _some(pictures, 64)] == ["a", "b"]
    assert [picture.path for picture in _some(pictures, 64)] == ["c"] and _some(pictures, 64) == []


def test_a_failure_leaves_nothing_behind(folder, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "out", progress=interrupt)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures"]


def test_a_source_without_a_usable_face(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1_0_0_20170101000000000.jpg").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="at least one usable face, got none of 1 pictures; the first"):
        prepare(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_listed(folder, tmp_path):
    (folder / f"{NAMES[0]}.jpg.chip.jpg").chmod(0)
    assert prepare(folder, tmp_path / "out").faces == 3


def test_the_archive_itself(utkface):
    """A tenth of the real archive: labels from the names, landmarks found, no group in two splits."""
    table = utkface.table
    assert len(table) == 1500 - len(utkface.rejected)
    assert table["face_id"].is_unique
    assert np.mean(utkface.landmarks.method == "template") < 0.005
    assert (table.dropna(subset="split").groupby("group_id")["split"].nunique() == 1).all()
    assert table["ethnicity"].value_counts().index[0] == 0  # most are annotated white
