"""A run that is stopped at calls by which it plays, fits, writes down and saves ends as one that never was.

Kills at random moments seldom meet what takes no time, such as the lines between a record and its checkpoint. So calls
are drawn by where they are, and each place is as likely as another, however often it is called.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from forking import forking
from test_resuming import FIT, PPO, SMALL

from worldmodel.comparison import differences
from worldmodel.records import read_records

pytestmark = pytest.mark.faults

COLLECT = ["env=cartpole_gym", "env.time_limit=24", "env.size=[16,16]", "policy=random", "episodes=4"]
COMMANDS = {  # with settings, and how often each is stopped
    "worldmodel.train": ([*FIT, "updates=6", "save_every=2", "data=data/episodes"], 30),
    "agents.cem_plan": ([*SMALL, "episodes=4", "first_updates=3", "updates=3"], 16),
    "agents.ppo_imagine": ([*PPO, "episodes=3", "first_updates=3", "updates=3"], 8),
    "agents.collect": (COLLECT, 20),
}
BEGIN = "call of Records.begin (records.py)"  # the folder is made, its log says nothing


@pytest.mark.slow
@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.timeout(900)
def test_stopped_at_calls(tmp_path: Path, module: str, faults: Callable[[int, int], int]) -> None:
    settings, stops = COMMANDS[module]
    if not faults(0, stops):
        pytest.skip(f"{module} is stopped at {stops} places by make faults; its own tests stop it at some")
    output, counts = tmp_path / "output.txt", {signal.SIGKILL: 0, signal.SIGTERM: 0}
    with forking(imported=[*COMMANDS, "av", "matplotlib.pyplot", "pygame"]) as forker:

        def run(command: str, *overrides: str, target: int = 0, signum: int = 0) -> tuple[int, list[str]]:
            """Its exit status, and without a target the places of its calls."""
            process = forker.start("run_command", command, tmp_path, list(overrides), target, signum)
            return process.end(), [place for said in process.said for place in said]

        if module == "worldmodel.train":
            assert run("agents.collect", *COLLECT, "run=data")[0] == 0, output.read_text()
        status, places = run(module, *settings, "run=whole")
        assert status == 0, output.read_text()
        chance = random.Random(module)
        drawn = [BEGIN, *chance.sample(sorted({*places} - {BEGIN}), stops - 1)]
        for number, place in enumerate(drawn):
            target = chance.choice([call for call, found in enumerate(places, 1) if found == place])
            signum = signal.SIGTERM if number % 3 else signal.SIGKILL
            status, _ = run(module, *settings, "run=cut", target=target, signum=signum)
            assert status in (-signum, 128 + signum), (place, output.read_text())
            going_on = ["resume=true"] if (tmp_path / "cut" / "config.yaml").exists() else settings
            assert run(module, *going_on, "run=cut")[0] == 0, (place, output.read_text())
            assert list(differences(tmp_path / "whole", tmp_path / "cut")) == [], place
            assert len(read_records(tmp_path / "cut" / "metrics.jsonl", "header")) == 1, place
            shutil.rmtree(tmp_path / "cut")
            counts[signum] += 1
    print(f"{module}: {counts[signal.SIGTERM]} SIGTERMs and {counts[signal.SIGKILL]} SIGKILLs, each at another of its")
    print(f"{len({*places})} places of calls: the same records, episodes and weights as the run that was never stopped")
