"""The training loss computed plainly, a frame after another: what training is measured against.

The same model, weights, random numbers and loss as `worldmodel.unroll`, in the way that a first implementation would
have it: each time step's frames are encoded in a call of their own and drawn in one of their own, every network steps
through time, and each open-loop rollout goes alone. In float32 both give the same loss and gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldmodel.actor_critic import ActorCritic
from worldmodel.augmentation import shift
from worldmodel.gaussian import Gaussian
from worldmodel.losses import elbo
from worldmodel.recurrent import Cells
from worldmodel.replay import Batch, Replay
from worldmodel.rollout import CriticOutputs, Drawn, Outputs, Rollout, Unrolling
from worldmodel.svg import SVG
from worldmodel.temporal_difference import temporal_difference
from worldmodel.trainer import TARGET_RATE, TrainConfig
from worldmodel.units import freeze_statistics


@dataclass(frozen=True)
class Steps:
    """Transitions of all windows, one after another: the features (b, ...) before and after, and the frame reached."""

    before: list[Tensor]
    after: list[Tensor]
    times: list[int]


def plain_updates(model: SVG, config: TrainConfig, replay: Replay, *, seed: int) -> Iterator[None]:
    """Whole updates without end, as `Trainer.fit` makes them, but in float32 and on the plain loss."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    freeze_statistics(model, replay, rng)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    while True:
        batch = replay.sample(config.batch, config.window, rng, minimum=config.unrolling.context + 1)
        loss = plain_loss(model, batch, config, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        if model.actor_critic is not None:
            model.actor_critic.update_targets(TARGET_RATE)
        yield


def plain_loss(model: SVG, batch: Batch, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """What `Objective` gives; consumes the generator as it does."""
    outputs = plain_outputs(model, batch.frames.contiguous(), batch.actions, config.unrolling, generator)
    loss, _ = elbo(outputs, batch, model.statistics, config.weights)
    if outputs.critic_outputs is None:
        return loss
    critic, policy, _ = temporal_difference(outputs.critic_outputs, batch, model.value_unit, model.discount)
    return loss + config.weights.value * critic + policy


def plain_outputs(model: SVG, frames: Tensor, actions: Tensor, how: Unrolling, generator: torch.Generator) -> Outputs:
    """What `unroll` gives for the same arguments."""
    b, t = frames.shape[:2]
    frames = model.statistics.standardise(frames)
    shift(frames, how.shift, generator)
    encoded = [model.encode_standardised(frame.contiguous()) for frame in frames.unbind(1)]
    embeddings = [embedding for embedding, _ in encoded]
    skips = encoded[how.context - 1][1]

    noise = torch.randn(b, t - 1, *model.noise_shape, generator=generator)
    features = [model.first_feature(embeddings[0])]
    posteriors, priors, predictions = [], [], []
    posterior_cells = model.posterior.initial(features[0])
    prior_cells = [model.prior.initial(features[0])]
    cells = [model.frame_predictor.initial(features[0])]
    for i in range(t - 1):
        features.append(model.features(embeddings[i], actions[:, i], embeddings[i + 1]))
        posterior, posterior_cells = model.posterior(features[i + 1], posterior_cells)
        prior, prior_after = model.prior(features[i], prior_cells[i])
        predicted, after = model.predict(features[i], posterior.sample(noise[:, i]), actions[:, i], cells[i])
        posteriors.append(posterior)
        priors.append(prior)
        predictions.append(predicted)
        prior_cells.append(prior_after)
        cells.append(after)

    def rollout(steps: Steps, share: float, *, observed: bool = False) -> Rollout:
        rewards, continues = [], []
        for before, after, time in zip(steps.before, steps.after, steps.times, strict=True):
            rewards.append(model.reward(before, actions[:, time - 1], after))
            continues.append(model.continuation(before, actions[:, time - 1], after))
        implied = [model.features.embedding(feature) for feature in steps.after]
        shown = [embeddings[time] for time in steps.times] if observed else implied
        return Rollout(
            times=torch.tensor(steps.times),
            features=torch.stack(steps.after, 1),
            embeddings=None if implied[0] is steps.after[0] else torch.stack(implied, 1),
            rewards=torch.stack(rewards, 1),
            continues=torch.stack(continues, 1),
            drawn=_draw(model, shown, frames, steps.times, skips, share, generator) if share else None,
        )

    open_loop = critic_outputs = None
    if how.open_loop:
        imagined = _imagine(model, features, cells, prior_cells, actions, how, generator)
        open_loop = rollout(imagined, how.draw_open_loop)
        if model.actor_critic is not None:
            critic_outputs = _critic_outputs(model.actor_critic, features, imagined, actions, generator)
    known, times = features[how.context - 1 : -1], list(range(how.context, t))
    return Outputs(
        features=torch.stack(features, 1),
        embeddings=torch.stack(embeddings, 1),
        posterior=_stacked(posteriors),
        prior=_stacked(priors),
        observed=rollout(Steps(known, features[how.context :], times), how.draw_observed, observed=True),
        forced=rollout(Steps(known, predictions[how.context - 1 :], times), how.draw_forced),
        open_loop=open_loop,
        critic_outputs=critic_outputs,
    )


def _imagine(
    model: SVG,
    features: Sequence[Tensor],
    cells: Sequence[Cells],
    prior_cells: Sequence[Cells],
    actions: Tensor,
    how: Unrolling,
    generator: torch.Generator,
) -> Steps:
    """Open-loop rollouts, each from a true frame's feature and the cells after it."""
    b, t = len(actions), len(features)
    length = min(how.open_loop, t - how.context)
    starts = range(how.context - 1, t - length, how.stride)
    noise = [torch.randn(len(starts), b, *model.noise_shape, generator=generator) for _ in range(length)]
    steps = Steps([], [], [])
    for row, start in enumerate(starts):
        feature, own_cells, own_prior_cells = features[start], cells[start], prior_cells[start]
        for step in range(length):
            z, own_prior_cells = model.prior(feature, own_prior_cells)
            steps.before.append(feature)
            feature, own_cells = model.predict(feature, z.sample(noise[step][row]), actions[:, start + step], own_cells)
            steps.after.append(feature)
            steps.times.append(start + step + 1)
    return steps


def _critic_outputs(
    critics: ActorCritic, features: Sequence[Tensor], imagined: Steps, actions: Tensor, generator: torch.Generator
) -> CriticOutputs:
    """Of the actions of imagined steps, and of the policy at every true frame but the first."""
    b, transitions = actions.shape[:2]
    values = [
        critics.values(feature.detach(), actions[:, time - 1])
        for feature, time in zip(imagined.before, imagined.times, strict=True)
    ]
    noise = critics.noise(b * transitions, generator).unflatten(0, (b, transitions)).unbind(1)
    known = [feature.detach() for feature in features[1:]]
    with torch.no_grad():
        next_values = [critics.target_values(feature, noise=own) for feature, own in zip(known, noise, strict=True)]
    return CriticOutputs(
        times=torch.tensor(imagined.times),
        values=torch.stack(values, 2),
        next_values=torch.stack(next_values, 2),
        policy_values=torch.stack([critics.target_values(feature) for feature in known], 2),
    )


def _draw(
    model: SVG,
    embeddings: Sequence[Tensor],
    seen: Tensor,
    times: Sequence[int],
    skips: tuple[Tensor, ...],
    share: float,
    generator: torch.Generator,
) -> Drawn:
    """Draws the frames that `unroll` would draw, as many in a call as there are windows.

    So many has a loop over time, too. Calls of a size that chance decides would cost torch's convolutions a
    preparation each.
    """
    b, n = len(seen), len(times)
    chosen = torch.randperm(b * n, generator=generator)[: max(1, round(share * b * n))]
    rows, columns = chosen // n, chosen % n
    reached = torch.tensor(times)[columns]
    frames = []
    for some in torch.arange(len(chosen)).split(b):
        shown = torch.stack([embeddings[column][row] for row, column in zip(rows[some], columns[some], strict=True)])
        frames.append(model.decoder(shown, tuple(skip[rows[some]] for skip in skips)))
    return Drawn(frames=torch.cat(frames), targets=seen[rows, reached], rows=rows, times=reached)


def _stacked(gaussians: Sequence[Gaussian]) -> Gaussian:
    return Gaussian(
        torch.stack([gaussian.mean for gaussian in gaussians], 1),
        torch.stack([gaussian.log_std for gaussian in gaussians], 1),
    )
