"""A run is run again from its own record, and what differs is said; a foreign record runs nothing of its own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_module

from agents.repeat import recorded_calls
from worldmodel.comparison import differences
from worldmodel.errors import ConfigError, DataError

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def configurations() -> Iterator[None]:
    """As within a command."""
    with initialize_config_module("configs", version_base="1.3"):
        yield


ROOT = Path(__file__).resolve().parent.parent
TINY = ["env=cartpole_gym", "env.time_limit=12", "env.size=[16,16]", "policy=random", "precision=32-true"]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a collection in `run`, of two episodes and then a third."""
    folder = tmp_path_factory.mktemp("home")
    for settings in ([*TINY, "episodes=2"], ["resume=true", "episodes=3"]):
        outcome = python(folder, "agents.collect", *settings, "run=run")
        assert outcome.returncode == 0, outcome.stderr
    return folder


def test_a_run_is_repeated_with_what_its_resumptions_changed(home: Path) -> None:
    first, second = recorded_calls(home / "run", trusted=False)
    assert first == ["-m", "agents.collect", *TINY, "episodes=2"]
    assert second == ["-m", "agents.collect", "episodes=3", "resume=true"]
    outcome = python(home, "agents.repeat", "run=run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert f"$ python {shlex.join(first)} run=run-again\n" in outcome.stdout
    assert "run-again is run again: 2 records, 3 files of episodes and weights\n" in outcome.stdout
    assert len(list((home / "run-again" / "episodes").iterdir())) == 3
    outcome = python(home, "agents.repeat", "run=run")
    assert (outcome.returncode, outcome.stderr) == (
        2,
        "error: run-again already holds a run: set again= to a new folder\n",
    )


def test_what_differs_is_said(home: Path) -> None:
    shutil.copytree(home / "run", home / "other")
    metrics = home / "other" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("episodes=2 run", "episodes=2 seed=1 run"))
    outcome = python(home, "agents.repeat", "run=other")
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[-1] == "other-again differs from other"
    assert "differs: record 0 (collection): seed 0 there, 1 here" in lines
    assert sum(line.startswith("differs: episodes/00000") for line in lines) == 3


def test_runs_are_compared_by_records_episodes_and_weights(home: Path) -> None:
    run, changed = home / "run", home / "changed"
    shutil.copytree(run, changed)
    assert list(differences(run, changed)) == []
    (changed / "episodes" / "000001.safetensors").unlink()
    metrics = changed / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    records[-1] |= {"wall_clock_s": 77.0}  # what a clock gave does not count
    metrics.write_text("".join(json.dumps(record) + "\n" for record in [*records, records[-1]]))
    first, second = differences(run, changed)
    assert first == f"{len(records) - 2} records there, {len(records) - 1} here"
    assert second.startswith("episodes/000001.safetensors: SHA-256 ") and second.endswith("… there, missing here")


@pytest.mark.parametrize("kind", ["header", "resume"])  # the latter as older versions wrote it
def test_a_run_that_was_killed_before_it_said_how_it_was_begun_is_not_repeated(tmp_path: Path, kind: str) -> None:
    """What its folder is told later are the settings that changed alone."""
    record = {"kind": kind, "command": "python -m agents.collect env=cup", "config": {"resume": False}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    assert recorded_calls(tmp_path, trusted=False) == [["-m", "agents.collect", "env=cup"]]
    record |= {"command": "python -m agents.collect run=cut resume=true", "config": {"resume": True}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ConfigError, match=r"was killed before it wrote down .*, by its \S+config\.yaml$"):
        recorded_calls(tmp_path, trusted=False)


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        ("python -m os", ConfigError, r"was begun by 'python -m os': what can be repeated is agents\.cem_plan, "),
        ("python -m agents.play", ConfigError, r"what can be repeated is"),
        ("rm -rf /", ConfigError, r"what can be repeated is"),
        ("python -m agents.collect --config-dir=/tmp", ConfigError, r"'--config-dir=/tmp', which is no setting"),
        ("python -m agents.collect --config-name --multirun", ConfigError, r"'--multirun', which is none of ours"),
        (
            "python -m agents.collect hydra.searchpath=[x]",
            ConfigError,
            r"'hydra\.searchpath=\[x\]', which is no",
        ),
        ("python -m agents.collect +hydra/launcher=x", ConfigError, r"which is no setting of agents\.collect"),
        ("python -m agents.collect 'env.id=${env.name}'", ConfigError, r"which is no setting of agents\.collect"),
        (
            "python -m agents.collect env=../../theirs",
            ConfigError,
            r"'env=\.\./\.\./theirs', which is no choice",
        ),
        (
            "python -m agents.collect +env@env=/tmp/theirs",
            ConfigError,
            r"which is no choice of ours",
        ),
        ("python -m agents.collect --config-name ../theirs", ConfigError, r"'\.\./theirs', which is none of ours"),
        ("python -m agents.collect nonsense=1", ConfigError, r"by settings that there are no longer"),
        ("python -m 'agents.collect", DataError, r"does not say by which command it was begun \(ValueError"),
        ("python", DataError, r"does not say by which command it was begun \(ValueError"),
        (3, DataError, r"does not say by which command it was begun \(ValueError"),
        (None, DataError, r"does not say by which command it was begun \(ValueError"),
    ],
)
def test_a_record_runs_commands_of_ours_alone(
    tmp_path: Path, command: Any, error: type[Exception], message: str
) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"kind": "header", "command": command}) + "\n")
    with pytest.raises(error, match=message):
        recorded_calls(tmp_path, trusted=False)


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("agents.collect", "env=gymnasium env.id=mine:Env", "env.id=mine:Env"),
        ("agents.cem_plan", "goal=a.png goal_cost=mine:cost", "goal_cost=mine:cost"),
        ("agents.collect", "policy=sb3 sb3=theirs.zip trusted=true", "sb3=theirs.zip"),
    ],
)
def test_code_that_a_record_names_is_run_only_when_trusted(
    tmp_path: Path, command: str, settings: str, said: str
) -> None:
    record = {"kind": "header", "command": f"python -m {command} {settings} run=x"}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ConfigError, match=f"was begun with {said}, which runs code: set trusted=true if you trust it"):
        recorded_calls(tmp_path, trusted=False)
    (call,) = recorded_calls(tmp_path, trusted=True)
    assert call[:2] == ["-m", command] and "run=x" not in call


def test_how_a_run_was_resumed_is_kept(tmp_path: Path) -> None:
    commands = ["env=cartpole_gym run=x", "resume=true run=x", "resume=anyway episodes=3 run=x"]
    kinds = ["header", "resume", "resume"]
    records = [{"kind": k, "command": f"python -m agents.collect {c}"} for k, c in zip(kinds, commands, strict=True)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    first, last = recorded_calls(tmp_path, trusted=False)
    assert (first[2:], last[2:]) == (["env=cartpole_gym"], ["episodes=3", "resume=anyway"])


def test_a_run_without_a_header_cannot_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "fit"}\n')
    with pytest.raises(DataError, match="does not say how the run was begun: it has no header"):
        recorded_calls(tmp_path, trusted=False)
    with pytest.raises(DataError, match=r"has no metrics\.jsonl: give the folder of a run"):
        list(differences(tmp_path / "nowhere", tmp_path))
