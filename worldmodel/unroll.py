"""A batch of windows through the model as training sees it: observed, teacher-forced and open-loop at once."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from worldmodel.actor_critic import ActorCritic
from worldmodel.rollout import CriticOutputs, Outputs, Unrolling, Windows, by_window, reached_frames
from worldmodel.state import Skips, State, concatenate
from worldmodel.svg import SVG


def unroll(model: SVG, frames: Tensor, actions: Tensor, how: Unrolling, generator: torch.Generator) -> Outputs:
    """Windows (b, t, c, height, width) uint8 and their actions (b, t-1, a) to everything the loss needs.

    Frames are encoded and drawn in as few batches as there are kinds of them; only the recurrence is a loop.
    Raises ConfigError when t <= context.
    """
    b, t = frames.shape[:2]
    windows = Windows.of(model, frames, actions, how, generator)
    last = how.context - 1  # frame of the context: predictions start from its feature
    embeddings, maps = _encode(model, windows.frames, last)
    features = model.features_of(embeddings, actions)
    skips = Skips(maps, torch.arange(b, device=frames.device))

    posterior, posterior_cells = model.posterior.sequence(features[:, 1:])
    prior, prior_cells = model.prior.sequence(features[:, :-1])
    z = posterior.sample(windows.noise(posterior.mean.shape))
    forced, cells = model.predict_sequence(features[:, :-1], z, actions)

    times = torch.arange(how.context, t, device=frames.device)
    open_loop = critic_outputs = None
    if how.open_loop:
        steps = min(how.open_loop, t - how.context)
        starts = range(last, t - steps, how.stride)
        states = [State(features[:, s], skips, cells[s], posterior_cells[s], prior_cells[s]) for s in starts]
        before, after, reached = _imagine(model, states, windows, starts, steps)
        open_loop = windows.read(before, after, reached, how.draw_open_loop, skips)
        if model.actor_critic:
            critic_outputs = _critic_outputs(model.actor_critic, features, before, actions, reached, generator)
    return Outputs(
        features=features,
        embeddings=embeddings,
        posterior=posterior,
        prior=prior,
        observed=windows.read(
            features[:, last:-1],
            features[:, how.context :],
            times,
            how.draw_observed,
            skips,
            source=embeddings[:, how.context :],
        ),
        forced=windows.read(features[:, last:-1], forced[:, last:], times, how.draw_forced, skips),
        open_loop=open_loop,
        critic_outputs=critic_outputs,
    )


def _encode(model: SVG, frames: Tensor, last: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Embeddings (b, t, ...) of standardised frames, and the skips (b, c, h, w) of the context's last one.

    Where the decoder takes skips, that frame is encoded apart: in one batch the gradient of its skips would be maps of
    all frames, nearly all of them zeros.
    """
    b, t = frames.shape[:2]
    if not model.decoder.uses_skips:
        flat, maps = model.encode_standardised(frames.flatten(0, 1))
        return flat.view(b, t, *flat.shape[1:]), maps
    own, maps = model.encode_standardised(frames[:, last])
    flat, _ = model.encode_standardised(torch.cat([frames[:, :last], frames[:, last + 1 :]], 1).flatten(0, 1))
    others = flat.view(b, t - 1, *flat.shape[1:])
    return torch.cat([others[:, :last], own[:, None], others[:, last:]], 1), maps


def _critic_outputs(
    critics: ActorCritic, features: Tensor, before: Tensor, actions: Tensor, reached: Tensor, generator: torch.Generator
) -> CriticOutputs:
    """`before` (b, n, ...) are the open-loop rollouts' features, `reached` (n,) the frames that they lead to."""
    b, transitions = actions.shape[:2]
    taken = actions[:, reached - 1].flatten(0, 1)
    known = features[:, 1:].detach().flatten(0, 1)
    with torch.no_grad():
        next_values = critics.target_values(known, noise=critics.noise(len(known), generator))
    return CriticOutputs(
        times=reached,
        values=critics.values(before.detach().flatten(0, 1), taken).unflatten(1, before.shape[:2]),
        next_values=next_values.unflatten(1, (b, transitions)),
        policy_values=critics.target_values(known).unflatten(1, (b, transitions)),
    )


def _imagine(
    model: SVG, states: list[State], windows: Windows, starts: range, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features before and after (b, n, ...) and the frames reached (n,), n = starts x steps; feeds features back."""
    actions, b = windows.actions, len(windows.actions)
    state = concatenate(states)  # (s b)
    feature, cells, prior_cells = state.feature, state.frame_predictor, state.prior
    first = torch.tensor(list(starts), device=actions.device)
    before, after = [], []
    for step in range(steps):
        z, prior_cells = model.prior(feature, prior_cells)
        action = rearrange(actions[:, first + step], "b s a -> (s b) a")
        before.append(feature)
        feature, cells = model.predict(feature, z.sample(windows.noise(z.mean.shape)), action, cells)
        after.append(feature)

    return by_window(before, b), by_window(after, b), reached_frames(starts, steps, actions.device)
