"""The training loss computed plainly, a frame after another: what training is measured against.

The same model, weights, random numbers and loss as `worldmodel.unroll`, in the way that a first implementation would
have it: each time step's frames are encoded in a call of their own and drawn in one of their own, every network steps
through time, and each open-loop rollout goes alone. In float32 both give the same loss and gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worldmodel.gaussian import Gaussian
from worldmodel.losses import elbo
from worldmodel.replay import Batch, Replay
from worldmodel.svg import SVG
from worldmodel.temporal_difference import temporal_difference
from worldmodel.trainer import FOLLOWING, TrainConfig, freeze_statistics
from worldmodel.unroll import Drawn, Outputs, Rollout, Unrolling, shifted


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
            model.actor_critic.follow(FOLLOWING)
        yield


def plain_loss(model: SVG, batch: Batch, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """The loss of a batch; consumes the generator as `worldmodel.unroll.unroll` does."""
    outputs = plain_outputs(model, batch.frames.contiguous(), batch.actions, config.unrolling, generator)
    loss, _ = elbo(outputs, batch, model.statistics, config.weights)
    if model.actor_critic is None:
        return loss
    critic, policy, _ = temporal_difference(outputs, batch, model.statistics.reward_std, model.discount)
    return loss + config.weights.value * critic + policy


def plain_outputs(model: SVG, frames: Tensor, actions: Tensor, how: Unrolling, generator: torch.Generator) -> Outputs:
    """Windows (b, t, c, height, width) uint8 and their actions (b, t-1, a) to what the loss needs."""
    b, t = frames.shape[:2]
    frames = shifted(model.statistics.standardise(frames), how.shift, generator)
    steps = min(how.open_loop, t - how.context)
    starts = range(how.context - 1, t - steps, how.stride) if steps else range(0)
    noise = torch.randn(b, t - 1, *model.noise_shape, generator=generator)
    own_noise = [torch.randn(len(starts), b, *model.noise_shape, generator=generator) for _ in range(steps)]

    encoded = [model.encode_standardised(frame.contiguous()) for frame in frames.unbind(1)]
    embeddings = [embedding for embedding, _ in encoded]
    skips = encoded[how.context - 1][1]

    features = [model.first_feature(embeddings[0])]
    posteriors, priors, forced = [], [], []
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
        forced.append(predicted)
        prior_cells.append(prior_after)
        cells.append(after)

    own_before, own_after, own_times = [], [], []
    for row, start in enumerate(starts):
        feature, own_cells, own_prior_cells = features[start], cells[start], prior_cells[start]
        for step in range(steps):
            z, own_prior_cells = model.prior(feature, own_prior_cells)
            own_before.append(feature)
            feature, own_cells = model.predict(
                feature, z.sample(own_noise[step][row]), actions[:, start + step], own_cells
            )
            own_after.append(feature)
            own_times.append(start + step + 1)

    def rollout(
        before: list[Tensor], after: list[Tensor], times: list[int], share: float, *, observed: bool = False
    ) -> Rollout:
        rewards, continues = [], []
        for one, other, time in zip(before, after, times, strict=True):
            rewards.append(model.reward(one, actions[:, time - 1], other))
            continues.append(model.continuation(one, actions[:, time - 1], other))
        implied = [model.features.embedding(feature) for feature in after]
        sources = [embeddings[time] for time in times] if observed else implied
        return Rollout(
            times=torch.tensor(times),
            features=torch.stack(after, 1),
            embeddings=None if implied[0] is after[0] else torch.stack(implied, 1),
            rewards=torch.stack(rewards, 1),
            continues=torch.stack(continues, 1),
            drawn=_draw(model, sources, frames, times, skips, how.context, share, generator) if share else None,
        )

    open_loop = rollout(own_before, own_after, own_times, how.draw_open_loop) if steps else None
    prospects = chosen = None
    critics = model.actor_critic
    if critics is not None and open_loop is not None:
        values = [
            critics.values(feature.detach(), actions[:, time - 1])
            for feature, time in zip(own_before, own_times, strict=True)
        ]
        open_loop = replace(open_loop, values=torch.stack(values, 2))
        known = [feature.detach() for feature in features[1:]]
        smoothing = critics.noise(b * (t - 1), generator).unflatten(0, (b, t - 1)).unbind(1)
        with torch.no_grad():
            each = [critics.prospects(feature, noise=noise) for feature, noise in zip(known, smoothing, strict=True)]
        prospects = torch.stack(each, 2)
        chosen = torch.stack([critics.prospects(feature) for feature in known], 2)

    times = list(range(1, t))
    return Outputs(
        features=torch.stack(features, 1),
        embeddings=torch.stack(embeddings, 1),
        posterior=_stacked(posteriors),
        prior=_stacked(priors),
        open_loop=open_loop,
        prospects=prospects,
        chosen=chosen,
        observed=rollout(features[:-1], features[1:], times, how.draw_observed, observed=True),
        forced=rollout(features[:-1], forced, times, how.draw_forced),
    )


def _draw(
    model: SVG,
    embeddings: Sequence[Tensor],
    seen: Tensor,
    times: Sequence[int],
    skips: tuple[Tensor, ...],
    context: int,
    share: float,
    generator: torch.Generator,
) -> Drawn:
    """Draws the frames that `unroll` would draw, as many in a call as there are windows.

    So many has a loop over time, too. Calls of a size that chance decides would cost torch's convolutions a
    preparation each.
    """
    later = [(embedding, time) for embedding, time in zip(embeddings, times, strict=True) if time >= context]
    b, n = len(seen), len(later)
    chosen = torch.randperm(b * n, generator=generator)[: max(1, round(share * b * n))]
    rows, columns = chosen // n, chosen % n
    reached = torch.tensor([time for _, time in later])[columns]
    frames, targets = [], []
    for some in torch.arange(len(chosen)).split(b):
        shown = torch.stack([later[column][0][row] for row, column in zip(rows[some], columns[some], strict=True)])
        frames.append(model.decoder(shown, tuple(skip[rows[some]] for skip in skips)))
        targets.append(seen[rows[some], reached[some]])
    return Drawn(torch.cat(frames), torch.cat(targets), rows, reached)


def _stacked(gaussians: Sequence[Gaussian]) -> Gaussian:
    return Gaussian(
        torch.stack([gaussian.mean for gaussian in gaussians], 1),
        torch.stack([gaussian.log_std for gaussian in gaussians], 1),
    )
