"""The video predictor: filtering and imagining agree with themselves, row by row, with skips of the last seen frame."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError, DataError
from worldmodel.feedback import bounded, residual
from worldmodel.spec import EnvSpec
from worldmodel.state import State, concatenate
from worldmodel.svg import SVG, channels_last

SPEC = EnvSpec("cartpole", "swingup", "box", 2, (-1.0, -1.0), (1.0, 1.0), 8, 1000, (16, 16))
DENSE = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1,
    M=1,
    stages=((8, 1), (8, 1)),
    patch=1,
    feature=6,
    hidden=8,
    layers=2,
    latent=3,
    advance="residual",
    skips=True,
    head=8,
)
CONV = replace(DENSE, layer="conv", advance="bounded")
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)  # batches of other sizes round otherwise
LIGHT = replace(DENSE, backbone="light", skips=False)
PAIR = replace(LIGHT, recurrence="none", features="pair")
MAP_PAIR = replace(CONV, features="pair", advance="residual")
NO_Z = replace(CONV, latent=0)
CNN = replace(NO_Z, recurrence="context", history=2)
KINDS = pytest.mark.parametrize(
    "config",
    [DENSE, CONV, LIGHT, PAIR, MAP_PAIR, NO_Z, CNN],
    ids=["dense", "conv", "light", "pair", "map-pair", "no-z", "cnn"],
)
RECURRENT = pytest.mark.parametrize("config", [DENSE, CONV, LIGHT], ids=["dense", "conv", "light"])


def make(config: ModelConfig, *, feedback: str = "features", size: tuple[int, int] = (16, 16)) -> SVG:
    """A model whose every weight and statistic matters; the same weights at each call."""
    model = build(config, replace(SPEC, frame_size=size), feedback=feedback).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 10
        parameter.normal_(0, 2 * fan_in**-0.5, generator=generator)
    model.statistics.frame_mean.uniform_(0.3, 0.7, generator=generator)
    model.statistics.frame_std.fill_(0.3)
    model.statistics.reward_mean.fill_(1.5)
    model.statistics.reward_std.fill_(2.0)
    return model


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def context(b: int, k: int, size: tuple[int, int] = (16, 16)) -> tuple[Tensor, Tensor]:
    """Frames (b, k, c, height, width) and the actions between them (b, k-1, a)."""
    generator = torch.Generator().manual_seed(7)
    frames = torch.randint(0, 256, (b, k, 3, *size), dtype=torch.uint8, generator=generator)
    return frames, randn(b, k - 1, 2, seed=8).clamp(-1, 1)


def filtered(model: SVG, b: int = 3, k: int = 3) -> State:
    return model.initial(*context(b, k), noise=randn(b, k - 1, *model.noise_shape, seed=9))


def tensors(state: State) -> list[Tensor]:
    cells = [*state.frame_predictor, *state.posterior, *state.prior]
    frames = [] if state.frame is None else [state.frame]
    return [state.feature, *state.skips.gather(), *(tensor for pair in cells for tensor in pair), *frames]


def differ(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > 1e-3)


def count_calls(module: nn.Module) -> list[int]:
    """A list that grows by one element each time the module is called."""
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@KINDS
@pytest.mark.parametrize("feedback", ["features", "pixels"])
def test_a_context_is_a_first_frame_and_what_was_observed_after_it(config: ModelConfig, feedback: str) -> None:
    model, (frames, actions) = make(config, feedback=feedback), context(2, 4)
    noise = randn(2, 3, *model.noise_shape)
    state = model.initial(frames[:, :1], actions[:, :0])
    for i in range(3):
        state = model.observe(state, actions[:, i], frames[:, i + 1], noise=noise[:, i])
    together = model.initial(frames, actions, noise=noise)
    close(tensors(together), tensors(state))
    if config.recurrence == "lstm":  # others remember no actions and no z
        acted, drawn = (
            model.initial(frames, -actions, noise=noise),
            model.initial(frames, actions, noise=noise.flip(1)),
        )
        assert differ(acted.frame_predictor[1][0], together.frame_predictor[1][0])
        assert config.latent == 0 or differ(drawn.frame_predictor[1][0], together.frame_predictor[1][0])


@KINDS
def test_filtering_sees_what_training_sees(config: ModelConfig) -> None:
    """The posterior reads the frame it explains, prior and frame predictor the one before."""
    model, (frames, actions) = make(config), context(2, 4)
    standardised = (frames.flatten(0, 1) / 255 - model.statistics.frame_mean) / 0.3
    embeddings = model.encoder(standardised)[0].unflatten(0, (2, 4))
    pairs = [model.features(embeddings[:, i], actions[:, i], embeddings[:, i + 1]) for i in range(3)]
    features = torch.stack([model.first_feature(embeddings[:, 0]), *pairs], 1)
    posterior, posterior_cells = model.posterior.sequence(features[:, 1:])
    prior, prior_cells = model.prior.sequence(features[:, :-1])
    noise = randn(2, 3, *model.noise_shape)
    forced, cells = model.predict_sequence(features[:, :-1], posterior.sample(noise), actions)
    state = model.initial(frames, actions, noise=noise)
    expected = (features[:, -1], cells[3], posterior_cells[3], prior_cells[3])
    close((state.feature, state.frame_predictor, state.posterior, state.prior), expected)

    before = model.initial(frames[:, :3], actions[:, :2], noise=noise[:, :2])
    z = prior.mean[:, 2] + prior.std[:, 2] * noise[:, 2]
    predicted, _ = model.predict(features[:, 2], z, actions[:, 2], cells[2])
    close(model.imagine(before, actions[:, 2], noise=noise[:, 2]).state.feature, predicted)
    assert differ(predicted, forced[:, 2]) == (config.latent > 0)


@KINDS
def test_a_sequence_of_predictions_is_its_steps(config: ModelConfig) -> None:
    model = make(config)
    space = model.noise_shape[1:]
    features, z, actions = randn(2, 4, 6, *space), randn(2, 4, *model.noise_shape, seed=1), randn(2, 4, 2, seed=2)
    predicted, moments = model.predict_sequence(features, z, actions)
    cells = model.frame_predictor.initial(features[:, 0])
    for i in range(4):
        close(moments[i], cells)
        step, cells = model.predict(features[:, i], z[:, i], actions[:, i], cells)
        close(predicted[:, i], step)
    close(moments[4], cells)


@KINDS
@pytest.mark.parametrize("feedback", ["features", "pixels"])
def test_candidates_fanned_out_are_imagined_as_if_alone(config: ModelConfig, feedback: str) -> None:
    model = make(config, feedback=feedback)
    state = filtered(model, b=2)
    actions, noise = randn(2, 3, 2, seed=1), randn(2, 3, *model.noise_shape, seed=2)
    fanned = model.imagine(state.repeat(3), actions.flatten(0, 1), noise=noise.flatten(0, 1))
    for i in range(3):
        alone = model.imagine(state, actions[:, i], noise=noise[:, i])
        close(tensors(fanned.state[i::3]), tensors(alone.state))
        close(fanned.reward[i::3], alone.reward)
        close(fanned.continues[i::3], alone.continues)
        close(model.decode(fanned.state)[i::3], model.decode(alone.state))
    assert len({round(reward, 4) for reward in fanned.reward.tolist()}) == 6


@KINDS
@pytest.mark.parametrize("feedback", ["features", "pixels"])
def test_rows_never_influence_each_other(config: ModelConfig, feedback: str) -> None:
    model, (frames, actions) = make(config, feedback=feedback).train(), context(3, 3)
    noise, action, next_noise = randn(3, 2, *model.noise_shape), randn(3, 2), randn(3, *model.noise_shape, seed=1)

    def dream(rows: slice) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        state = model.initial(frames[rows], actions[rows], noise=noise[rows])
        prediction = model.imagine(state, action[rows], noise=next_noise[rows])
        return tensors(prediction.state), prediction.reward, prediction.continues, model.decode(prediction.state)

    together = dream(slice(0, 3))
    for i in range(3):
        part, *rest = dream(slice(i, i + 1))
        close(part, [tensor[i : i + 1] for tensor in together[0]])
        close(rest, [tensor[i : i + 1] for tensor in together[1:]])


@pytest.mark.parametrize("config", [DENSE, CONV], ids=["dense", "conv"])
def test_skips_come_from_the_last_frame_of_the_context(config: ModelConfig) -> None:
    model, (frames, actions) = make(config), context(2, 3)
    state, last, first = model.initial(frames, actions), frames.clone(), frames.clone()
    last[:, 2] = 255 - last[:, 2]
    first[:, :2] = 255 - first[:, :2]
    other = model.initial(last, actions)
    assert differ(model.decode(replace(state, skips=other.skips)), model.decode(state))
    earlier = model.initial(first, actions)
    assert all(map(torch.equal, earlier.skips.maps, state.skips.maps)) and len(state.skips.maps) == 2
    assert differ(earlier.frame_predictor[0][0], state.frame_predictor[0][0])
    imagined = model.imagine(state, torch.ones(2, 2)).state
    assert all(a is b for a, b in zip(imagined.skips.maps, state.skips.maps, strict=True))
    bare = make(replace(config, skips=False))
    assert bare.initial(frames, actions).skips.maps == ()
    assert bare.decode(bare.initial(frames, actions)).shape == (2, 3, 16, 16)


@RECURRENT
def test_imagining_advances_all_cells_but_the_posterior_s(config: ModelConfig) -> None:
    model = make(config)
    state = filtered(model)
    kept = [tensor.clone() for tensor in tensors(state)]
    after = model.imagine(state, torch.ones(3, 2), noise=randn(3, *model.noise_shape)).state
    assert after.posterior is state.posterior
    assert differ(after.prior[0][1], state.prior[0][1])
    assert all(differ(after.frame_predictor[i][1], state.frame_predictor[i][1]) for i in range(2))
    assert all(map(torch.equal, tensors(state), kept))  # and the state it started from is as it was


@RECURRENT
def test_seen_frames_take_z_from_the_posterior_and_imagined_ones_from_the_prior(config: ModelConfig) -> None:
    model, (frames, actions) = make(config), context(2, 2)
    state = model.initial(frames[:, :1], actions[:, :0])

    def outcomes() -> tuple[Tensor, Tensor]:
        observed = model.observe(state, actions[:, 0], frames[:, 1])
        return observed.frame_predictor[0][0], model.imagine(state, actions[:, 0]).state.frame_predictor[0][0]

    observed, imagined = outcomes()
    model.posterior.mean.bias.add_(1)
    assert differ(outcomes()[0], observed) and torch.equal(outcomes()[1], imagined)
    model.posterior.mean.bias.sub_(1)
    model.prior.mean.bias.add_(1)
    assert differ(outcomes()[1], imagined) and not differ(outcomes()[0], observed)


@KINDS
def test_without_noise_the_mean_is_taken(config: ModelConfig) -> None:
    model, (frames, actions) = make(config), context(2, 3)
    zeros, ones = (torch.full((2, *model.noise_shape), value) for value in (0.0, 1.0))
    state = model.initial(frames, actions)
    assert all(map(torch.equal, tensors(state), tensors(model.initial(frames, actions))))
    still = model.initial(frames, actions, noise=torch.stack([zeros, zeros], 1))
    close(tensors(state), tensors(still))
    mean, same, other = (model.imagine(state, actions[:, 0], noise=noise) for noise in (None, zeros, ones))
    close(tensors(mean.state), tensors(same.state))
    moved = differ(mean.state.feature, other.state.feature), differ(mean.reward, other.reward)
    assert moved == (config.latent > 0,) * 2


@KINDS
def test_pixel_feedback_draws_and_encodes_again_what_feature_feedback_predicts(config: ModelConfig) -> None:
    plain, drawing = make(config), make(config, feedback="pixels")
    action, noise, (frames, _) = randn(3, 2), randn(3, *plain.noise_shape, seed=1), context(3, 3)
    state = filtered(plain)
    predicted = plain.imagine(state, action, noise=noise)
    drawn = plain.decode(predicted.state)
    assert (drawn == 0).any() or (drawn == 1).any()  # some of it is clipped
    statistics = plain.statistics
    embedding, _ = plain.encoder((drawn - statistics.frame_mean) / statistics.frame_std)
    again = plain.features(state.embedding, action, embedding)
    reward = 1.5 + 2 * plain.reward(state.feature, action, again)

    seen = filtered(drawing)
    close(drawing.decode(seen), frames[:, -1] / 255)
    close(drawing.decode(drawing.initial(frames[:, :1], torch.zeros(3, 0, 2))), frames[:, 0] / 255)
    calls = count_calls(drawing.decoder)
    redrawn = drawing.imagine(seen, action, noise=noise)
    assert len(calls) == 1
    close(redrawn.state.feature, again)
    close(redrawn.reward, reward)
    assert differ(redrawn.reward, predicted.reward)
    same = (predicted.state.frame_predictor, predicted.state.prior)
    close((redrawn.state.frame_predictor, redrawn.state.prior), same)
    close(drawing.decode(redrawn.state), drawn)
    assert len(calls) == 1  # the frame was at hand


@KINDS
def test_nothing_is_drawn_under_feature_feedback_until_somebody_looks(config: ModelConfig) -> None:
    model = make(config)
    calls = count_calls(model.decoder)
    state = model.imagine(filtered(model), torch.ones(3, 2)).state
    assert calls == [] and state.frame is None
    frames = model.decode(state)
    assert len(calls) == 1 and frames.shape == (3, 3, 16, 16)
    assert frames.min() >= 0 and frames.max() <= 1 and differ(frames[0], frames[1])


class Blend(nn.Module):
    """Stands for a head: 100 · before + 10 · action + after, of each one's first number."""

    def forward(self, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        return 100 * before.flatten(1)[:, 0] + 10 * action[:, 0] + after.flatten(1)[:, 0]


@KINDS
def test_heads_read_the_transition_and_give_rewards_and_probabilities(config: ModelConfig) -> None:
    model, action = make(config), randn(3, 2)
    model.reward, model.continuation = Blend(), Blend()  # type: ignore[assignment]
    state = filtered(model)
    prediction = model.imagine(state, action)
    blended = Blend()(state.feature, action, prediction.state.feature)
    close(prediction.reward, 1.5 + 2 * blended)  # mean and deviation of the rewards
    close(prediction.continues, 1 / (1 + (-blended).exp()))


@KINDS
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (32, 8)])
@pytest.mark.parametrize("b", [1, 3])
def test_any_batch_and_frame_size(config: ModelConfig, size: tuple[int, int], b: int) -> None:
    model = make(config, size=size)
    space = (size[0] // 4, size[1] // 4) if config.layer == "conv" else ()
    assert model.noise_shape == (config.latent, *space)
    prediction = model.imagine(model.initial(*context(b, 2, size)), torch.ones(b, 2))
    state = prediction.state
    assert len(state) == b and state.feature.shape == (b, 6, *space)
    if config.recurrence == "lstm":
        assert state.frame_predictor[1][1].shape == (b, 8, *space)
        assert not config.latent or state.prior[0][0].shape == (b, 8, *space)
    skips = [(b, 8, *size), (b, 8, size[0] // 2, size[1] // 2)] if config.skips else []
    assert [tensor.shape for tensor in state.skips.gather()] == skips
    assert model.decode(state).shape == (b, 3, *size)
    assert prediction.reward.shape == prediction.continues.shape == (b,)
    stacked = model.decode(concatenate([state, state[:1]]))
    close(stacked[-1], stacked[0])


def test_an_action_is_seen_at_every_position_of_a_map() -> None:
    inputs = make(CONV).inputs(randn(2, 6, 4, 4), randn(2, 3, 4, 4), torch.tensor([[0.5, -1], [0.25, 1]]))
    assert inputs.shape == (2, 6 + 3 + 2, 4, 4)
    assert (inputs[0, -2] == 0.5).all() and (inputs[0, -1] == -1).all() and (inputs[1, -2] == 0.25).all()


def test_a_feature_advances_by_the_output_or_becomes_it() -> None:
    feature, output = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 30.0])
    assert residual(feature, output).tolist() == [1.5, 28]
    assert bounded(feature, output).tolist() == pytest.approx([0.46211716, 1])


def test_the_memory_format_changes_no_result() -> None:
    model, fast = make(CONV), channels_last(make(CONV))
    for result in (lambda m: m.decode(m.imagine(filtered(m), torch.ones(3, 2)).state), lambda m: filtered(m).feature):
        close(result(fast), result(model))
    assert fast.encoder.stages[1][0][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_states_are_float32_under_autocast() -> None:
    model = make(CONV)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model.imagine(filtered(model), torch.ones(3, 2))
    exact = model.imagine(filtered(model), torch.ones(3, 2))
    cells = [*prediction.state.frame_predictor, *prediction.state.posterior, *prediction.state.prior]
    assert {tensor.dtype for pair in cells for tensor in pair} == {torch.float32}
    for low, high in ((prediction.state.feature, exact.state.feature), (prediction.reward, exact.reward)):
        assert low.dtype == torch.float32 and 0 < (low - high).abs().max() < 0.2


def test_frames_the_model_cannot_take_are_errors() -> None:
    model, (frames, actions) = make(DENSE), context(2, 2)
    state = model.initial(frames, actions)
    with pytest.raises(DataError, match=r"frames are torch\.float32: give uint8 frames in 0\.\.255"):
        model.initial(frames / 255, actions)
    with pytest.raises(DataError, match=r"frames are torch\.float32"):
        model.observe(state, actions[:, 0], frames[:, 0] / 255)
    for wrong in (frames[..., :12], frames[:, :, :1]):
        with pytest.raises(DataError, match=r"frames are \(.*\): this model takes \(3, 16, 16\)"):
            model.initial(wrong, actions)
    with pytest.raises(DataError, match=r"\(16, 16, 3\): this model takes \(3, 16, 16\)"):
        model.observe(state, actions[:, 0], frames[:, 0].permute(0, 2, 3, 1))


@pytest.mark.parametrize(("k", "given"), [(3, 3), (3, 1), (1, 1), (0, 0)])
def test_a_context_has_one_action_fewer_than_frames(k: int, given: int) -> None:
    with pytest.raises(DataError, match=rf"2 contexts of {k} frames .*: give actions \(2, {k - 1}, 2\)"):
        make(DENSE).initial(torch.zeros(2, k, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, given, 2))


@KINDS
@pytest.mark.parametrize("shape", [(3, 5), (2, 2), (3,)])
def test_actions_of_another_environment_are_an_error(config: ModelConfig, shape: tuple[int, ...]) -> None:
    model = make(config)
    with pytest.raises(ConfigError, match=r"trained on cartpole and takes \(3, 2\)"):
        model.imagine(filtered(model), torch.zeros(shape))
    with pytest.raises(ConfigError, match=r"trained on cartpole and takes \(3, 2\)"):
        model.observe(filtered(model), torch.zeros(shape), context(3, 1)[0][:, 0])


def test_observing_after_imagining_takes_the_embedding_that_the_imagined_feature_implies() -> None:
    model, (frames, _) = make(PAIR), context(3, 3)
    action = randn(3, 2)
    imagined = model.imagine(filtered(model), action).state
    assert imagined.embedding is None
    implied = model.features.embedding(imagined.feature)
    seen, _ = model.encode(frames[:, 0])
    close(model.observe(imagined, action, frames[:, 0]).feature, model.features(implied, action, seen))
    drawn = make(PAIR, feedback="pixels")
    assert drawn.imagine(filtered(drawn), action).state.embedding is not None


def test_without_z_nothing_of_it_is_left() -> None:
    model, (frames, actions) = make(NO_Z), context(2, 3)
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert not names & {"posterior", "prior"} and "frame_predictor" in names
    state = model.initial(frames, actions)
    assert state.posterior == state.prior == () and model.noise_shape[0] == 0
    assert model.frame_predictor.memory.embed.weight.shape[1] == 6 + 2  # feature and action
    assert model.nats(frames, actions) is None
    drawn = [model.imagine(state, actions[:, 0], noise=randn(2, *model.noise_shape, seed=i)) for i in range(2)]
    assert torch.equal(drawn[0].state.feature, drawn[1].state.feature)


def test_without_recurrence_only_the_first_frames_and_the_last_one_count() -> None:
    model, (frames, actions) = make(CNN), context(2, 5)
    between = frames.clone()
    between[:, 2:4] = 255 - between[:, 2:4]
    first = frames.clone()
    first[:, 1] = 255 - first[:, 1]
    action = torch.ones(2, 2)

    def after(seen: Tensor, taken: Tensor) -> Tensor:
        return model.imagine(model.initial(seen, taken), action).state.feature

    same = after(frames, actions)
    assert torch.equal(after(between, actions), same) and torch.equal(after(frames, -actions), same)
    assert differ(after(first, actions), same)
