"""SimPLe's loop as people run it: its end, being killed and going on, and mistakes that are a line each."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from PIL import Image
from test_cem_plan import KILLED, MODEL, Outcome, check_mistake, lines, python

from agents.sb3_policy import load_sb3
from worldmodel.records import read_records
from worldmodel.series import resolve

TINY = [
    *("env=cartpole_gym", "env.time_limit=40", "env.size=[16,16]", "rendering=fast", "accelerator=cpu"),
    *("episodes=3", "seed_episodes=1", "first_updates=2", "updates=2", "evaluate_every=2", "evaluation_episodes=2"),
    *("train.batch=2", "train.window=6", "train.unrolling.open_loop=3", "context=2", "trust_horizon=6"),
    *("ppo.num_envs=4", "ppo.n_steps=8", "ppo.batch_size=16", "ppo.steps=32", "ppo.horizon=5", "ppo.n_epochs=1"),
    "precision=32-true",
]


def ppo_imagine(folder: Path, *overrides: str) -> Outcome:
    """The command, with warnings as errors."""
    return python(folder, "-W", "error", "-m", "agents.ppo_imagine", *overrides)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(home: Path) -> Outcome:
    outcome = ppo_imagine(home, *TINY, *MODEL, "run=whole")
    assert outcome.returncode == 0, outcome.stderr
    return outcome


def test_a_run_ends_with_a_table_pictures_and_the_policy(home: Path, whole: Outcome) -> None:
    names = ["learning_curve.png", "trust.png", "dream.mp4", "dream.png", "policy.zip", "metrics.jsonl", "report.html"]
    assert whole.stdout.splitlines()[-7:] == [f"whole/{name}" for name in names]
    table = whole.stdout.splitlines()[-10:-7]
    assert table[1].startswith("random policy ") and table[2].startswith("policy ")
    with Image.open(home / "whole" / "trust.png") as image:
        image.load()
    assert load_sb3(home / "whole" / "policy.zip", "PPO", trusted=True).observation_space.shape == (16,)
    kinds = [record["kind"] for record in lines(home / "whole")]
    learned = ["episode", "fit", "dream"]
    evaluated = ["evaluation", "trust"]
    assert kinds == ["header", "random_policy", *learned, *learned, *evaluated, *learned, *evaluated]
    trusts = read_records(home / "whole" / "metrics.jsonl", "trust")
    assert all(record["horizon"] == 6 and record["starts"] > 0 for record in trusts)
    assert [record["imagined_steps"] for record in read_records(home / "whole" / "metrics.jsonl", "dream")] == [
        32,
        64,
        96,
    ]
    actors = [record["actor"] for record in read_records(home / "whole" / "metrics.jsonl", "episode")]
    assert actors == ["random", "policy", "policy"]


def test_a_run_killed_twice_ends_as_one_never_killed(home: Path, whole: Outcome) -> None:
    go_on = ["run=cut", "resume=true"]
    killing = KILLED.replace("agents.cem_plan", "agents.ppo_imagine")
    for kind, episode, overrides in (("dream", 1, [*TINY, *MODEL, "run=cut"]), ("fit", 3, go_on)):
        killed = python(home, "-W", "error", "-c", killing, str(int(signal.SIGKILL)), kind, str(episode), *overrides)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended = ppo_imagine(home, *go_on)
    assert ended.returncode == 0, ended.stderr
    found = [record for record in lines(home / "cut") if record["kind"] != "resume"]
    assert found[1:] == lines(home / "whole")[1:]
    one, other = (resolve(home / run) / "model.safetensors" for run in ("whole", "cut"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_pong_runs_through_pictures(home: Path) -> None:
    pytest.importorskip("ale_py")
    frames = ["env=pong", "env.time_limit=64", "env.size=[64,64]", "ppo.observation=frames", "ppo.frame_stack=2"]
    outcome = ppo_imagine(home, *TINY, *MODEL, *frames, "episodes=2", "run=pong")
    assert outcome.returncode == 0, outcome.stderr
    assert [record["returns"] for record in lines(home / "pong") if record["kind"] == "evaluation"] == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("ppo.observation=both", "ppo.observation is 'both': set features or frames"),
        ("ppo.batch_size=12", "ppo.batch_size (12) does not divide a rollout of ppo.num_envs x ppo.n_steps = 32"),
        ("ppo.observation=frames", "ppo.frame_stack (4) exceeds context (2): set ppo.frame_stack <= 2"),
        ("trust_horizon=21", "trust_horizon is 21, an episode of CartPole-v1 has 20 decisions: set trust_horizon <="),
    ],
)
def test_a_mistake_is_one_line_that_says_its_mend(home: Path, tmp_path: Path, override: str, says: str) -> None:
    check_mistake(ppo_imagine(home, *TINY, *MODEL, f"run={tmp_path / 'run'}", override), says)
    assert not (tmp_path / "run" / "config.yaml").exists()
