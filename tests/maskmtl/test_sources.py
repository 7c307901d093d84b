import io
import os
import tarfile
import zipfile

import pandas as pd
import pytest

from maskmtl.sources import looks_like_utkface, parse_utkface, read_source, stem


def test_a_utkface_name():
    columns, reason = parse_utkface("26_1_3_20170117154900123.jpg.chip.jpg")
    assert reason is None
    assert columns == {"age": 26, "gender": 1, "ethnicity": 3, "captured": "20170117154900123"}


@pytest.mark.parametrize(
    "name",
    [
        "24_0_1_20170116220224657 .jpg.chip.jpg",  # a blank
        "55_0_0_20170116232725357jpg.chip.jpg",  # no dot
        "14_0_0_2017011022340900.jpg.chip.jpg",  # a digit less
        "28_1_2_201701161846515488.jpg.chip.jpg",  # a digit more
    ],
)
def test_odd_names_of_the_archive_that_have_all_fields(name):
    columns, reason = parse_utkface(name)
    assert reason is None
    assert columns["age"] == int(name[:2])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("61_1_20170109142408075.jpg.chip.jpg", "4 fields, age_gender_ethnicity_captured, got 3"),
        ("39_1_20170116174525125.jpg.chip.jpg", "4 fields, age_gender_ethnicity_captured, got 3"),
        ("53__0_20170116184028385.jpg.chip.jpg", "4 fields, age_gender_ethnicity_captured, got 3"),
        ("x_1_0_20170116184028385.jpg", "should have numbers"),
        ("1_1_0_yesterday.jpg", "should have numbers"),
        ("117_0_0_20170116184028385.jpg", r"age should be in 0..116 years, got 117"),
        ("20_2_0_20170116184028385.jpg", r"gender should be in 0..1 \(male, female\), got 2"),
        ("20_1_5_20170116184028385.jpg", r"ethnicity should be in 0..4 .*, got 5"),
    ],
)
def test_names_that_are_not_guessed_at(name, reason):
    with pytest.raises(AssertionError, match=reason):
        assert parse_utkface(name)[1] is None, parse_utkface(name)[1]


def test_stem():
    assert stem("part1/20_1_0_20170116184028385.jpg.chip.jpg") == "part1/20_1_0_20170116184028385"
    assert stem("55_0_0_20170116232725357jpg.chip.jpg") == "55_0_0_20170116232725357"
    assert stem("anna.png") == "anna"


def test_which_names_are_utkface():
    assert looks_like_utkface(["1_0_0_20170101.jpg", "61_1_20170109142408075.jpg", "x.jpg"])
    assert not looks_like_utkface(["IMG_0001.jpg", "anna.png"])
    for name in (
        "0_MariaCallas_35_f.jpg",
        "10000217_1981-05-05_2009.jpg",
        "009055_1M54.JPG",
        "14_Aaron_Johnson_0001.jpg",
    ):
        assert not looks_like_utkface([name])  # of AgeDB, IMDB-WIKI, MORPH, CACD


def test_a_folder_of_own_pictures_has_no_labels_and_asks_for_alignment(tmp_path, demo_face_paths):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "anna.jpg").write_bytes(demo_face_paths[0].read_bytes())
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    pictures, total, aligned = read_source(tmp_path)
    assert (total, aligned) == (1, False)
    assert [(p.path, dict(p.columns)) for p in pictures] == [("a/anna.jpg", {})]


def test_a_csv_with_own_columns(tmp_path, demo_face_paths):
    (tmp_path / "anna.jpg").write_bytes(demo_face_paths[0].read_bytes())
    (tmp_path / "ben.jpg").write_bytes(demo_face_paths[1].read_bytes())
    rows = [("anna.jpg", 31, "Female", "asian", "hall"), ("gone.jpg", 3, "male", "white", "yard")]
    rows += [
        ("anna.jpg", 31, "woman", "asian", "hall"),
        ("anna.jpg", 131, "female", "asian", "hall"),
        ("ben.jpg", None, None, None, "hall"),
    ]
    pd.DataFrame(rows, columns=["path", "age", "gender", "ethnicity", "site"]).to_csv(tmp_path / "own.csv", index=False)
    good, gone, word, old, unlabelled = read_source(tmp_path / "own.csv")[0]
    assert good.reason is None and dict(good.columns) == {"age": 31, "gender": 1, "ethnicity": 2, "site": "hall"}
    assert "can't be read" in gone.reason
    assert "gender should be one of ['male', 'female'], got 'woman'" in word.reason
    assert "age should be in 0..116 years, got 131" in old.reason
    assert unlabelled.reason is None and pd.isna(unlabelled.columns["age"]) and pd.isna(unlabelled.columns["gender"])


def test_sources_that_can_not_be_used(tmp_path):
    with pytest.raises(ValueError, match="which does not exist"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="folder should hold pictures"):
        read_source(tmp_path)
    (tmp_path / "a.csv").write_text("file,age\nx.jpg,3\n")
    with pytest.raises(ValueError, match=r"column 'path', filled in every row, got columns \['file', 'age'\]"):
        read_source(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(ValueError, match="CSV should have a header"):
        read_source(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("path,digest\nx.jpg,3\n")
    with pytest.raises(ValueError, match="rename them"):
        read_source(tmp_path / "c.csv")
    (tmp_path / "d.rar").write_text("")
    with pytest.raises(ValueError, match=r"folder, a \.zip, a \.tar\.gz or a \.csv"):
        read_source(tmp_path / "d.rar")


def test_a_csv_whose_cells_are_not_guessed_at(tmp_path, demo_face_paths):
    for name in ("007", "8"):
        (tmp_path / name).write_bytes(demo_face_paths[0].read_bytes())
    lines = ["path,age,captured", "007,20,20170112", "8,young,20170113", "007,30,20170112", "9\0,5,20170112"]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    number, word, again, nothing = read_source(tmp_path / "own.csv")[0]
    assert (number.path, number.columns["captured"], number.reason) == ("007", "20170112", None)
    assert word.reason == "age should be a number of years, got 'young'"
    assert again.reason == "the path stands in an earlier row as well"
    assert nothing.reason == "the file can't be read: embedded null byte"


def test_a_csv_with_columns_that_can_not_be_used(tmp_path):
    (tmp_path / "split.csv").write_text("path,split\n1.jpg,train\n2.jpg,\n3.jpg,testing\n")
    with pytest.raises(
        ValueError, match=r"'split' should hold train, val, test or nothing, got \['testing', 'train'\]"
    ):
        read_source(tmp_path / "split.csv")
    (tmp_path / "random.csv").write_text("path,random\n1.jpg,train\n")
    with pytest.raises(ValueError, match=r"\['random'\] are names that the manifest makes itself"):
        read_source(tmp_path / "random.csv")


def test_a_broken_archive_says_so(tmp_path, demo_face_paths):
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(whole, "w:gz") as archive:
        for path in demo_face_paths[:5]:
            archive.add(path, arcname=f"UTKFace/1_0_0_2017010{path.name}")
    assert len(list(read_source(whole)[0])) == 5
    (tmp_path / "half.tar.gz").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"whole \.tar\.gz"):
        list(read_source(tmp_path / "half.tar.gz")[0])


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("stored", "paths"),
    [(["faces/a/anna.jpg", "faces/b/anna.jpg"], ["a/anna.jpg", "b/anna.jpg"]),
     (["a/anna.jpg", "b/anna.jpg"], ["a/anna.jpg", "b/anna.jpg"]),
     (["anna.jpg", "b/ben.jpg"], ["anna.jpg", "b/ben.jpg"])],
)  # fmt: skip
def test_an_archive_of_own_pictures(tmp_path, demo_face_paths, stored, paths):
    with tarfile.open(tmp_path / "own.tar.gz", "w:gz") as archive:
        for name, path in zip(stored, demo_face_paths, strict=False):
            archive.add(path, arcname=name)
        archive.add(demo_face_paths[0], arcname=f"{stored[0].rsplit('/', 1)[0]}/notes.txt")
    pictures, total, aligned = read_source(tmp_path / "own.tar.gz")
    assert (total, aligned) == (2, False)
    assert [(p.path, dict(p.columns)) for p in pictures] == [(path, {}) for path in paths]


def test_an_archive_without_pictures(tmp_path):
    with tarfile.open(tmp_path / "own.tar.gz", "w:gz"):
        pass
    with pytest.raises(ValueError, match="archive should hold pictures"):
        read_source(tmp_path / "own.tar.gz")


def test_a_name_that_is_not_utf8(tmp_path, demo_face_paths):
    folder = os.fsencode(tmp_path) + b"/faces"
    os.mkdir(folder)
    with open(folder + b"/J\xf6rg.jpg", "wb") as file:
        file.write(demo_face_paths[0].read_bytes())
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(tmp_path / "faces", arcname="faces")
    for source in ("faces", "faces.tar"):
        (picture,), _, _ = read_source(tmp_path / source)
        assert picture.path == "J\\xf6rg.jpg" and picture.data == demo_face_paths[0].read_bytes()
        assert pd.DataFrame({"path": [picture.path]})["path"].item() == picture.path


def test_a_zip_is_read_as_its_folder_would_be(tmp_path, demo_face_paths):
    data = demo_face_paths[0].read_bytes()
    files = {"in/a.jpg": data, "__MACOSX/in/._a.jpg": b"x", "notes.txt": b"x", "../b.PNG": data}
    pictures, total, aligned = read_source(zipped(tmp_path / "faces.zip", files))
    assert (total, aligned) == (2, False)
    assert [(picture.path, picture.data) for picture in pictures] == [("../b.PNG", data), ("in/a.jpg", data)]
    (picture,), _, aligned = read_source(zipped(tmp_path / "utk.zip", {"26_1_3_20170117154900123.jpg": data}))
    assert aligned and picture.columns["age"] == 26


def test_the_csv_of_a_zip_tells_what_its_pictures_show(tmp_path, demo_face_paths):
    data = demo_face_paths[0].read_bytes()
    files = {"set/faces.csv": "path,age,site\na.jpg,30,north\nmissing.jpg,31,south\n", "set/a.jpg": data}
    pictures, total, _ = read_source(zipped(tmp_path / "faces.zip", files))
    first, second = pictures
    assert total == 2 and first.data == data and first.columns["age"] == 30 and first.columns["site"] == "north"
    assert "can't be read" in second.reason and "missing.jpg" in second.reason


def test_a_zip_that_can_not_be_used(tmp_path, demo_face_paths, monkeypatch):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"archive should be a whole \.zip"):
        read_source(broken)
    with pytest.raises(ValueError, match="archive should hold pictures"):
        read_source(zipped(tmp_path / "empty.zip", {"notes.txt": b"x"}))
    with pytest.raises(ValueError, match="at most one CSV"):
        read_source(zipped(tmp_path / "two.zip", {"train.csv": b"path\n", "val.csv": b"path\n", "a.jpg": b"x"}))
    monkeypatch.setattr("maskmtl.sources.LARGEST", 1)
    with pytest.raises(ValueError, match=r"CSV should be readable.*larger than 1 MB"):
        read_source(zipped(tmp_path / "bomb.zip", {"faces.csv": b"path\n" + b"a.jpg\n" * 2**19}))
    rows = b"".join(b"%d.jpg,3\n" % i for i in range(999))
    damaged = zipped(tmp_path / "damaged.zip", {"faces.csv": b"path,age\n" + rows})
    damaged.write_bytes(damaged.read_bytes().replace(damaged.read_bytes()[300:320], bytes(20)))
    with pytest.raises(ValueError, match="CSV should be readable"):
        read_source(damaged)
    (bomb,), _, _ = read_source(zipped(tmp_path / "bomb.zip", {"a.jpg": b"\0" * (3 * 2**20)}))
    assert "larger than 1 MB" in bomb.reason
    whole = zipped(tmp_path / "damaged.zip", {"a.jpg": demo_face_paths[0].read_bytes()})
    data = bytearray(whole.read_bytes())
    data[200:260] = bytes(60)
    whole.write_bytes(data)
    (damaged,), _, _ = read_source(whole)
    assert "can't be read" in damaged.reason


def test_what_stands_twice_in_an_archive_counts_once(tmp_path, demo_face_paths):
    first, second = (path.read_bytes() for path in demo_face_paths[:2])
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", first)
        archive.writestr("a.jpg", second)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for data in (first, second):
            member = tarfile.TarInfo("faces/a.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    for name in ("a.zip", "a.tar"):
        pictures = list(read_source(tmp_path / name)[0])
        assert [picture.path for picture in pictures] == ["a.jpg", "a.jpg"]
        assert [picture.reason for picture in pictures] == [None, "the archive has a file of this name already"]


def test_a_large_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("maskmtl.sources.LARGEST", 1)
    large = tmp_path / "faces" / "a.jpg"
    large.parent.mkdir()
    large.write_bytes(bytes(2 * 2**20))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(large, "a.jpg")
    (tmp_path / "a.csv").write_text("path\nfaces/a.jpg\n")
    for source in (large.parent, tmp_path / "a.tar", tmp_path / "a.csv"):
        (picture,) = read_source(source)[0]
        assert "larger than 1 MB" in picture.reason and not picture.data


def test_a_csv_can_not_name_a_device(tmp_path):
    (tmp_path / "a.csv").write_text("path\n/dev/zero\n")
    (picture,) = read_source(tmp_path / "a.csv")[0]
    assert "it is no file" in picture.reason


def test_a_folder_that_can_not_be_looked_into_is_listed(tmp_path, demo_face_paths, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").write_bytes(demo_face_paths[0].read_bytes())
    as_ever = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return as_ever(path)

    monkeypatch.setattr("os.scandir", scandir)  # tests may run as root, who may look everywhere
    pictures, n, _ = read_source(tmp_path)
    assert [(p.path, p.reason) for p in pictures] == [
        ("a.jpg", None), ("closed", "the folder can't be read: Permission denied"),
    ]  # fmt: skip
    assert n == 2
