"""Worker processes that leave Ctrl-C to their parent, and that end when it does."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import cv2


class Workers(ProcessPoolExecutor):
    """A pool of single-threaded processes; the calling script needs `if __name__ == "__main__"`."""

    def __init__(self, n: int) -> None:
        super().__init__(n, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)

    def submit(self, *args: Any, **kwargs: Any) -> Future:
        """As ProcessPoolExecutor's; a process that it starts inherits a blocked SIGINT, so that it never sees one. No
        SIGTERM comes to us while one is half started."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            return super().submit(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a worker
    parent.join()
    os._exit(1)
