"""The command as people run it: a folder of episodes, being killed and going on, and mistakes that are a line each."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.seeds import seed_of
from worldmodel.episode import Episode, load_episode
from worldmodel.records import read_records

ROOT = Path(__file__).resolve().parent.parent
TINY = [
    *("env=cartpole_gym", "env.time_limit=20", "env.size=[16,16]", "policy=simulator", "seed=5", "exploration=0.2"),
    *("planner.horizon=3", "planner.candidates=6", "planner.iterations=1", "planner.elites=2"),
    *("accelerator=cpu", "precision=32-true"),
]
# Runs the command once for each list of overrides in argv, as JSON; prints exit status and standard error of each.
SEVERAL = """
import contextlib, io, json, runpy, sys
outcomes = []
for overrides in json.loads(sys.argv[1]):
    sys.argv[1:] = overrides
    status, said = 0, io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            runpy.run_module("agents.collect", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    outcomes.append([status, said.getvalue()])
print(json.dumps(outcomes))
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A Python process with warnings as errors, in a session of its own; its two outputs are one."""
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "error", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *arguments: str) -> str:
    """What it says in all; it must succeed."""
    with start(folder, *arguments) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(home: Path) -> str:
    """What a run of four episodes said, from beginning to end, in `home` / "whole"."""
    return run(home, "-m", "agents.collect", *TINY, "episodes=4", "run=whole")


def episodes(folder: Path) -> list[Episode]:
    return [load_episode(path) for path in sorted((folder / "episodes").glob("*.safetensors"))]


def check_same(a: Episode, b: Episode) -> None:
    for part in ("frames", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(a, part), getattr(b, part), err_msg=part)
    for part in ("terminated", "truncated", "spec", "seed", "actor"):
        assert getattr(a, part) == getattr(b, part), part


def test_a_run_fills_a_folder_and_says_what_it_earned(home: Path, whole: str) -> None:
    played = episodes(home / "whole")
    assert [episode.seed for episode in played] == [seed_of(5, "collect", index) for index in range(4)]
    assert {episode.actor for episode in played} == {"simulator"}
    assert played[0].spec.task == "CartPole-v1" and played[0].spec.time_limit == 20
    for index, episode in enumerate(played):
        assert f"episode {index:>4}: return {episode.total:.1f} in {len(episode)} decisions\n" in whole
    head, table, *paths = whole.splitlines()[-5:]
    assert head.split() == ["mean", "std", "min", "max", "episodes"]
    returns = np.array([episode.total for episode in played])
    expected = [f"{x:.1f}" for x in (returns.mean(), returns.std(), returns.min(), returns.max())]
    assert table.split() == ["simulator", *expected, "4"]
    assert paths == ["whole/episodes", "whole/metrics.jsonl", "whole/report.html"] and "run folder: whole\n" in whole


def test_the_records_say_what_happened(home: Path, whole: str) -> None:
    header, collection = map(json.loads, (home / "whole" / "metrics.jsonl").read_text().splitlines())
    assert header["kind"] == "header" and header["config"]["planner"]["candidates"] == 6
    command = ["python", "-m", "agents.collect", *TINY, "episodes=4", "run=whole"]
    assert shlex.split(header["command"]) == command
    returns = [episode.total for episode in episodes(home / "whole")]
    assert collection.pop("wall_clock_s") > 0
    assert collection == {
        "kind": "collection",
        "env": "cartpole_gym",
        "task": "CartPole-v1",
        "seed": 5,
        "policy": "simulator",
        "episodes": 4,
        "env_frames": 2 * sum(len(episode) for episode in episodes(home / "whole")),
        "returns": returns,
        "return_mean": sum(returns) / 4,
    }


@pytest.mark.slow
def test_a_run_killed_while_two_play_goes_on_with_what_is_missing(home: Path, whole: str) -> None:
    with start(home, "-m", "agents.collect", *TINY, "episodes=5000", "workers=2", "run=cut") as process:
        assert process.stdout is not None
        try:
            said = ""
            while not said.startswith("episode "):
                said = process.stdout.readline()
                assert said, "it ended before it was killed"
            process.kill()
            process.communicate(timeout=60)  # until the last worker, too, has let go of the output
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    filed = {path: path.stat() for path in (home / "cut" / "episodes").glob("*.safetensors")}
    assert 0 < len(filed) < 5000
    total = max(4, max(int(path.stem) for path in filed) + 2)
    ended = run(home, "-m", "agents.collect", f"episodes={total}", "workers=1", "run=cut", "resume=true")
    assert sum(line.startswith("episode ") for line in ended.splitlines()) == total - len(filed)
    for path, before in filed.items():
        assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns
    found = episodes(home / "cut")
    assert len(found) == total
    for a, b in zip(episodes(home / "whole"), found[:4], strict=True):
        check_same(a, b)

    path = home / "cut" / "metrics.jsonl"
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds == ["header", "resume", "collection"]
    (collection,) = read_records(path, "collection")
    assert collection["returns"] == [episode.total for episode in found] and collection["episodes"] == total


def test_a_log_that_was_cut_or_is_gone_on_with_says_nothing_twice(home: Path) -> None:
    """Cut by a full disk, or for want of power: where its score stood, and where it said how it was begun."""
    run(home, "-m", "agents.collect", *TINY, "episodes=1", "run=torn")
    path = home / "torn" / "metrics.jsonl"
    header, last = path.read_text().splitlines(keepends=True)
    for found, kinds in (
        (header + last[: len(last) // 2], ["header", "resume", "collection"]),
        (None, ["header", "resume", "collection", "resume"]),  # of a run that had ended
        (header[:9], ["header", "collection"]),
    ):
        if found is not None:
            path.write_text(found)
        run(home, "-m", "agents.collect", "episodes=2", "run=torn", "resume=true")
        assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == kinds
        assert read_records(path, "collection")[0]["episodes"] == 2


@pytest.fixture
def fixed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made, not by root either."""
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o500)
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs, as whoever runs this may write anywhere")
    yield folder
    if os.geteuid() == 0:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_folder_that_cannot_be_written_is_a_line(tmp_path: Path, fixed: Path) -> None:
    with start(tmp_path, "-m", "agents.collect", *TINY, "episodes=1", f"run={fixed / 'run'}") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    (line,) = said.splitlines()
    assert line == f"error: {fixed / 'run'} cannot be made (Read-only file system): choose another run="
    assert list(tmp_path.iterdir()) == [fixed]


RESUMED = "resume=true run=whole"
MISTAKES = {
    "policy=greedy": "policy is 'greedy': set one of random, planner, simulator, sb3",
    "policy=planner": "policy=planner lacks checkpoint: set checkpoint= to the path of one",
    "policy=planner checkpoint=whole": "whole is not a checkpoint folder: it has no config.json",
    "policy=sb3": "policy=sb3 lacks sb3: set sb3= to the path of one",
    "workers=0": "workers is 0: set a whole number >= 1",
    "episodes=1.5": "episodes is 1.5: set a whole number >= 1",
    "seed=-1": "seed is -1: set a whole number >= 0",
    "exploration=-0.1": "exploration is -0.1: set a finite number >= 0",
    "planner.elites=7 workers=2": "elites (7) exceed candidates (6): set planner.elites <= 6",
    "planner=icem": "icem does not plan discrete actions, which CartPole-v1 takes: set planner= to one of cem, ",
    "env.id=Nonsense-v0": "Gymnasium has no environment 'Nonsense-v0'",
    "rendering=bogus": "rendering is 'bogus': set one of standard, fast",
    "env_timeout=0": "env_timeout is 0: set seconds > 0, 86400 at most, or null for no process apart",
    "env_timeout=soon": "env_timeout is 'soon': set seconds > 0",
    "env_timeout=5": "policy=simulator plans in the environment, which must run in this process: set env_timeout=null",
    "accelerator=bogus": "accelerator bogus",
    "run=whole": "whole already holds a run: add resume=true to go on with it, or choose another run=",
    "resume=true": "holds no run to resume (no config.yaml)",
    "run=/sys/nothere": "/sys/nothere cannot be made (",  # a folder that nobody can make
    f"{RESUMED} policy=random": "whole was begun otherwise: policy simulator then, random now: resume it as it was",
    f"{RESUMED} planner.elites=1": "whole was begun otherwise: planner.elites 2 then, 1 now: resume it as it was",
}


@pytest.fixture(scope="module")
def mistakes(home: Path, whole: str) -> dict[str, Any]:
    """Exit status and standard error of each, from one process."""
    calls = []
    for number, overrides in enumerate(MISTAKES):
        given = [] if RESUMED in overrides else [*TINY, f"run=mistake{number}"]
        given = [one for one in given if one.split("=")[0] not in [own.split("=")[0] for own in overrides.split()]]
        calls.append([*given, *overrides.split()])
    *_, last = run(home, "-c", SEVERAL, json.dumps(calls)).splitlines()
    return dict(zip(MISTAKES, json.loads(last), strict=True))


@pytest.mark.parametrize(("overrides", "says"), MISTAKES.items())
def test_a_mistake_is_one_line_that_says_its_mend(mistakes: dict[str, Any], overrides: str, says: str) -> None:
    status, said = mistakes[overrides]
    assert status == 2, said
    (line,) = said.splitlines()
    assert line.startswith("error: ") and says in line


def test_a_mistake_leaves_no_run_behind(home: Path, mistakes: dict[str, Any]) -> None:
    """So the same command, mended, can run; a run that was to be resumed is as it was, and nothing lies beside it."""
    assert {path.name for path in home.iterdir()} <= {"whole", "cut", "torn"}
    assert len(episodes(home / "whole")) == 4
    assert len((home / "whole" / "metrics.jsonl").read_text().splitlines()) == 2
