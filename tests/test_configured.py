"""What Hydra refuses is one line, unless Hydra's own switch asks for all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import os
from worldmodel.configured import configured

@configured("summary")
def main(config):
    if config.size == [16, 16]:
        raise ValueError("cannot reshape")
    print(config.train.batch, config.train.weights.get("more"), os.environ.get("HYDRA_FULL_ERROR"))

main()
print("went on", os.environ.get("HYDRA_FULL_ERROR"))
"""


def run(folder: Path, *overrides: str, switch: str | None = None, script: str = SCRIPT) -> tuple[int, str, str]:
    variables = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    variables |= {"PYTHONPATH": str(ROOT)} | ({} if switch is None else {"HYDRA_FULL_ERROR": switch})
    command = [sys.executable, "-W", "error", "-c", script, *overrides]
    outcome = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)
    return outcome.returncode, outcome.stdout, outcome.stderr


@pytest.mark.parametrize("switch", [None, "0", "1"])
def test_commands_that_a_command_begins_have_the_switch_as_the_user_set_it(tmp_path: Path, switch: str | None) -> None:
    said = run(tmp_path, "train.batch=3", "+train.weights.more=2", switch=switch)
    assert said == (0, f"3 2 {switch}\nwent on {switch}\n", "")


@pytest.mark.parametrize("switch", [None, "0"])
def test_a_mistake_is_a_line_and_with_the_switch_all_of_it(tmp_path: Path, switch: str | None) -> None:
    line = "error: there is no setting trian.batch: did you mean train.batch\n"
    assert run(tmp_path, "trian.batch=3", switch=switch) == (2, "", line)
    status, output, errors = run(tmp_path, "trian.batch=3", switch="1")
    assert (status, output) == (1, "") and errors.startswith("Traceback") and "ConfigCompositionException" in errors


@pytest.mark.parametrize("traced", [False, True])
def test_an_error_that_is_a_bug_of_the_command_keeps_its_traceback(tmp_path: Path, traced: bool) -> None:
    """In a debugger, too, where Hydra raises what it would print."""
    script = "import sys\nsys.settrace(lambda *_: None)\n" * traced + SCRIPT
    status, output, errors = run(tmp_path, "size=[16,16]", script=script)
    assert (status, output) == (1, "") and "Traceback" in errors and "ValueError: cannot reshape" in errors


def test_a_reference_is_looked_up_in_what_is_added(tmp_path: Path) -> None:
    assert run(tmp_path, "+train.weights.more=${train.batch}", "train.batch=5")[1].startswith("5 5 ")
