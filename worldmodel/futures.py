"""What a model imagines after a context, under given actions: with the mean of each z, and in samples."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.errors import DivergedError
from worldmodel.svg import WorldModel


def imagine_futures(
    model: WorldModel, frames: Tensor, actions: Tensor, context: int, samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Filters the first frames of windows with the mean of each z, and imagines on under their actions.

    Args:
        model: in evaluation mode.
        frames: (b, k, c, h, w) uint8, at least `context` of each.
        actions: (b, t, a), those between the frames of the context and those that follow.
        context: frames that are filtered.
        samples: futures whose z are drawn, beside that of their means.
        generator: of the draws, on the processor.

    Returns:
        Frames (b, 1 + samples, horizon, c, h, w) uint8, rounded, and rewards (b, 1 + samples, horizon), both on the
        processor, that of the mean of z first; the horizon is t - context + 1.

    Raises DivergedError for a model that imagines NaN or infinity.
    """
    b, rows = len(frames), 1 + samples
    given, actions = frames[:, :context].to(model.device), actions.to(model.device)
    state = model.initial(given, actions[:, : context - 1]).repeat(rows)
    drawn: list[Tensor] = []
    earned: list[Tensor] = []
    for action in actions[:, context - 1 :].unbind(1):
        noise = torch.randn(b, rows, *model.noise_shape, generator=generator)
        noise[:, 0] = 0  # the mean
        noise = noise.flatten(0, 1).to(model.device)
        prediction = model.imagine(state, action.repeat_interleave(rows, 0), noise=noise)
        state = prediction.state
        frame, reward = model.decode(state).float().cpu(), prediction.reward.float().cpu()
        if not (frame.isfinite().all() and reward.isfinite().all()):
            raise DivergedError(
                f"after {len(drawn) + 1} steps the model imagines a frame or a reward that is not finite: take an "
                "earlier checkpoint, or fit with a lower train.learning_rate"
            )
        drawn.append((255 * frame.clamp(0, 1)).round().to(torch.uint8))
        earned.append(reward)
    return torch.stack(drawn, 1).unflatten(0, (b, rows)), torch.stack(earned, 1).unflatten(0, (b, rows))
