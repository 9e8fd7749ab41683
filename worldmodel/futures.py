"""What a model imagines after a context, under given actions: with the mean of each z, and in samples."""

from __future__ import annotations

import torch
from torch import Tensor

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
    """
    b, rows = len(frames), 1 + samples
    given, actions = frames[:, :context].to(model.device), actions.to(model.device)
    state = model.initial(given, actions[:, : context - 1]).repeat(rows)
    drawn, earned = [], []
    for action in actions[:, context - 1 :].unbind(1):
        noise = torch.randn(b, rows, *model.noise_shape, generator=generator)
        noise[:, 0] = 0  # the mean
        noise = noise.flatten(0, 1).to(model.device)
        prediction = model.imagine(state, action.repeat_interleave(rows, 0), noise=noise)
        state = prediction.state
        drawn.append((255 * model.decode(state).float().clamp(0, 1)).round().to(torch.uint8).cpu())
        earned.append(prediction.reward.float().cpu())
    return torch.stack(drawn, 1).unflatten(0, (b, rows)), torch.stack(earned, 1).unflatten(0, (b, rows))
