from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError
from worldmodel.losses import Weights
from worldmodel.replay import Batch
from worldmodel.rollout import CriticOutputs, Unrolling
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG
from worldmodel.temporal_difference import returns, temporal_difference
from worldmodel.trainer import TrainConfig, Trainer, make_fabric
from worldmodel.unroll import unroll

SPEC = EnvSpec("line", "line", "box", 1, (-1.0,), (1.0,), 1, 0, (16, 16))
CONFIG = ModelConfig(
    layer="dense",
    recurrence="none",
    features="pair",
    backbone="light",
    K=1,
    M=1,
    stages=((8, 1),),
    patch=1,
    feature=8,
    hidden=8,
    layers=1,
    latent=2,
    advance="residual",
    skips=False,
    head=8,
    critics=2,
    discount=0.5,
)
HOW = Unrolling(context=2, open_loop=3, stride=1, draw_observed=0, draw_forced=0, draw_open_loop=0)


def row(*values: float) -> Tensor:
    return torch.tensor([values])


def test_three_rewards_then_the_value_and_fewer_at_the_end_of_the_window() -> None:
    found = returns(row(1, 2, 4, 8), row(1, 1, 1, 1), row(1, 1, 1, 1), row(10, 20, 30, 40), 0.5)
    expected = [1 + 1 + 1 + 30 / 8, 2 + 2 + 2 + 40 / 8, 4 + 4 + 40 / 4, 8 + 40 / 2]
    assert found.tolist() == [expected]


def test_nothing_comes_after_a_termination_and_padding_is_not_looked_at() -> None:
    nan = torch.nan
    ended = returns(row(1, 2, nan, nan), row(1, 0, 1, 1), row(1, 1, 0, 0), row(10, 20, nan, nan), 0.5)
    assert ended[:, :2].tolist() == [[1 + 1, 2]]
    truncated = returns(row(1, 2, nan, nan), row(1, 1, 1, 1), row(1, 1, 0, 0), row(10, 20, nan, nan), 0.5)
    assert truncated[:, :2].tolist() == [[1 + 1 + 20 / 4, 2 + 20 / 2]]


@pytest.fixture
def model() -> SVG:
    torch.manual_seed(0)
    made = build(CONFIG, SPEC)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made


def batch(t: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        frames=torch.randint(256, (3, t, 3, 16, 16), dtype=torch.uint8, generator=generator),
        actions=torch.rand(3, t - 1, 1, generator=generator),
        rewards=torch.rand(3, t - 1, generator=generator),
        continues=torch.ones(3, t - 1),
        mask=torch.ones(3, t - 1),
    )


def judged(model: SVG, windows: Batch) -> CriticOutputs:
    found = unroll(model, windows.frames, windows.actions, HOW, torch.Generator().manual_seed(0)).critic_outputs
    assert found is not None
    return found


def test_the_losses_teach_critics_and_policy_and_nothing_that_makes_features(model: SVG) -> None:
    windows = batch()
    critic, policy, _ = temporal_difference(judged(model, windows), windows, torch.tensor(1.0), 0.5)
    (critic + policy).backward()
    taught = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {"actor_critic"}
    assert model.actor_critic is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.actor_critic.critics.parameters())


def test_fitted_critics_know_the_value_of_a_task_that_always_pays_the_same(model: SVG) -> None:
    windows = replace(batch(), rewards=torch.full((3, 5), 6.0))
    assert model.actor_critic is not None
    model.statistics.reward_std.fill_(2.0)
    optimizer = torch.optim.Adam(model.actor_critic.parameters(), lr=1e-2)
    for _ in range(300):
        critic, policy, terms = temporal_difference(judged(model, windows), windows, model.value_unit, 0.5)
        optimizer.zero_grad()
        (critic + policy).backward()
        optimizer.step()
        model.actor_critic.update_targets(0.1)
    assert terms["value"].item() == pytest.approx(12 / (2 / 0.5**0.5), abs=0.1)  # 6 + 3 + 1.5 + ... = 12
    state = model.initial(windows.frames[:, :2], windows.actions[:, :1])
    torch.testing.assert_close(model.value(state), torch.full((3,), 12.0), atol=0.6, rtol=0)


@pytest.mark.parametrize(("open_loop", "value"), [(0, 1.0), (3, 0.0)])
def test_critics_that_would_not_learn_are_refused(model: SVG, open_loop: int, value: float) -> None:
    weights = Weights("l2", 1, 1, 1, 1, 1, 1, 1, value)
    config = TrainConfig(2, 6, 1e-3, 1.0, replace(HOW, open_loop=open_loop), weights)
    with pytest.raises(ConfigError, match=f"open_loop={open_loop} and train.weights.value={value} leave untaught"):
        Trainer(model, config, make_fabric("cpu", 1, "32-true"))
