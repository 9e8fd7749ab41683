"""A batch of windows through the model as training sees it: observed, teacher-forced and open-loop at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from worldmodel.actor_critic import ActorCritic
from worldmodel.augmentation import shift
from worldmodel.errors import ConfigError, check_whole
from worldmodel.gaussian import Gaussian
from worldmodel.model import Model
from worldmodel.state import Skips, State, concatenate
from worldmodel.svg import SVG


@dataclass(frozen=True)
class Unrolling:
    """How far training looks.

    Attributes:
        context: frames observed before anything is predicted; the skips come from the last of them.
        shift: most pixels by which a window is moved along each side; 0 where places in the picture must be exact.
        open_loop: steps imagined from the prior on the model's own features; 0 for the papers' teacher forcing alone.
        stride: an open-loop rollout starts at each stride-th frame from the last context frame on.
        draw_observed, draw_forced, draw_open_loop: shares in [0, 1] of each kind's frames that are drawn, chosen at
            random. Drawing is most of the cost, and what is not drawn still learns from features and rewards.
    """

    context: int
    open_loop: int
    stride: int
    draw_observed: float
    draw_forced: float
    draw_open_loop: float
    shift: int = 0

    def __post_init__(self) -> None:
        for name, least in (("context", 1), ("open_loop", 0), ("stride", 1), ("shift", 0)):
            check_whole(f"train.unrolling.{name}", getattr(self, name), least)
        for name in ("draw_observed", "draw_forced", "draw_open_loop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"train.unrolling.{name} is {getattr(self, name)}: set a share in [0, 1]")


@dataclass(frozen=True)
class Drawn:
    """Some frames of a rollout, drawn: frames and their targets (m, c, height, width), standardised.

    `rows` and `times` (m,) say which window each belongs to, and which of its frames it should be.
    """

    frames: Tensor
    targets: Tensor
    rows: Tensor
    times: Tensor


@dataclass(frozen=True)
class Rollout:
    """Predictions of n transitions a window that lead past its context, n = the length of `times`.

    Attributes:
        times: (n,) the frame each transition leads to.
        features: (b, n, ...).
        embeddings: (b, n, ...) that the features imply; None where they are the features themselves.
        rewards: (b, n) standardised.
        continues: (b, n) logits.
        drawn: some of the frames; None when none were asked for.
    """

    times: Tensor
    features: Tensor
    embeddings: Tensor | None
    rewards: Tensor
    continues: Tensor
    drawn: Drawn | None


@dataclass(frozen=True)
class CriticOutputs:
    """What a model's `ActorCritic` says of a batch, without gradients to features.

    Attributes:
        times: (n,) the frames that the open-loop rollouts' transitions lead to.
        values: (critics, b, n) of the actions of those transitions: plans ask for values of what they imagined.
        next_values: (critics, b, t-1) what the policy will earn after each transition of the window, by the target
            critics at the true frames' features: to learn from, without gradients.
        policy_values: the same of the policy as it is now, (critics, b, t-1), with gradients to the policy alone.
    """

    times: Tensor
    values: Tensor
    next_values: Tensor
    policy_values: Tensor


@dataclass(frozen=True)
class Outputs:
    """Everything the loss is made of.

    Attributes:
        features, embeddings: (b, t, ...) of the true frames.
        posterior, prior: of the t-1 transitions, (b, t-1, *noise_shape).
        observed: the true frames' own features, drawn and read by the heads.
        forced: one-step predictions with z from the posterior and true features fed back.
        open_loop: predictions with z from the prior and own features fed back; None when not asked for.
        critic_outputs: None without critics, and without open-loop rollouts.
    """

    features: Tensor
    embeddings: Tensor
    posterior: Gaussian
    prior: Gaussian
    observed: Rollout
    forced: Rollout
    open_loop: Rollout | None
    critic_outputs: CriticOutputs | None = None


def unroll(model: SVG, frames: Tensor, actions: Tensor, how: Unrolling, generator: torch.Generator) -> Outputs:
    """Windows (b, t, c, height, width) uint8 and their actions (b, t-1, a) to everything the loss needs.

    Each window is shifted as a whole by up to `how.shift` pixels: what is learned then depends less on the very pixels
    of few episodes (DrQ, Kostrikov et al. 2021).

    Frames are encoded and drawn in as few batches as there are kinds of them; only the recurrence is a loop.
    Raises ConfigError when t <= context.
    """
    b, t = frames.shape[:2]
    if t <= how.context:
        raise ConfigError(f"windows of {t} frames leave nothing to predict after {how.context} context frames")
    model.statistics.check_frames(frames)
    last = how.context - 1  # frame of the context: predictions start from its feature
    frames = model.statistics.standardise(frames)
    shift(frames, how.shift, generator)
    embeddings, maps = _encode(model, frames, last)
    features = model.features_of(embeddings, actions)
    skips = Skips(maps, torch.arange(b, device=frames.device))

    posterior, posterior_cells = model.posterior.sequence(features[:, 1:])
    prior, prior_cells = model.prior.sequence(features[:, :-1])
    z = posterior.sample(standard_noise(posterior.mean.shape, generator))
    forced, cells = model.predict_sequence(features[:, :-1], z, actions)

    def read(before: Tensor, after: Tensor, times: Tensor, share: float, source: Tensor | None = None) -> Rollout:
        return read_rollout(
            model,
            before,
            after,
            actions,
            times,
            frames=frames,
            source=source,
            skips=skips,
            share=share,
            generator=generator,
        )

    times = torch.arange(how.context, t, device=frames.device)
    open_loop = critic_outputs = None
    if how.open_loop:
        steps = min(how.open_loop, t - how.context)
        starts = range(last, t - steps, how.stride)
        states = [State(features[:, s], skips, cells[s], posterior_cells[s], prior_cells[s]) for s in starts]
        before, after, reached = _imagine(model, states, actions, starts, steps, generator)
        open_loop = read(before, after, reached, how.draw_open_loop)
        if model.actor_critic:
            critic_outputs = _critic_outputs(model.actor_critic, features, before, actions, reached, generator)
    return Outputs(
        features=features,
        embeddings=embeddings,
        posterior=posterior,
        prior=prior,
        observed=read(
            features[:, last:-1], features[:, how.context :], times, how.draw_observed, embeddings[:, how.context :]
        ),
        forced=read(features[:, last:-1], forced[:, last:], times, how.draw_forced),
        open_loop=open_loop,
        critic_outputs=critic_outputs,
    )


def read_rollout(
    model: Model,
    before: Tensor,
    after: Tensor,
    actions: Tensor,
    times: Tensor,
    *,
    frames: Tensor,
    source: Tensor | None,
    skips: Skips,
    share: float,
    generator: torch.Generator,
) -> Rollout:
    """What the heads and the decoder make of n transitions a window.

    Args:
        before, after: (b, n, ...) their features.
        actions: of the windows (b, t-1, a).
        times: (n,) the frame each leads to.
        frames: of the windows (b, t, c, height, width), standardised.
        source: embeddings (b, n, ...) that are drawn; None for those that the features imply.
        share: of the frames that are drawn.
    """
    flat_before, flat_after = before.flatten(0, 1), after.flatten(0, 1)
    shape = before.shape[:2]
    flat_actions = actions[:, times - 1].flatten(0, 1)
    flat_implied = model.features.embedding(flat_after)
    implied = flat_implied.unflatten(0, shape)
    drawn = implied if source is None else source
    return Rollout(
        times=times,
        features=after,
        embeddings=None if flat_implied is flat_after else implied,
        rewards=model.reward(flat_before, flat_actions, flat_after).view(shape),
        continues=model.continuation(flat_before, flat_actions, flat_after).view(shape),
        drawn=_draw(model, drawn, frames, times, skips, share, generator) if share else None,
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
    model: SVG, states: list[State], actions: Tensor, starts: range, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Features before and after (b, n, ...) and the frames reached (n,), n = starts x steps; feeds features back."""
    b = len(actions)
    state = concatenate(states)  # (s b)
    feature, cells, prior_cells = state.feature, state.frame_predictor, state.prior
    first = torch.tensor(list(starts), device=actions.device)
    before, after = [], []
    for step in range(steps):
        z, prior_cells = model.prior(feature, prior_cells)
        action = rearrange(actions[:, first + step], "b s a -> (s b) a")
        noise = standard_noise(z.mean.shape, generator)
        before.append(feature)
        feature, cells = model.predict(feature, z.sample(noise), action, cells)
        after.append(feature)

    return by_window(before, b), by_window(after, b), reached_frames(starts, steps, actions.device)


def by_window(features: list[Tensor], b: int) -> Tensor:
    """Features of each step of rollouts from several starts, (s b, ...) each, to (b, s x steps, ...)."""
    stacked = torch.stack(features, 1).unflatten(0, (-1, b))  # s b steps ...
    return stacked.transpose(0, 1).flatten(1, 2)


def reached_frames(starts: range, steps: int, device: torch.device) -> Tensor:
    """The frames that the transitions of `by_window` lead to."""
    first = torch.tensor(list(starts), device=device)
    return (first[:, None] + 1 + torch.arange(steps, device=device)).flatten()


def _draw(
    model: Model,
    embeddings: Tensor,
    seen: Tensor,
    times: Tensor,
    skips: Skips,
    share: float,
    generator: torch.Generator,
) -> Drawn:
    b, n = embeddings.shape[:2]
    chosen = torch.randperm(b * n, generator=generator, device=generator.device)[: max(1, round(share * b * n))]
    rows, columns = chosen // n, chosen % n
    frames = model.decoder(embeddings[rows, columns], skips.maps, rows)
    return Drawn(frames=frames, targets=seen[rows, times[columns]], rows=rows, times=times[columns])


def standard_noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
