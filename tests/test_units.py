"""Rewards that outgrow the unit they are counted in: the model counts in another, and says what it said."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dreaming import DENSE, PAIR, contexts, trained
from test_rssm import STATES
from test_rssm import make as make_states
from test_trainer import CONFIG, push, replay, same, trainer
from torch import Tensor

from worldmodel.episode import episode_path, save_episode
from worldmodel.model import Model
from worldmodel.replay import Replay
from worldmodel.units import GROWTH, change_unit, outgrown

JUDGING = replace(PAIR, critics=2, discount=0.9)


@torch.inference_mode()
def said(model: Model) -> Tensor:
    """Rewards (1, b) and, with critics, the state's value (1, b) and what each critic says of an action (2, b)."""
    given = contexts(model.spec, length=3)
    state = model.initial(given.frames, given.actions)
    action = torch.full_like(given.actions[:, 0], 0.3)
    found = [model.imagine(state, action).reward[None]]
    if model.actor_critic is not None:
        found += [model.value(state)[None], model.value_unit * model.actor_critic.values(state.feature, action)]
    return torch.cat(found)


@pytest.mark.parametrize("make", [lambda: trained(), lambda: trained(JUDGING), lambda: make_states(STATES)])
def test_in_another_unit_a_model_says_the_same(make) -> None:  # type: ignore[no-untyped-def]
    model = make().eval()
    change_unit(model, 2.0, 0.5)  # so that there is a unit to change
    before, statistics = said(model), copy.deepcopy(model.statistics)
    change_unit(model, -7.0, 40.0)
    assert (model.statistics.reward_mean, model.statistics.reward_std) == (-7, 40)
    assert torch.equal(model.statistics.frame_mean, statistics.frame_mean)
    assert before.std() > 1e-3
    torch.testing.assert_close(said(model), before, rtol=1e-4, atol=1e-4)
    model.statistics.load_state_dict(statistics.state_dict())
    assert not torch.allclose(said(model), before, rtol=1e-2)  # the unit alone would have changed it


def test_a_unit_is_outgrown_by_rewards_that_vary_much_more() -> None:
    model = trained(DENSE)
    model.statistics.reward_std.fill_(0.1)
    assert [outgrown(model, std) for std in (0.0, 0.1, 0.099 * GROWTH, 0.101 * GROWTH)] == [False, False, False, True]


@pytest.mark.parametrize("ema_decay", [0, 0.5])
def test_a_trainer_counts_anew_when_rewards_have_grown(ema_decay: float, tmp_path: Path) -> None:
    data, fitted = replay(tmp_path), trainer(config=replace(CONFIG, ema_decay=ema_decay))
    state = copy.deepcopy(fitted.model.state_dict())
    assert not fitted.rescale_rewards(data)
    assert same(state, fitted.model.state_dict())  # the first fit takes the unit
    list(fitted.fit(data, 3, seed=0))

    state = copy.deepcopy(fitted.model.state_dict())
    save_episode(replace(push(7), rewards=2 * push(7).rewards), episode_path(tmp_path, 6))
    assert not fitted.rescale_rewards(Replay(tmp_path))
    assert same(state, fitted.model.state_dict())

    for index in (7, 8):
        save_episode(replace(push(index), rewards=20 * push(index).rewards), episode_path(tmp_path, index))
    grown = Replay(tmp_path)
    before = [said(model.eval()) for model in (fitted.model, fitted.online)]
    assert fitted.rescale_rewards(grown)
    for model, expected in zip((fitted.model, fitted.online), before, strict=True):
        unit = (model.statistics.reward_mean.item(), model.statistics.reward_std.item())
        assert unit == pytest.approx(grown.reward_statistics(), rel=1e-6)
        torch.testing.assert_close(said(model), expected, rtol=1e-3, atol=1e-3)

    state = copy.deepcopy(fitted.model.state_dict())
    assert not fitted.rescale_rewards(grown)  # as a run does that was stopped within the fit
    assert same(state, fitted.model.state_dict())
    terms = list(fitted.fit(grown, 3, seed=0))
    assert all(np.isfinite(term["loss"]) and not term["skipped"] for term in terms)
