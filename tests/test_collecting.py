"""An episode holds what happened, in order, and is repeated exactly by its seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from misbehaving import settings

from agents.actor import RandomActor
from agents.collecting import Failure, episode_generator, play_episode, play_evaluation, play_numbered
from agents.seeds import seed_of
from envs import make_env
from worldmodel.episode import Episode
from worldmodel.errors import EnvError, EnvFailure
from worldmodel.spec import EnvSpec

BOX = EnvSpec("walk", "line", "box", 1, (-1.0,), (1.0,), 1, 6, (4, 16))
DISCRETE = replace(BOX, action_kind="discrete", action_size=2, action_low=(), action_high=())


class Walk(gymnasium.Env[np.ndarray, Any]):
    """A count of steps drawn as grey level beside a random offset; the reward is ten times the count."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 16, 3), np.uint8)

    def __init__(self, spec: EnvSpec, *, terminates_after: int = 99) -> None:
        self.action_space = (
            gymnasium.spaces.Box(-1, 1, (1,), np.float32)
            if spec.action_kind == "box"
            else gymnasium.spaces.Discrete(spec.action_size)
        )
        self.limit = spec.time_limit
        self.terminates_after = terminates_after
        self.taken: list[Any] = []

    def _frame(self) -> np.ndarray:
        frame = np.full((4, 16, 3), len(self.taken), np.uint8)
        frame[:, self.offset] = 255
        return frame

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.offset, self.taken = int(self.np_random.integers(16)), []
        return self._frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.taken.append(action)
        count = len(self.taken)
        return self._frame(), 10.0 * count, count >= self.terminates_after, count >= self.limit, {}


class Fragile(Walk):
    """Fails in the second step of as many episodes, and notes what all were begun with."""

    def __init__(self, spec: EnvSpec, *, failures: int, error: EnvError) -> None:
        super().__init__(spec)
        self.failures, self.error = failures, error
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.seeds.append(seed)
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        if len(self.taken) == 1 and len(self.seeds) <= self.failures:
            raise self.error
        return super().step(action)


class Scripted:
    """Takes prepared actions and notes what it is shown."""

    def __init__(self, actions: list[list[float]]) -> None:
        self.actions = [np.array(action, np.float32) for action in actions]
        self.shown: list[tuple] = []
        self.exploration: set[float] = set()

    def reset(self, frame: np.ndarray) -> None:
        self.shown.append(("reset", frame[0, 0].min()))

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        self.exploration.add(exploration)
        return self.actions[len(self.shown) - 1]

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        self.shown.append((action.tolist(), int(np.median(frame))))


def play(env: Walk, actor, spec: EnvSpec, seed: int = 3):
    return play_episode(env, actor, spec=spec, seed=seed, exploration=0.25, name="somebody")


def test_an_episode_holds_what_happened_in_order() -> None:
    script = [[-1.0], [-0.5], [0.0], [0.5], [1.0], [0.25]]
    env, actor = Walk(BOX), Scripted(script)
    episode = play(env, actor, BOX)
    assert episode.frames.shape == (7, 4, 16, 3) and episode.frames.dtype == np.uint8
    assert np.median(episode.frames, (1, 2, 3)).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert episode.actions.tolist() == script and episode.actions.dtype == np.float32
    assert episode.rewards.tolist() == [10, 20, 30, 40, 50, 60] and episode.rewards.dtype == np.float32
    assert (episode.terminated, episode.truncated) == (False, True)
    assert (episode.spec, episode.seed, episode.actor) == (BOX, 3, "somebody")
    np.testing.assert_array_equal(np.stack(env.taken), episode.actions)


def test_the_actor_sees_each_action_with_the_frame_it_led_to() -> None:
    actor = Scripted([[-1.0], [-0.5], [0.0], [0.5], [1.0], [0.25]])
    play(Walk(BOX), actor, BOX)
    assert actor.shown[1:] == [([-1.0], 1), ([-0.5], 2), ([0.0], 3), ([0.5], 4), ([1.0], 5)]
    assert actor.shown[0][0] == "reset" and actor.exploration == {0.25}


@pytest.mark.parametrize("after", [2, 6])
def test_termination_is_not_truncation_even_at_the_time_limit(after: int) -> None:
    episode = play(Walk(BOX, terminates_after=after), RandomActor(BOX), BOX)
    assert (len(episode.rewards), episode.terminated, episode.truncated) == (after, True, False)


def test_discrete_actions_reach_the_environment_as_numbers_and_the_episode_as_one_hot() -> None:
    env = Walk(DISCRETE)
    episode = play(env, Scripted([[0, 1], [1, 0], [1, 0], [0, 1], [1, 0], [0, 1]]), DISCRETE)
    assert [int(action) for action in env.taken] == [1, 0, 0, 1, 0, 1]
    assert episode.actions.tolist() == [[0, 1], [1, 0], [1, 0], [0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("spec", [BOX, DISCRETE])
def test_the_seed_repeats_an_episode_exactly(spec: EnvSpec) -> None:
    env = Walk(spec)
    torch.manual_seed(0)
    first = play(env, RandomActor(spec), spec, seed=8)
    torch.manual_seed(1)
    again = play(env, RandomActor(spec), spec, seed=8)
    other = play(env, RandomActor(spec), spec, seed=9)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, other.actions)


def test_the_actors_stream_is_not_the_environments() -> None:
    environments = np.random.SeedSequence(5).generate_state(1, np.uint64)[0]  # what Gymnasium seeds np_random with
    assert episode_generator(5).initial_seed() not in (5, int(environments))
    assert len({episode_generator(seed).initial_seed() for seed in range(50)}) == 50


# Environments that fail

SEEDS = [seed_of(5, "collect", 7), seed_of(5, "retry", 22), seed_of(5, "retry", 23)]
BROKEN = EnvFailure("the rope broke")


def collect(env: Walk, told: list[Failure]) -> Episode:
    """The episode numbered 7 of a run of seed 5."""
    actor = RandomActor(BOX)
    return play_numbered(env, actor, 7, spec=BOX, seed=5, exploration=0.25, name="somebody", failed=told.append)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_an_episode_in_which_the_environment_fails_is_replaced_by_one_of_a_new_seed(
    failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    env, told = Fragile(BOX, failures=failures, error=BROKEN), []
    episode = collect(env, told)
    assert episode.seed == SEEDS[failures] and env.seeds == SEEDS[: failures + 1]
    alone = play(Walk(BOX), RandomActor(BOX), BOX, seed=SEEDS[failures])
    np.testing.assert_array_equal(episode.frames, alone.frames)
    np.testing.assert_array_equal(episode.actions, alone.actions)
    assert told == [Failure("collect", 7, n + 1, SEEDS[n], "the rope broke") for n in range(failures)]
    assert caplog.messages == [f"attempt {n + 1} of 3 at episode 7 (collect): the rope broke" for n in range(failures)]


def test_an_environment_that_fails_each_time_is_given_up() -> None:
    env, told = Fragile(BOX, failures=9, error=BROKEN), []
    message = r"failed in each of 3 attempts at episode 7 \(collect\): mend it; .* The last time: the rope broke$"
    with pytest.raises(EnvFailure, match=message) as raised:
        collect(env, told)
    assert raised.value.__cause__ is BROKEN
    assert env.seeds == SEEDS and [failure.attempt for failure in told] == [1, 2, 3]


def test_a_mistake_is_not_tried_again() -> None:
    env, told = Fragile(BOX, failures=9, error=EnvError("no rope: buy one")), []
    with pytest.raises(EnvError, match=r"^no rope: buy one$"):
        collect(env, told)
    assert env.seeds == SEEDS[:1] and told == []


def evaluate(env: Walk, told: list[Failure]) -> list[Episode]:
    return play_evaluation(env, RandomActor(BOX), spec=BOX, seed=5, count=2, name="somebody", failed=told.append)


def test_an_evaluation_tries_the_same_start_again() -> None:
    env, told = Fragile(BOX, failures=2, error=BROKEN), []
    starts = [seed_of(5, "evaluate", index) for index in range(2)]
    assert [episode.seed for episode in evaluate(env, told)] == starts
    assert env.seeds == [starts[0]] * 3 + [starts[1]]
    assert told == [Failure("evaluate", 0, attempt, starts[0], "the rope broke") for attempt in (1, 2)]
    message = (
        r"failed in each of 3 attempts at episode 0 \(evaluate\): mend it, or begin a run with another seed=, since "
        rf"this start has seed {starts[0]} each time; what was saved stays\. The last time: the rope broke$"
    )
    with pytest.raises(EnvFailure, match=message):
        evaluate(Fragile(BOX, failures=3, error=BROKEN), [])


def test_where_an_environment_failed_is_told(tmp_path: Path) -> None:
    """By its own traceback, in this process or in one apart."""
    for timeout in (None, 60.0):
        env = make_env(settings(tmp_path / "script", "raise"), timeout=timeout)
        told: list[Failure] = []
        spec = env.env_spec
        actor = RandomActor(spec)
        play_numbered(env, actor, 0, spec=spec, seed=0, exploration=0.0, name="random", failed=told.append)
        env.close()
        assert [failure.attempt for failure in told] == [1]
        assert "misbehaving.py" in told[0].trace and "line" in told[0].trace
