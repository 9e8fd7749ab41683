"""A batch of windows through a state-space model as training sees it; `worldmodel.rollout` says what is made of it."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.gaussian import Gaussian
from worldmodel.rollout import Outputs, Unrolling, Windows, by_window, reached_frames
from worldmodel.rssm import RSSM
from worldmodel.state import Skips


def unroll_states(model: RSSM, frames: Tensor, actions: Tensor, how: Unrolling, generator: torch.Generator) -> Outputs:
    """Windows (b, t, c, height, width) uint8 and their actions (b, t-1, a) to everything the loss needs.

    Observed frames are drawn from the states that saw them, as in PlaNet; forced ones from z of the prior, a step on.
    Raises ConfigError when t <= context.
    """
    b, t = frames.shape[:2]
    windows = Windows.of(model, frames, actions, how, generator)
    last = how.context - 1
    seen = model.encoder(windows.frames.flatten(0, 1))[0].unflatten(0, (b, t))
    skips = Skips((), torch.arange(b, device=frames.device))

    states, forced = [model.first_feature(seen[:, 0])], []
    posteriors, priors = [], []
    for i in range(t - 1):
        deterministic = model.advance(states[-1], actions[:, i])
        posterior, prior = model.explain(deterministic, seen[:, i + 1]), model.expect(deterministic)
        noise = windows.noise(prior.mean.shape)
        states.append(torch.cat([deterministic, posterior.sample(noise)], 1))
        forced.append(torch.cat([deterministic, prior.sample(noise)], 1))
        posteriors.append(posterior)
        priors.append(prior)
    features = torch.stack(states, 1)

    times = torch.arange(how.context, t, device=frames.device)
    open_loop = None
    if how.open_loop:
        steps = min(how.open_loop, t - how.context)
        starts = range(last, t - steps, how.stride)
        feature = torch.cat([features[:, start] for start in starts])  # (s b)
        before, after = [], []
        for step in range(steps):
            before.append(feature)
            deterministic = model.advance(feature, torch.cat([actions[:, start + step] for start in starts]))
            prior = model.expect(deterministic)
            feature = torch.cat([deterministic, prior.sample(windows.noise(prior.mean.shape))], 1)
            after.append(feature)
        reached = reached_frames(starts, steps, frames.device)
        open_loop = windows.read(by_window(before, b), by_window(after, b), reached, how.draw_open_loop, skips)
    return Outputs(
        features=features,
        embeddings=model.features.embedding(features.flatten(0, 1)).unflatten(0, (b, t)),
        posterior=over_time(posteriors),
        prior=over_time(priors),
        observed=windows.read(features[:, last:-1], features[:, how.context :], times, how.draw_observed, skips),
        forced=windows.read(features[:, last:-1], torch.stack(forced, 1)[:, last:], times, how.draw_forced, skips),
        open_loop=open_loop,
    )


def over_time(gaussians: list[Gaussian]) -> Gaussian:
    """Of single steps (b, z) one over (b, t, z)."""
    return Gaussian(torch.stack([g.mean for g in gaussians], 1), torch.stack([g.log_std for g in gaussians], 1))
