"""Stable-Baselines3's faces keep its rules, and its algorithms train in them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import stable_baselines3
import torch
from dreaming import BOX, CHOICE, CONV, DENSE, Counter, actions_of, contexts, dream_of, trained
from gymnasium import spaces
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)
from test_filtered import DOT

from agents.sb3 import FilteredVecEnv, ImaginedVecEnv
from envs import make_env
from envs.dream import Dream
from envs.filtered import FilteredEnv
from envs.imagined import ImaginedEnv
from envs.starts import ContextStarts
from worldmodel.errors import CheckpointError, EnvError, WorldModelError
from worldmodel.spec import EnvSpec

WRAPPERS = [
    None,
    VecNormalize,
    lambda venv: VecFrameStack(venv, n_stack=2),
    VecTransposeImage,
    VecMonitor,
    lambda venv: VecCheckNan(venv, raise_exception=True, check_inf=True),
]
IDS = ["bare", "normalize", "stack", "transpose", "monitor", "nan"]


def vec_env(num_envs: int = 3, spec: EnvSpec = BOX, continues: float = 1.0, **settings: Any) -> ImaginedVecEnv:
    return ImaginedVecEnv(dream_of(Counter(spec, continues), num_envs, **settings))


@pytest.mark.parametrize("observation", ["frames", "features", "both"])
@pytest.mark.parametrize("spec", [BOX, CHOICE], ids=["box", "choice"])
def test_sb3s_checker_finds_nothing(observation: str, spec: EnvSpec) -> None:
    check_env(ImaginedEnv(dream_of(trained(spec=spec), observation=observation)))


@pytest.mark.parametrize("spec", [BOX, CHOICE], ids=["box", "choice"])
def test_rows_are_what_environments_of_their_own_would_be(spec: EnvSpec) -> None:
    """It gives what SB3's DummyVecEnv does of as many single ones: observations, ends, infos, seeds used once."""
    settings: dict[str, Any] = {"horizon": 1000, "observation": "both"}
    ours = vec_env(3, spec, 0.7, **settings)
    theirs = DummyVecEnv([lambda: ImaginedEnv(dream_of(Counter(spec, 0.7), **settings))] * 3)
    assert ours.seed(5) == theirs.seed(5)
    for env in (ours, theirs):
        env.set_options({"unknown": 1})
    ended = 0
    for _ in range(2):  # the second goes on with the streams of the first
        first, expected = ours.reset(), theirs.reset()
        assert isinstance(first, dict) and isinstance(expected, dict)
        for key in first:
            np.testing.assert_array_equal(first[key], expected[key])
        assert ours._seeds == theirs._seeds and ours._options == theirs._options
        assert ours.reset_infos == theirs.reset_infos
        for actions in actions_of(spec, 12, 3):
            mine, others = ours.step(actions), theirs.step(actions)
            for key in first:
                np.testing.assert_array_equal(mine[0][key], others[0][key])  # type: ignore[call-overload]
            np.testing.assert_allclose(mine[1], others[1])
            np.testing.assert_array_equal(mine[2], others[2])
            for info, other in zip(mine[3], others[3], strict=True):
                assert info.keys() == other.keys()
                assert info["TimeLimit.truncated"] is other["TimeLimit.truncated"]
                for key in first if "terminal_observation" in info else ():
                    np.testing.assert_array_equal(info["terminal_observation"][key], other["terminal_observation"][key])
            ended += int(mine[2].sum())
    assert ended > 5


@pytest.mark.parametrize("wrap", WRAPPERS, ids=IDS)
def test_terminal_observations_and_truncations_reach_through_wrappers(wrap: Any) -> None:
    """`Counter` draws the steps since the start: they grow by one a step, up to the end that infos tell of."""
    inner = vec_env(4, horizon=5, latents="mean")
    env = inner if wrap is None else wrap(inner)
    before, ends = env.reset(), np.zeros(4, int)
    for _ in range(12):
        after, rewards, dones, infos = env.step(np.zeros((4, 2), np.float32))
        assert rewards.dtype == np.float32 and dones.dtype == bool
        for row in range(4):
            assert ("terminal_observation" in infos[row]) == infos[row]["TimeLimit.truncated"] == dones[row]
            if dones[row]:
                terminal = infos[row]["terminal_observation"]
                assert terminal.shape == after[row].shape and terminal.dtype == after[row].dtype
                if wrap is not VecNormalize:
                    grown = terminal.astype(int) - before[row]
                    assert grown.max() == 1 or before[row].max() == 255
        ends += dones
        before = after
    assert ends.min() >= 2


def test_a_termination_is_no_truncation() -> None:
    env = vec_env(3, continues=0.0, horizon=1)
    env.reset()
    _, _, dones, infos = env.step(np.zeros((3, 2)))
    assert dones.all() and not any(info["TimeLimit.truncated"] for info in infos)


def test_seeds_are_used_once() -> None:
    env = vec_env(2, observation="both")

    def dreamt() -> np.ndarray:
        env.reset()
        return env.step(np.zeros((2, 2)))[0]["features"]  # type: ignore[call-overload]

    env.seed(3)
    first, second = dreamt(), dreamt()
    env.seed(3)
    np.testing.assert_array_equal(first, dreamt())
    np.testing.assert_array_equal(second, dreamt())
    assert not np.array_equal(first, second)
    env.seed()
    assert not np.array_equal(first, dreamt())


def test_attributes_and_methods_are_reached_by_row() -> None:
    env = vec_env(3)
    env.reset()
    assert not env.has_attr("note")
    env.set_attr("note", 7)
    assert env.get_attr("note") == [7, 7, 7] and env.has_attr("note")
    env.set_attr("note", 8, indices=[0, -1])
    assert env.get_attr("note") == [8, 7, 8]
    assert env.get_attr("note", indices=1) == [7] and env.get_attr("note", indices=[-1, 1]) == [8, 7]
    env.env_method("set_wrapper_attr", "note", 9, indices=2)
    assert env.get_attr("note") == [8, 7, 9]
    drawn = env.env_method("render", indices=[2, 0])
    np.testing.assert_array_equal(np.stack(drawn), np.stack(env.get_images())[[2, 0]])
    assert env.env_is_wrapped(Monitor) == [False] * 3
    assert env.get_attr("action_space") == [spaces.Box(-1, 1, (2,), np.float32)] * 3


def test_it_draws_its_rows_in_one_picture() -> None:
    env = vec_env(4)
    frames = env.reset()
    picture = env.render()
    assert isinstance(frames, np.ndarray) and picture is not None
    np.testing.assert_array_equal(picture[:64, :64], frames[0])
    np.testing.assert_array_equal(picture[64:, 64:], frames[3])
    np.testing.assert_array_equal(picture, env.render(mode="rgb_array"))


def test_a_recorded_video_can_be_read(moviepy: None, tmp_path: Path) -> None:
    inner = vec_env(2, horizon=50)
    env = VecVideoRecorder(inner, str(tmp_path), record_video_trigger=lambda step: step == 0, video_length=5)
    env.reset()
    for _ in range(7):
        env.step(np.zeros((2, 2)))
    env.close()
    (path,) = tmp_path.glob("*.mp4")
    with av.open(path) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 6 and shown[0].shape == (128, 64, 3)


def test_a_monitor_counts_what_it_earns(tmp_path: Path) -> None:
    env = VecMonitor(vec_env(2, horizon=4), str(tmp_path / "log"))
    env.reset()
    totals, lengths, episodes = np.zeros(2), np.zeros(2, int), 0
    for actions in actions_of(BOX, 20, 2):
        _, rewards, dones, infos = env.step(actions)
        totals += rewards
        lengths += 1
        for row in np.flatnonzero(dones):
            assert infos[row]["episode"]["r"] == pytest.approx(totals[row], abs=1e-5)
            assert infos[row]["episode"]["l"] == lengths[row]
            totals[row], lengths[row], episodes = 0, 0, episodes + 1
    env.close()
    lines = (tmp_path / "log.monitor.csv").read_text().splitlines()
    assert set(json.loads(lines[0][1:])) == {"t_start", "env_id"}
    assert lines[1] == "r,l,t" and len(lines) == 2 + episodes > 8


def test_steps_are_refused_where_there_is_nothing_to_step() -> None:
    env = vec_env(2)
    with pytest.raises(EnvError, match="are in no episode: call reset"):
        env.step(np.zeros((2, 2)))
    env.reset()
    with pytest.raises(EnvError, match="there are no actions to take"):
        env.step_wait()
    env.close()
    with pytest.raises(EnvError, match="is closed"):
        env.step(np.zeros((2, 2)))


def networks(**others: Any) -> dict[str, Any]:
    """Small ones; a new dict at each call, since some algorithms write into theirs."""
    return {"net_arch": [8], **others}


def ppo_in(env: VecEnv, **settings: Any) -> PPO:
    others = {"n_steps": 8, "batch_size": 8, "policy_kwargs": networks(), **settings}
    return PPO("MlpPolicy", env, seed=0, device="cpu", **others)


IMAGES = {"features_extractor_kwargs": {"features_dim": 8}}
BOTH = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
ON_POLICY = {"n_steps": 16}
BATCHES = {"n_steps": 16, "batch_size": 16}
OFF_POLICY = {"learning_starts": 8, "batch_size": 8, "buffer_size": 100}
LEARNERS: dict[str, tuple[Any, str, str, EnvSpec, dict[str, Any], dict[str, Any]]] = {
    "ppo-frames": (PPO, "CnnPolicy", "frames", BOX, BATCHES, IMAGES),
    "ppo-features": (PPO, "MlpPolicy", "features", BOX, BATCHES, {}),
    "ppo-both": (PPO, "MultiInputPolicy", "both", CHOICE, BATCHES, BOTH),
    "a2c": (A2C, "MlpPolicy", "features", CHOICE, ON_POLICY, {}),
    "sac": (SAC, "MlpPolicy", "features", BOX, OFF_POLICY, {}),
    "tqc": (TQC, "MlpPolicy", "features", BOX, OFF_POLICY, {}),
    "dqn": (DQN, "MlpPolicy", "features", CHOICE, OFF_POLICY, {}),
    "recurrent-ppo": (RecurrentPPO, "MlpLstmPolicy", "features", BOX, BATCHES, {"lstm_hidden_size": 8}),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_algorithms_learn_without_a_warning(name: str) -> None:
    kind, policy, observation, spec, settings, sizes = LEARNERS[name]
    env = ImaginedVecEnv(dream_of(trained(spec=spec), 2, observation=observation, horizon=10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = kind(policy, VecMonitor(env), seed=0, device="cpu", policy_kwargs=networks(**sizes), **settings)
        before = [weight.clone() for weight in learner.policy.parameters()]
        learner.learn(64)
    assert learner.num_timesteps >= 64
    assert any(not torch.equal(a, b) for a, b in zip(before, learner.policy.parameters(), strict=True))
    assert len(learner.ep_info_buffer) >= 4


def test_ppo_learns_in_the_pixels_of_a_small_svg_prime() -> None:
    env = ImaginedVecEnv(dream_of(trained(CONV, feedback="pixels"), 2, horizon=5))
    PPO("CnnPolicy", env, n_steps=8, batch_size=8, device="cpu", policy_kwargs=networks(**IMAGES)).learn(16)


def test_it_learns_what_the_dream_rewards() -> None:
    """`Counter` rewards the mean of the action."""
    env = ImaginedVecEnv(dream_of(Counter(), 8, observation="features", horizon=8))
    ppo = ppo_in(env, n_steps=32, batch_size=64, learning_rate=0.01)
    ppo.learn(2048)
    seen = env.reset()
    assert ppo.predict(seen, deterministic=True)[0].mean() > 0.5


def test_nothing_is_learned_from_what_is_not_finite() -> None:
    model = trained()
    with torch.no_grad():
        model.frame_predictor.output.bias[0] = float("nan")
    env = ImaginedVecEnv(dream_of(model, 2, observation="features"))
    ppo = ppo_in(env)
    with pytest.raises(WorldModelError, match="in row 0 at step 1 of its episode"):
        ppo.learn(16)
    assert all(torch.isfinite(weight).all() for weight in ppo.policy.parameters())


@pytest.fixture
def real() -> Iterator[VecEnv]:
    env = DummyVecEnv([lambda: Monitor(make_env(DOT))] * 3)
    yield env
    env.close()


def test_a_policy_trained_in_the_dream_acts_in_reality(real: VecEnv, tmp_path: Path) -> None:
    model = trained(spec=make_env(DOT).env_spec)
    env = ImaginedVecEnv(dream_of(model, 2, observation="features"))
    ppo_in(env).learn(16).save(tmp_path / "ppo")
    ppo = PPO.load(tmp_path / "ppo", device="cpu")
    single = Monitor(FilteredEnv(make_env(DOT), model))
    for filtered in (FilteredVecEnv(real, model), single):
        returns, lengths = evaluate_policy(ppo, filtered, n_eval_episodes=4, return_episode_rewards=True)
        assert lengths == [6] * 4 and isinstance(returns, list) and len(set(returns)) > 1


def test_rows_filtered_together_are_rows_filtered_alone(real: VecEnv) -> None:
    model = trained(DENSE, make_env(DOT).env_spec)
    together = FilteredVecEnv(real, model, observation="both", precision="32-true")
    alone = DummyVecEnv([lambda: FilteredEnv(make_env(DOT), model, observation="both", precision="32-true")] * 3)
    assert together.observation_space == alone.observation_space
    together.seed(1)
    alone.seed(1)

    def same(found: Any, expected: Any) -> None:
        np.testing.assert_array_equal(found["frames"], expected["frames"])
        np.testing.assert_allclose(found["features"], expected["features"], atol=1e-5)

    same(together.reset(), alone.reset())
    ended = 0
    for actions in actions_of(BOX, 14, 3):
        found, expected = together.step(actions), alone.step(actions)
        same(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[2], expected[2])
        for info, other in zip(found[3], expected[3], strict=True):
            assert ("terminal_observation" in info) == ("terminal_observation" in other)
            if "terminal_observation" in info:
                same(info["terminal_observation"], other["terminal_observation"])
                ended += 1
    assert ended == 6


def test_other_environments_are_not_filtered(real: VecEnv) -> None:
    with pytest.raises(CheckpointError, match=r"another environment: env line \(model\) against dot"):
        FilteredVecEnv(real, Counter(BOX))
    with pytest.raises(EnvError, match=r"has no env_spec: make its environments with envs\.make_env"):
        FilteredVecEnv(stable_baselines3.common.env_util.make_vec_env("CartPole-v1"), Counter(BOX))
    with pytest.raises(EnvError, match=r"the environment shows Box\(0, 255, \(3, 64, 64\), uint8\)"):
        FilteredVecEnv(VecTransposeImage(real), Counter(make_env(DOT).env_spec))
    filtered = FilteredVecEnv(real, Counter(make_env(DOT).env_spec))
    filtered.reset()
    with pytest.raises(EnvError, match="there are no actions to take"):
        filtered.step_wait()
    with pytest.raises(EnvError, match=r"the action of row 1 is \[nan, 0.0\]"):
        filtered.step(np.array([[0, 0], [np.nan, 0], [0, 0]]))


def test_contexts_are_shared_by_rows_and_left_alone() -> None:
    given = contexts()
    start = given.frames.clone()
    env = ImaginedVecEnv(Dream(Counter(BOX), ContextStarts(given), num_envs=4, horizon=2))
    env.reset()
    for _ in range(3):
        observation, *_ = env.step(np.zeros((4, 2), np.float32))
        observation.fill(7)
    assert torch.equal(start, given.frames)
