"""The state-space model: filtering is what training sees, rows are alone, and it learns and is filed as others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from dreaming import BOX, DENSE, contexts, trained
from test_trainer import CONFIG, MODEL, replay, trainer
from torch import Tensor

from agents.planners import CEM
from agents.planning import PlanningAgent
from envs.dream import Dream
from envs.starts import ContextStarts
from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError, DataError
from worldmodel.gaussian import kl
from worldmodel.pretrained import from_pretrained, save_pretrained
from worldmodel.rollout import Unrolling
from worldmodel.rssm import RSSM
from worldmodel.rssm_unroll import unroll_states
from worldmodel.size import summarise
from worldmodel.state import concatenate
from worldmodel.trainer import mean_terms
from worldmodel.validation import open_loop_errors

STATES = replace(DENSE, recurrence="rssm", layers=1, latent=3)
EVERY = Unrolling(context=2, open_loop=3, stride=2, draw_observed=1, draw_forced=1, draw_open_loop=1)
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


def make(config: ModelConfig = STATES) -> RSSM:
    model = trained(config)
    assert isinstance(model, RSSM)
    return model.requires_grad_(False)


def certain() -> RSSM:
    """Whose z are hardly drawn at all: training and filtering by means then see the same."""
    model = make()
    for predictor in (model.posterior, model.prior):
        predictor.log_variance.weight.zero_()
        predictor.log_variance.bias.fill_(-40.0)
    return model


def windows(b: int = 3, t: int = 7) -> tuple[Tensor, Tensor]:
    found = contexts(count=b, length=t)
    return found.frames, found.actions


def unrolled(model: RSSM, how: Unrolling = EVERY, seed: int = 0):  # type: ignore[no-untyped-def]
    frames, actions = windows()
    return unroll_states(model, frames, actions, how, torch.Generator().manual_seed(seed))


def test_filtering_sees_what_training_sees() -> None:
    model, (frames, actions) = certain(), windows()
    outputs = unrolled(model)
    for i in range(7):
        state = model.initial(frames[:, : i + 1], actions[:, :i])
        close(outputs.features[:, i], state.feature)
        close(outputs.embeddings[:, i], model.embedding(state))
        if i < 6:
            deterministic = model.advance(state.feature, actions[:, i])
            close(outputs.prior.mean[:, i], model.expect(deterministic).mean)
            close(outputs.posterior.mean[:, i], model.explain(deterministic, model.see(frames[:, i + 1])).mean)
        if 1 <= i < 6:
            prediction = model.imagine(state, actions[:, i])
            close(outputs.forced.features[:, i - 1], prediction.state.feature)
            close(model.statistics.rewards(outputs.forced.rewards[:, i - 1]), prediction.reward)
            close(outputs.forced.continues[:, i - 1].sigmoid(), prediction.continues)
            seen = model.initial(frames[:, : i + 2], actions[:, : i + 1])
            close(outputs.observed.features[:, i - 1], seen.feature)
    assert outputs.observed.times.tolist() == outputs.forced.times.tolist() == [2, 3, 4, 5, 6]


def test_open_loop_equals_imagining_from_a_filtered_state() -> None:
    model, (frames, actions) = certain(), windows()
    rollout = unrolled(model).open_loop
    assert rollout.times.tolist() == [2, 3, 4, 4, 5, 6]  # from frames 1 and 3
    for column, time in enumerate(rollout.times.tolist()):
        if column in (0, 3):
            state = model.initial(frames[:, :time], actions[:, : time - 1])
        prediction = model.imagine(state, actions[:, time - 1])
        state = prediction.state
        close(rollout.features[:, column], state.feature)
        close(model.statistics.rewards(rollout.rewards[:, column]), prediction.reward)
    drawn = rollout.drawn
    order = (drawn.rows * 100 + drawn.times).argsort()
    last = drawn.frames[order].unflatten(0, (3, -1))[:, -1]
    close(model.statistics.restore(last), model.decode(state))


def test_z_is_drawn_from_the_posterior_where_frames_are_seen_and_from_the_prior_where_not() -> None:
    model, (frames, actions) = make(), windows()
    noise = torch.randn(3, 1, 3, generator=torch.Generator().manual_seed(0))
    first = model.initial(frames[:, :1], actions[:, :0])
    hidden = first.feature[:, :8]
    assert (hidden == 0).all() and not (first.feature[:, 8:] == 0).any()
    deterministic = model.advance(first.feature, actions[:, 0])
    observed = model.initial(frames[:, :2], actions[:, :1], noise=noise)
    posterior = model.explain(deterministic, model.see(frames[:, 1]))
    close(observed.feature, torch.cat([deterministic, posterior.mean + posterior.std * noise[:, 0]], 1))
    imagined = model.imagine(first, actions[:, 0], noise=noise[:, 0]).state
    prior = model.expect(deterministic)
    close(imagined.feature, torch.cat([deterministic, prior.mean + prior.std * noise[:, 0]], 1))
    close(model.imagine(first, actions[:, 0]).state.feature[:, 8:], prior.mean)
    nats = model.nats(frames[:, :2], actions[:, :1])
    assert nats is not None and nats.shape == (3, 1)
    close(nats[:, 0], kl(posterior, prior).sum(1))
    other = frames.clone()
    other[:, 1] = 255 - other[:, 1]
    assert not torch.allclose(model.initial(other[:, :2], actions[:, :1]).feature, observed.feature, atol=1e-3)


def test_rows_never_influence_each_other() -> None:
    model, (frames, actions) = make(), windows()
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    together = model.imagine(model.initial(frames, actions), actions[:, 0], noise=noise)
    for i in range(3):
        rows = slice(i, i + 1)
        alone = model.imagine(model.initial(frames[rows], actions[rows]), actions[rows, 0], noise=noise[rows])
        close(alone.state.feature, together.state.feature[rows])
        close(alone.reward, together.reward[rows])
        close(model.decode(alone.state), model.decode(together.state)[rows])
    fanned = model.initial(frames, actions).repeat(2)
    assert len(fanned) == 6 and len(concatenate([fanned, fanned[:1]])) == 7


def test_it_learns_what_moves_and_what_it_earns(tmp_path: Path) -> None:
    config = replace(MODEL, recurrence="rssm", latent=4)
    fitted = trainer(model=config, config=replace(CONFIG, learning_rate=3e-3))
    history = list(fitted.fit(replay(tmp_path), 120, seed=0))
    first, last = mean_terms(history[:10]), mean_terms(history[-10:])
    for name in ("observed/frame", "forced/frame", "open_loop/frame", "open_loop/reward"):
        assert last[name] < first[name] / 1.5, (name, first[name], last[name])
    batch = replay(tmp_path).sample(16, 6, np.random.default_rng(0), minimum=3)
    errors = open_loop_errors(fitted.model, batch, 2)
    assert errors["reward"][0] is not None and errors["reward"][0] < 0.7


def test_it_is_filed_dreamt_in_and_planned_in_as_others(tmp_path: Path) -> None:
    model = make()
    save_pretrained(tmp_path / "model", model, contexts())
    loaded = from_pretrained(tmp_path / "model")
    frames, actions = windows()
    close(loaded.initial(frames, actions).feature, model.initial(frames, actions).feature)
    dream = Dream(loaded, ContextStarts(contexts()), num_envs=2, observation="features")
    dream.reset([0, 1])
    agent = PlanningAgent(loaded, CEM(horizon=3, candidates=8, iterations=2, elites=2))
    agent.reset(frames[0, 0].permute(1, 2, 0).numpy())
    assert agent.act(torch.Generator().manual_seed(0)).shape == (2,)
    rows = summarise(STATES, 2, (64, 64))
    assert rows["total without heads"]["parameters"] + rows["reward"]["parameters"] + rows["continuation"][
        "parameters"
    ] == sum(parameter.numel() for parameter in model.parameters())
    assert all(row["multiply_adds"] > 0 for row in rows.values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layer": "conv"}, r"set model\.layer=dense"),
        ({"skips": True}, r"set model\.skips=False"),
        ({"latent": 0}, r"set model\.latent >= 1"),
        ({"critics": 2}, r"set model\.critics=0"),
    ],
)
def test_parts_that_it_cannot_have_are_named(changes: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(STATES, **changes)


def test_mistakes_are_errors() -> None:
    model, (frames, actions) = make(), windows()
    with pytest.raises(ConfigError, match="no pixels are fed back: set feedback=features"):
        build(STATES, BOX, feedback="pixels")
    with pytest.raises(DataError, match="give actions"):
        model.initial(frames, actions[:, :1])
    state = model.initial(frames, actions)
    with pytest.raises(ConfigError, match="this model was trained on line"):
        model.imagine(state, actions[:, 0, :1])
    with pytest.raises(DataError, match="2 frames for 3 rows"):
        model.observe(state, actions[:, 0], frames[:2, 0])
    with pytest.raises(DataError, match="give uint8 frames"):
        model.initial(frames.float(), actions)
    with pytest.raises(ConfigError, match="leave nothing to predict"):
        unroll_states(model, frames[:, :2], actions[:, :1], EVERY, torch.Generator())
