"""What training sees is what the model does: each rollout equals stepping the model by hand from the same frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError
from worldmodel.rollout import Outputs, Rollout, Unrolling
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG
from worldmodel.unroll import unroll

B, T = 3, 7
SPEC = EnvSpec("line", "reach", "box", 2, (-1.0, -1.0), (1.0, 1.0), 1, 0, (16, 16))
DENSE = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1.0,
    M=1.0,
    stages=((8, 1), (8, 1)),
    patch=2,
    feature=8,
    hidden=8,
    layers=2,
    latent=4,
    advance="residual",
    skips=True,
    head=8,
)
CONV = replace(DENSE, layer="conv", advance="bounded")
PAIR = replace(DENSE, recurrence="none", features="pair")
EVERY = Unrolling(context=2, open_loop=3, stride=2, draw_observed=1.0, draw_forced=1.0, draw_open_loop=1.0)
MAP_PAIR = replace(CONV, features="pair", advance="residual")
both = pytest.mark.parametrize("config", [DENSE, CONV, PAIR, MAP_PAIR], ids=["dense", "conv", "pair", "map-pair"])


def make(config: ModelConfig = DENSE, *, quiet: bool = True) -> SVG:
    """A model with every weight off zero; a quiet one's z all but equals its mean."""
    torch.manual_seed(0)
    model, generator = build(config, SPEC), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight + 0.3 * torch.randn(weight.shape, generator=generator))
        for part in (model.posterior, model.prior) if quiet else ():
            part.log_variance.weight.zero_()
            part.log_variance.bias.fill_(-60.0)
        model.statistics.frame_std.fill_(0.3)
        model.statistics.reward_mean.fill_(5.0)
        model.statistics.reward_std.fill_(2.0)
    return model.eval()


def windows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (B, T, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return frames, 2 * torch.rand(B, T - 1, 2, generator=generator) - 1


@torch.no_grad()
def run(model: SVG, how: Unrolling = EVERY, *, seed: int = 0, frames: Tensor | None = None) -> Outputs:
    seen, actions = windows()
    return unroll(model, seen if frames is None else frames, actions, how, torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@both
@torch.no_grad()
def test_one_step_predictions_equal_stepping_by_hand(config: ModelConfig) -> None:
    model, (frames, actions) = make(config), windows()
    outputs = run(model)
    cells = posterior = prior = None
    embeddings = [model.encode(frame)[0] for frame in frames.unbind(1)]
    features = [model.first_feature(embeddings[0])]
    for i in range(T - 1):
        features.append(model.features(embeddings[i], actions[:, i], embeddings[i + 1]))
        before, after = features[i], features[i + 1]
        close(outputs.embeddings[:, i], embeddings[i])
        z, posterior = model.posterior(after, posterior or model.posterior.initial(after))
        guess, prior = model.prior(before, prior or model.prior.initial(before))
        predicted, cells = model.predict(before, z.mean, actions[:, i], cells or model.frame_predictor.initial(before))
        close(outputs.features[:, i], before)
        close(outputs.posterior.mean[:, i], z.mean)
        close(outputs.prior.mean[:, i], guess.mean)
        if i == 0:
            continue  # within the context: nothing is predicted
        for rollout, reached in ((outputs.forced, predicted), (outputs.observed, after)):
            close(rollout.features[:, i - 1], reached)
            close(rollout.rewards[:, i - 1], model.reward(before, actions[:, i], reached))
            close(rollout.continues[:, i - 1], model.continuation(before, actions[:, i], reached))
    assert outputs.observed.times.tolist() == outputs.forced.times.tolist() == [2, 3, 4, 5, 6]


@both
@torch.no_grad()
def test_open_loop_equals_imagining_from_a_filtered_state(config: ModelConfig) -> None:
    model, (frames, actions) = make(config), windows()
    rollout = run(model).open_loop
    assert rollout.times.tolist() == [2, 3, 4, 4, 5, 6]  # from frames 1 and 3
    for column, time in enumerate(rollout.times.tolist()):
        if column in (0, 3):
            state = model.initial(frames[:, :time], actions[:, : time - 1])
        prediction = model.imagine(state, actions[:, time - 1])
        state = prediction.state
        close(rollout.features[:, column], state.feature)
        close(model.statistics.rewards(rollout.rewards[:, column]), prediction.reward)
        close(rollout.continues[:, column].sigmoid(), prediction.continues)


def pictures(rollout: Rollout) -> Tensor:
    """(b, n, c, h, w) standardised: every frame after the context, drawn once each."""
    drawn = rollout.drawn
    return drawn.frames[(drawn.rows * T + drawn.times).argsort()].unflatten(0, (B, -1))


@both
@torch.no_grad()
def test_frames_are_drawn_as_the_acting_model_draws_them(config: ModelConfig) -> None:
    model, (frames, actions) = make(config), windows()
    outputs = run(model, replace(EVERY, context=3, open_loop=4, stride=9))
    start = state = model.initial(frames[:, :3], actions[:, :2])
    imagined = pictures(outputs.open_loop)
    assert imagined.shape == (B, 4, 3, 16, 16)
    for step in range(4):
        state = model.imagine(state, actions[:, 2 + step]).state
        close(model.statistics.restore(imagined[:, step]), model.decode(state))
    for rollout in (outputs.observed, outputs.forced):
        drawn = pictures(rollout)
        assert drawn.shape[1] == T - 3  # none of the context, which could be copied from the skips
        for time, picture in enumerate(drawn.unbind(1), 3):
            own = outputs.embeddings[:, time] if rollout is outputs.observed else None
            shown = replace(start, feature=rollout.features[:, time - 3], embedding=own)
            close(model.statistics.restore(picture), model.decode(shown))


@pytest.mark.parametrize("context", [1, 2, 4])
def test_skips_come_from_the_last_context_frame(context: int) -> None:
    """A frame's own feature drawn at time 6 depends on no other frame but the one the skips come from."""
    model, (frames, _) = make(), windows()
    how = replace(EVERY, context=context)
    assert run(model, how).forced.drawn.times.min() == context
    last = pictures(run(model, how).observed)[:, -1]
    for time in range(T - 1):
        changed = frames.clone()
        changed[:, time] = 255 - changed[:, time]
        difference = (pictures(run(model, how, frames=changed).observed)[:, -1] - last).abs().max()
        assert (difference > 0.01) == (time == context - 1), time


@pytest.mark.parametrize(
    ("context", "open_loop", "stride", "times"),
    [
        (1, 1, 1, [1, 2, 3, 4, 5, 6]),
        (3, 2, 2, [3, 4, 5, 6]),  # from frames 2 and 4
        (3, 2, 3, [3, 4]),
        (2, 3, 1, [2, 3, 4, 3, 4, 5, 4, 5, 6]),
        (2, 12, 1, [2, 3, 4, 5, 6]),  # no longer than the window
        (6, 12, 1, [6]),
    ],
)
def test_open_loop_starts_where_the_context_ends_and_at_each_stride(
    context: int, open_loop: int, stride: int, times: list[int]
) -> None:
    rollout = run(make(), replace(EVERY, context=context, open_loop=open_loop, stride=stride)).open_loop
    assert rollout.times.tolist() == times
    assert rollout.features.shape == (B, len(times), 8)
    assert rollout.rewards.shape == rollout.continues.shape == (B, len(times))


def test_without_open_loop_the_rest_is_the_same() -> None:
    whole, alone = run(make()), run(make(), replace(EVERY, open_loop=0))
    assert alone.open_loop is None
    close(alone.forced.features, whole.forced.features)


@pytest.mark.parametrize(("share", "observed", "open_loop"), [(1.0, 15, 18), (0.5, 8, 9), (0.3, 4, 5), (0.001, 1, 1)])
def test_a_share_of_the_frames_is_drawn_beside_its_targets(share: float, observed: int, open_loop: int) -> None:
    model, (frames, _) = make(), windows()
    outputs = run(model, replace(EVERY, draw_observed=share, draw_forced=share, draw_open_loop=share))
    for rollout, count in ((outputs.observed, observed), (outputs.forced, observed), (outputs.open_loop, open_loop)):
        drawn = rollout.drawn
        assert len(drawn.frames) == len(drawn.targets) == len(drawn.rows) == len(drawn.times) == count
        close(drawn.targets, model.statistics.standardise(frames[drawn.rows, drawn.times]))
    drawn = outputs.observed.drawn
    assert len(set(zip(drawn.rows.tolist(), drawn.times.tolist(), strict=True))) == observed  # none twice
    whole = pictures(run(model).observed)
    close(drawn.frames, whole[drawn.rows, drawn.times - 2])


def test_what_is_not_to_be_drawn_is_not() -> None:
    outputs = run(make(), replace(EVERY, draw_forced=0.0, draw_open_loop=0.0))
    assert outputs.observed.drawn is not None
    assert outputs.forced.drawn is None and outputs.open_loop.drawn is None


def test_randomness_is_the_generators() -> None:
    model, how = make(quiet=False), replace(EVERY, draw_observed=0.3)
    first, again, other = (run(model, how, seed=seed) for seed in (0, 0, 1))
    for kind in ("forced", "open_loop"):
        assert torch.equal(getattr(first, kind).features, getattr(again, kind).features)
        assert not torch.allclose(getattr(first, kind).features, getattr(other, kind).features)
    assert torch.equal(first.observed.features, other.observed.features)
    places = [(outputs.observed.drawn.rows * T + outputs.observed.drawn.times).tolist() for outputs in (first, other)]
    assert places[0] != places[1]


def test_windows_that_the_context_fills_are_an_error() -> None:
    model = make()
    for context in (T, T + 1):
        with pytest.raises(ConfigError, match=rf"windows of 7 frames leave nothing to predict after {context} context"):
            run(model, replace(EVERY, context=context))
    assert run(model, replace(EVERY, context=T - 1)).open_loop.times.tolist() == [T - 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 0}, r"train\.unrolling\.context is 0: set a whole number >= 1"),
        ({"stride": 1.5}, r"train\.unrolling\.stride is 1\.5: set a whole number >= 1"),
        ({"open_loop": -1}, r"train\.unrolling\.open_loop is -1: set a whole number >= 0"),
        ({"draw_forced": -0.1}, r"train\.unrolling\.draw_forced is -0\.1: set a share in \[0, 1\]"),
    ],
)
def test_settings_out_of_range_are_errors(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(EVERY, **changes)
