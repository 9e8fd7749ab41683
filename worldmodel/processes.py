"""What child processes owe their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable


def follow_parent(end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """For the start of a child process: it leaves SIGINT to its parent, and ends when that does, however that ends.

    A parent that was killed ends nobody in order: its children would wait for work for ever.

    Args:
        end: ends this process at once, from another thread than its main one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(end,), daemon=True).start()


def _end_with_parent(end: Callable[[], object]) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    end()
