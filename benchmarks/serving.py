"""A workbench of its own for what measures it."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from maskmtl.paths import ROOT


@contextmanager
def workbench(port: int) -> Iterator[tuple[str, int]]:
    """Its address and process, without any runs, while the block lasts."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "workbench" / "app.py"), "--server.port", str(port)]
    with tempfile.TemporaryDirectory() as runs, open(os.devnull, "w") as quiet:
        server = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, "MASKMTL_RUNS": runs})
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield url, server.pid
        finally:
            server.terminate()
            server.wait(20)
