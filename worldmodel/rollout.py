"""What training sees of windows: rollouts, as the heads and the decoder read them, whatever model made them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.augmentation import shift
from worldmodel.errors import ConfigError, check_number, check_whole
from worldmodel.gaussian import Gaussian
from worldmodel.model import Model
from worldmodel.state import Skips


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
            check_number(f"train.unrolling.{name}", getattr(self, name))
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


@dataclass(frozen=True)
class Windows:
    """Windows that are unrolled, and what reads rollouts of them.

    Attributes:
        model: whose heads and decoder read.
        frames: (b, t, c, height, width), standardised and shifted.
        actions: (b, t-1, a).
        generator: what draws noise, and the frames that are drawn.
    """

    model: Model
    frames: Tensor
    actions: Tensor
    generator: torch.Generator

    @classmethod
    def of(cls, model: Model, frames: Tensor, actions: Tensor, how: Unrolling, generator: torch.Generator) -> Windows:
        """Of frames (b, t, c, height, width) uint8.

        Each window is shifted as a whole by up to `how.shift` pixels: what is learned then depends less on the very
        pixels of few episodes (DrQ, Kostrikov et al. 2021). Raises ConfigError when t <= context.
        """
        t = frames.shape[1]
        if t <= how.context:
            raise ConfigError(f"windows of {t} frames leave nothing to predict after {how.context} context frames")
        model.statistics.check_frames(frames)
        frames = model.statistics.standardise(frames)
        shift(frames, how.shift, generator)
        return cls(model, frames, actions, generator)

    def read(
        self, before: Tensor, after: Tensor, times: Tensor, share: float, skips: Skips, *, source: Tensor | None = None
    ) -> Rollout:
        """What the heads and the decoder make of n transitions a window.

        Args:
            before, after: (b, n, ...) their features.
            times: (n,) the frame each leads to.
            share: of the frames that are drawn.
            skips: of each window.
            source: embeddings (b, n, ...) that are drawn; None for those that the features imply.
        """
        flat_before, flat_after = before.flatten(0, 1), after.flatten(0, 1)
        shape = before.shape[:2]
        flat_actions = self.actions[:, times - 1].flatten(0, 1)
        flat_implied = self.model.features.embedding(flat_after)
        implied = flat_implied.unflatten(0, shape)
        return Rollout(
            times=times,
            features=after,
            embeddings=None if flat_implied is flat_after else implied,
            rewards=self.model.reward(flat_before, flat_actions, flat_after).view(shape),
            continues=self.model.continuation(flat_before, flat_actions, flat_after).view(shape),
            drawn=self._draw(implied if source is None else source, times, skips, share) if share else None,
        )

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def _draw(self, embeddings: Tensor, times: Tensor, skips: Skips, share: float) -> Drawn:
        b, n = embeddings.shape[:2]
        order = torch.randperm(b * n, generator=self.generator, device=self.generator.device)
        chosen = order[: max(1, round(share * b * n))]
        rows, columns = chosen // n, chosen % n
        frames = self.model.decoder(embeddings[rows, columns], skips.maps, rows)
        return Drawn(frames=frames, targets=self.frames[rows, times[columns]], rows=rows, times=times[columns])


def by_window(features: list[Tensor], b: int) -> Tensor:
    """Features of each step of rollouts from several starts, (s b, ...) each, to (b, s x steps, ...)."""
    stacked = torch.stack(features, 1).unflatten(0, (-1, b))  # s b steps ...
    return stacked.transpose(0, 1).flatten(1, 2)


def reached_frames(starts: range, steps: int, device: torch.device) -> Tensor:
    """The frames that the transitions of `by_window` lead to."""
    first = torch.tensor(list(starts), device=device)
    return (first[:, None] + 1 + torch.arange(steps, device=device)).flatten()
