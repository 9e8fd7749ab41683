"""The main job as people run it: its end, being killed and going on, and mistakes that are a line each."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import load_episode
from worldmodel.pretrained import from_pretrained, save_pretrained
from worldmodel.records import read_records
from worldmodel.series import resolve

ROOT = Path(__file__).resolve().parent.parent

SIZES = [  # common to every environment and model
    *("env.size=[16,16]", "train.batch=2", "train.window=6", "train.unrolling.open_loop=3", "context=2"),
    *("episodes=3", "seed_episodes=1", "first_updates=2", "updates=2", "evaluate_every=2", "evaluation_episodes=2"),
    *("planner.horizon=3", "planner.candidates=8", "planner.iterations=1", "planner.elites=2"),
    *("accelerator=cpu", "precision=32-true"),
]
TINY = ["env=cartpole_gym", "env.time_limit=40", *SIZES]
MODEL = ["model.stages=[[8,1],[8,1]]", "model.hidden=16", "model.feature=16", "model.head=16"]

# Sends itself a signal once a record of a kind is written for an episode: argv is signal, kind, episode, overrides.
KILLED = """
import os, runpy, sys
from worldmodel.records import Records
signum, kind, episodes = int(sys.argv.pop(1)), sys.argv.pop(1), int(sys.argv.pop(1))
write = Records.write
def write_and_die(self, found, step, **values):
    write(self, found, step, **values)
    if (found, values.get("episodes")) == (kind, episodes):
        os.kill(os.getpid(), signum)
Records.write = write_and_die
runpy.run_module("agents.cem_plan", run_name="__main__", alter_sys=True)
"""

Outcome = subprocess.CompletedProcess[str]


def python(folder: Path, *arguments: str) -> Outcome:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def cem_plan(folder: Path, *overrides: str) -> Outcome:
    """The command, with warnings as errors."""
    return python(folder, "-W", "error", "-m", "agents.cem_plan", *overrides)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(home: Path) -> Outcome:
    """A run from beginning to end, in `home` / "whole"."""
    outcome = cem_plan(home, *TINY, *MODEL, "run=whole")
    assert outcome.returncode == 0, outcome.stderr
    return outcome


def lines(folder: Path) -> list[dict[str, Any]]:
    """All records, without what a clock gave."""
    clocks = ("seconds", "wall_clock_s", "evaluation_s")
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in record.items() if key not in clocks} for record in records]


def test_a_run_ends_with_a_table_and_pictures(home: Path, whole: Outcome) -> None:
    table, paths = whole.stdout.splitlines()[-8:-5], whole.stdout.splitlines()[-5:]
    assert table[0].split() == ["mean", "std", "min", "max", "episodes"]
    assert table[1].startswith("random policy ") and table[1].endswith(" 2")
    assert table[2].startswith("planner ") and table[2].endswith(" 2")
    names = ["learning_curve.png", "dream.mp4", "dream.png", "metrics.jsonl", "report.html"]
    assert paths == [f"whole/{name}" for name in names]
    assert whole.stdout.startswith("run folder: whole\nbudget hour: 3 episodes, 6 updates; about ")
    assert "Traceback" not in whole.stderr
    for name in ("learning_curve.png", "dream.png"):
        with Image.open(home / "whole" / name) as image:
            image.load()
    episode = load_episode(home / "whole" / "evaluation" / "000000.safetensors")
    with av.open(home / "whole" / "dream.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == len(episode.frames)


def test_the_records_say_what_happened(home: Path, whole: Outcome) -> None:
    path = home / "whole" / "metrics.jsonl"
    kinds = [record["kind"] for record in lines(home / "whole")]
    episode, evaluation = ["episode", "fit"], ["evaluation"]
    assert kinds == ["header", "random_policy", *episode, *episode, *evaluation, *episode, *evaluation]
    (header,) = read_records(path, "header")
    assert shlex.split(header["command"]) == ["python", "-m", "agents.cem_plan", *TINY, *MODEL, "run=whole"]
    assert header["config"]["planner"]["candidates"] == 8 and header["config"]["seed"] == 0
    (chance,), evaluations = read_records(path, "random_policy"), read_records(path, "evaluation")
    for record in (chance, *evaluations):
        fields = "kind env task seed episodes env_frames returns return_mean wall_clock_s evaluation_s"
        assert set(record) == set(fields.split())
        assert (record["env"], record["task"], record["seed"]) == ("cartpole_gym", "CartPole-v1", 0)
        assert len(record["returns"]) == 2 and record["return_mean"] == sum(record["returns"]) / 2
    assert [record["episodes"] for record in (chance, *evaluations)] == [0, 2, 3]
    assert [record["updates"] for record in read_records(path, "fit")] == [2, 4, 6]


def test_a_run_killed_thrice_ends_as_one_never_killed(home: Path, whole: Outcome) -> None:
    go_on = ["run=cut", "resume=true"]  # and nothing else: the run remembers its settings
    kills = [
        (signal.SIGKILL, "episode", 1, [*TINY, *MODEL, "run=cut"]),  # before the first checkpoint
        (signal.SIGTERM, "fit", 2, go_on),
        (signal.SIGKILL, "evaluation", 3, go_on),
    ]
    for signum, kind, episode, overrides in kills:
        killed = python(home, "-W", "error", "-c", KILLED, str(int(signum)), kind, str(episode), *overrides)
        assert killed.returncode == (143 if signum == signal.SIGTERM else -signum), killed.stderr
        assert lines(home / "cut")[-1]["kind"] == kind
        if signum == signal.SIGTERM:
            assert "stopped by SIGTERM" in killed.stderr and "Traceback" not in killed.stderr
    ended = cem_plan(home, *go_on)
    assert ended.returncode == 0, ended.stderr

    expected, found = lines(home / "whole"), lines(home / "cut")
    resumes = [index for index, record in enumerate(found) if record["kind"] == "resume"]
    # At once; within the second episode's round, once it was played; and after that round.
    assert resumes == [1, 6, 9]
    assert [record for record in found if record["kind"] != "resume"][1:] == expected[1:]
    for name in ("model.safetensors", "contexts.safetensors"):
        a, b = (load_file(home / run / "checkpoints" / "000003" / name) for run in ("whole", "cut"))
        assert set(a) == set(b)
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    for folder, count in (("episodes", 3), ("evaluation", 2)):
        runs = [sorted((home / run / folder).iterdir()) for run in ("whole", "cut")]
        assert [len(paths) for paths in runs] == [count, count]
        for a, b in (map(load_episode, pair) for pair in zip(*runs, strict=True)):
            assert (a.seed, a.actor, a.spec, a.terminated) == (b.seed, b.actor, b.spec, b.terminated)
            for part in ("frames", "actions", "rewards"):
                np.testing.assert_array_equal(getattr(a, part), getattr(b, part))


def test_a_trained_model_plans_without_learning(home: Path, whole: Outcome) -> None:
    outcome = cem_plan(home, *TINY, "checkpoint=whole", "run=planned")
    assert outcome.returncode == 0, outcome.stderr
    assert [record["kind"] for record in lines(home / "planned")] == ["header", "random_policy", "evaluation"]
    assert lines(home / "planned")[2]["returns"] == lines(home / "whole")[-1]["returns"]  # the same model and starts
    assert (home / "planned" / "dream.mp4").exists() and (home / "planned" / "learning_curve.png").exists()
    assert not list((home / "planned" / "episodes").iterdir()) + list((home / "planned" / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_goal_is_planned_for_by_the_cost_that_is_set(home: Path, whole: Outcome) -> None:
    """In a model whose weights were shaken: one that has hardly learned says that all plans lead to the same."""
    torch.manual_seed(0)
    model = from_pretrained(home / "whole")
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    save_pretrained(home / "shaken", model, read_checkpoint(resolve(home / "whole")).contexts)
    Image.fromarray(load_episode(home / "whole" / "evaluation" / "000000.safetensors").frames[-1]).save(
        home / "goal.png"
    )
    (home / "own_costs.py").write_text("def darkness(frames, goal):\n    return 1 - frames.flatten(1).mean(1)\n")
    played = []
    for cost, run in (("features", "near"), ("own_costs:darkness", "bright")):
        goal = ["goal=goal.png", f"goal_cost={cost}"]
        outcome = cem_plan(home, *TINY, "checkpoint=shaken", *goal, f"run={run}")
        assert outcome.returncode == 0, outcome.stderr
        played.append([load_episode(home / run / "evaluation" / f"00000{index}.safetensors") for index in range(2)])
    for near, bright in zip(*played, strict=True):
        np.testing.assert_array_equal(near.frames[0], bright.frames[0])
    assert any(near.actions.tolist() != bright.actions.tolist() for near, bright in zip(*played, strict=True))


def test_svg_prime_learns_and_plans_through_pixels(home: Path) -> None:
    small = ["model=svg_prime", "model.K=0.125", "model.M=0.02", "model.feature=8", "model.head=8"]
    outcome = cem_plan(home, *TINY, *small, "episodes=2", "feedback=pixels", "run=pixels")
    assert outcome.returncode == 0, outcome.stderr
    header, *_, evaluation = lines(home / "pixels")
    assert (header["config"]["feedback"], header["config"]["train"]["weights"]["reconstruction"]) == ("pixels", "l1")
    assert evaluation["kind"] == "evaluation" and len(evaluation["returns"]) == 2


@pytest.mark.slow
def test_somebodys_own_environment_is_learned_where_its_file_lies(home: Path) -> None:
    (home / "dot.py").write_text((ROOT / "tests" / "dot.py").read_text())
    own = ["env=gymnasium", "env.id=dot:Dot", "env.time_limit=20", *SIZES, *MODEL, "episodes=2", "run=own"]
    outcome = cem_plan(home, *own)
    assert outcome.returncode == 0, outcome.stderr
    evaluation = lines(home / "own")[-1]
    assert (evaluation["kind"], evaluation["env"], evaluation["env_frames"]) == ("evaluation", "dot:Dot", 40)


@pytest.mark.slow
def test_atari_runs_too(home: Path) -> None:
    pytest.importorskip("ale_py")
    outcome = cem_plan(home, "env=pong", "env.time_limit=64", *SIZES, *MODEL, "episodes=2", "run=pong")
    assert outcome.returncode == 0, outcome.stderr
    assert [record["returns"] for record in lines(home / "pong") if record["kind"] == "evaluation"] == [[0.0, 0.0]]


@pytest.mark.slow
@pytest.mark.usefixtures("gl")
def test_the_control_suite_runs_too(home: Path) -> None:
    outcome = cem_plan(home, "env=cartpole", "env.time_limit=64", *SIZES, *MODEL, "episodes=2", "run=suite")
    assert outcome.returncode == 0, outcome.stderr
    evaluation = lines(home / "suite")[-1]
    assert (evaluation["env"], evaluation["task"]) == ("cartpole", "swingup")
    assert (evaluation["kind"], evaluation["env_frames"]) == ("evaluation", 2 * 64)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("env.id=Nonsense-v0", "Gymnasium has no environment 'Nonsense-v0'"),
        ("env.size=[24,24]", "env.size is [24, 24]: set [height, width], positive multiples of 16"),
        ("env.size=[48,48] model.patch=8", "frames are 48x48: this model needs sides that are multiples of 32"),
        ("checkpoint=nowhere", "nowhere is not a checkpoint folder: it does not exist; give one, such as RUN/"),
        ("checkpoint=whole env.id=Acrobot-v1", "action_size 2 (model) against 3 (environment); give the environment"),
        ("episodes=0", "episodes is 0: set a whole number >= 1"),
        ("accelerator=bogus", "accelerator bogus"),
        ("planner.elites=9", "elites (9) exceed candidates (8): set planner.elites <= 8"),
        ("+planner.nonsense=1", "does not know nonsense: its settings are horizon, candidates, iterations, elites"),
        ("feedback=bogus", "feedback is 'bogus': set one of features, pixels"),
        ("env_timeout=-1", "env_timeout is -1: set seconds > 0, 86400 at most, or null for no process apart"),
        ("rendering=bogus", "rendering is 'bogus': set one of standard, fast"),
        ("goal=nowhere.png", "the goal nowhere.png cannot be read"),
        ("goal=whole/dream.png", "frames are 16x16 (height x width): give a frame of the environment, or resize it"),
    ],
)
def test_a_mistake_is_one_line_that_says_its_mend(
    home: Path, whole: Outcome, tmp_path: Path, overrides: str, says: str
) -> None:
    check_mistake(cem_plan(home, *TINY, *MODEL, f"run={tmp_path / 'run'}", *overrides.split()), says)
    assert not (tmp_path / "run" / "config.yaml").exists()  # so the same command, mended, can run


@pytest.mark.usefixtures("gl")
def test_an_unknown_domain_is_a_mistake_too(tmp_path: Path) -> None:
    outcome = python(tmp_path, "-m", "agents.cem_plan", "env.domain=nonsense", *SIZES, *MODEL)
    check_mistake(outcome, "dm_control has no domain named 'nonsense': there are acrobot, ball_in_cup, cartpole, ")


def check_mistake(outcome: Outcome, says: str) -> None:
    assert outcome.returncode == 2, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ") and says in line and "Traceback" not in outcome.stdout
