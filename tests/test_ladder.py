"""The ladder as people climb it: stopped on the way, gone on with, its page at the end, and mistakes found at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from envs import make_env
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.episode import load_episode
from worldmodel.pretrained import from_pretrained, save_pretrained
from worldmodel.records import read_records
from worldmodel.replay import Replay

ROOT = Path(__file__).resolve().parent.parent

ENV = ["env=cartpole_gym", "env.time_limit=40", "env.size=[16,16]"]
MODEL = [
    *("model.stages=[[8,1],[8,1]]", "model.hidden=16", "model.feature=16", "model.head=16"),
    *("train.batch=2", "train.window=6", "train.unrolling.open_loop=3"),
]
PLANNER = [
    *("planner=cem", "planner.horizon=3", "planner.candidates=8", "planner.iterations=1", "planner.elites=2"),
    "+planner.smoothing=0.2",
]
CPU = ["accelerator=cpu", "precision=32-true"]
LADDER = [
    *("evaluation_episodes=2", "good_episodes=3", "good_updates=2", "workers=1", "context=2", "horizon=3"),
]
RUNGS = ["random policy", "model of its own data", "model of good data too", "planner in the simulator"]

Outcome = subprocess.CompletedProcess[str]


def start(folder: Path, module: str, *overrides: str) -> subprocess.Popen[str]:
    """A command, with warnings as errors."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}  # its stages' warnings too
    command, pipe = [sys.executable, "-m", module, *overrides], subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def python(folder: Path, module: str, *overrides: str) -> Outcome:
    process = start(folder, module, *overrides)
    output, errors = process.communicate(timeout=240)
    return Outcome(process.args, process.returncode, output, errors)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, that has learned nothing, for the ladder to take as the main job's."""
    home = tmp_path_factory.mktemp("home")
    env = {"backend": "gymnasium", "name": "cartpole_gym", "id": "CartPole-v1", "kwargs": {}, "frames": "render"}
    spec = make_env(env | {"action_repeat": 2, "time_limit": 40, "size": [16, 16]}).env_spec
    torch.manual_seed(0)
    sizes = {"stages": ((8, 1),), "patch": 1, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    parts = {"layer": "dense", "recurrence": "none", "features": "pair", "backbone": "light", "K": 1.0, "M": 1.0}
    model = build(ModelConfig(**parts, **sizes, advance="residual", skips=False), spec)
    contexts = Contexts(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 1, 2))
    save_pretrained(home / "online", model, contexts)
    return home


@pytest.mark.slow
def test_a_ladder_that_is_stopped_goes_on_and_ends_with_its_page(home: Path) -> None:
    overrides = [*ENV, *MODEL, *PLANNER, *CPU, *LADDER, "online=online", "run=ladder"]
    process = start(home, "agents.ladder", *overrides)
    deadline = time.monotonic() + 200
    while not (home / "ladder" / "simulator" / "config.yaml").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopped by SIGTERM" in errors and "Traceback" not in errors, errors
    assert not (home / "ladder" / "ladder.txt").exists()

    # Nothing else is said again: what the stages are told comes from the ladder's folder.
    outcome = python(home, "agents.ladder", "run=ladder", "resume=true")
    assert outcome.returncode == 0, outcome.stderr
    folder = home / "ladder"
    paths = [f"ladder/{name}" for name in ("ladder.txt", "ladder.png", "metrics.jsonl", "report.html")]
    page = (folder / "ladder.txt").read_text()
    assert outcome.stdout.splitlines()[-4:] == paths and outcome.stdout.endswith(page + "\n".join(paths) + "\n")
    title, *sources = page.split("\n\n")[0].splitlines()
    assert title.startswith("cartpole_gym/CartPole-v1, seed 0; CategoricalCEM(horizon=3, candidates=8,")
    assert sources == [
        "model of good data too: ladder/good_model/checkpoints/000002, 2 updates",
        "model of its own data: online, an unknown number of updates",
    ]
    scores = page.split("\n\n")[1].splitlines()[2:]
    assert [line[:26].rstrip() for line in scores] == RUNGS
    with Image.open(folder / "ladder.png") as picture:
        picture.load()

    (record,) = read_records(folder / "metrics.jsonl", "ladder")
    assert (record["env"], record["task"], record["seed"]) == ("cartpole_gym", "CartPole-v1", 0)
    assert set(record["models"]) == {"model of good data too", "model of its own data"}
    for rung, model in record["models"].items():
        episodes = [load_episode(path) for path in sorted((folder / rung.replace(" ", "_")).iterdir())]
        assert [episode.total for episode in episodes] == model["returns"] and len(episodes) == 2
        assert all(episode.spec.time_limit == 40 for episode in episodes)
        # On every rung the episodes start alike.
        chance = [load_episode(path) for path in sorted((folder / "random_policy").iterdir())]
        assert all((a.frames[0] == b.frames[0]).all() for a, b in zip(chance, episodes, strict=True))
        # Where the pole fell every decision counts; where time was over, those with a horizon before it.
        counted = sum(len(episode) - (0 if episode.terminated else 2) for episode in episodes)
        assert model["expectation"]["decisions"] == counted > 0
        assert set(model["errors"]) == {"features", "pixels"}
        for errors in model["errors"].values():
            assert {kind: len(steps) for kind, steps in errors.items()} == {"reward": 3, "frame": 3, "embedding": 3}
    assert len(record["random_returns"]) == len(record["simulator_returns"]) == 2
    (simulator,) = read_records(folder / "simulator" / "metrics.jsonl", "collection")
    assert simulator["returns"] == record["simulator_returns"] and simulator["policy"] == "simulator"
    headers = read_records(folder / "simulator" / "metrics.jsonl", "header")
    assert headers[-1]["config"]["planner"] == {
        **{"kind": "cem", "horizon": 3, "candidates": 8, "iterations": 1, "elites": 2, "smoothing": 0.2}
    }
    assert Replay(folder / "good_data" / "episodes").episodes == 3  # `online` is a model alone, without episodes
    assert from_pretrained(folder / "good_model").config.hidden == 16


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("online=online env.time_limit=60", "trained on another environment: time_limit 40 (model) against 60 (env"),
        ("online=online simulator=nowhere.jsonl", "nowhere.jsonl does not exist: give the metrics.jsonl of agents.col"),
        ("good_exploration=-1", "good_exploration is -1: set a finite number >= 0"),
        ("train.batch=0", "train.batch is 0: set a whole number >= 1"),
        ("model.feature=0", "model.feature is 0: set a whole number >= 1"),
    ],
)
def test_a_mistake_is_found_before_anything_is_done(home: Path, tmp_path: Path, overrides: str, says: str) -> None:
    given = [*ENV, *MODEL, *PLANNER, *CPU, *LADDER, *overrides.split()]
    outcome = python(home, "agents.ladder", *given, f"run={tmp_path / 'run'}")
    assert outcome.returncode == 2, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ") and says in line and "$ python" not in outcome.stdout
    assert not (tmp_path / "run" / "config.yaml").exists()
