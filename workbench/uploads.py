"""Faces that a person uploads: in this session only, and gone with it unless the person keeps them."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from analyses.report.words import count
from maskmtl.files import temporary_folder
from maskmtl.manifest import Faces, open_faces, save_faces
from maskmtl.sources import csv_paths
from maskmtl.tasks import TASKS
from workbench import parts, resources

TYPES = ("jpg", "jpeg", "png", "webp", "zip", "csv")
UPLOAD = "upload:"  # how a ChosenSet names an upload: by its files
SLOT, TRIED = "upload_faces", "upload_tried"


def choose_upload() -> str | None:
    """The uploader, and the name of what was uploaded; None while there is nothing that can be used.

    What was uploaded outlives the uploader, which Streamlit empties when the page is left.
    """
    files = st.file_uploader(
        "Photos, or a ZIP of photos; beside them or in it, if you have one, a CSV with a column path and annotations",
        TYPES, accept_multiple_files=True, key="set_files", max_upload_size=500,
        help="A face to a photo is found and aligned; pictures under UTKFace names are taken as they are. Columns of "
        "the CSV beside path: age (years), gender (male, female), ethnicity (white, black, asian, indian, others). "
        "Everything stays on this machine and is deleted with the session.", on_change=parts.forget, args=(SLOT,),
    )  # fmt: skip
    if files:
        _read(files)
    elif parts.ordered(SLOT):  # the page was left before they were read
        parts.forget(SLOT)
    kept = st.session_state.get(SLOT)
    if kept is None:
        return None
    name, found = kept
    if not files:
        st.button("Remove the upload", icon=":material/delete:", on_click=parts.forget, args=(SLOT,))
    if isinstance(found, str):
        st.error(parts.plain(f"This upload can't be used: {found}."))
        return None
    st.caption(parts.plain(in_words(found)))
    _offer_to_keep(found)
    return str(name)


def in_words(faces: Faces) -> str:
    """How many there are, what was not taken and why, and how many are annotated."""
    words = [count(len(faces), "face")]
    if len(faces.rejected):
        reasons = faces.rejected["reason"].value_counts()
        words.append(f"{count(len(faces.rejected), 'picture')} not taken (most: {reasons.index[0]})")
    labelled = {task: int(faces.table[task].notna().sum()) for task in TASKS if task in faces.table}
    known = ", ".join(f"{task} {n:,}" for task, n in labelled.items() if n)
    return f"{', '.join(words)}. Annotated: {known or 'none'}."


def _read(files: Sequence[UploadedFile]) -> None:
    """Keep the faces of these files in the session, unless they are there already or their reading was stopped."""
    name = UPLOAD + "-".join(sorted(file.file_id[:8] for file in files))
    if st.session_state.get(SLOT, ("",))[0] == name:
        return
    fresh = st.session_state.get(TRIED) != name
    st.session_state[TRIED] = name
    stopped = not fresh and not parts.ordered(SLOT)
    again = stopped and st.button("Read the faces", type="primary", icon=":material/play_arrow:")
    parts.run_into(SLOT, name if fresh or again else None, _opener(files))


def uploaded(name: str) -> Faces:
    """The faces of this session's upload. ValueError if it has gone."""
    kept = st.session_state.get(SLOT)
    if kept is None or kept[0] != name or isinstance(kept[1], str):
        raise ValueError("the upload has gone with its session: upload the files again")
    return kept[1]


def _opener(files: Sequence[UploadedFile]) -> Callable[[str, DeltaGenerator], tuple[str, Faces | str]]:
    """What reads the files: their name with the faces, or with the reason why there are none."""

    def run(name: str, bar: DeltaGenerator) -> tuple[str, Faces | str]:
        progress = parts.opening(bar, "Looking for faces")
        folder, remove = temporary_folder()
        try:
            return name, open_faces(_written(files, folder), progress=progress)
        except (ValueError, OSError) as error:
            return name, str(error)
        finally:
            remove()

    return run


def _written(files: Sequence[UploadedFile], folder: Path) -> Path:
    """The uploaded files as a source that open_faces reads. ValueError for a mixture that is none."""
    zips = [file for file in files if file.name.lower().endswith(".zip")]
    tables = [file for file in files if file.name.lower().endswith(".csv")]
    if len(tables) > 1 or (zips and len(files) > 1):
        raise ValueError(
            f"an upload should be photos with at most one CSV, or one ZIP, got {len(files)} files, of which "
            f"{len(zips)} ZIPs and {len(tables)} CSVs"
        )
    names = [Path(file.name).name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and tables:
        raise ValueError(f"photos beside a CSV should differ in name, got more than one {', '.join(twice)}")
    target = folder / "upload"
    for i, (file, name) in enumerate(zip(files, names, strict=True)):
        of_its_name = target / f"{i + 1}" if name in twice else target
        of_its_name.mkdir(parents=True, exist_ok=True)
        (of_its_name / name).write_bytes(file.getbuffer())
    for table in tables:
        _check_paths(target / Path(table.name).name)
    single = [*zips, *tables]
    return target / Path(single[0].name).name if single else target


def _check_paths(table: Path) -> None:
    """ValueError for a CSV that names pictures of this machine instead of those that came with it."""
    for path in csv_paths(table):
        if not Path(os.path.normpath(table.parent / path)).is_relative_to(table.parent):
            raise ValueError(f"the CSV's paths should be those of the photos uploaded with it, got {path!r}")


def _offer_to_keep(faces: Faces) -> None:
    with st.expander("Keep these faces on this machine"):
        st.caption("They are deleted with this session, unless you keep them: a folder as `maskmtl prepare` makes it.")
        path = resources.typed(st.text_input("New folder", key="set_keep", placeholder="/path/to/new/folder"))
        if st.button("Keep", disabled=not path, icon=":material/save:"):
            try:
                save_faces(faces, Path(path).absolute())
            except (ValueError, OSError, shutil.Error) as error:
                st.error(parts.plain(f"They can't be kept there: {error}."))
            else:
                st.success(parts.plain(f"Kept in {Path(path).absolute()}."))
