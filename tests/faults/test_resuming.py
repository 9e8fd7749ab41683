"""A run that is killed at random moments ends as one that never was: the same weights, episodes and records."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_disk import SMALL

from worldmodel.comparison import differences, repeatable_records
from worldmodel.files import is_leftover
from worldmodel.records import read_records

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
PPO = [
    *(setting for setting in SMALL if not setting.startswith("planner.")),
    *("ppo.num_envs=2", "ppo.n_steps=8", "ppo.batch_size=16", "ppo.steps=16", "ppo.horizon=4", "trust_horizon=4"),
]
FIT = ["save_every=40", "updates=800", "horizon=2", "held_out=0.25", "accelerator=cpu", "precision=32-true"]
FIT += [setting for setting in SMALL if setting.startswith(("model.", "train.", "context"))]


def start(folder: Path, module: str, *overrides: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-m", module, *overrides]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def progress(run: Path) -> int:
    """How many records there are of what the run did."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    happened = (b'{"kind": "header"', b'{"kind": "resume"')
    return sum(line.endswith(b"\n") and not line.startswith(happened) for line in lines)


def killed(process: subprocess.Popen[str], run: Path, target: int, delay: float, signum: signal.Signals) -> None:
    """Sends the signal some milliseconds after the run has written so many records."""
    while process.poll() is None and progress(run) < target:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=300)
    assert process.returncode in (-signum, 128 + signum), errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "settings", "kills"),
    [
        ("agents.cem_plan", [*SMALL, "episodes=8", "first_updates=60", "updates=60"], 10),
        ("agents.ppo_imagine", [*PPO, "episodes=5", "first_updates=40", "updates=40"], 4),
        ("worldmodel.train", FIT, 6),
    ],
)
@pytest.mark.timeout(900)
def test_killed_at_random_moments(
    tmp_path: Path, module: str, settings: list[str], kills: int, faults: Callable[[int, int], int]
) -> None:
    if not faults(0, kills):
        pytest.skip(f"{module} is killed {kills} times by make faults; its own tests kill it once")
    if module == "worldmodel.train":
        collected = ["env=cartpole_gym", "env.time_limit=24", "env.size=[16,16]", "policy=random", "episodes=4"]
        finish(start(tmp_path, "agents.collect", *collected, "run=data"))
        settings = [*settings, "data=data/episodes"]
    finish(start(tmp_path, module, *settings, "run=whole"))
    chance = random.Random(module)
    run, counts = tmp_path / "cut", {signal.SIGKILL: 0, signal.SIGTERM: 0}
    targets = sorted(chance.sample(range(1, progress(tmp_path / "whole") - 6), kills))
    for number, target in enumerate(targets):
        signum = signal.SIGTERM if number % 3 == 1 else signal.SIGKILL
        going_on = ["resume=true"] if (run / "config.yaml").exists() else settings
        process = start(tmp_path, module, *going_on, "run=cut")
        killed(process, run, target, chance.uniform(0, 0.1), signum)
        counts[signum] += 1
    finish(start(tmp_path, module, "resume=true", "run=cut"))
    assert list(differences(tmp_path / "whole", run)) == []
    assert not [path for path in run.rglob("*") if is_leftover(path)]
    (header,) = read_records(run / "metrics.jsonl", "header")
    assert all(setting in header["command"].replace("'", "") for setting in settings)  # so that it can be repeated
    print(f"{module}: {counts[signal.SIGKILL]} SIGKILLs and {counts[signal.SIGTERM]} SIGTERMs at random moments: the")
    print(f"same {len(repeatable_records(run))} records, episodes and weights as the run that was never stopped")
