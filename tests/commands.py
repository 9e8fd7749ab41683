"""Commands as people run them, many in one process, since starting one takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

ROOT = Path(__file__).resolve().parent.parent

# The settings of each come a line.
LOOP = """
import contextlib, io, json, sys
from {module} import main
for line in sys.stdin:
    sys.argv[1:] = json.loads(line)
    status, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


class Outcome(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


class Command(Protocol):
    """Runs it with some settings."""

    def __call__(self, *overrides: str) -> Outcome: ...


@contextmanager
def running(module: str, folder: Path, *common: str, **environment: str) -> Iterator[Command]:
    """The command `python -m module` in a folder, with warnings as errors.

    Args:
        common: settings of every call.
        environment: variables on top of this process's.
    """
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-W", "error", "-c", LOOP.format(module=module)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def run(*overrides: str) -> Outcome:
            print(json.dumps([*common, *overrides]), file=requests, flush=True)
            return Outcome(*json.loads(answers.readline()))

        yield run
