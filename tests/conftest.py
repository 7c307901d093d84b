"""What the tests share: the real data where it is there, and the demo faces."""

from pathlib import Path

import pytest

from maskmtl.manifest import Faces, load_faces, open_faces
from maskmtl.paths import DEMO, ROOT

SHARED = ROOT.parent / "shared" / "data" / "UTKFace.tar.gz"


@pytest.fixture(scope="session")
def shared_archive() -> Path:
    """The UTKFace archive beside the project."""
    if not SHARED.is_file():
        pytest.skip("UTKFace.tar.gz is not in ../shared/data: it can't be part of this repository")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests out of the user's cache and runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKMTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MASKMTL_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="session")
def demo_face_paths() -> list[Path]:
    """The composite demo faces: aligned JPEGs."""
    return sorted(DEMO.glob("*.jpg"))


@pytest.fixture(scope="session")
def demo_faces(own_cache: None) -> Faces:
    """The demo faces, opened as a user would."""
    return open_faces("demo")


@pytest.fixture(scope="session")
def utkface(shared_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """The first 1,500 pictures of the archive, prepared."""
    import itertools
    import tarfile

    from maskmtl.prepare import prepare

    folder = tmp_path_factory.mktemp("utkface")
    with tarfile.open(shared_archive, "r|gz") as archive:
        members = itertools.islice((m for m in archive if m.isfile()), 0, 15_000, 10)
        for member in members:
            file = archive.extractfile(member)
            assert file is not None
            path = folder / "pictures" / Path(member.name).name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(file.read())
    prepare(folder / "pictures", folder / "prepared")
    return load_faces(folder / "prepared")
