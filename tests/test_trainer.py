"""Fitting learns, goes on exactly where it was, and survives what is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from worldmodel.build import build
from worldmodel.checkpoint import read_checkpoint
from worldmodel.config import ModelConfig
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.errors import ConfigError, DataError, WorldModelError
from worldmodel.losses import Weights
from worldmodel.pretrained import from_pretrained, save_pretrained
from worldmodel.replay import Replay
from worldmodel.rollout import Unrolling
from worldmodel.spec import EnvSpec
from worldmodel.trainer import PATIENCE, TARGET_RATE, TrainConfig, Trainer, make_fabric, mean_terms

SPEC = EnvSpec("line", "reach", "box", 1, (-1.0,), (1.0,), 1, 0, (16, 16))
MODEL = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1.0,
    M=1.0,
    stages=((8, 1), (16, 1)),
    patch=2,
    feature=16,
    hidden=32,
    layers=1,
    latent=2,
    advance="residual",
    skips=False,
    head=32,
)
CONFIG = TrainConfig(
    batch=8,
    window=6,
    learning_rate=1e-2,
    clip=10.0,
    unrolling=Unrolling(context=2, open_loop=3, stride=2, draw_observed=0.5, draw_forced=0.5, draw_open_loop=0.5),
    weights=Weights("l2", beta=1e-3, observed=1, forced=1, open_loop=1, feature=1, reward=1, continuation=1),
)


def push(seed: int, length: int = 20, brightness: int = 255) -> Episode:
    """A bright band that each action moves by up to 3 columns; the reward is where it ends up."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (length, 1)).astype(np.float32)
    columns = [8]
    for action in actions[:, 0]:
        columns.append(int(np.clip(columns[-1] + round(3 * float(action)), 0, 15)))
    frames = np.zeros((length + 1, 16, 16, 3), np.uint8)
    for frame, column in zip(frames, columns, strict=True):
        frame[:, max(0, column - 3) : column + 4] = brightness
    return Episode(frames, actions, np.float32(columns[1:]), False, True, SPEC, seed, "random")


def replay(folder: Path, count: int = 6, **changes: int) -> Replay:
    for index in range(count):
        save_episode(push(index, **changes), episode_path(folder, index))
    return Replay(folder)


def trainer(
    seed: int = 0, precision: str = "32-true", config: TrainConfig = CONFIG, model: ModelConfig = MODEL
) -> Trainer:
    torch.manual_seed(seed)
    return Trainer(build(model, SPEC), config, make_fabric("cpu", 1, precision))


def copied(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@contextmanager
def infinite_loss(fitted: Trainer) -> Iterator[None]:
    """Rewards are divided by a deviation of 0."""
    deviation = fitted.model.statistics.reward_std
    kept = deviation.clone()
    deviation.zero_()
    yield
    deviation.copy_(kept)


@pytest.mark.parametrize("precision", ["32-true", "auto"])
def test_fitting_learns_what_moves_and_what_it_earns(precision: str, tmp_path: Path) -> None:
    fitted = trainer(precision=precision)
    history = list(fitted.fit(replay(tmp_path), 60, seed=0))
    assert fitted.updates == len(history) == 60
    first, last = mean_terms(history[:10]), mean_terms(history[-10:])
    assert last["skipped"] == 0 and last["gradient"] > 0
    for name in ("loss", "observed/frame", "forced/frame", "open_loop/frame", "forced/reward", "open_loop/reward"):
        assert last[name] < first[name] / 2, (name, first[name], last[name])
    assert all(weight.dtype == torch.float32 for weight in fitted.model.parameters())


@pytest.mark.parametrize("ema_decay", [0, 0.5])
def test_a_resumed_trainer_reaches_the_same_weights(ema_decay: float, tmp_path: Path) -> None:
    """Through a checkpoint, into a model and an optimiser that knew nothing."""
    config = replace(CONFIG, ema_decay=ema_decay)
    data = replay(tmp_path / "episodes")
    whole = trainer(config=config)
    list(whole.fit(data, 6, seed=5))

    half = trainer(config=config)
    list(half.fit(data, 3, seed=5))
    folder = tmp_path / "checkpoint"
    contexts = data.contexts(2, 2, np.random.default_rng(0))
    save_pretrained(folder, half.model, contexts, trainer=half.state_dict())
    resumed = Trainer(from_pretrained(folder), config, make_fabric("cpu", 1, "32-true"))
    resumed.load_state_dict(read_checkpoint(folder).trainer())
    assert resumed.updates == 3 and same(half.model.state_dict(), resumed.model.state_dict())
    list(resumed.fit(data, 3, seed=5))
    assert resumed.updates == 6 and same(whole.model.state_dict(), resumed.model.state_dict())

    forgetful = Trainer(from_pretrained(folder), config, make_fabric("cpu", 1, "32-true"))
    forgetful.updates = 3
    list(forgetful.fit(data, 3, seed=5))
    assert not same(whole.model.state_dict(), forgetful.model.state_dict())  # the optimiser's moments matter


def test_a_learning_rate_that_was_changed_is_gone_on_with(tmp_path: Path) -> None:
    data, before = replay(tmp_path), trainer()
    list(before.fit(data, 1, seed=0))
    after = trainer(config=replace(CONFIG, learning_rate=1e-3))
    after.load_state_dict(before.state_dict())
    assert [group["lr"] for group in after.optimizer.param_groups] == [1e-3]


@pytest.mark.parametrize("critics", [0, 2])
def test_the_model_is_the_average_of_what_is_fitted(critics: int, tmp_path: Path) -> None:
    """Two updates' plain mean, then what the decay says; and averaging changes nothing that is fitted."""
    model, weights = replace(MODEL, critics=critics), replace(CONFIG.weights, value=1.0)
    plain, averaged = (
        trainer(model=model, config=replace(CONFIG, weights=weights, ema_decay=decay)) for decay in (0, 0.6)
    )
    data = replay(tmp_path)
    fits = [fitted.fit(data, 4, seed=0) for fitted in (averaged, plain)]
    expected: dict[str, Tensor] = {}
    for kept in (0, 1 / 2, 0.6, 0.6):
        losses = [next(fit)["loss"] for fit in fits]
        assert losses[0] == losses[1]
        weights = copied(dict(plain.model.named_parameters()))
        expected = {name: kept * expected.get(name, weight) + (1 - kept) * weight for name, weight in weights.items()}
        for name, weight in averaged.model.named_parameters():
            torch.testing.assert_close(weight, expected[name])
    assert same(averaged.online.state_dict(), plain.model.state_dict())
    assert not same(averaged.model.state_dict(), plain.model.state_dict())
    assert same(dict(averaged.model.named_buffers()), dict(plain.model.named_buffers()))


def test_an_update_moves_the_critics_slow_copies_a_little_of_the_way(tmp_path: Path) -> None:
    config = replace(CONFIG, weights=replace(CONFIG.weights, value=1.0))
    fitted = trainer(model=replace(MODEL, critics=2), config=config)
    critics = fitted.model.actor_critic
    assert critics is not None
    before = [weight.clone() for weight in critics.targets.parameters()]
    list(fitted.fit(replay(tmp_path), 1, seed=0))
    moved = 0.0
    for old, slow, fast in zip(before, critics.targets.parameters(), critics.critics.parameters(), strict=True):
        torch.testing.assert_close(slow, old + TARGET_RATE * (fast - old))
        moved += float((slow - old).abs().sum())
    assert moved > 0


def test_the_seed_alone_decides_what_is_drawn(tmp_path: Path) -> None:
    data = replay(tmp_path)
    losses = []
    for seed in (1, 1, 2):
        fitted = trainer()
        torch.manual_seed(len(losses))  # global state, which must not matter
        losses.append([terms["loss"] for terms in fitted.fit(data, 2, seed=seed)])
    assert losses[0] == losses[1] != losses[2]


def test_an_update_without_a_finite_loss_changes_nothing(tmp_path: Path) -> None:
    data, fitted = replay(tmp_path), trainer()
    list(fitted.fit(data, 2, seed=0))
    weights = copied(dict(fitted.model.named_parameters()))
    moments = copied(fitted.state_dict()["optimizer"]["state"][0])
    with infinite_loss(fitted):
        (terms,) = fitted.fit(data, 1, seed=1)
    assert terms["skipped"] == 1 and not np.isfinite(terms["loss"])
    assert same(weights, dict(fitted.model.named_parameters()))
    assert same(moments, fitted.state_dict()["optimizer"]["state"][0])
    (terms,) = fitted.fit(data, 1, seed=1)
    assert terms["skipped"] == 0 and np.isfinite(terms["loss"])
    assert not same(weights, dict(fitted.model.named_parameters()))
    assert all(torch.isfinite(weight).all() for weight in fitted.model.parameters())


def test_patience_ends_after_so_many_in_a_row(tmp_path: Path) -> None:
    data, fitted = replay(tmp_path), trainer(config=replace(CONFIG, batch=1))
    list(fitted.fit(data, 1, seed=0))
    updates = fitted.fit(data, 2 * PATIENCE, seed=1)
    with infinite_loss(fitted):
        skipped = [next(updates)["skipped"] for _ in range(PATIENCE - 1)]
    skipped.append(next(updates)["skipped"])  # one that works: counting begins anew
    with infinite_loss(fitted):
        skipped += [next(updates)["skipped"] for _ in range(PATIENCE - 1)]
        assert skipped == [1] * (PATIENCE - 1) + [0] + [1] * (PATIENCE - 1)
        with pytest.raises(WorldModelError, match=rf"{PATIENCE} updates in a row had no finite loss .* lower train\."):
            next(updates)


def test_statistics_are_those_of_the_first_fits_data_for_good(tmp_path: Path) -> None:
    data = replay(tmp_path / "bright")
    fitted = trainer()
    list(fitted.fit(data, 1, seed=0))
    statistics = fitted.model.statistics
    episodes = [push(index) for index in range(6)]
    frames = np.concatenate([episode.frames for episode in episodes]).transpose(0, 3, 1, 2) / 255
    rewards = np.concatenate([episode.rewards for episode in episodes])
    mean = frames.mean((0, 2, 3))[:, None, None]  # what moves is all that there is: no pixel has a mean of its own
    np.testing.assert_allclose(statistics.frame_mean, np.broadcast_to(mean, frames.shape[1:]), atol=1e-6)
    assert statistics.frame_std.item() == pytest.approx(np.sqrt(((frames - mean) ** 2).mean()), rel=1e-5)
    assert statistics.reward_mean.item() == pytest.approx(rewards.mean(), rel=1e-5)
    assert statistics.reward_std.item() == pytest.approx(rewards.std(), rel=1e-5)
    frozen = copied(statistics.state_dict())
    list(fitted.fit(replay(tmp_path / "dim", brightness=100), 1, seed=1))
    assert same(frozen, statistics.state_dict())


def test_constant_data_keeps_its_unit_and_fits(tmp_path: Path) -> None:
    still = replace(push(0), frames=np.full((21, 16, 16, 3), 40, np.uint8), rewards=np.ones(20, np.float32))
    save_episode(still, episode_path(tmp_path, 0))
    fitted = trainer()
    assert mean_terms(list(fitted.fit(Replay(tmp_path), 2, seed=0)))["skipped"] == 0
    assert fitted.model.statistics.frame_std == 1 and fitted.model.statistics.reward_std == 1


def test_the_gradient_is_clipped_to_its_norm(tmp_path: Path) -> None:
    """With clipping to nearly nothing, even Adam's first step (of the learning rate's size) all but vanishes."""
    data = replay(tmp_path)
    moved = []
    for clip in (10.0, 1e-12):
        fitted = trainer(config=replace(CONFIG, clip=clip))
        before = copied(dict(fitted.model.named_parameters()))
        (terms,) = fitted.fit(data, 1, seed=0)
        moved.append(max((now - before[name]).abs().max() for name, now in fitted.model.named_parameters()))
        assert terms["gradient"] > 0.01  # told as it was before
    assert moved[0] > 1e-3 and moved[1] < 1e-5


def test_episodes_shorter_than_the_context_and_one_more_are_an_error(tmp_path: Path) -> None:
    assert len(list(trainer().fit(replay(tmp_path / "enough", 2, length=2), 1, seed=0))) == 1
    with pytest.raises(DataError, match=r"no episode has 3 frames"):
        list(trainer().fit(replay(tmp_path / "short", 2, length=1), 1, seed=0))


def test_means_leave_out_what_is_not_finite_and_count_what_was_skipped() -> None:
    nan, inf = float("nan"), float("inf")
    updates = [
        {"loss": 1.0, "kl": 2.0, "skipped": 0.0},
        {"loss": nan, "kl": 4.0, "skipped": 1.0},
        {"loss": 3.0, "kl": inf, "skipped": 1.0},
    ]
    assert mean_terms(updates) == {"loss": 2.0, "kl": 3.0, "skipped": 2.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, r"train\.batch is 0: set a whole number >= 1"),
        ({"window": 2}, r"train\.window \(2 frames\) leaves nothing to predict after .*context \(2\): set a longer"),
    ],
)
def test_settings_that_cannot_work_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_mapping({**asdict(CONFIG), **changes})


def test_features_of_two_frames_are_not_predicted_from_one() -> None:
    fabric = make_fabric("cpu", 1, "32-true")
    first = replace(CONFIG, unrolling=replace(CONFIG.unrolling, context=1))
    model = build(replace(MODEL, features="pair"), SPEC)
    Trainer(build(replace(MODEL, features="frame"), SPEC), first, fabric)
    Trainer(model, replace(CONFIG, unrolling=replace(CONFIG.unrolling, context=2)), fabric)
    with pytest.raises(ConfigError, match=r"set train\.unrolling\.context >= 2 \(it is 1\), or model\.features=frame"):
        Trainer(model, first, fabric)


def test_settings_come_from_plain_values() -> None:
    assert TrainConfig.from_mapping(asdict(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("cpu", 1, "16-mixed"), "precision is '16-mixed': set auto or one of bf16-mixed, 32-true"),
        (("cpu", 2, "auto"), "devices is 2: one device fits and acts, set devices=1"),
        (("bogus", 1, "32-true"), "accelerator bogus"),
    ],
)
def test_devices_and_precisions_that_cannot_fit_are_errors(settings: tuple[str, int, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_fabric(*settings)
