"""Processes that start in milliseconds, to be killed in great numbers: forked from one that has imported everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from worldmodel.files import is_leftover

ROOT = Path(__file__).resolve().parents[2]

# Imports argv, forks for every line, ["function", arguments...], and tells the child's process, then how it ended.
FORKER = """
import importlib, json, os, sys
import doing
for module in sys.argv[1:]:
    importlib.import_module(module)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 70
        try:
            getattr(doing, name)(*arguments)
            status = 0
        except SystemExit as end:
            status = end.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(json.dumps({"pid": child}), flush=True)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)
"""


class Forked:
    """One forked process: what it prints, and how it ends."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self.pid: int = json.loads(answers.readline())["pid"]
        self.said: list[Any] = []

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def stop_amid(self, folder: Path) -> None:
        """Stops it, not for good, at a moment when it is writing in `folder`."""
        while True:
            until_busy(folder)
            os.kill(self.pid, signal.SIGSTOP)
            while (state := self._state()) != "T":  # a call that it is in comes to its end first
                assert state not in "XZ", "it ended by itself"
                time.sleep(0.001)
            if is_busy(folder):
                return
            os.kill(self.pid, signal.SIGCONT)

    def _state(self) -> str:
        """A letter, by Linux: T where it is stopped, Z where it has ended."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def end(self) -> int:
        """Waits; its exit status, or minus the signal that ended it. What it said meanwhile is in `said`."""
        while True:
            answer = json.loads(self._answers.readline())
            if isinstance(answer, dict) and "ended" in answer:
                return int(answer["ended"])
            self.said.append(answer)


class Forker:
    """Calls functions of `doing` in processes of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, function: str, *arguments: Any) -> Forked:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([function, *map(_plain, arguments)]), file=self._process.stdin, flush=True)
        return Forked(self._process.stdout)


def is_busy(folder: Path) -> bool:
    """Whether something is being written in it, or was left half written."""
    return any(map(is_leftover, folder.iterdir()))


def until_busy(folder: Path) -> None:
    """Waits for something to be written in it."""
    while not is_busy(folder):
        time.sleep(0.001)


def _plain(argument: Any) -> Any:
    return str(argument) if isinstance(argument, Path) else argument


@contextmanager
def forking(errors: IO[Any] | None = None, *, imported: Sequence[str] = ()) -> Iterator[Forker]:
    """Starts the process that others are forked from, with more modules imported; `errors` takes what they print."""
    path = os.pathsep.join(map(str, (Path(__file__).parent, ROOT / "tests", ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", FORKER, *imported]
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=errors, text=True) as process:
        yield Forker(process)
        assert process.stdin is not None
        process.stdin.close()
