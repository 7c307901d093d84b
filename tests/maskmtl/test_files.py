"""Temporary folders, and what a process that was killed leaves."""

import os
import subprocess
import sys

from maskmtl.files import FRESH, sweep, temporary_folder

KILLED = "import os; from maskmtl.files import temporary_folder; print(temporary_folder()[0], flush=True); os._exit(9)"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, env=environment, check=False)
    left, (mine, remove) = tmp_path / done.stdout.strip().rsplit("/", 1)[1], temporary_folder()
    (left / "face.jpg").write_bytes(b"a face")
    (tmp_path / "maskmtl-notes.txt").write_text("a file of somebody's")
    (tmp_path / "maskmtl-link").symlink_to(left)
    sweep()
    assert left.is_dir()  # it may be about to be locked
    for path in (left, mine, tmp_path / "maskmtl-notes.txt"):
        os.utime(path, (0, path.stat().st_mtime - FRESH - 1))
    sweep()
    assert not left.exists() and mine.is_dir() and (tmp_path / "maskmtl-notes.txt").is_file()
    remove()
    assert not mine.exists()
