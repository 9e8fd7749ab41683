"""Memory of a replay that has read from all of its episodes: ``python -m benchmarks.memory FOLDER`` prints MiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measured import Measured
from benchmarks.workload import ROOT, write_episodes
from worldmodel.errors import WorldModelError
from worldmodel.replay import Replay

BATCH, WINDOW = 32, 12
LEAST = 300  # batches, so that few episodes are read as often as many


def replay(many: int = 1000, few: int = 10, *, length: int = 125) -> Measured:
    """Anonymous memory (MiB) of a process that has read windows of every episode, for `many` against `few` of them.

    `ratio` is value / baseline: the nearer to 1 the better. The files of `many` come to 1.5 MB each for a length of
    125, in the temporary folder.
    """
    anonymous()  # where this is unknown, fail before the files are written
    with TemporaryDirectory() as folder:
        write_episodes(Path(folder) / "many", many, length=length)
        write_episodes(Path(folder) / "few", few, length=length)
        value, baseline = (in_a_new_process(Path(folder) / name) for name in ("many", "few"))
    return Measured(value, baseline, "MiB", value / baseline)


def in_a_new_process(folder: Path) -> float:
    """`after_reading`, without what this process has taken for itself."""
    command = [sys.executable, "-m", "benchmarks.memory", str(folder)]
    return float(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)


def after_reading(folder: Path) -> float:
    """`anonymous` once every episode has been read from; rewards tell which one a window is of."""
    episodes, rng = Replay(folder), np.random.default_rng(0)
    seen: set[float] = set()
    batches = 0
    while batches < LEAST or len(seen) < episodes.episodes:
        seen.update(episodes.sample(BATCH, WINDOW, rng, minimum=2).rewards[:, 0].tolist())
        batches += 1
    return anonymous()


def anonymous(status: Path = Path("/proc/self/status")) -> float:
    """MiB of this process that are no file's: pages of files count as its memory, yet the system can drop them.

    Raises WorldModelError where the system does not tell.
    """
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise WorldModelError(
        f"memory.replay needs RssAnon of {status}, which Linux has: measure the other rows with ONLY="
    )


if __name__ == "__main__":
    print(after_reading(Path(sys.argv[1])))
