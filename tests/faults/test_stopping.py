"""A run that is stopped at any of the calls by which it plays, fits and saves ends as one that never was.

Kills at random moments seldom meet what takes no time, such as the lines between a record and its checkpoint.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from forking import Forker, forking
from test_resuming import FIT, PPO, SMALL

from worldmodel.comparison import differences
from worldmodel.records import read_records

pytestmark = pytest.mark.faults

COLLECT = ["env=cartpole_gym", "env.time_limit=24", "env.size=[16,16]", "policy=random", "episodes=4"]
COMMANDS = {  # with settings, and how often each is stopped
    "worldmodel.train": ([*FIT, "updates=6", "save_every=2", "data=data/episodes"], 24),
    "agents.cem_plan": ([*SMALL, "episodes=4", "first_updates=3", "updates=3"], 15),
    "agents.ppo_imagine": ([*PPO, "episodes=3", "first_updates=3", "updates=3"], 9),
    "agents.collect": (COLLECT, 15),
}


def run(forker: Forker, module: str, folder: Path, *settings: str, target: int = 0, signum: int = 0) -> tuple[int, str]:
    """Its exit status, and where it was stopped; where it was not, of how many calls."""
    process = forker.start("run_command", module, folder, list(settings), target, signum)
    status = process.end()
    (said,) = process.said
    return status, str(said)


@pytest.mark.slow
@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.timeout(900)
def test_stopped_at_any_call(tmp_path: Path, module: str, faults: Callable[[int, int], int]) -> None:
    settings, stops = COMMANDS[module]
    if not faults(0, stops):
        pytest.skip(f"{module} is stopped at {stops} of its calls by make faults; its own tests stop it at some")
    output, counts = tmp_path / "output.txt", {signal.SIGKILL: 0, signal.SIGTERM: 0}
    with forking(imported=[*COMMANDS, "av", "matplotlib.pyplot", "pygame"]) as forker:
        if module == "worldmodel.train":
            assert run(forker, "agents.collect", tmp_path, *COLLECT, "run=data")[0] == 0, output.read_text()
        status, calls = run(forker, module, tmp_path, *settings, "run=whole")
        assert status == 0, output.read_text()
        chance = random.Random(module)
        for number, target in enumerate(sorted(chance.sample(range(1, int(calls)), stops))):
            signum = signal.SIGKILL if number % 3 == 1 else signal.SIGTERM
            begun = run(forker, module, tmp_path, *settings, "run=cut", target=target, signum=signum)
            assert begun[0] in (-signum, 128 + signum), (begun, output.read_text())
            going_on = ["resume=true"] if (tmp_path / "cut" / "config.yaml").exists() else settings
            ended = run(forker, module, tmp_path, *going_on, "run=cut")
            assert ended[0] == 0, (begun, output.read_text())
            assert list(differences(tmp_path / "whole", tmp_path / "cut")) == [], begun
            assert len(read_records(tmp_path / "cut" / "metrics.jsonl", "header")) == 1, begun
            shutil.rmtree(tmp_path / "cut")
            counts[signum] += 1
    print(f"{module}: {counts[signal.SIGTERM]} SIGTERMs and {counts[signal.SIGKILL]} SIGKILLs at calls of {calls}:")
    print("each time the same records, episodes and weights as the run that was never stopped")
