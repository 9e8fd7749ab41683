"""The baselines as people run them: a log as the dream's run leaves it, a policy, and mistakes that are a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from test_cem_plan import Outcome, check_mistake, python

from agents.baselines import ALGORITHMS, make_baseline
from agents.logs import read_log
from agents.ppo_imagine import make_learner
from agents.sb3_policy import frames_seen, load_sb3
from agents.seeds import seed_of
from envs import make_env
from worldmodel.errors import ConfigError
from worldmodel.records import read_records

PENDULUM = ["env=gymnasium", "env.id=Pendulum-v1", "env.name=pendulum", "env.action_repeat=4", "env.time_limit=40"]
CARTPOLE = ["env=cartpole_gym", "env.time_limit=20"]
TINY = [
    *(
        "env.size=[48,48]",
        "env_frames=100",
        "evaluate_every=40",
        "evaluation_episodes=2",
        "frame_stack=2",
        "device=cpu",
    ),
    *("ppo.num_envs=2", "ppo.n_steps=3", "ppo.batch_size=6", "ppo.n_epochs=1"),
    *("sac.buffer_size=40", "sac.learning_starts=5", "sac.batch_size=4"),
]


def model_free(folder: Path, *overrides: str) -> Outcome:
    """The command, with warnings as errors."""
    return python(folder, "-W", "error", "-m", "agents.model_free", *overrides)


def settings(*overrides: str) -> Any:
    with initialize_config_module("configs", version_base="1.3"):
        composed = compose("model_free", overrides=[*overrides, "run=unused"])
    return OmegaConf.to_container(composed, resolve=True)


@pytest.mark.parametrize(
    ("algorithm", "decisions"),
    [("ppo", [12, 24, 30]), ("sac", [10, 20, 25])],  # ppo plays whole rollouts of 6
)
def test_a_run_leaves_the_log_of_its_way_and_the_policy(tmp_path: Path, algorithm: str, decisions: list[int]) -> None:
    outcome = model_free(tmp_path, *PENDULUM, *TINY, f"algorithm={algorithm}", "run=run")
    assert outcome.returncode == 0, outcome.stderr
    folder = tmp_path / "run"
    assert outcome.stdout.splitlines()[-4:] == [
        f"run/{x}" for x in ("learning_curve.png", "policy.zip", "metrics.jsonl", "report.html")
    ]
    assert outcome.stdout.splitlines()[-5].split()[0] == algorithm
    metrics = folder / "metrics.jsonl"
    (header,), (chance,) = read_records(metrics, "header"), read_records(metrics, "random_policy")
    assert header["config"]["algorithm"] == algorithm and chance["env_frames"] == 0
    evaluations = read_records(metrics, "evaluation")
    assert [record["env_frames"] for record in evaluations] == [4 * count for count in decisions]
    clocks = [record["wall_clock_s"] for record in (chance, *evaluations)]
    assert clocks[0] == 0 and clocks == sorted(clocks)
    log = read_log(metrics)
    assert (log.env, log.task, log.seed, len(log.returns), len(log.chance)) == ("pendulum", "Pendulum-v1", 0, 2, 2)
    assert list(log.curve) == [4 * count for count in decisions]
    policy = load_sb3(folder / "policy.zip", algorithm.upper(), trusted=True)
    env = make_env(settings(*PENDULUM, *TINY)["env"])
    assert frames_seen(policy.observation_space, env.env_spec) == 2
    env.close()


def test_evaluations_begin_where_the_dreams_run_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same seeds, so of the same random policy, the same returns."""
    from agents import model_free as command
    from worldmodel.records import Records

    given = settings(*PENDULUM, *TINY, "seed=3", "env_frames=24")
    baseline = make_baseline(given)
    monkeypatch.setattr(baseline, "learn", lambda *_, **__: None)
    records = Records(tmp_path)
    command.learn(baseline, given, records, save=tmp_path / "policy.zip")
    records.close()

    dreams = tmp_path / "dreams"
    budget = ("episodes=1", "seed_episodes=1", "first_updates=1", "ppo.num_envs=2", "ppo.n_steps=2", "ppo.batch_size=2")
    small = ("env.size=[48,48]", "evaluation_episodes=2", "trust_horizon=2", "train.batch=2")
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("ppo_imagine", overrides=[*PENDULUM, *small, *budget, "seed=3", f"run={dreams}"])
    learner, _ = make_learner(config)
    expected = [episode.total for episode in learner.evaluate_random()]
    learner.records.close()
    (found,) = read_records(tmp_path / "metrics.jsonl", "random_policy")
    assert found["returns"] == expected


def test_sac_remembers_rewards_as_they_are_and_that_a_time_limit_ends_no_task() -> None:
    baseline: Any = make_baseline(settings(*PENDULUM, *TINY, "algorithm=sac"))
    baseline.learn(10)
    buffer = baseline.replay_buffer
    assert buffer.timeouts[:10, 0].tolist() == buffer.dones[:10, 0].tolist() == [0.0] * 9 + [1.0]
    env = make_env(settings(*PENDULUM, *TINY)["env"])
    env.reset(seed=seed_of(0, "policy"))
    earned = [env.step(action)[1] for action in buffer.actions[:10, 0]]
    np.testing.assert_allclose(buffer.rewards[:10, 0], earned, rtol=1e-5)
    env.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_key_is_one_of_sb3s(algorithm: str) -> None:
    given = settings(*PENDULUM, *TINY, f"algorithm={algorithm}")
    baseline: Any = make_baseline(given)
    given[algorithm].pop("num_envs")
    for key, value in given[algorithm].items():
        found = getattr(baseline, key)
        found = found(1.0) if key == "clip_range" else found  # a schedule
        assert (found.frequency if key == "train_freq" else found) == value, key
    assert baseline.env.num_envs == (2 if algorithm == "ppo" else 1)


def test_choices_are_learned_by_ppo_alone(tmp_path: Path) -> None:
    assert make_baseline(settings(*CARTPOLE, *TINY)).action_space.n == 2
    says = "sac acts by vectors alone, cartpole_gym takes Discrete(2): set algorithm=ppo"
    check_mistake(model_free(tmp_path, *CARTPOLE, *TINY, "algorithm=sac", "run=run"), says)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algorithm=dqn", "algorithm is 'dqn': set one of ppo, sac"),
        ("frame_stack=0", "frame_stack is 0: set a whole number >= 1"),
        ("ppo.num_envs=0", r"ppo\.num_envs is 0: set a whole number >= 1"),
        ("+ppo.tau=1", r"unexpected keyword argument 'tau'\): see ppo in model_free\.yaml"),
        ("ppo.batch_size=1", "`batch_size` must be greater than 1"),
        ("~ppo.gamma", r"\('gamma'\): see ppo in model_free\.yaml"),
        ("device=nowhere", r"nowhere.*: see ppo in model_free\.yaml"),
    ],
)
def test_what_cannot_work_is_an_error_with_its_mend(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_baseline(settings(*PENDULUM, *TINY, override))
