"""Commands end so that people can read why, and lose nothing on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SCRIPT = """
import errno, os, sys, time
from omegaconf import OmegaConf
from worldmodel.command import command, uninterrupted
from worldmodel.errors import DataError, EnvError

@command
def main(what, *, times=1):
    try:
        if what == "succeed":
            print("worked " * times)
        elif what == "mistake":
            raise DataError("9 frames: give 10")
        elif what == "broken environment":
            try:
                {}["joint"]
            except KeyError as error:
                raise EnvError("Arm-v0 failed: mend it") from error
        elif what == "missing":
            OmegaConf.create({"data": {"folder": "???"}}).data.folder
        elif what == "missing within":
            OmegaConf.to_container(OmegaConf.create({"env": {"id": "???"}, "run": "runs/${env.id}"}), resolve=True)
        elif what == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/metrics.jsonl")
        elif what == "no network":
            raise OSError(errno.ENETUNREACH, "no route")
        elif what == "whole":
            with uninterrupted():
                print("waiting", flush=True)
                sys.stdin.readline()
                print("done", flush=True)
            print("swallowed")
        elif what == "bug":
            raise ZeroDivisionError("a bug")
        else:
            print("waiting", flush=True)
            try:
                time.sleep(60)
            except Exception:
                print("swallowed")
    finally:
        print("closed", flush=True)

main(sys.argv[1], times=2)
print("went on")
"""


def start(folder: Path, what: str, *path: Path) -> subprocess.Popen[str]:
    """The script in a process of its own, `path` on its sys.path before the project."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    command = [sys.executable, "-W", "error", "-P", "-c", SCRIPT, what]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_arguments_reach_the_command_and_success_is_quiet(tmp_path: Path) -> None:
    process = start(tmp_path, "succeed")
    assert process.communicate(timeout=60) == ("worked worked \nclosed\nwent on\n", "")
    assert process.returncode == 0


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    process = start(tmp_path, "mistake")
    assert process.communicate(timeout=60) == ("closed\n", "error: 9 frames: give 10\n")
    assert process.returncode == 2


def test_a_setting_without_a_value_is_a_mistake_too(tmp_path: Path) -> None:
    process = start(tmp_path, "missing")
    assert process.communicate(timeout=60) == ("closed\n", "error: data.folder is missing: set data.folder=\n")
    assert process.returncode == 2
    process = start(tmp_path, "missing within")
    assert process.communicate(timeout=60) == ("closed\n", "error: env.id is missing: set env.id=\n")


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    process = start(tmp_path, "bug")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "closed\n")
    assert errors.startswith("Traceback") and errors.endswith("ZeroDivisionError: a bug\n")


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_unwinds_the_command(tmp_path: Path, signum: signal.Signals, status: int) -> None:
    process = start(tmp_path, "wait")
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signum)
    assert process.communicate(timeout=60) == ("closed\n", f"\nstopped by {signum.name}\n")
    assert process.returncode == status


def test_what_an_environment_raised_is_told_before_the_line_that_says_the_mend(tmp_path: Path) -> None:
    process = start(tmp_path, "broken environment")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "closed\n")
    assert errors.startswith("Traceback") and errors.endswith("KeyError: 'joint'\nerror: Arm-v0 failed: mend it\n")


def test_a_disk_that_refuses_is_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    process = start(tmp_path, "full disk")
    line = "error: run/metrics.jsonl: No space left on device: free some space; what was saved before is whole\n"
    assert process.communicate(timeout=60) == ("closed\n", line)
    assert process.returncode == 2
    process = start(tmp_path, "no network")
    assert process.communicate(timeout=60)[1].startswith("Traceback") and process.returncode == 1


def test_what_must_be_whole_is_ended_first(tmp_path: Path) -> None:
    process = start(tmp_path, "whole")
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate("go on\n", timeout=60) == ("done\nclosed\n", "\nstopped by SIGTERM\n")
    assert process.returncode == 143


def test_a_second_signal_is_not_held_back(tmp_path: Path) -> None:
    process = start(tmp_path, "whole")
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("closed\n", "\nstopped by SIGINT\n")
    assert process.returncode == 130


def test_a_foreign_package_of_our_name_is_a_mistake_too(tmp_path: Path) -> None:
    (tmp_path / "foreign" / "agents").mkdir(parents=True)
    (tmp_path / "foreign" / "agents" / "__init__.py").touch()
    process = start(tmp_path, "succeed", tmp_path / "foreign")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert errors.startswith("error: package 'agents' is ") and errors.count("\n") == 1
