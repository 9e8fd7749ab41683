"""Reaching goals as people measure it: its end, and mistakes that leave no run behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from agents.reaching import find_goals
from agents.seeds import seed_of
from envs import make_env
from envs.rendering import choose_gl
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.errors import EnvError
from worldmodel.pretrained import save_pretrained
from worldmodel.records import read_records
from worldmodel.spec import EnvSpec

ROOT = Path(__file__).resolve().parent.parent

COMMON: dict[str, Any] = {"action_repeat": 4, "time_limit": 1000, "size": [16, 16]}
POINT_MASS = COMMON | {"backend": "dm_control", "name": "point_mass", "domain": "point_mass", "task": "easy"}
BALANCING = COMMON | {"backend": "gymnasium", "name": "cartpole_gym", "id": "CartPole-v1", "kwargs": {}}
TINY = [
    *(
        "env.size=[16,16]",
        "goals=2",
        "away=3",
        "decisions=3",
        "tolerance=0.0001",
        "accelerator=cpu",
        "precision=32-true",
    ),
    *("planner.horizon=2", "planner.candidates=6", "planner.iterations=1", "planner.elites=2"),
]

OWN_COSTS = """
def darkness(frames, goal):
    assert frames.shape[1:] == goal.shape == (3, 16, 16)
    return 1 - frames.flatten(1).mean(1)
"""

Outcome = subprocess.CompletedProcess[str]


def reach_goals(folder: Path, *overrides: str) -> Outcome:
    """The command, with warnings as errors."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "agents.reach_goals", *TINY, *overrides]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each environment, that has learned nothing, and a cost of one's own."""
    home = tmp_path_factory.mktemp("home")
    (home / "own_costs.py").write_text(OWN_COSTS)
    save(home / "balancing", make_env(BALANCING | {"frames": "render"}).env_spec)
    return home


def save(folder: Path, spec: EnvSpec) -> None:
    torch.manual_seed(0)
    sizes = {"stages": ((8, 1),), "patch": 1, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    parts = {"layer": "dense", "recurrence": "none", "features": "pair", "backbone": "light", "K": 1.0, "M": 1.0}
    model = build(ModelConfig(**parts, **sizes, advance="residual", skips=False), spec)
    with torch.no_grad():
        for weight in model.parameters():  # new ones say that nothing moves, and then all plans are the same
            weight += 0.3 * torch.randn_like(weight)
    frames, actions = torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 1, spec.action_size)
    save_pretrained(folder, model, Contexts(frames, actions))


@pytest.fixture(scope="module")
def found(home: Path) -> list[Any]:
    """The goals that the command must find; a model of their environment is saved. Skips where MuJoCo cannot draw."""
    try:
        choose_gl()
    except EnvError as error:
        pytest.skip(str(error))
    env = make_env(POINT_MASS)
    save(home / "moving", env.env_spec)
    goals = find_goals(env, 2, lambda index: seed_of(5, "goals", index), decisions=3, least=0.0002)
    env.close()
    return goals


@pytest.mark.slow
def test_every_policy_pursues_the_same_goals(home: Path, found: list[Any]) -> None:
    costs = "costs=[features,pixels,own_costs:darkness]"
    outcome = reach_goals(home, "env=point_mass", "checkpoint=moving", "seed=5", costs, "run=whole")
    assert outcome.returncode == 0, outcome.stderr
    for index, goal in enumerate(found):
        with Image.open(home / "whole" / f"goal{index:02d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), goal.frame)
    (header,) = read_records(home / "whole" / "metrics.jsonl", "header")
    assert header["config"]["goals"] == 2
    records = read_records(home / "whole" / "metrics.jsonl", "reaching")
    policies = ["random", "by rewards", "by features", "by pixels", "by own_costs:darkness"]
    assert [record["policy"] for record in records] == policies
    for record in records:
        assert (record["env"], record["task"], record["seed"]) == ("point_mass", "easy", 5)
        assert record["start"] == pytest.approx([goal.distance for goal in found])
        assert record["reached"] == sum(away <= 0.0001 for away in record["final"])
        assert all(near <= away for near, away in zip(record["nearest"], record["final"], strict=True))
    assert len({tuple(record["final"]) for record in records}) == len(records)  # nobody's path is another's
    *table, path, report = outcome.stdout.splitlines()[-9:]
    assert table[0].split()[0] == "reached" and [line[:20].rstrip() for line in table[2:]] == [
        *policies[:4],
        policies[4][:20],
    ]
    assert [path, report] == ["whole/metrics.jsonl", "whole/report.html"] and "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("env=point_mass checkpoint=moving costs=[feature]", "goal_cost is 'feature': set features, pixels, or module"),
        ("env=cartpole_gym env.action_repeat=4 env.time_limit=1000 checkpoint=balancing", "CartPole-v1 does not tell"),
    ],
)
@pytest.mark.usefixtures("found")
def test_a_mistake_is_one_line_and_leaves_no_run(home: Path, tmp_path: Path, overrides: str, says: str) -> None:
    outcome = reach_goals(home, *overrides.split(), f"run={tmp_path / 'run'}")
    assert outcome.returncode == 2, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ") and says in line
    assert not (tmp_path / "run" / "config.yaml").exists()
