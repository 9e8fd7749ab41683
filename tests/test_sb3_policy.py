"""A policy of Stable-Baselines3 acts as it would there, repeatably, and says where it does not fit."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from agents.collecting import play_episode
from agents.sb3_policy import ALGORITHMS, SB3Actor, kind_seen, load_sb3
from worldmodel.episode import Episode
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.spec import EnvSpec

BOX = EnvSpec("noise", "none", "box", 2, (-1.0, -1.0), (1.0, 1.0), 1, 8, (64, 64))
DISCRETE = replace(BOX, action_kind="discrete", action_size=4, action_low=(), action_high=())
FRAME = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


class Noise(gymnasium.Env[np.ndarray, Any]):
    """Eight frames of noise, the reward their first pixel."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def __init__(self, spec: EnvSpec) -> None:
        self.action_space = spaces.Box(-1, 1, (2,), np.float32) if spec.action_kind == "box" else spaces.Discrete(4)

    def _frame(self) -> np.ndarray:
        frame = self.np_random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        frame.flags.writeable = False
        return frame

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.count = 0
        return self._frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.count += 1
        frame = self._frame()
        return frame, float(frame[0, 0, 0]), False, self.count == 8, {}


def make(algorithm: str, spec: EnvSpec, **others: Any) -> Any:
    """As somebody begins to train; the networks small, to be quick."""
    if algorithm in ("DQN", "SAC", "TD3", "TQC"):
        others["buffer_size"] = 4
    others = {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}, "net_arch": [8]}, **others}
    kind = getattr(import_module(ALGORITHMS[algorithm]), algorithm)
    return kind(
        "CnnLstmPolicy" if algorithm == "RecurrentPPO" else "CnnPolicy", Noise(spec), seed=0, device="cpu", **others
    )


def spec_of(algorithm: str) -> EnvSpec:
    return DISCRETE if algorithm == "DQN" else BOX


@pytest.fixture(scope="module")
def ppo() -> dict[str, Any]:
    """Two untrained policies, by the kind of their actions."""
    return {spec.action_kind: make("PPO", spec).policy for spec in (BOX, DISCRETE)}


def play(policy: Any, spec: EnvSpec, seed: int, exploration: float) -> Episode:
    return play_episode(Noise(spec), SB3Actor(policy, spec), spec=spec, seed=seed, exploration=exploration, name="ppo")


def chosen(policy: Any, spec: EnvSpec, exploration: float, seed: int = 0) -> np.ndarray:
    actor = SB3Actor(policy, spec)
    actor.reset(FRAME)
    return actor.act(torch.Generator().manual_seed(seed), exploration)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_saved_policy_acts_as_before(tmp_path: Path, algorithm: str) -> None:
    spec = spec_of(algorithm)
    model = make(algorithm, spec)
    model.buffer_size = model.n_steps = 10**9  # what no machine has room for
    model.save(tmp_path / "model")
    action = chosen(load_sb3(tmp_path / "model.zip", algorithm, trusted=True), spec, 0.0)
    there, _ = model.policy.predict(FRAME.transpose(2, 0, 1), deterministic=True)
    assert action.dtype == np.float32 and action.shape == (spec.action_size,)
    assert action.tolist() == (np.eye(4)[there].tolist() if algorithm == "DQN" else there.tolist())


def test_without_exploration_the_best_action_is_taken(ppo: dict[str, Any]) -> None:
    for policy, bias in ((ppo["box"], [0.25, -3.0]), (ppo["discrete"], [0.0, 0.1, 0.3, 0.2])):
        kept = {key: value.clone() for key, value in policy.action_net.state_dict().items()}
        with torch.no_grad():
            policy.action_net.weight.zero_()
            policy.action_net.bias.copy_(torch.tensor(bias))
        spec = BOX if policy is ppo["box"] else DISCRETE
        expected = [0.25, -1.0] if spec is BOX else [0, 0, 1, 0]
        actions = [chosen(policy, spec, 0.0, seed).tolist() for seed in range(3)]
        policy.action_net.load_state_dict(kept)
        assert actions == [expected] * 3


@pytest.mark.parametrize("spec", [BOX, DISCRETE])
def test_the_seed_repeats_an_episode_and_global_streams_stay_untouched(ppo: dict[str, Any], spec: EnvSpec) -> None:
    policy = ppo[spec.action_kind]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = play(policy, spec, 8, 1.0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = play(policy, spec, 8, 1.0)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, play(policy, spec, 9, 1.0).actions)
    assert len(np.unique(first.actions, axis=0)) > 1


def test_a_distribution_is_sampled_as_it_is(ppo: dict[str, Any]) -> None:
    for exploration in (0.1, 1.0):
        frequency = np.mean([chosen(ppo["discrete"], DISCRETE, exploration, seed) for seed in range(400)], axis=0)
        with torch.no_grad():
            frame = torch.from_numpy(FRAME).permute(2, 0, 1)[None]
            probabilities = ppo["discrete"].get_distribution(frame).distribution.probs[0].numpy()
        assert np.abs(frequency - probabilities).max() < 0.1  # four standard deviations


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_state_dependent_exploration_repeats_too(algorithm: str) -> None:
    policy = make(algorithm, BOX, use_sde=True).policy
    first = chosen(policy, BOX, 1.0, 3)
    other = chosen(policy, BOX, 1.0, 4)
    assert first.tolist() == chosen(policy, BOX, 1.0, 3).tolist() != other.tolist()


@pytest.mark.parametrize("algorithm", ["DQN", "TD3"])
def test_a_policy_without_a_distribution_explores_by_noise(algorithm: str) -> None:
    spec = spec_of(algorithm)
    policy = make(algorithm, spec).policy
    best = chosen(policy, spec, 0.0)
    noisy = np.array([chosen(policy, spec, 0.25, seed) for seed in range(200)])
    if spec is BOX:
        assert abs((noisy - best).std() - 0.25) < 0.05
    else:
        assert abs((noisy == best).all(1).mean() - (1 - 0.25 * 3 / 4)) < 0.1


def test_channels_may_come_last() -> None:
    space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    policy = ActorCriticPolicy(space, spaces.Box(-1, 1, (2,), np.float32), lambda _: 1e-3, net_arch=[4])
    assert chosen(policy, BOX, 0.0).tolist() == policy.predict(FRAME, deterministic=True)[0].tolist()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (replace(BOX, frame_size=(64, 96)), r"sees Box\(0, 255, \(3, 64, 64\), uint8\), .*\(64, 96, 3\): set env.size"),
        (replace(BOX, action_size=3), r"acts in Box\(-1.0, 1.0, \(2,\), float32\), .*\(3,\)"),
        (DISCRETE, r"acts in Box\(.*takes Discrete\(4\)"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(ppo: dict[str, Any], spec: EnvSpec, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        SB3Actor(ppo["box"], spec)


@pytest.mark.parametrize("count", [1, 3])
def test_frames_are_stacked_as_the_policy_was_trained_on_them(count: int, tmp_path: Path) -> None:
    env = VecFrameStack(DummyVecEnv([lambda: Noise(BOX)]), count)
    trained = PPO("CnnPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    trained.save(tmp_path / "model")
    policy = load_sb3(tmp_path / "model.zip", "PPO", trusted=True)
    assert policy.observation_space.shape == (3 * count, 64, 64)
    env.seed(7)
    seen, expected = env.reset(), []
    for _ in range(8):
        expected.append(policy.predict(seen, deterministic=True)[0])
        seen, *_ = env.step(expected[-1])
    actions = play(policy, BOX, 7, 0.0).actions
    np.testing.assert_array_equal(actions, np.concatenate(expected))
    assert len(np.unique(actions, axis=0)) > 1


def test_a_recurrent_policy_remembers_the_episode_and_nothing_before_it() -> None:
    policy, env = make("RecurrentPPO", BOX).policy, Noise(BOX)
    with torch.no_grad():  # what it remembers decides
        for weight in policy.lstm_actor.parameters():
            weight.mul_(5)
        policy.action_net.weight.mul_(50)
    frame, _ = env.reset(seed=4)
    memory, expected = None, []
    for step in range(8):
        action, memory = policy.predict(frame.copy(), memory, np.array([step == 0]), deterministic=True)
        expected.append(action)
        frame, *_ = env.step(action)
    actor = SB3Actor(policy, BOX)
    for _ in range(2):  # the second episode as the first
        found = play_episode(Noise(BOX), actor, spec=BOX, seed=4, exploration=0.0, name="ppo").actions
        np.testing.assert_allclose(found, expected, atol=1e-6)
    forgetful = [policy.predict(frame, deterministic=True)[0] for frame in play(policy, BOX, 4, 0.0).frames[:8]]
    assert np.abs(np.array(forgetful) - expected)[1:].max() > 1e-3


@pytest.mark.parametrize("norm_obs", [False, True])
def test_normalised_observations_are_refused_where_they_show(norm_obs: bool, tmp_path: Path) -> None:
    class Bounded(gymnasium.Env[np.ndarray, Any]):
        """Small numbers, bounded by 1: normalised they are larger."""

        observation_space = spaces.Box(-1, 1, (3,), np.float32)
        action_space = spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
            super().reset(seed=seed)
            self.count = 0
            return np.zeros(3, np.float32), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            self.count += 1
            return np.full(3, 0.01 * self.count, np.float32), 0.0, False, False, {}

    env = VecNormalize(DummyVecEnv([Bounded]), norm_obs=norm_obs)
    PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(8).save(tmp_path / "model")
    if norm_obs:
        with pytest.raises(CheckpointError, match=r"beyond Box\(-1\.0, 1\.0, \(3,\), float32\), as VecNormalize makes"):
            load_sb3(tmp_path / "model.zip", "PPO", trusted=True)
    else:
        assert kind_seen(load_sb3(tmp_path / "model.zip", "PPO", trusted=True)) == "features"


def test_other_channels_than_whole_frames_are_refused() -> None:
    space = spaces.Box(0, 255, (4, 64, 64), np.uint8)  # grey, as Atari's wrappers stack them
    policy = ActorCriticPolicy(space, spaces.Discrete(4), lambda _: 1e-3, net_arch=[4])
    with pytest.raises(ConfigError, match="train it on frames of this environment, as they are or in VecFrameStack"):
        SB3Actor(policy, DISCRETE)


def test_what_is_no_sb3_zip_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.zip is no file"):
        load_sb3(tmp_path / "gone.zip", "PPO", trusted=True)
    text, other = tmp_path / "text.zip", tmp_path / "other.zip"
    text.write_text("no zip")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "a zip")
    for path in (text, other):
        with pytest.raises(CheckpointError, match=rf"{path.name} is no zip of SB3"):
            load_sb3(path, "PPO", trusted=True)


def test_another_algorithm_than_the_one_that_saved_is_named(tmp_path: Path) -> None:
    make("PPO", BOX).save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model\.zip cannot be loaded as SAC"):
        load_sb3(tmp_path / "model.zip", "SAC", trusted=True)


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ppo': set one of A2C, DQN, PPO, SAC, TD3, RecurrentPPO, TQC"):
        load_sb3(Path("model.zip"), "ppo", trusted=True)


def test_a_missing_package_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ConfigError, match=r"pip install 'svg-worldmodel\[sb3\]'"):
        load_sb3(Path("model.zip"), "PPO", trusted=True)
