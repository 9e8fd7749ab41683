"""How far a model can be trusted on data it never saw: open-loop errors against the horizon."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.errors import DataError
from worldmodel.replay import Batch
from worldmodel.svg import SVG


@torch.inference_mode()
def open_loop_errors(model: SVG, batch: Batch, context: int) -> dict[str, list[float | None]]:
    """Filters `context` frames of each window, imagines the rest under the true actions with the mean of each z.

    Args:
        model: in evaluation mode, on the batch's device.
        batch: windows of t frames.
        context: frames given, in 1..t-1.

    Returns:
        ``reward`` and ``frame``: t - context numbers each, the mean squared error of every step as a share of the
        variance in the batch (of frames: of the model's own frame variance), so 1 is no better than the mean; rewards
        that never vary are measured in their own unit.
        Padded steps count nowhere; a step that every window lacks is None.

    Raises DataError when the context leaves nothing to imagine.
    """
    t = batch.frames.shape[1]
    if not 1 <= context < t:
        raise DataError(f"a context of {context} leaves nothing to imagine in windows of {t} frames")
    mask = batch.mask.bool()
    variance = batch.rewards[mask].double().var(correction=0)
    variance = torch.where(variance > 1e-8, variance, 1.0).float()  # as the model's own statistics: leave its unit
    state = model.initial(batch.frames[:, :context], batch.actions[:, : context - 1])
    errors: dict[str, list[float | None]] = {"reward": [], "frame": []}
    for i in range(context - 1, t - 1):
        prediction = model.imagine(state, batch.actions[:, i])
        state = prediction.state
        seen = batch.frames[:, i + 1].float() / 255
        drawn = (model.decode(state) - seen) / model.statistics.frame_std
        errors["reward"].append(_mean((prediction.reward - batch.rewards[:, i]).square() / variance, mask[:, i]))
        errors["frame"].append(_mean(drawn.square().flatten(1).mean(1), mask[:, i]))
    return errors


def _mean(values: Tensor, mask: Tensor) -> float | None:
    return values[mask].mean().item() if mask.any() else None
