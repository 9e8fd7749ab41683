"""Goals as pictures, in a model that knows where things go: a bright column on a dark frame, pushed along a line."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from agents.goals import frame_distance, reach, read_goal
from agents.planners import CEM
from agents.planning import PlanningAgent, means, samples
from worldmodel.errors import ConfigError, DataError
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State
from worldmodel.svg import Prediction

WIDTH = 16
SPEC = EnvSpec("line", "reach", "box", 1, (-1.0,), (1.0,), 1, 0, (4, WIDTH))
PLANNER = CEM(horizon=6, candidates=100, iterations=5, elites=10)


def draw(position: float) -> np.ndarray:
    """(4, WIDTH, 3) uint8: a peak as wide as the line, so that pixels tell how far it is."""
    light = 255 * (1 - np.abs(np.arange(WIDTH) - position) / WIDTH)
    return np.broadcast_to(light.round()[:, None], (4, WIDTH, 3)).astype(np.uint8)


class Line:
    """The feature (b, 1) is the column; its reward is to go left, so that whoever goes right goes for the goal.

    Its embedding is the column times `unit`, with zeros beside it; it may draw, or not.
    """

    spec = SPEC
    noise_shape = (1,)
    device = torch.device("cpu")

    actor_critic = None
    discount = 1.0

    def __init__(self, *, draws: bool = True) -> None:
        self.draws = draws
        self.unit = 1.0
        self.noise: list[Tensor | None] = []

    def _state(self, frame: Tensor) -> State:
        column = frame[:, 0, 0].argmax(-1, keepdim=True).float()
        return State(column, Skips((), torch.arange(len(column))), (), (), ())

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        assert frames.shape == (1, 1, 3, 4, WIDTH) and frames.dtype == torch.uint8 and actions.shape == (1, 0, 1)
        return self._state(frames[:, -1])

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        return self._state(frame)

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        self.noise.append(noise)
        column = state.feature + action
        return Prediction(replace(state, feature=column), -column[:, 0], torch.zeros(len(column)))

    def embedding(self, state: State) -> Tensor:
        return self.unit * torch.nn.functional.pad(state.feature, (0, 3))

    def value(self, state: State) -> Tensor:
        return torch.zeros(len(state))

    def decode(self, state: State) -> Tensor:
        assert self.draws, "planning by features must not draw"
        light = 1 - (torch.arange(WIDTH) - state.feature).abs() / WIDTH
        return light[:, None, None].expand(-1, 3, 4, WIDTH)


def beside(frames: Tensor, goal: Tensor) -> Tensor:
    """A user's cost: how far the brightest column is from one to the right of the goal's."""
    assert frames.shape[1:] == goal.shape == (3, 4, WIDTH) and goal.max() == 1 and 0.9 < frames.max() <= 1
    weights = torch.softmax(200 * frames[:, 0, 0], -1)
    return (weights @ torch.arange(WIDTH).float() - goal[0, 0].argmax() - 1).abs()


OWN = "own_costs:beside"


@pytest.fixture(autouse=True)
def own_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name, as a user would have in the folder that commands are started in."""
    module = ModuleType("own_costs")
    module.beside, module.three = beside, 3
    module.wide = lambda frames, goal: frames
    module.number = lambda frames, goal: 1.0
    monkeypatch.setitem(sys.modules, "own_costs", module)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def start(model: Line, position: int) -> State:
    return model.initial(torch.from_numpy(draw(position).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))


def walk(agent: PlanningAgent, position: float, steps: int) -> list[float]:
    generator, positions = seeded(), []
    agent.reset(draw(position))
    for _ in range(steps):
        action = agent.act(generator)
        position += float(action[0])
        agent.observe(action, draw(position), generator)
        positions.append(position)
    return positions


@pytest.mark.parametrize(("cost", "there"), [("features", 12), ("pixels", 12), (OWN, 13)])
def test_planning_goes_to_the_goal_and_stays(cost: str, there: int) -> None:
    """By rewards it would go left; that imagined tasks end at once does not matter either."""
    agent = PlanningAgent(Line(draws=cost != "features"), PLANNER, objective=reach(draw(12), cost))
    positions = walk(agent, 5.0, 14)
    assert positions[6] > 9 and all(abs(position - there) < 0.8 for position in positions[-3:])
    assert walk(PlanningAgent(Line(), PLANNER), 5.0, 4)[-1] < 3


def test_a_score_is_less_the_cost_of_every_step() -> None:
    model = Line()
    candidates = torch.tensor([[1.0, 1.0], [0.0, -1.0]])[..., None]
    found = reach(draw(8), "features")(model, start(model, 5), candidates, means)
    assert found.tolist() == [-(2**2 + 1**2) / 4, -(3**2 + 4**2) / 4]  # four numbers, of which one differs

    level = np.full((4, WIDTH, 3), 51, np.uint8)  # 0.2, where the model draws 0.5 whatever happens
    model.decode = lambda state: torch.full((len(state), 3, 4, WIDTH), 0.5)
    found = reach(level, "pixels")(model, start(model, 5), candidates, means)
    assert found.tolist() == pytest.approx([-2 * 0.3**2] * 2)


def test_every_step_draws_its_own_latents() -> None:
    model = Line()
    reach(draw(8), "features")(model, start(model, 5), torch.zeros(7, 3, 1), samples(model, seeded()))
    assert [tuple(noise.shape) for noise in model.noise] == [(7, 1)] * 3
    assert not torch.equal(model.noise[0], model.noise[1])


def test_the_goals_embedding_follows_a_model_that_learns_on() -> None:
    """Its unit shrinks tenfold: the goal stays where it was only when it is embedded anew."""
    model = Line()
    agent = PlanningAgent(model, PLANNER, objective=reach(draw(12), "features"))
    assert abs(walk(agent, 8.0, 8)[-1] - 12) < 0.8
    model.unit = 0.1
    assert abs(walk(agent, 8.0, 8)[-1] - 12) < 0.8


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ("own_costs:wide", r"goal_cost own_costs:wide gave \(2, 3, 4, 16\) for 2 frames: it must give a tensor of one"),
        ("own_costs:number", "goal_cost own_costs:number gave float for 2 frames: it must give a tensor of one"),
    ],
)
def test_costs_of_another_shape_are_an_error(cost: str, message: str) -> None:
    objective = reach(draw(8), cost)
    with pytest.raises(ConfigError, match=message):
        objective(Line(), start(Line(), 5), torch.zeros(2, 1, 1), means)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ("feature", "goal_cost is 'feature': set features, pixels, or module:function"),
        ("own_costs:", "goal_cost is 'own_costs:': set features, pixels, or module:function"),
        ("own_costs:three", "goal_cost is 'own_costs:three': set features, pixels, or module:function"),
        ("nowhere:near", r"'nowhere:near' cannot be imported \(No module named 'nowhere'\): is its folder on the path"),
        ("own_costs:far", r"'own_costs:far' cannot be imported \(.*no attribute 'far'\)"),
        ("./own_costs.py:near", r"'./own_costs.py:near' cannot be imported \(.*relative import"),
    ],
)
def test_costs_that_do_not_exist_are_an_error_before_any_planning(cost: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reach(draw(8), cost)


def test_a_picture_is_read_as_a_frame(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (4, WIDTH, 3), np.uint8)
    Image.fromarray(frame).save(tmp_path / "goal.png")
    found = read_goal(tmp_path / "goal.png", (4, WIDTH))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, frame)
    Image.fromarray(frame[..., 0]).convert("LA").save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_goal(tmp_path / "grey.png", (4, WIDTH)), frame[..., [0, 0, 0]])


def test_pictures_that_are_no_goal_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "goal.png"
    with pytest.raises(
        DataError, match=r"the goal .*goal\.png cannot be read as a picture \(.*No such file.*, such as a PNG"
    ):
        read_goal(path, (4, WIDTH))
    with pytest.raises(DataError, match=r"cannot be read as a picture \(.*directory"):
        read_goal(tmp_path, (4, WIDTH))
    path.write_text("no picture")
    with pytest.raises(DataError, match=r"cannot be read as a picture \(cannot identify image file"):
        read_goal(path, (4, WIDTH))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    with pytest.raises(DataError, match=r"is 64x64, frames are 4x16 \(height x width\): give a frame of the env"):
        read_goal(path, (4, WIDTH))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cannot be read as a picture \(.*truncated.*\): copy it again"):
        read_goal(path, (64, 64))


def test_the_distance_of_frames_is_in_grey_levels() -> None:
    goal = np.zeros((2, 2, 3), np.uint8)
    frame = goal.copy()
    frame[0] = 200  # half of the picture
    assert frame_distance(frame, goal) == frame_distance(goal, frame) == pytest.approx(200 / 2**0.5)
    assert frame_distance(frame, frame) == 0
