"""Planning in a model with known dynamics: a bright column on a dark frame that actions push along a line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.actor import RandomActor, explored
from agents.planners import CEM, CategoricalCEM, Plan
from agents.planning import PlanningAgent, imagined_return, imagined_value, means, samples, usual_horizon
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State
from worldmodel.svg import Prediction

WIDTH = 16
BOX = EnvSpec("line", "reach", "box", 1, (-1.0,), (1.0,), 1, 0, (4, WIDTH))
DISCRETE = replace(BOX, action_kind="discrete", action_size=3, action_low=(), action_high=())


def draw(position: float) -> np.ndarray:
    """(4, WIDTH, 3) uint8."""
    frame = np.zeros((4, WIDTH, 3), np.uint8)
    frame[:, round(position)] = 255
    return frame


def push(spec: EnvSpec, action: Tensor) -> Tensor:
    """Columns moved, (b,), by actions (b, a): the action itself, or left, stay, right."""
    return action[:, 0] if spec.action_kind == "box" else action @ torch.tensor([-1.0, 0.0, 1.0])


class LineModel:
    """A perfect model: the feature (b, 1) is the column. Rewards nearness; past the cliff the task is over."""

    noise_shape = (1,)
    device = torch.device("cpu")
    actor_critic = None
    discount = 1.0

    def __init__(self, spec: EnvSpec = BOX, *, target: float = 12.0, cliff: float = WIDTH) -> None:
        self.spec = spec
        self.target = target
        self.cliff = cliff
        self.calls = {"initial": 0, "observe": 0, "imagine": 0}

    def _state(self, frame: Tensor) -> State:
        column = frame[:, 0, 0].argmax(-1, keepdim=True).float()
        return State(column, Skips((), torch.arange(len(column))), (), (), ())

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        self.calls["initial"] += 1
        assert frames.shape == (1, 1, 3, 4, WIDTH) and frames.dtype == torch.uint8
        assert actions.shape == (1, 0, self.spec.action_size)
        return self._state(frames[:, -1])

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        self.calls["observe"] += 1
        assert action.shape == (1, self.spec.action_size) and frame.shape == (1, 3, 4, WIDTH) and noise is None
        return self._state(frame)

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        self.calls["imagine"] += 1
        assert noise is None
        column = state.feature[:, 0] + push(self.spec, action)
        reward = -(column - self.target).abs()
        return Prediction(replace(state, feature=column[:, None]), reward, (column < self.cliff).float())

    def value(self, state: State) -> Tensor:
        return torch.zeros(len(state))

    def decode(self, state: State) -> Tensor:
        raise AssertionError("planning must not draw")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walk(agent: PlanningAgent, spec: EnvSpec, start: float, steps: int) -> list[float]:
    """Positions after each of the agent's actions in the true environment."""
    generator, position, positions = seeded(), start, []
    agent.reset(draw(position))
    for _ in range(steps):
        action = agent.act(generator)
        assert action.shape == (spec.action_size,) and action.dtype == np.float32
        position += float(push(spec, torch.from_numpy(action)[None]))
        agent.observe(action, draw(position), generator)
        positions.append(position)
    return positions


def test_return_is_the_sum_of_rewards() -> None:
    model = LineModel(target=10.0)
    state = model.initial(torch.from_numpy(draw(8).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))
    candidates = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 1.0]])[..., None]
    assert imagined_return(model, state, candidates, means).tolist() == [-1 - 0 - 1, -2 - 2 - 2, -3 - 2 - 1]
    assert len(state) == 1


def test_the_reward_into_termination_counts_and_none_after_it() -> None:
    """From column 8 with a cliff at 9.5 the second step right falls: the third reward is lost."""
    model = LineModel(target=12.0, cliff=9.5)
    state = model.initial(torch.from_numpy(draw(8).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))
    candidates = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])[..., None]
    assert imagined_return(model, state, candidates, means).tolist() == [-3 - 2, -3 - 3 - 3]


def test_continues_discount_by_their_running_product() -> None:
    class Half(LineModel):
        def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
            return replace(super().imagine(state, action), reward=torch.ones(len(action)), continues=torch.tensor(0.5))

    model = Half()
    state = model.initial(torch.from_numpy(draw(8).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))
    assert imagined_return(model, state, torch.zeros(2, 4, 1), means).tolist() == [1 + 0.5 + 0.25 + 0.125] * 2


def test_planning_reaches_the_target_and_stays() -> None:
    agent = PlanningAgent(LineModel(), CEM(horizon=6, candidates=100, iterations=5, elites=10))
    positions = walk(agent, BOX, start=3.0, steps=16)
    assert positions[8] > 11
    assert all(abs(position - 12) < 0.8 for position in positions[-4:])


def test_planning_with_choices_reaches_the_target_and_stays() -> None:
    planner = CategoricalCEM(horizon=6, candidates=100, iterations=5, elites=10)
    positions = walk(PlanningAgent(LineModel(DISCRETE), planner), DISCRETE, start=3.0, steps=12)
    assert positions == [4, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12, 12]


def test_a_plan_stops_short_of_a_cliff() -> None:
    """Rewards rise to the right but end past column 9.5: staying is worth more than falling."""

    class Cliff(LineModel):
        def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
            prediction = super().imagine(state, action)
            return replace(prediction, reward=prediction.state.feature[:, 0])

    planner = CategoricalCEM(horizon=6, candidates=200, iterations=5, elites=20)
    assert walk(PlanningAgent(Cliff(DISCRETE, cliff=9.5), planner), DISCRETE, 5.0, 7)[-3:] == [9, 9, 9]
    assert walk(PlanningAgent(Cliff(DISCRETE), planner), DISCRETE, 5.0, 7)[-1] == 12


def test_a_frame_is_filtered_once_however_many_candidates() -> None:
    model = LineModel()
    walk(PlanningAgent(model, CEM(horizon=6, candidates=50, iterations=4, elites=5)), BOX, start=3.0, steps=3)
    assert model.calls == {"initial": 1, "observe": 3, "imagine": 3 * 4 * 6}


class Recorder:
    """A planner that notes its arguments and always answers with the same plan."""

    horizon = 3

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.proposals: list[Tensor | None] = []

    def plan(self, score, low, high, *, warm_start, generator, proposals):
        from agents.planners import Plan

        self.proposals.append(proposals)
        self.asked.append((low.tolist(), high.tolist(), None if warm_start is None else warm_start.mean.tolist()))
        mean = torch.tensor([[0.1], [0.2], [0.3]])
        return Plan(actions=mean, mean=mean, elites=mean[None], score=0.0)


def test_the_warm_start_is_the_last_plan_one_step_on_and_ends_with_the_episode() -> None:
    shifted = [[pytest.approx(0.2)], [pytest.approx(0.3)], [pytest.approx(0.3)]]
    planner = Recorder()
    agent = PlanningAgent(LineModel(), planner)
    agent.reset(draw(3))
    agent.observe(agent.act(seeded()), draw(4), seeded())
    agent.act(seeded())
    agent.reset(draw(3))
    agent.act(seeded())
    assert planner.asked == [([-1], [1], None), ([-1], [1], shifted), ([-1], [1], None)]


def test_discrete_actions_are_planned_between_zero_and_one() -> None:
    planner = Recorder()
    agent = PlanningAgent(LineModel(DISCRETE), planner)
    agent.reset(draw(3))
    agent.act(seeded())
    assert planner.asked == [([0, 0, 0], [1, 1, 1], None)]


class Noisy(LineModel):
    """Notes the noise it is given; each row's reward is its own noise."""

    noise_shape = (2,)

    def __init__(self) -> None:
        super().__init__()
        self.noise: list[Tensor | None] = []

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        self.noise.append(noise)
        return super().observe(state, action, frame)

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        self.noise.append(noise)
        prediction = super().imagine(state, action)
        return prediction if noise is None else replace(prediction, reward=noise[:, 0])


def test_samples_of_the_latents_are_each_candidate_s_own_and_the_generator_s() -> None:
    model = Noisy()
    state = model.initial(torch.from_numpy(draw(8).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))
    found = [imagined_return(model, state, torch.zeros(4000, 2, 1), samples(model, seeded(seed))) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert found[0].mean().abs() < 0.1 and found[0].std() == pytest.approx(2**0.5, abs=0.1)  # two steps' noise


@pytest.mark.parametrize("latents", ["mean", "sample"])
def test_filtering_and_planning_take_the_latents_asked_for(latents: str) -> None:
    model = Noisy()
    agent = PlanningAgent(model, CEM(horizon=3, candidates=5, iterations=1, elites=2), latents=latents)
    walk(agent, BOX, start=3.0, steps=1)
    assert len(model.noise) == 3 + 1
    shapes = [None if noise is None else tuple(noise.shape) for noise in model.noise]
    assert shapes == ([None] * 4 if latents == "mean" else [(5, 2)] * 3 + [(1, 2)])


def test_unknown_latents_are_an_error() -> None:
    with pytest.raises(ConfigError, match="latents is 'mode': set one of mean, sample"):
        PlanningAgent(LineModel(), Recorder(), latents="mode")


def test_exploration_adds_noise_of_the_given_deviation_within_bounds() -> None:
    generator, mean = seeded(), np.zeros(1, np.float32)
    draws = np.stack([explored(mean, BOX, generator, 0.3) for _ in range(3000)])
    assert draws.dtype == np.float32 and abs(draws.std() - 0.3) < 0.02 and abs(draws.mean()) < 0.02
    at_bound = np.stack([explored(np.ones(1, np.float32), BOX, generator, 0.3) for _ in range(200)])
    assert at_bound.max() == 1 and at_bound.min() < 0.9
    assert explored(mean, BOX, generator, 0.0) is mean


def test_exploration_of_choices_is_a_probability() -> None:
    generator, left = seeded(), np.array([1, 0, 0], np.float32)
    draws = np.stack([explored(left, DISCRETE, generator, 0.6) for _ in range(3000)])
    assert (draws.sum(1) == 1).all()
    np.testing.assert_allclose(draws.mean(0), [0.6, 0.2, 0.2], atol=0.04)  # 0.4 kept, 0.6 / 3 for each choice


def test_the_random_actor_is_uniform() -> None:
    generator = seeded()
    draws = np.stack([RandomActor(BOX).act(generator) for _ in range(3000)])
    assert draws.dtype == np.float32 and draws.shape == (3000, 1)
    assert -1 <= draws.min() < -0.99 and 0.99 < draws.max() <= 1 and abs(draws.std() - 3**-0.5) < 0.02
    choices = np.stack([RandomActor(DISCRETE).act(generator) for _ in range(3000)])
    assert choices.dtype == np.float32 and (choices.sum(1) == 1).all()
    np.testing.assert_allclose(choices.mean(0), [1 / 3] * 3, atol=0.04)


def test_candidates_without_a_finite_score_are_left_out_and_said_once_an_episode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def score(model: LineModel, state: State, candidates: Tensor, latents: object) -> Tensor:
        scores = imagined_value(model, state, candidates, means)
        return torch.where(candidates[:, 0, 0] < 0, torch.nan, scores)

    agent = PlanningAgent(LineModel(), CEM(3, 64, 2, 8), objective=score)
    for _ in range(2):
        agent.reset(draw(4))
        generator = seeded()
        for _ in range(2):
            action = agent.act(generator)
            assert action[0] >= 0
            agent.observe(action, draw(5), generator)
    assert len(caplog.messages) == 2  # episodes
    assert "of the 128 candidates of a decision have no finite score and are left out" in caplog.messages[0]
    agent = PlanningAgent(LineModel(), CEM(3, 64, 2, 8), objective=lambda *args: torch.full((64,), torch.nan))
    agent.reset(draw(4))
    with pytest.raises(WorldModelError, match="none of 64 candidates has a finite score"):
        agent.act(seeded())


@pytest.mark.parametrize("frame", [np.zeros((4, WIDTH, 3), np.float32), np.zeros((3, 4, WIDTH), np.uint8)])
def test_frames_the_model_was_not_trained_on_are_errors(frame: np.ndarray) -> None:
    agent = PlanningAgent(LineModel(), Recorder())
    with pytest.raises(WorldModelError, match=r"the model was trained on uint8 \(4, 16, 3\)"):
        agent.reset(frame)
    agent.reset(draw(3))
    with pytest.raises(WorldModelError, match=r"the model was trained on uint8 \(4, 16, 3\)"):
        agent.observe(np.zeros(1, np.float32), frame, seeded())


def test_acting_before_a_frame_and_odd_actions_are_errors() -> None:
    agent = PlanningAgent(LineModel(), Recorder())
    with pytest.raises(WorldModelError, match=r"call reset\(frame\) first"):
        agent.act(seeded())
    with pytest.raises(WorldModelError, match=r"call reset\(frame\) first"):
        agent.observe(np.zeros(1, np.float32), draw(3), seeded())
    agent.reset(draw(3))
    with pytest.raises(WorldModelError, match=r"the action is \(2,\): reach takes \(1,\)"):
        agent.observe(np.zeros(2, np.float32), draw(3), seeded())


def test_read_only_frames_are_filtered_too() -> None:
    frame = draw(3)
    frame.flags.writeable = False
    PlanningAgent(LineModel(), Recorder()).reset(frame[:, ::-1])


def test_random_actions_may_be_held() -> None:
    generator = torch.Generator().manual_seed(0)
    actor = RandomActor(BOX, persistence=0.8)
    drawn = np.stack([actor.act(generator) for _ in range(3000)])
    assert (drawn[1:] == drawn[:-1]).all(1).mean() == pytest.approx(0.8, abs=0.02)
    assert abs(drawn.mean()) < 0.1 and drawn.min() < -0.9 and drawn.max() > 0.9
    held = RandomActor(BOX, persistence=0.999999)
    first, again = (held.act(generator) for _ in range(2))
    held.reset(np.zeros(0))
    assert (first == again).all() and (held.act(generator) != first).any()  # a new episode draws anew
    with pytest.raises(ConfigError, match="persistence is 1: set a probability in"):
        RandomActor(BOX, persistence=1)


def test_what_a_plan_is_expected_to_earn_is_its_own_return_and_not_its_elites() -> None:
    """From column 8 the target is two steps to the right: rewards -1, 0, -1 for three steps right."""

    class Right(Recorder):
        def plan(self, score, low, high, *, warm_start, generator, proposals):
            return Plan(torch.ones(3, 1), torch.ones(3, 1), torch.zeros(5, 3, 1), 77.0)

    agent = PlanningAgent(LineModel(target=10.0), Right())
    agent.reset(draw(8))
    with pytest.raises(WorldModelError, match="there is no plan to expect anything of"):
        agent.expected_return()
    agent.act(seeded())
    assert agent.expected_return() == -2


class Valued(LineModel):
    """Says that a column is worth ten times its number, and would always go right."""

    discount = 0.5

    class Right:
        def act(self, feature: Tensor, *, noise: Tensor | None = None) -> Tensor:
            return torch.ones(len(feature), 1)

        def noise(self, b: int, generator: torch.Generator) -> Tensor:
            return torch.zeros(b, 1)

    actor_critic = Right()

    def value(self, state: State) -> Tensor:
        return 10 * state.feature[:, 0]


def test_a_plans_value_is_discounted_and_ends_with_what_the_policy_earns_if_the_task_goes_on() -> None:
    model = Valued(target=0.0)
    state = model.initial(torch.from_numpy(draw(3).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))
    candidates = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])[..., None]
    found = imagined_value(model, state, candidates, means)
    assert found.tolist() == [-4 - 0.5 * 5 + 0.25 * 50, -2 - 0.5 * 3 + 0.25 * 30]
    model.cliff = 5.0
    found = imagined_value(model, state, candidates, means)
    assert found.tolist() == [-4 - 0.5 * 5, -2 - 0.5 * 3 + 0.25 * 30]


def test_values_that_differ_little_differ_under_autocast() -> None:
    """Products would be rounded to 8 bits there."""
    model = Valued(target=0.0)
    state = model.initial(torch.from_numpy(draw(3).transpose(2, 0, 1).copy())[None, None], torch.zeros(1, 0, 1))
    candidates = torch.linspace(0.5, 0.501, 50)[:, None, None].repeat(1, 2, 1)
    expected = imagined_value(model, state, candidates, means)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(imagined_value(model, state, candidates, means), expected)
    assert len(expected.unique()) > 40


@pytest.mark.parametrize(("model", "horizon"), [(LineModel(), 12), (Valued(), 5)])
def test_a_model_with_critics_is_not_looked_into_as_far(model: LineModel, horizon: int) -> None:
    assert usual_horizon(model) == horizon


@pytest.mark.parametrize("proposals", [0, 3])
def test_what_the_policy_would_do_is_proposed(proposals: int) -> None:
    planner = Recorder()
    agent = PlanningAgent(Valued(), planner, proposals=proposals)
    agent.reset(draw(3))
    agent.act(seeded())
    proposed = planner.proposals[0]
    if proposals:
        assert proposed is not None and proposed.tolist() == torch.ones(3, planner.horizon, 1).tolist()
    else:
        assert proposed is None
