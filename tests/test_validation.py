"""Open-loop errors of models whose error is known: perfect, off by a known amount, and no better than the mean."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from worldmodel.errors import DataError
from worldmodel.heads import Statistics
from worldmodel.replay import Batch
from worldmodel.state import Skips, State
from worldmodel.svg import Prediction
from worldmodel.validation import ROWS, copy_last_errors, frame_error, open_loop_errors, recorded, shortfall, told


def batch(b: int = 40, t: int = 6) -> Batch:
    """Grey frames whose level each action changes by itself; the reward is the level left behind plus the action."""
    rng = np.random.default_rng(0)
    changes = rng.integers(-9, 10, (b, t - 1))
    levels = 128 + np.concatenate([np.zeros((b, 1), int), changes.cumsum(1)], 1)
    frames = torch.from_numpy(np.broadcast_to(levels[:, :, None, None, None], (b, t, 3, 2, 4)).astype(np.uint8))
    actions = torch.from_numpy(changes[..., None].astype(np.float32))
    rewards = torch.from_numpy((100 * levels[:, :-1] + changes).astype(np.float32))
    ones = torch.ones(b, t - 1)
    return Batch(frames, actions, rewards, ones, ones)


class Grey:
    """Knows these dynamics: the feature (b, 1) is the level. Its answers may be off by fixed amounts."""

    def __init__(self, *, reward_off: float = 0.0, frame_off: float = 0.0, embedding_off: float = 0.0) -> None:
        self.statistics = Statistics((3, 2, 4))
        self.statistics.frame_std.fill_(0.1)
        self.reward_off = reward_off
        self.frame_off = frame_off
        self.embedding_off = embedding_off
        self.contexts: list[tuple[Tensor, Tensor]] = []

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        self.contexts.append((frames, actions))
        return State(frames[:, -1, 0, 0, :1].float(), Skips((), torch.arange(len(frames))), (), (), ())

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        assert noise is None
        reward = 100 * state.feature[:, 0] + action[:, 0] + self.reward_off
        return Prediction(replace(state, feature=state.feature + action), reward, torch.ones(len(action)))

    def encode(self, frames: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return frames[:, 0, 0, :1].float(), ()

    def embedding(self, state: State) -> Tensor:
        return state.feature + self.embedding_off

    def decode(self, state: State) -> Tensor:
        return (state.feature / 255 + self.frame_off)[:, :, None, None].expand(-1, 3, 2, 4)


@pytest.mark.parametrize("context", [1, 2, 5])
def test_a_perfect_model_has_no_error(context: int) -> None:
    """Frames, actions and rewards all tell their time, so any other alignment would err."""
    model, data = Grey(), batch()
    errors = open_loop_errors(model, data, context)
    assert errors == {kind: [0.0] * (6 - context) for kind in ("reward", "frame", "embedding")}
    frames, actions = (torch.cat(parts) for parts in zip(*model.contexts, strict=True))
    assert torch.equal(frames, data.frames[:, :context])
    assert torch.equal(actions, data.actions[:, : context - 1])
    assert max(len(given) for given, _ in model.contexts) == ROWS  # of 40 windows


@pytest.mark.parametrize("moved", ["frames", "actions", "rewards"])
def test_data_a_step_out_of_place_would_show(moved: str) -> None:
    data = batch()
    errors = open_loop_errors(Grey(), replace(data, **{moved: getattr(data, moved).roll(1, 1)}), 2)
    assert max(errors["reward"]) > 1e-4


def test_errors_are_squares_in_units_of_the_variance() -> None:
    data = batch()
    deviation = float(data.rewards.std(correction=0))
    level = float(data.frames[:, 1:, 0, 0, 0].float().std(correction=0))
    errors = open_loop_errors(Grey(reward_off=2 * deviation, frame_off=0.3, embedding_off=level / 2), data, 2)
    assert errors["reward"] == pytest.approx([4.0] * 4, rel=1e-5)
    assert errors["frame"] == pytest.approx([9.0] * 4, rel=1e-4)  # 3 frame deviations
    assert errors["embedding"] == pytest.approx([0.25] * 4, rel=1e-5)


def test_the_mean_has_an_error_of_one() -> None:
    data = batch(b=200)

    class Mean(Grey):
        def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
            return replace(super().imagine(state, action), reward=data.rewards.mean().expand(len(action)))

        def decode(self, state: State) -> Tensor:
            return (data.frames[:, 1:].float() / 255).mean((0, 1)).expand(len(state), -1, -1, -1)

    model = Mean()
    model.statistics.frame_std.copy_((data.frames[:, 1:].float() / 255).std(correction=0))
    errors = open_loop_errors(model, data, 1)  # every transition counts, so the mean over steps is 1
    assert np.mean(errors["reward"]) == pytest.approx(1, rel=1e-5)
    assert np.mean(errors["frame"]) == pytest.approx(1, rel=1e-5)


class Diverging(Grey):
    """Each step multiplies its grey by so much."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        return super().imagine(replace(state, feature=self.factor * state.feature), action)


def test_a_model_that_diverges_has_errors_that_are_counted_and_recorded_as_none() -> None:
    """Of greys near 1e22, 1e42 (infinite in float32) and beyond, and of their squares."""
    errors = open_loop_errors(Diverging(1e20), batch(), 2)
    found = recorded(errors)
    assert found == {"reward": [None] * 4, "frame": [None] * 4, "embedding": [None] * 4, "nonfinite": 12}
    json.dumps(found, allow_nan=False)
    assert frame_error(errors) is None
    assert told(errors).endswith("; the model diverges in imagination, 12 of 12 held-out errors are not finite")
    errors = open_loop_errors(Diverging(1e12), batch(), 2)
    found = recorded(errors)
    assert [value is None for value in found["frame"]] == [False, True, True, True]
    kinds = ("reward", "frame", "embedding")
    assert found["nonfinite"] == sum(value is None for kind in kinds for value in found[kind])
    assert frame_error(errors) is None  # and not that of the first step, which would be the best of all models


def test_a_step_that_every_window_lacks_is_no_divergence() -> None:
    errors = {"reward": [0.25, 0.5, None], "frame": [1.0, 2.0, None], "embedding": [0.0, 0.0, None]}
    assert recorded(errors) == {**errors, "nonfinite": 0} and frame_error(errors) == 1.5
    assert told(errors) == "held-out reward error 0.250 after 1 step, 0.500 after 2 (1 = no better than the mean)"


def test_windows_that_end_before_the_horizon_are_told() -> None:
    """40 windows of 6 frames, 2 of them given: 4 steps; one of three windows has the last one, none where it is cut."""
    data = batch()
    assert shortfall(data, 2) is None
    data.mask[:, 4] = (torch.arange(40) % 3 == 0).float()
    assert shortfall(data, 2) == "14 of 40 held-out windows last the horizon of 4 steps, the longest 4"
    data.mask[:, 3:] = 0
    assert shortfall(data, 2) == "0 of 40 held-out windows last the horizon of 4 steps, the longest 2"


def test_padding_counts_nowhere() -> None:
    data = batch()
    mask = torch.ones_like(data.mask)
    mask[::2, 3] = 0
    mask[:, 4] = 0  # a step that every window lacks
    padded = mask == 0
    frames, rewards = data.frames.clone(), data.rewards.clone()
    frames[:, 1:][padded] = 255
    rewards[padded] = 1e6
    deviation = float(data.rewards[~padded].std(correction=0))
    errors = open_loop_errors(
        Grey(reward_off=deviation), replace(data, frames=frames, rewards=rewards, mask=mask), context=2
    )
    assert errors["reward"] == [*[pytest.approx(1, rel=1e-5)] * 3, None]
    assert errors["frame"] == [0, 0, 0, None]


def test_rewards_that_never_change_are_no_division_by_zero() -> None:
    data = batch()
    constant = replace(data, actions=torch.zeros_like(data.actions), rewards=torch.full_like(data.rewards, 12800))
    frames = torch.full_like(data.frames, 128)
    assert open_loop_errors(Grey(), constant, 1)["reward"] == [0.0] * 5
    still = replace(constant, frames=frames)
    assert open_loop_errors(Grey(embedding_off=2.0), still, 1)["embedding"] == [4.0] * 5


@pytest.mark.parametrize("context", [1, 3])
def test_copying_the_last_frame_errs_by_all_that_moved_since(context: int) -> None:
    data = batch()
    levels, rewards = data.frames[:, :, 0, 0, 0].float(), data.rewards
    found = copy_last_errors(Grey(), data, context)
    spread = levels[:, 1:].double().var(correction=0)
    last = rewards[:, context - 2] if context > 1 else rewards.mean()
    for step, i in enumerate(range(context, 6)):
        moved = (levels[:, i] - levels[:, context - 1]).square().mean()
        assert found["frame"][step] == pytest.approx(float(moved / 255**2 / 0.1**2), rel=1e-4)
        assert found["embedding"][step] == pytest.approx(float(moved / spread), rel=1e-4)
        off = (rewards[:, i - 1] - last).square().mean() / rewards.var(correction=0)
        assert found["reward"][step] == pytest.approx(float(off), rel=1e-4)
    assert len(found["frame"]) == 6 - context


@pytest.mark.parametrize("context", [0, 6, 7])
def test_a_context_that_leaves_nothing_to_imagine_is_an_error(context: int) -> None:
    with pytest.raises(DataError, match=rf"a context of {context} leaves nothing to imagine in windows of 6 frames"):
        open_loop_errors(Grey(), batch(), context)
    with pytest.raises(DataError, match="leaves nothing to imagine"):
        copy_last_errors(Grey(), batch(), context)
