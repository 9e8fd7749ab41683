"""A disk that refuses is said in one line and an exit status, and nothing that was there is harmed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pytest
from commands import Command, running
from forking import Forker, forking

from worldmodel.checkpoint import read_checkpoint
from worldmodel.comparison import differences
from worldmodel.episode import episode_path, load_episode
from worldmodel.files import is_leftover
from worldmodel.series import latest

pytestmark = pytest.mark.faults

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root, to mount a small tmpfs and to give its rights away")
SMALL = [
    *("env=cartpole_gym", "env.time_limit=24", "env.size=[16,16]", "train.batch=2", "train.window=6", "context=2"),
    *("train.unrolling.open_loop=3", "episodes=2", "seed_episodes=1", "first_updates=2", "updates=2"),
    *("evaluate_every=2", "evaluation_episodes=1", "planner.horizon=3", "planner.candidates=8"),
    *("planner.iterations=1", "planner.elites=2", "accelerator=cpu", "precision=32-true"),
    *("model.stages=[[8,1],[8,1]]", "model.hidden=16", "model.feature=16", "model.head=16"),
]


@contextmanager
def mounted(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own; skips where none can be mounted, as in most containers."""
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def heard() -> Iterator[IO[bytes]]:
    with TemporaryFile() as file:
        yield file


@pytest.fixture(scope="module")
def forker(heard: IO[bytes]) -> Iterator[Forker]:
    with forking(heard) as found:
        yield found


@pytest.fixture
def errors(heard: IO[bytes]) -> Callable[[], list[str]]:
    """Lines on standard error since it was last called, or since the test began."""
    place = heard.seek(0, os.SEEK_END)

    def lines() -> list[str]:
        nonlocal place
        found = os.pread(heard.fileno(), 1 << 20, place)
        place += len(found)
        return found.decode().splitlines()

    return lines


@needs_root
def test_a_full_disk_at_every_size(
    tmp_path: Path, forker: Forker, errors: Callable[[], list[str]], faults: Callable[[int, int], int]
) -> None:
    """A checkpoint and an episode into ever more room, until they fit: what is refused harms nothing."""
    counts = dict.fromkeys(("save_checkpoint", "save_one_episode"), 0)
    with mounted(tmp_path / "small", 4096) as small:
        for function in counts:
            folder = small / function
            assert forker.start("as_command", function, folder, 1, 2000).end() == 0
            step, kilobytes, status, last = faults(16, 4), 0, 2, 1
            while status:
                free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
                (small / "filler").write_bytes(bytes(free - 1024 * kilobytes))
                number = last + 1 if function == "save_checkpoint" else 1
                status = forker.start("as_command", function, folder, number, 2000).end()
                if status:
                    assert status == 2
                    (line,) = errors()
                    assert line.startswith("error: ") and "No space left on device: free some space" in line, line
                    assert not any(map(is_leftover, folder.iterdir()))
                    counts[function] += 1
                if function == "save_checkpoint":
                    newest = latest(folder)
                    assert newest is not None and read_checkpoint(newest).trainer()["number"] == int(newest.name)
                    assert int(newest.name) in ((last, number) if status else (number,))  # no room to mark the best
                    last = int(newest.name)
                else:
                    assert load_episode(episode_path(folder, 0)).seed == (1 if status else number)
                (small / "filler").unlink()
                kilobytes += step
    print(f"a full disk: {counts['save_checkpoint']} saves of a checkpoint and {counts['save_one_episode']} of an")
    print("episode refused, each with one line and exit status 2; 0 losses")
    assert min(counts.values()) > 1


@needs_root
def test_a_folder_that_may_not_be_written(tmp_path: Path, forker: Forker, errors: Callable[[], list[str]]) -> None:
    with mounted(tmp_path / "fixed", 1024) as folder:
        assert forker.start("as_command", "save_checkpoint", folder / "run", 1, 100).end() == 0
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert forker.start("as_command", "save_checkpoint", folder / "run", 2, 100).end() == 2
        (line,) = errors()
        assert "Read-only file system: give a folder that can be written; what was saved before is whole" in line
        assert latest(folder / "run") == folder / "run" / "000001"
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and path.name.startswith("pytest-"):
            path.chmod(0o711)
    closed = tmp_path / "closed"
    assert forker.start("save_checkpoint", closed, 1, 100).end() == 0
    closed.chmod(0o755)
    assert forker.start("as_nobody", "save_checkpoint", closed, 2, 100).end() == 2
    (line,) = errors()
    assert "Permission denied: give a folder that you may read and write" in line
    assert latest(closed) == closed / "000001"


@pytest.fixture(scope="module")
def cem_plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with running("agents.cem_plan", tmp_path_factory.mktemp("home"), *SMALL) as command:
        yield command


@needs_root
@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_once_there_is_room(
    tmp_path: Path, cem_plan: Command, faults: Callable[[int, int], int]
) -> None:
    outcome = cem_plan(f"run={tmp_path / 'whole'}")
    assert outcome.status == 0, outcome.stderr
    refusals = 0
    with mounted(tmp_path / "small", 8192) as small:
        for part in range(faults(1, 8)):
            run, filler = small / str(part), small / "filler"
            free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
            filler.write_bytes(bytes(free - 1024 * 25 * (part + 1)))
            outcome = cem_plan(f"run={run}")
            assert outcome.status == 2, outcome
            assert "No space left on device" in outcome.stderr and "Traceback" not in outcome.stderr
            refusals += 1
            filler.unlink()
            outcome = cem_plan(f"run={run}", *(["resume=true"] if (run / "config.yaml").exists() else []))
            assert outcome.status == 0, outcome.stderr
            assert list(differences(tmp_path / "whole", run)) == []
            subprocess.run(["rm", "-r", str(run)], check=True)
    print(f"{refusals} runs met a full disk: each ended with one line and exit status 2, and went on to the same end")
