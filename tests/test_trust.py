"""Imagined beside real returns, in a model whose rewards are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.trust import Trust, measure_trust
from worldmodel.episode import Episode
from worldmodel.errors import DataError
from worldmodel.pictures.trust import trust_figure
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State
from worldmodel.svg import Prediction

SPEC = EnvSpec("line", "reach", "box", 1, (-1.0,), (1.0,), 1, 0, (4, 4))


class Counter:
    """Its feature is the grey of the last frame, which an action raises; the reward is the new grey."""

    spec = SPEC
    noise_shape = (1,)
    device = torch.device("cpu")

    def __init__(self, *, extra: float = 0.0, continues: float = 1.0) -> None:
        self.extra = extra
        self.continues = continues
        self.contexts: list[tuple[int, int]] = []

    def initial(self, frames: Tensor, actions: Tensor, **_: Any) -> State:
        self.contexts.append((frames.shape[1], actions.shape[1]))
        grey = frames[:, -1, 0, 0, 0].float()[:, None]
        return State(grey, Skips((), torch.arange(len(grey))), (), (), ())

    def imagine(self, state: State, action: Tensor, *, noise: Tensor) -> Prediction:
        assert noise.shape == (len(state), 1)
        feature = state.feature + action
        reward = feature[:, 0] + self.extra
        after = State(feature, state.skips, (), (), ())
        return Prediction(after, reward, torch.full_like(reward, self.continues))


def episode(decisions: int, *, terminated: bool = False) -> Episode:
    """The grey rises by one each decision, and is the reward."""
    frames = np.broadcast_to(np.arange(decisions + 1, dtype=np.uint8)[:, None, None, None], (decisions + 1, 4, 4, 3))
    return Episode(
        frames=frames.copy(),
        actions=np.ones((decisions, 1), np.float32),
        rewards=np.arange(1, decisions + 1, dtype=np.float32),
        terminated=terminated,
        truncated=not terminated,
        spec=SPEC,
        seed=0,
        actor="policy",
    )


class Rise:
    """Raises the grey by one, and expects to be told all of it."""

    def begin(self, frames: np.ndarray) -> None:
        self.seen = frames[..., 0, 0, 0].astype(int)
        expected = self.seen[:, -1:] - np.arange(2, -1, -1)  # the grey is the time; zeros before it
        np.testing.assert_array_equal(self.seen, np.maximum(expected, 0))

    def act(self, state: State) -> Tensor:
        assert self.seen[:, -1].tolist() == state.feature[:, 0].tolist()
        return torch.ones(len(state), 1)

    def advance(self, state: State) -> None:
        self.seen = state.feature.numpy()


def measured(model: Any, episodes: list[Episode], horizon: int = 4) -> Trust:
    return measure_trust(model, Rise(), episodes, context=3, horizon=horizon, seed=0)


def test_a_model_that_is_right_imagines_what_came() -> None:
    model = Counter()
    found = measured(model, [episode(8), episode(5)])
    assert found.real.tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8], [1, 2, 3, 4]]  # every second decision
    assert found.imagined.tolist() == found.real.tolist()
    assert model.contexts == [(1, 0), (3, 2), (3, 2), (1, 0)]
    summary = found.summary()
    assert summary == {
        "starts": 4,
        "horizon": 4,
        "nonfinite": 0,
        "imagined": 16.0,
        "real": 16.0,
        "error": 0.0,
        "correlation": pytest.approx(1),
    }


def test_what_a_model_promises_too_much_shows() -> None:
    summary = measured(Counter(extra=2.0), [episode(8)]).summary()
    assert (summary["imagined"], summary["real"], summary["error"]) == (26.0, 18.0, 8.0)


def test_after_a_termination_nothing_is_earned_and_the_model_should_know() -> None:
    found = measured(Counter(continues=0.5), [episode(5, terminated=True)])
    assert found.real.tolist() == [[1, 2, 3, 4], [3, 4, 5, 0], [5, 0, 0, 0]]
    assert found.imagined[0].tolist() == [1, 2 / 2, 3 / 4, 4 / 8]


@pytest.mark.parametrize(
    ("rewards", "count"),
    [
        ([[1, np.nan], [1, 2]], 1),
        ([[np.inf, -np.inf], [np.inf, 0]], 2),
        ([[3e38, 3e38], [1, 2]], 1),
        ([[1e30, 1e30], [1, 2]], 0),  # but their squares
    ],
)
def test_what_a_model_that_diverges_imagines_is_counted_and_recorded_as_none(rewards: Any, count: int) -> None:
    found = Trust(np.array(rewards, np.float32), np.array([[1, 2], [3, 4]], np.float32))
    summary = found.summary()
    json.dumps(summary, allow_nan=False)
    assert (summary["starts"], summary["nonfinite"], summary["real"], summary["error"]) == (2, count, 5.0, None)
    assert (summary["imagined"] is None) == (count > 0)
    assert (found.told() == "2 decisions imagined no finite number, earned 5.0") == (count > 0)
    trust_figure(found.imagined, found.real).canvas.draw()


def test_trust_is_told_in_words() -> None:
    assert measured(Counter(extra=2.0), [episode(8)]).told() == "4 decisions imagined 26.0, earned 18.0"


def test_a_model_whose_dream_diverges_is_measured() -> None:
    summary = measured(Counter(extra=float("inf"), continues=0.0), [episode(8)]).summary()
    assert (summary["imagined"], summary["nonfinite"], summary["real"]) == (None, 3, 18.0)


def test_one_start_has_no_correlation() -> None:
    assert measured(Counter(), [episode(4)]).summary()["correlation"] is None


def test_episodes_that_end_too_soon_are_an_error() -> None:
    with pytest.raises(DataError, match=r"no episode is known for 6 decisions, the longest of 2 has 5"):
        measured(Counter(), [episode(5), episode(3)], horizon=6)


def test_the_figure_shows_each_start_and_both_ways_to_grow() -> None:
    imagined, real = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    points, growth = trust_figure(imagined, real).axes
    assert points.collections[0].get_offsets().tolist() == [[3, 3], [3, 12]]
    lines = {line.get_label(): line.get_ydata() for line in growth.lines}
    np.testing.assert_allclose(lines["imagined"], [1.5, 4, 7.5])
    np.testing.assert_allclose(lines["real"], [1, 2, 3])
