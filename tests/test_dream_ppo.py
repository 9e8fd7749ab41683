"""PPO in the dream of a small model: it learns there, goes on as if never stopped, and takes what settings can work."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dreaming import BOX, CHOICE, CONV, PAIR, trained
from stable_baselines3 import PPO

from agents.dream_ppo import DreamPPO, PPOConfig
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.errors import ConfigError, DataError, DivergedError
from worldmodel.pixels import pixels
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec
from worldmodel.state import State
from worldmodel.svg import SVG

CONFIG = PPOConfig(
    observation="features",
    frame_stack=3,
    num_envs=4,
    episode_starts=0.25,
    horizon=5,
    steps=32,
    n_steps=8,
    batch_size=16,
    n_epochs=2,
    learning_rate=1e-3,
    gamma=0.9,
    gae_lambda=0.95,
    clip_range=0.2,
    ent_coef=0.0,
)


def replay(folder: Path, spec: EnvSpec = BOX) -> Replay:
    rng = np.random.default_rng(0)
    for index in range(2):
        actions = rng.uniform(-1, 1, (8, spec.action_size)).astype(np.float32)
        if spec.action_kind == "discrete":
            actions = np.eye(spec.action_size, dtype=np.float32)[actions.argmax(1)]
        episode = Episode(
            frames=rng.integers(0, 256, (9, *spec.frame_size, 3), np.uint8),
            actions=actions,
            rewards=rng.normal(size=8).astype(np.float32),
            terminated=False,
            truncated=True,
            spec=spec,
            seed=index,
            actor="random",
        )
        save_episode(episode, episode_path(folder, index))
    return Replay(folder)


def make(model: SVG | None = None, **changes: Any) -> DreamPPO:
    return DreamPPO(model or trained(PAIR), replace(CONFIG, **changes), context=2, seed=3, precision="auto")


def weights(ppo: DreamPPO) -> list[torch.Tensor]:
    return [weight.clone() for weight in ppo.ppo.policy.state_dict().values()]


def same(one: DreamPPO, other: DreamPPO) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("observation", ["features", "frames"])
def test_a_policy_learns_and_goes_on_as_one_that_was_never_stopped(observation: str, tmp_path: Path) -> None:
    data = replay(tmp_path)
    whole, stopped = make(observation=observation), make(observation=observation)
    begun = weights(whole)
    first = [ppo.train(data, seed=5) for ppo in (whole, stopped)]
    assert first[0] == first[1] and first[0]["imagined_steps"] == 32
    assert {"imagined_return", "explained_variance", "approx_kl", "value_loss"} <= set(first[0])
    assert any(not torch.equal(a, b) for a, b in zip(begun, weights(whole), strict=True))

    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = make(observation=observation)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert whole.train(data, seed=6) == resumed.train(data, seed=6)
    assert same(whole, resumed) and not same(whole, stopped)


def test_the_policy_learns_what_the_model_rewards(tmp_path: Path) -> None:
    """A model whose reward is its first action: the policy comes to push that way."""
    model = trained(PAIR)

    class First(torch.nn.Module):
        def forward(self, before: torch.Tensor, action: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
            return action[:, 0]

    model.reward = First()  # type: ignore[assignment]
    ppo, data = make(model, num_envs=16, n_steps=16, batch_size=64, n_epochs=8, learning_rate=3e-3), replay(tmp_path)
    for seed in range(10):
        ppo.train(data, seed=seed)
    contexts = data.contexts(8, 2, np.random.default_rng(0))
    with torch.inference_mode():
        actions = ppo.actor().act(model.initial(contexts.frames, contexts.actions))
    assert actions.shape == (8, 2) and actions[:, 0].min() > 0.5


@pytest.mark.parametrize(
    ("model", "observation"),
    [(trained(PAIR, CHOICE), "features"), (trained(CONV, feedback="pixels"), "frames")],
    ids=["choices", "an SVG' dream of pixels"],
)
def test_choices_and_pixel_dreams_are_learned_in_too(model: SVG, observation: str, tmp_path: Path) -> None:
    data = replay(tmp_path, model.spec)
    ppo = make(model, observation=observation)
    assert ppo.train(data, seed=0)["imagined_steps"] == 32
    contexts = data.contexts(3, 2, np.random.default_rng(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as models act
        actor = ppo.actor()
        actor.begin(contexts.frames.permute(0, 1, 3, 4, 2).numpy())
        actions = actor.act(model.initial(contexts.frames, contexts.actions))
    assert actions.shape == (3, model.spec.action_size) and actions.abs().max() <= 1
    if model.spec.action_kind == "discrete":
        assert actions.sum(1).tolist() == [1, 1, 1]


def test_a_policy_of_frames_sees_those_that_were_and_then_those_that_are_drawn() -> None:
    model = trained(PAIR)
    ppo, seen = make(model, observation="frames"), []
    assert ppo.ppo.policy.observation_space.shape == (9, 64, 64)

    def predict(frames: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
        seen.append(frames)
        return np.zeros((len(frames), 2), np.float32), None

    ppo.ppo.policy.predict = predict  # type: ignore[method-assign,assignment]
    given = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3), np.uint8)
    state = model.initial(torch.from_numpy(given).permute(0, 1, 4, 2, 3), torch.zeros(2, 3, 2))
    actor = ppo.actor()
    actor.begin(given)
    actor.act(state)
    actor.advance(state)
    actor.act(state)
    np.testing.assert_array_equal(seen[0], np.concatenate([given[:, t] for t in (1, 2, 3)], -1))
    np.testing.assert_array_equal(seen[1], np.concatenate([given[:, 2], given[:, 3], pixels(model.decode(state))], -1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_logged_and_no_finite_number_is_none(value: float, tmp_path: Path) -> None:
    """As the explained variance is of returns that are all the same."""
    ppo, learn = make(), PPO.learn

    def learned(self: PPO, *args: Any, **others: Any) -> None:
        learn(self, *args, **others)
        self.logger.record("train/explained_variance", value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PPO, "learn", learned)
        found = ppo.train(replay(tmp_path), seed=0)
    assert found["explained_variance"] is None and found["imagined_steps"] == 32
    json.dumps(found, allow_nan=False)


def test_a_policy_that_diverged_is_an_error(tmp_path: Path) -> None:
    """Whether SB3 comes to see that, or its last update did it."""
    message = r"\d+ of \d+ weights and deviations of the policy are not finite after 32 .* a ppo\.learning_rate below"
    data = replay(tmp_path)
    with pytest.raises(DivergedError, match=f"{message} 1e[+]30$"):
        make(learning_rate=1e30).train(data, seed=0)
    ppo, learn = make(), PPO.learn

    def learned(self: PPO, *args: Any, **others: Any) -> None:
        learn(self, *args, **others)
        next(self.policy.parameters()).data[0] = float("nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PPO, "learn", learned)
        with pytest.raises(DivergedError, match=message):
            ppo.train(data, seed=0)


def test_a_mistake_of_another_kind_is_no_divergence(tmp_path: Path) -> None:
    def mistaken(self: PPO, *args: Any, **others: Any) -> None:
        raise ValueError("something else")

    ppo = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PPO, "learn", mistaken)
        with pytest.raises(ValueError, match="something else"):
            ppo.train(replay(tmp_path), seed=0)


def test_before_there_are_episodes_dreams_have_nowhere_to_start() -> None:
    with pytest.raises(DataError, match="the run has no episodes yet"):
        make().ppo.learn(8)


@pytest.mark.parametrize(("share", "lengths"), [(0.0, {3}), (0.5, {1, 3}), (1.0, {1})])
def test_some_dreams_start_where_episodes_began(share: float, lengths: set[int], tmp_path: Path) -> None:
    model, data = trained(PAIR), replay(tmp_path)
    ppo = DreamPPO(model, replace(CONFIG, episode_starts=share, num_envs=8), context=3, seed=3, precision="auto")
    initial, found = model.initial, set()

    def initial_and_tell(frames: torch.Tensor, actions: torch.Tensor) -> State:
        found.add(frames.shape[1])
        return initial(frames, actions)

    model.initial = initial_and_tell  # type: ignore[method-assign,assignment]
    ppo.train(data, seed=0)
    assert found == lengths


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": "both"}, r"ppo\.observation is 'both': set features or frames"),
        ({"episode_starts": 1.5}, r"ppo\.episode_starts is 1\.5: set a probability in \[0, 1\]"),
        ({"frame_stack": 0}, r"ppo\.frame_stack is 0: set a whole number >= 1"),
        ({"horizon": 0}, r"ppo\.horizon is 0: set a whole number >= 1"),
        ({"batch_size": 12}, r"ppo\.batch_size \(12\) does not divide .* = 32 decisions: set one that does"),
    ],
)
def test_settings_that_cannot_work_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)
    with pytest.raises(ConfigError, match=message):
        PPOConfig.from_mapping({**asdict(CONFIG), **changes})


def test_a_key_too_many_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"ppo cannot be used as given .*vf_coef.*: set the keys of ppo_imagine\.yaml"
    ):
        PPOConfig.from_mapping({**asdict(CONFIG), "vf_coef": 1.0})
