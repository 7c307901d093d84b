import sys
from pathlib import Path

import numpy as np
import pytest

from maskmtl.manifest import Pixels


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssFile"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no RssFile")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_all_pixels_of_a_file_does_not_fill_the_memory(tmp_path):
    shape = (640, 200, 200, 3)  # 77 MB
    np.memmap(tmp_path / "faces.u8", np.uint8, "w+", shape=shape)[:] = 7
    mapped = np.memmap(tmp_path / "faces.u8", np.uint8, "r", shape=shape)
    before = resident_mb()
    pixels = Pixels(mapped)
    for i in range(0, len(pixels), 64):
        assert (pixels[i : i + 64] == 7).all()
        assert (pixels[i] == 7).all()
    assert resident_mb() < before + 20
    assert mapped.sum() == 7 * np.prod(shape)  # as it was
    assert resident_mb() > before + 60  # what is not given back does fill it
