"""Playing in a dream beside reality: both take the same actions, and what is told of them is so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from dreaming import BOX, CHOICE, PAIR, Counter, contexts, trained
from torch import Tensor

from agents.dream_actors import DreamPlanner
from agents.game import PERSON, Game
from agents.keyboard import Keyboard
from agents.planners import CEM
from envs.spec import action_space
from envs.starts import ContextStarts
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.spec import EnvSpec
from worldmodel.state import State
from worldmodel.svg import Prediction


class Reality(gymnasium.Env[np.ndarray, Any]):
    """Shows 10 · seed + 3 a step, in grey; a step earns the sum of its action; ends after four."""

    def __init__(self, spec: EnvSpec = BOX, terminates: bool = False) -> None:
        self.env_spec = spec
        self.action_space = action_space(spec)
        self.observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.terminates = terminates
        self.taken: list[Any] = []
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.grey, self.taken = 10 * (seed or 0), []
        return self.shown(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.taken.append(action)
        self.grey += 3
        ended = len(self.taken) == 4
        return self.shown(), float(np.sum(action)), ended and self.terminates, ended and not self.terminates, {}

    def shown(self) -> np.ndarray:
        return np.full((64, 64, 3), self.grey, np.uint8)

    def close(self) -> None:
        self.closed = True


class Says:
    """A driver that tells what it was asked."""

    def __init__(self, *actions: float) -> None:
        self.actions = iter(actions)
        self.calls: list[Any] = []

    def begin(self, frames: np.ndarray) -> None:
        self.calls.append(("begin", *frames[0, :, 0, 0, 0].tolist()))

    def act(self, state: State) -> Tensor:
        self.calls.append(("act", state.feature[0].tolist()))
        return torch.full((1, 2), next(self.actions))

    def advance(self, state: State) -> None:
        self.calls.append(("advance", state.feature[0].tolist()))


def make(model: Any = None, env: Any = None, **drivers: Any) -> Game:
    model = Counter() if model is None else model
    return Game(model, env, ContextStarts(contexts(model.spec)), drivers=drivers, samples=3, seed=2)


def grey(frame: np.ndarray | None) -> int:
    assert frame is not None and (frame == frame[0, 0, 0]).all()
    return int(frame[0, 0, 0])


def test_dream_and_reality_start_alike_and_take_the_same_actions() -> None:
    env = Reality()
    game = make(env=env)
    assert grey(game.view.dream) == grey(game.view.real) == 20 and game.view.action is None
    for step in (1, 2):
        view = game.step(np.array([0.5, 0.25], np.float32))
        assert (view.step, view.since) == (step, step)
        assert grey(view.dream) == 20 + step and grey(view.real) == 20 + 3 * step
        assert view.reward == 0.375 and view.real_reward == 0.75
        assert view.imagined == 0.375 * step and view.earned == 0.75 * step
        np.testing.assert_array_equal(env.taken[-1], [0.5, 0.25])
    assert view.deviation == 0 and view.spread == 0 and view.over == ""  # of this model's rewards and frames


def test_samples_tell_how_sure_the_model_is() -> None:
    model = trained(PAIR)
    game = make(model)
    for _ in range(3):
        view = game.step(np.zeros(2, np.float32))
    assert view.spread and view.deviation and view.real is None and view.real_reward == 0
    again = make(model)
    for _ in range(3):
        same = again.step(np.zeros(2, np.float32))
    assert (view.spread, view.imagined) == (same.spread, same.imagined)
    alone = Game(model, None, ContextStarts(contexts()), drivers={}, samples=0, seed=2)
    for _ in range(3):
        mean = alone.step(np.zeros(2, np.float32))
    assert mean.imagined == pytest.approx(view.imagined, abs=1e-3) and mean.deviation is None and mean.spread is None


def test_each_start_is_another_and_a_dream_alone_starts_from_contexts() -> None:
    game = make(env=Reality())
    game.step(np.ones(2, np.float32))
    view = game.reset()
    assert grey(view.dream) == 30 and view.step == 0 and view.imagined == view.earned == 0
    alone, given = make(), contexts().frames[:, -1].permute(0, 2, 3, 1).numpy()
    starts = [alone.view.dream, *(alone.reset().dream for _ in range(8))]
    assert all((given == start).all((1, 2, 3)).any() for start in starts)
    assert len({start.tobytes() for start in starts}) > 1


def test_a_dream_goes_on_from_reality_when_asked() -> None:
    game = make(env=Reality())
    game.step(np.ones(2, np.float32))
    game.step(np.ones(2, np.float32))
    assert game.view.imagined == 2 and game.view.earned == 4
    view = game.resync()
    assert grey(view.dream) == 26 and (view.step, view.since) == (2, 0)
    assert view.imagined == view.earned == 4 and view.deviation == 0  # what was dreamed before is dropped
    view = game.step(np.ones(2, np.float32))
    assert (view.step, view.since) == (3, 1) and view.imagined == 5 and view.earned == 6
    assert grey(view.real) == 29 and grey(view.dream) == 27  # a step from 26
    with pytest.raises(WorldModelError, match="there is no reality beside this dream"):
        make().resync()


def test_others_may_act_and_see_what_the_dream_shows() -> None:
    driver, env = Says(0.5, -0.5, 1.0), Reality()
    game = make(env=env, robot=driver)
    assert game.drivers == [PERSON, "robot"] and driver.calls == [("begin", 20)]
    game.step(np.ones(2, np.float32))
    game.drive("robot")
    assert driver.calls[1:] == [("begin", 20, 21)]
    view = game.step(np.ones(2, np.float32))
    assert view.action is not None and view.action.tolist() == [0.5, 0.5] and env.taken[-1].tolist() == [0.5, 0.5]
    assert driver.calls[2:] == [("act", [2.0, 1.0, 20.0]), ("advance", [3.0, 2.0, 20.0])]  # sum, steps, first pixel
    game.drive(PERSON)
    assert game.step(np.zeros(2, np.float32)).action.tolist() == [0, 0]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="the driver is 'ghost': choose one of person, robot"):
        game.drive("ghost")


def test_who_begins_to_act_knows_what_was_seen_before() -> None:
    driver = Says()
    game = make(env=Reality(), robot=driver)
    for _ in range(3):
        game.step(np.ones(2, np.float32))
    game.drive("robot")
    game.resync()
    assert driver.calls[1:] == [("begin", 20, 21, 22, 23), ("begin", 20, 23, 26, 29)]
    alone = make(robot=driver)
    given = contexts().frames.shape[1]
    assert len(driver.calls[-1]) == 1 + given and alone.view.real is None  # all of the context


def test_a_planner_plans_in_the_dream() -> None:
    model = Counter()
    planner = DreamPlanner(model, CEM(horizon=3, candidates=40, iterations=4, elites=5), seed=0)
    game = make(model, planner=planner)
    game.drive("planner")
    assert game.step(np.zeros(2, np.float32)).reward > 0.5  # of 1: this model rewards large actions
    with pytest.raises(ConfigError, match="there are 2 rows: a planner plans for one"):
        planner.act(model.initial(*vars(contexts(count=2)).values()))


@pytest.mark.parametrize(("terminates", "says"), [(True, "the task is over in reality"), (False, "time is up")])
def test_nothing_goes_on_after_the_end(terminates: bool, says: str) -> None:
    env = Reality(terminates=terminates)
    game = make(env=env)
    for _ in range(6):
        view = game.step(np.zeros(2, np.float32))
    assert view.step == 4 == len(env.taken) and says in view.over
    assert says in game.resync().over and game.reset().over == ""
    over = make(Counter(continues=0.4))
    assert over.step(np.zeros(2, np.float32)).over == "the task is over in the dream"
    game.close()
    assert env.closed


def test_what_is_not_finite_is_not_shown() -> None:
    class Wild(Counter):
        def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
            found = super().imagine(state, action, noise=noise)
            return replace(found, reward=found.reward * float("nan"))

    game = make(Wild())
    with pytest.raises(WorldModelError, match="what the model imagines at step 1 is not finite"):
        game.step(np.zeros(2, np.float32))


@pytest.mark.parametrize("settings", [{"samples": -1}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="is -1: set a whole number >= 0"):
        Game(Counter(), None, ContextStarts(contexts()), drivers={}, **{"samples": 1, "seed": 0, **settings})


def test_held_keys_are_a_vector() -> None:
    keyboard = Keyboard(BOX)
    assert keyboard.action().tolist() == [0, 0]
    for held, action in (
        ({"ArrowRight"}, [1, 0]),
        ({"ArrowLeft", "ArrowUp"}, [-1, 1]),
        ({"ArrowLeft", "ArrowRight", "ArrowDown", "x"}, [0, -1]),
        (set(), [0, 0]),
    ):
        keyboard.hold([*held])
        assert keyboard.action().tolist() == action and keyboard.action().dtype == np.float32
    assert keyboard.legend()[0] == ["ArrowRight", "action 0 +"] and len(keyboard.legend()) == 4
    assert Keyboard(replace(BOX, action_size=7)).action().shape == (7,)


def test_the_last_choice_is_kept() -> None:
    keyboard = Keyboard(CHOICE)
    for held, choice in (
        ((), 0),
        (("ArrowRight",), 1),
        ((), 1),
        (("2",), 2),
        (("7", "q"), 2),
        (("ArrowLeft",), 0),
        (("ArrowLeft", "2"), 2),
        (("2", "ArrowLeft"), 0),
    ):
        keyboard.hold([*held])
        assert keyboard.action().tolist() == np.eye(3)[choice].tolist()
    assert [key for key, _ in keyboard.legend()] == ["0", "1", "2", "ArrowLeft", "ArrowRight"]
