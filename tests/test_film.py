"""A film as people make it: the right episode in the right column, what is left out, and mistakes that are a line."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from commands import Command, running
from hydra import compose, initialize_config_module

from agents.collecting import play_episode
from agents.policies import make_actor
from agents.seeds import seed_of
from envs import make_env
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.episode import Episode, episode_path, load_episode, save_episode
from worldmodel.pictures.video import CAPTION_HEIGHT, SEPARATOR, TEXT, caption
from worldmodel.pretrained import save_pretrained
from worldmodel.records import read_records
from worldmodel.spec import EnvSpec

ROOT = Path(__file__).resolve().parent.parent
ENV: dict[str, Any] = {
    **{"backend": "gymnasium", "name": "cartpole_gym", "id": "CartPole-v1", "kwargs": {}, "frames": "render"},
    **{"action_repeat": 2, "time_limit": 40, "size": [64, 64]},
}
PLANNER: dict[str, Any] = {"kind": "cem", "horizon": 3, "candidates": 8, "iterations": 1, "elites": 2}
TINY = [
    *("env=cartpole_gym", "env.action_repeat=2", "env.time_limit=40", "accelerator=cpu", "precision=32-true"),
    *(f"planner.{key}={value}" for key, value in PLANNER.items()),
]
SIDE, TOP = 64 * 5, 2 * CAPTION_HEIGHT
GREY = EnvSpec("grey", "still", "box", 1, (-1.0,), (1.0,), 1, 0, (64, 64))
LENGTH = 30  # transitions of the episode beside; in CartPole the time limit leaves 20


@pytest.fixture(scope="module")
def film(home: Path) -> Iterator[Command]:
    """The command in `home`, without OpenGL."""
    with running("agents.film", home, *TINY, MUJOCO_GL="nonsense") as command:
        yield command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has learned nothing, and a run whose evaluation grew lighter."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    sizes = {"stages": ((8, 1),), "patch": 4, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    parts = {"layer": "dense", "recurrence": "none", "features": "pair", "backbone": "light", "K": 1.0, "M": 1.0}
    env = make_env(ENV)
    model = build(ModelConfig(**parts, **sizes, advance="residual", skips=False), env.env_spec)
    env.close()
    with torch.no_grad():
        for weight in model.parameters():  # new ones say that nothing moves, and then all plans are the same
            weight += 0.3 * torch.randn_like(weight)
    frames, actions = torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 2)
    save_pretrained(home / "models" / "balancing", model, Contexts(frames, actions))
    save_episode(lighter(), episode_path(home / "runs" / "lighter" / "evaluation", 0))
    return home


def lighter() -> Episode:
    """Each frame of one grey level, from 40 on in steps of 6; the return is -45."""
    frames = np.empty((LENGTH + 1, 64, 64, 3), np.uint8)
    frames[:] = (40 + 6 * np.arange(LENGTH + 1))[:, None, None, None]
    return Episode(
        frames=frames,
        actions=np.zeros((LENGTH, 1), np.float32),
        rewards=np.full(LENGTH, -1.5, np.float32),
        terminated=False,
        truncated=True,
        spec=GREY,
        seed=0,
        actor="random",
    )


def decoded(path: Path) -> np.ndarray:
    """Frames (t, h, w, 3) uint8 of a video of 12 frames a second."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 12
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def check_captions(column: np.ndarray, first: str, second: str) -> None:
    """Both lines are the given ones: much nearer to them than to each other."""
    lines = column[0, :CAPTION_HEIGHT], column[0, CAPTION_HEIGHT:TOP]
    expected = [caption(text, TEXT, SIDE, CAPTION_HEIGHT) for text in (first, second)]
    away = [[np.abs(line.astype(int) - text).mean() for text in expected] for line in lines]
    assert max(away[0][0], away[1][1]) < 3 < 6 < min(away[0][1], away[1][0]), away


def check_episode(column: np.ndarray, episode: Episode) -> None:
    """Shows its frames in order, then the last."""
    shown = column[:, TOP + 2 :: 5, 2::5].astype(int)  # the middle of each pixel, enlarged fivefold
    held = np.minimum(np.arange(len(shown)), len(episode))
    assert np.abs(shown - episode.frames[held]).mean((1, 2, 3)).max() < 4


def test_the_planner_is_filmed_without_exploration(home: Path, film: Command) -> None:
    outcome = film("checkpoint=models/balancing", "seed=3", "run=alone")
    assert outcome == (0, "alone/film.mp4\nalone/report.html\n", "")
    env = make_env(ENV)
    settings = {"checkpoint": home / "models" / "balancing", "feedback": "features", "latents": "mean"}
    actor = make_actor({"policy": "planner", "planner": PLANNER, **settings}, env, device=torch.device("cpu"))
    seed = seed_of(3, "evaluate")
    expected = play_episode(env, actor, spec=env.env_spec, seed=seed, exploration=0.0, name="planner")
    env.close()
    episode = load_episode(episode_path(home / "alone" / "evaluation", 0))
    np.testing.assert_array_equal(episode.actions, expected.actions)
    np.testing.assert_array_equal(episode.frames, expected.frames)
    shown = decoded(home / "alone" / "film.mp4")
    assert shown.shape == (len(expected) + 1, TOP + SIDE, SIDE, 3)
    check_episode(shown, expected)
    check_captions(shown, f"cartpole_gym: return {expected.total:.1f}", "planner: models/balancing")
    metrics = home / "alone" / "metrics.jsonl"
    (header,), (record,) = read_records(metrics, "header"), read_records(metrics, "film")
    assert header["config"]["planner"] == PLANNER and header["config"]["seed"] == 3
    told = {"env": "cartpole_gym", "task": "CartPole-v1", "seed": 3, "decisions": len(expected)}
    assert record == {"kind": "film", **told, "episode_return": expected.total}


@pytest.mark.parametrize("beside", ["runs/lighter", "runs/lighter/evaluation/000000.safetensors"])
def test_another_episode_stands_to_the_left(film: Command, tmp_path: Path, beside: str) -> None:
    outcome = film("checkpoint=models/balancing", f"beside={beside}", f"run={tmp_path}")
    assert outcome.status == 0, outcome.stderr
    episode = load_episode(episode_path(tmp_path / "evaluation", 0))
    assert len(episode) < LENGTH
    shown = decoded(tmp_path / "film.mp4")
    assert shown.shape == (LENGTH + 1, TOP + SIDE, 2 * SIDE + SEPARATOR, 3)
    left, right = shown[:, :, :SIDE], shown[:, :, SIDE + SEPARATOR :]
    check_episode(left, lighter())
    check_episode(right, episode)
    check_captions(left, "grey: return -45.0", f"random: {'/'.join(Path(beside).parts[-2:])}")
    check_captions(right, f"cartpole_gym: return {episode.total:.1f}", "planner: models/balancing")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            "checkpoint=nowhere",
            "leaves out cartpole_gym, played by the planner in nowhere: nowhere is not a checkpoint",
        ),
        (
            "checkpoint=models/balancing env=cartpole",
            "leaves out cartpole, played by the planner in models/balancing: ",
        ),
    ],
)
def test_where_an_optional_planner_cannot_play_the_other_episode_is_filmed_alone(
    film: Command, tmp_path: Path, overrides: str, says: str
) -> None:
    beside = ["beside=runs/lighter", "optional=true"]
    outcome = film(*overrides.split(), *beside, f"run={tmp_path}")
    assert outcome.status == 0, outcome.stderr
    sentence, path, report = outcome.stdout.splitlines()
    assert says in sentence and ("MuJoCo cannot draw with MUJOCO_GL=nonsense" in sentence) == ("env=" in overrides)
    assert [path, report] == [str(tmp_path / name) for name in ("film.mp4", "report.html")]
    shown = decoded(tmp_path / "film.mp4")
    assert shown.shape == (LENGTH + 1, TOP + SIDE, SIDE, 3)
    check_episode(shown, lighter())


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("", "checkpoint is missing: set checkpoint="),
        ("checkpoint=nowhere beside=runs/lighter", "nowhere is not a checkpoint folder: it does not exist; give one"),
        ("checkpoint=models/balancing env.time_limit=20", "time_limit 40 (model) against 20 (environment); give the "),
        (
            "checkpoint=models/balancing beside=nowhere",
            "nowhere does not exist: set beside= to an episode's file, or a",
        ),
        ("checkpoint=models/balancing beside=runs", "runs/evaluation/000000.safetensors does not exist: set beside="),
        ("checkpoint=models/balancing optional=true", "optional=true leaves nothing to film where the planner cannot"),
        ("checkpoint=models/balancing seed=-1", "seed is -1: set a whole number >= 0"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_run(film: Command, tmp_path: Path, overrides: str, says: str) -> None:
    outcome = film(*overrides.split(), f"run={tmp_path / 'run'}")
    assert outcome.status == 2, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ") and says in line
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_demo_ends_with_a_film_of_its_own_run_beside_the_pretrained_planner() -> None:
    """By what `make` would run: settings that the commands take, in folders that fit together."""
    listed = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    demo, filmed = (shlex.split(line)[2:] for line in listed.splitlines() if " -m agents." in line)
    assert [demo[:3], filmed[0]] == [["agents.cem_plan", "--config-name", "demo"], "agents.film"]
    with initialize_config_module("configs", version_base="1.3"):
        run = compose("demo", overrides=demo[3:]).run
        config = compose("film", overrides=filmed[1:])
    assert (config.checkpoint, config.env.name, config.optional) == ("pretrained/cartpole", "cartpole", True)
    assert config.beside == run and config.run == f"{run}/film" and run.startswith("runs/demo/20")
