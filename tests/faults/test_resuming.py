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


def killed(process: subprocess.Popen[str], metrics: Path, delay: float, signum: signal.Signals) -> bool:
    """Sends the signal some seconds after the run has begun to write; whether it was in time."""
    size = metrics.stat().st_size if metrics.exists() else 0
    while process.poll() is None and (not metrics.exists() or metrics.stat().st_size == size):
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=300)
    ends = {-signal.SIGKILL: True, 128 + signal.SIGTERM: True, -signal.SIGTERM: True, 0: False}
    assert process.returncode in ends, errors  # a SIGTERM may come before the command is there to catch it
    return ends[process.returncode]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "settings", "kills", "span"),
    [
        ("agents.cem_plan", [*SMALL, "episodes=8", "first_updates=60", "updates=60"], (1, 10), 4.0),
        ("agents.ppo_imagine", [*PPO, "episodes=5", "first_updates=40", "updates=40"], (1, 4), 4.0),
        ("worldmodel.train", FIT, (1, 6), 3.0),
    ],
)
@pytest.mark.timeout(900)
def test_killed_at_random_moments(
    tmp_path: Path,
    module: str,
    settings: list[str],
    kills: tuple[int, int],
    span: float,
    faults: Callable[[int, int], int],
) -> None:
    if module == "worldmodel.train":
        collected = ["env=cartpole_gym", "env.time_limit=24", "env.size=[16,16]", "policy=random", "episodes=4"]
        finish(start(tmp_path, "agents.collect", *collected, "run=data"))
        settings = [*settings, "data=data/episodes"]
    finish(start(tmp_path, module, *settings, "run=whole"))
    chance = random.Random(module)
    wanted, counts, run = faults(*kills), {signal.SIGKILL: 0, signal.SIGTERM: 0}, tmp_path / "cut"
    while sum(counts.values()) < wanted:
        signum = signal.SIGTERM if sum(counts.values()) % 3 == 1 else signal.SIGKILL
        going_on = ["resume=true"] if (run / "config.yaml").exists() else settings
        process = start(tmp_path, module, *going_on, "run=cut")
        if not killed(process, run / "metrics.jsonl", chance.uniform(0, span / wanted), signum):
            break
        counts[signum] += 1
    going_on = ["resume=true"] if (run / "config.yaml").exists() else settings
    finish(start(tmp_path, module, *going_on, "run=cut"))
    assert list(differences(tmp_path / "whole", run)) == []
    assert not [path for path in run.rglob("*") if is_leftover(path)]
    print(
        f"{module}: {counts[signal.SIGKILL]} SIGKILLs and {counts[signal.SIGTERM]} SIGTERMs at random moments: the same"
    )
    print(f"{len(repeatable_records(run))} records, episodes and weights as the run that was never stopped")
    assert sum(counts.values()) == wanted, "the run ended before it was killed often enough: make it longer"
