import csv
import hashlib
import json
import math
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from maskmtl import masking
from maskmtl.cli import main
from maskmtl.masking import audit, audit_text, choose, file_names, mask_faces, open_source, parse_masks
from maskmtl.masks import MASKS, Landmarks, mask_seed, overlay
from maskmtl.masks.sheet import sheet
from maskmtl.metrics import wilson

KINDS = ("surgical", "cloth:checks:red", "n95:nose_out")
NAN = math.nan


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rgb(path):
    return cv2.imread(str(path))[..., ::-1]


@pytest.fixture(scope="module")
def few(demo_faces):
    """Two chunks of faces; the last one's landmarks are the template, and one picture was not taken."""
    n = masking.CHUNK // len(KINDS) + 3
    some = demo_faces.select(range(n))
    method = np.array(["mesh"] * (n - 1) + ["template"], "<U13")
    landmarks = Landmarks(some.landmarks.points, some.landmarks.presence, method)
    rejected = pd.DataFrame({"path": ["30_1_2_20170101000000001.jpg"], "reason": ["no picture"]})
    return replace(some, landmarks=landmarks, rejected=rejected)


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("masked") / "whole"
    return out, mask_faces(few, out, masks=KINDS, seed=3)


def test_every_face_has_a_mask_or_a_reason(few, whole):
    out, table = whole
    assert len(table) == (len(few) + 1) * len(KINDS)
    assert table.groupby("face_id")["mask"].apply(tuple).map(set).eq(set(KINDS)).all()
    masked = table[table["status"] == "masked"]
    assert len(masked) == len(few) * len(KINDS) and masked["reason"].isna().all()
    for column in ("image", "alpha"):
        assert masked[column].is_unique
    assert all((out / path).is_file() for column in ("image", "alpha", "bare") for path in masked[column])
    failed = table[table["status"] == "failed"]
    assert failed["reason"].tolist() == ["no picture"] * len(KINDS) and failed["image"].isna().all()
    assert failed[["age", "gender", "ethnicity"]].drop_duplicates().values.tolist() == [[30, 1, 2]]  # from its name
    assert sorted(p.name for p in out.iterdir()) == [
        "alphas", "audit.csv", "images", "mask.json", "overlays.parquet",
    ]  # fmt: skip


def test_a_row_says_how_to_draw_its_picture_again(few, whole):
    out, table = whole
    for row in table[table["status"] == "masked"].sample(6, random_state=0).itertuples():
        i = few.table["face_id"].tolist().index(row.face_id)
        assert row.seed == mask_seed(3, row.face_id, row.mask)
        drawn = overlay(few.images[i], few.landmarks.points[i], mask=row.mask, seed=row.seed)
        assert np.array_equal(rgb(out / row.image), drawn.image)
        assert (row.kind, row.colour, row.pattern, row.wear) == (
            drawn.spec.kind, drawn.spec.colour, drawn.spec.pattern, drawn.spec.wear,
        )  # fmt: skip
        assert row.coverage == drawn.coverage and row.method == few.landmarks.method[i]
        assert np.abs(rgb(out / row.alpha)[..., 0] / 255 - drawn.alpha).max() <= 0.5 / 255 + 1e-6
        assert np.array_equal(rgb(out / row.bare), few.images[i])


def test_where_the_alpha_file_is_black_the_photo_is_untouched(whole):
    out, table = whole
    for row in table[table["status"] == "masked"].itertuples():
        alpha = rgb(out / row.alpha)
        untouched = (alpha == 0).all(axis=2)
        assert 0.2 < untouched.mean() < 0.9 and not alpha[..., 2].any()
        assert np.array_equal(rgb(out / row.image)[untouched], rgb(out / row.bare)[untouched])


def test_a_stopped_run_goes_on_to_the_same_files(few, whole, tmp_path):
    seen = []

    def stop(done, total):
        seen.append((done, total))
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        mask_faces(few, out, masks=KINDS, seed=3, progress=stop)
    assert len(list((out / "parts").iterdir())) == 1 and not (out / "overlays.parquet").exists()
    first = (out / "images" / "0001-surgical.png").stat().st_mtime_ns
    (out / "images" / ".0001-n95.png.1.partial").write_bytes(b"half")  # of a process that was killed
    mask_faces(few, out, masks=KINDS, seed=3, progress=lambda *p: seen.append(p))
    assert seen == [(masking.CHUNK // 3, len(few)), (len(few), len(few))]
    assert (out / "images" / "0001-surgical.png").stat().st_mtime_ns == first  # not drawn again
    assert digests(out) == digests(whole[0])


def test_two_workers_write_the_same_files(few, whole, tmp_path):
    mask_faces(few, tmp_path / "out", masks=KINDS, seed=3, workers=2)
    assert digests(tmp_path / "out") == digests(whole[0])


def test_another_seed_draws_other_masks(few, whole, tmp_path):
    one = few.select([0])
    mask_faces(one, tmp_path / "out", masks=KINDS, seed=4)
    assert digests(tmp_path / "out")["images/0001-surgical.png"] != digests(whole[0])["images/0001-surgical.png"]


def test_a_run_with_other_settings_is_refused(few, whole, tmp_path):
    out, _ = whole
    before = digests(out)
    for other, words in (
        ({"seed": 4}, r"seed 4 \(it has 3\)"),
        ({"masks": ("gas",)}, r"masks \['gas'\]"),
        ({"picture": "jpg"}, "format 'jpg'"),
    ):
        with pytest.raises(ValueError, match=f"same settings, got .*{words}.*: name a new folder"):
            mask_faces(few, out, **{"masks": KINDS, "seed": 3, **other})
    with pytest.raises(ValueError, match=r"same settings, got .*faces"):
        mask_faces(few.select([0]), out, masks=KINDS, seed=3)
    assert digests(out) == before
    (tmp_path / "own.txt").write_text("")
    with pytest.raises(ValueError, match="out should be a new folder or an earlier run's"):
        mask_faces(few, tmp_path, masks=KINDS)
    with pytest.raises(ValueError, match="out should be a folder, got the file"):
        mask_faces(few, tmp_path / "own.txt", masks=KINDS)


def test_one_bad_face_fails_with_its_reason_and_stops_nobody(few, tmp_path):
    points = few.landmarks.points[:3].copy()
    points[1] = NAN
    some = few.select([0, 1, 2])
    some = replace(some, landmarks=replace(some.landmarks, points=points))
    table = mask_faces(some, tmp_path / "out", masks=["gas"]).set_index("face_id")
    assert table["status"].tolist() == ["masked", "failed", "masked", "failed"]
    assert table["reason"].iloc[1] == "ValueError: landmarks should be finite, got NaN or infinity"
    assert (tmp_path / "out/images/0002-none.png").is_file() and not (tmp_path / "out/images/0002-gas.png").exists()


def test_a_full_disk_is_no_reason_of_a_face(few, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(masking, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        mask_faces(few.select([0]), tmp_path / "out", masks=["gas"])
    assert not (tmp_path / "out" / "overlays.parquet").exists()


def test_file_names_are_safe_and_unique():
    ids = ["1_0_2_2017", "a/b", "a_b", "a\\b", "Ann", "ann", "..", "", "é", "x" * 300, "-rf", ".hidden"]
    names = file_names(ids)
    assert names[0] == "1_0_2_2017" and names[2] == "a_b"
    assert len({name.lower() for name in names}) == len(ids)
    assert all(name.isascii() and len(name) <= 100 and not set(name) & set("/\\ ") for name in names)
    assert not any(name.startswith((".", "-")) or name in ("", "..") for name in names)
    assert names == file_names(ids) and file_names(["a/b"]) == [names[1]]


def test_parse_masks():
    assert parse_masks(["all"]) == MASKS
    assert parse_masks(["n95", "all", "cloth:red:checks", "n95"]) == (
        "n95", *(m for m in MASKS if m != "n95"), "cloth:checks:red",
    )  # fmt: skip
    for bad, words in (("veil", "mask should be one of"), ("none", "mask should be one of"), ("n95:tall", "detail")):
        with pytest.raises(ValueError, match=words):
            parse_masks([bad])
    with pytest.raises(ValueError, match="got none"):
        parse_masks([])


def face(face_id, status, method, age, gender, ethnicity, masks=2):
    """Rows of one face: its first mask has `status`, the others succeed."""
    labels = {"age": age, "gender": gender, "ethnicity": ethnicity}
    return [
        {"face_id": face_id, "status": status if i == 0 else "masked", "method": method, **labels} for i in range(masks)
    ]


TABLE = pd.DataFrame(
    [
        *face("a", "masked", "mesh", 5, 0, 0),
        *face("b", "failed", "mesh", 7, 1, 0),  # one of its two masks
        *face("c", "masked", "template", 30, 1, 1),
        *face("d", "failed", "template", 30, 0, 1),  # counts as failed alone
        *face("e", "failed", None, NAN, NAN, NAN),  # a picture that was not taken
    ]
)


def test_audit_by_hand():
    figures = audit(TABLE).set_index(["by", "group", "metric"])
    value = lambda *key: figures.loc[key, ["n", "count", "rate", "difference"]].tolist()  # noqa: E731
    assert value("all", "all", "failed") == [5, 3, 0.6, 0]
    assert value("all", "all", "template") == [5, 1, 0.2, 0]
    assert value("ethnicity", "white", "failed") == [2, 1, 0.5, pytest.approx(-0.1)]
    assert value("ethnicity", "black", "template") == [2, 1, 0.5, pytest.approx(0.3)]
    assert value("ethnicity", "unlabelled", "failed") == [1, 1, 1, pytest.approx(0.4)]
    assert value("gender", "male", "failed") == [2, 1, 0.5, pytest.approx(-0.1)]
    assert value("gender", "female", "template") == [2, 1, 0.5, pytest.approx(0.3)]
    assert value("age_band", "0-12", "failed") == [2, 1, 0.5, pytest.approx(-0.1)]
    assert value("age_band", "25-34", "failed") == [2, 1, 0.5, pytest.approx(-0.1)]
    assert list(dict.fromkeys(figures.index.get_level_values("group"))) == [
        "all", "white", "black", "unlabelled", "male", "female", "0-12", "25-34",
    ]  # fmt: skip
    low, high = figures.loc[("all", "all", "failed"), ["ci_low", "ci_high"]]
    # 3 of 5, z = 1.959964: centre .6 + .3841459 = .9841459, half 1.959964 sqrt(.048 + .0384146) = .576161,
    # both over 1 + .7682918
    assert (low, high) == (pytest.approx(0.230724, abs=1e-5), pytest.approx(0.882379, abs=1e-5))
    assert (low, high) == wilson(3, 5)


def test_audit_does_not_count_a_face_once_per_mask():
    twice = pd.concat([TABLE[TABLE["face_id"] == i] for i in "abcde"] + [TABLE[TABLE["face_id"] == "a"]])
    pd.testing.assert_frame_equal(audit(twice), audit(TABLE))


def test_audit_text_points_out_groups_above_the_mean():
    lines = audit_text(audit(TABLE)).splitlines()
    assert lines[1].split()[:5] == ["all", "5", "60.00", "%", "(23.07-88.24)"]
    assert "unlabelled: failed lies 40.00 points above the mean, n 1" in lines
    assert "black: template lies 30.00 points above the mean, n 2" in lines
    assert not any(line.startswith("white: ") for line in lines)


def test_audit_of_the_run_is_written(whole):
    out, table = whole
    pd.testing.assert_frame_equal(pd.read_csv(out / "audit.csv"), audit(table), check_dtype=False)
    overall = audit(table).query("by == 'all'").set_index("metric")["count"]
    assert overall.to_dict() == {"failed": 1, "template": 1}


def test_faces_without_splits_have_none_to_choose(few):
    assert choose(few, "all") is few
    with pytest.raises(ValueError, match="split should be 'all' for faces without splits, got 'test'"):
        choose(few, "test")
    with pytest.raises(ValueError, match="split should be one of"):
        choose(few, "half")


def test_a_csv_says_whom_the_pictures_show_that_were_not_taken(tmp_path, demo_face_paths):
    rows = [(demo_face_paths[0], 20, "male", "white"), ("gone.jpg", 70, "female", "black"), ("away.jpg", 300, 0, 0)]
    with open(tmp_path / "faces.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "age", "gender", "ethnicity"), *rows])
    faces = open_source(str(tmp_path / "faces.csv"), tmp_path / "out")
    table = mask_faces(faces, tmp_path / "out", masks=["gas"])
    assert table["status"].tolist() == ["masked", "failed", "failed"]
    assert table[["age", "gender", "ethnicity"]].iloc[1].tolist() == [70, 1, 1]
    assert table[["age", "gender", "ethnicity"]].iloc[2].isna().all()  # 300 years are no label
    assert "can't be read" in table["reason"].iloc[1]
    assert not (tmp_path / "out" / "parts").exists()  # nor the prepared faces in it


def test_a_stopped_run_does_not_go_on_with_other_pictures(tmp_path, demo_face_paths):
    for name, path in zip(("one", "two"), demo_face_paths, strict=False):
        (tmp_path / name).mkdir()
        shutil.copy(path, tmp_path / name)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="does not exist"):
        open_source(str(tmp_path / "tpyo"), out)  # which does not stand in the way of what was meant
    one = open_source(str(tmp_path / "one"), out)  # and then it was stopped
    with pytest.raises(ValueError, match=r"source should be .*one', as in the run that stopped in"):
        open_source(str(tmp_path / "two"), out)
    again = open_source(str(tmp_path / "two" / ".." / "one"), out)
    assert again.table["face_id"].tolist() == one.table["face_id"].tolist()


def test_one_picture_in_every_kind(demo_face_paths, tmp_path, capsys):
    out, page = tmp_path / "out", tmp_path / "sheet.png"
    command = ["mask", str(demo_face_paths[2]), "--out", str(out), "--sheet", str(page), "--format", "jpg", "--json"]
    assert main(command) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert set(result) == {
        "masks", "seed", "sheet", "out", "faces", "overlays", "masked", "failed", "template", "reasons", "audit",
    }  # fmt: skip
    assert result["masks"] == list(MASKS) and result["sheet"] == str(page) and result["out"] == str(out)
    counts = [result[name] for name in ("faces", "overlays", "masked", "failed", "template")]
    assert counts == [1, len(MASKS), len(MASKS), 0, 0] and result["reasons"] == {}
    assert [(row["by"], row["metric"], row["n"], row["count"]) for row in result["audit"]] == [
        ("all", "failed", 1, 0), ("all", "template", 1, 0),
    ]  # fmt: skip
    assert rgb(page).shape[0] > 600 and len(list((out / "images").glob("0003-*.jpg"))) == len(MASKS) + 1
    assert "no face" not in printed.err


def test_a_picture_without_a_face_is_masked_by_the_template(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((120, 260, 3), 128, np.uint8))
    command = ["mask", str(tmp_path / "flat.png"), "--kinds", "kn95", "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "no face was found" in printed.err
    result = json.loads(printed.out)
    assert (result["masked"], result["template"]) == (1, 1)
    assert rgb(tmp_path / "out/images/flat-kn95.png").shape == (200, 200, 3)


def test_the_command_prints_the_audit(tmp_path, demo_face_paths, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        data = demo_face_paths[i].read_bytes()
        (pictures / f"{20 + i}_{i % 2}_1_2017010{i + 1}000000001.jpg.chip.jpg").write_bytes(data)
    (pictures / "61_1_3_20170109142408075.jpg.chip.jpg").write_bytes(b"nothing")
    command = ["mask", str(pictures), "--kinds", "surgical", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "3 of 4 overlays on 4 faces in" in printed and "1 failed: photo should be a JPEG" in printed
    assert "indian: failed lies 75.00 points above the mean" in printed
    assert main(command) == 0 and capsys.readouterr().out == printed  # nothing is left to do
    assert main(["mask", str(pictures), "--out", str(pictures / "out")]) == 2  # its pictures would be faces next time
    assert "out should lie outside the pictures' folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--out", "{}", "--kinds", "veil"], 2, "mask should be one of"),
        (["--out", "{}", "--kinds", "none"], 2, "mask should be one of"),
        (["--out", "{}", "--format", "gif"], 2, "format should be one of ['png', 'jpg'], got 'gif'"),
        (["--out", "{}", "--split", "test"], 2, "split should be 'all' for faces without splits"),
        (["--out", "{}", "--workers", "0"], 2, "workers should be at least 1, got 0"),
        (["--sheet", "{}.jpg"], 2, "sheet should end in .png"),
        ([], 2, "--out DIR, --sheet PNG or both, got neither"),
        (["--out", "/proc/nowhere/out", "--kinds", "gas"], 1, "No such file"),
    ],
)
def test_wrong_arguments_end_in_a_sentence(arguments, code, message, tmp_path, capsys):
    assert main(["mask", "demo", *(text.format(tmp_path / "out") for text in arguments)]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err and "Traceback" not in printed.err
    assert not list(tmp_path.iterdir())


def test_the_sheet_holds_the_overlays_themselves(few, tmp_path):
    image, points = few.images[0], few.landmarks.points[0]
    page = sheet(image, points, ["gas", "cloth:camouflage:burgundy:nose_out"], 5, face_id="0001")
    assert page.dtype == np.uint8 and page.shape == (2 * (200 + 38 + 10) + 10, 2 * 210 + 10, 3)
    drawn = overlay(image, points, mask="gas", seed=mask_seed(5, "0001", "gas")).image
    assert np.array_equal(page[10:210, 10:210], image) and np.array_equal(page[10:210, 220:420], drawn)
    assert (page[211:248, 10:210] < 128).any()  # the label
    row = sheet(image[::4, ::4].copy(), points, ["gas"], 5, columns=2)
    assert row.shape == (160 + 38 + 20, 2 * 170 + 10, 3)


def test_a_sheet_of_a_data_set_has_a_row_per_face(few, tmp_path):
    masking.write_sheet(few, tmp_path / "sheet.png", ["gas", "n95"], 0)
    assert rgb(tmp_path / "sheet.png").shape == (masking.SHEET_FACES * (200 + 38 + 20), 3 * 210 + 10, 3)
