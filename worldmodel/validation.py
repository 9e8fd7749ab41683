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
        ``reward``, ``frame`` and ``embedding`` (of frames): t - context numbers each, the mean squared error of every
        step as a share of the variance in the batch (of frames: of the model's own frame variance), so 1 is no better
        than the mean; what never varies is measured in its own unit. Padded steps count nowhere; a step that every
        window lacks is None.

    Raises DataError when the context leaves nothing to imagine.
    """
    t = batch.frames.shape[1]
    if not 1 <= context < t:
        raise DataError(f"a context of {context} leaves nothing to imagine in windows of {t} frames")
    mask = batch.mask.bool()
    embeddings = model.encode(batch.frames.flatten(0, 1))[0].unflatten(0, batch.frames.shape[:2])
    # Of each number about its own mean, then one for all of them, as for frames.
    spread = _unless_constant(embeddings[:, 1:][mask].double().var(0, correction=0).mean())
    variance = _unless_constant(batch.rewards[mask].double().var(correction=0))
    state = model.initial(batch.frames[:, :context], batch.actions[:, : context - 1])
    errors: dict[str, list[float | None]] = {"reward": [], "frame": [], "embedding": []}
    for i in range(context - 1, t - 1):
        prediction = model.imagine(state, batch.actions[:, i])
        state = prediction.state
        seen = batch.frames[:, i + 1].float() / 255
        drawn = (model.decode(state) - seen) / model.statistics.frame_std
        embedded = model.embedding(state) - embeddings[:, i + 1]
        errors["reward"].append(_mean((prediction.reward - batch.rewards[:, i]).square() / variance, mask[:, i]))
        errors["frame"].append(_mean(drawn.square().flatten(1).mean(1), mask[:, i]))
        errors["embedding"].append(_mean(embedded.square().flatten(1).mean(1) / spread, mask[:, i]))
    return errors


def _unless_constant(variance: Tensor) -> float:
    """A quantity that never varies has no scale of its own: leave its unit, as the model's statistics do."""
    return variance.item() if variance > 1e-8 else 1.0


def _mean(values: Tensor, mask: Tensor) -> float | None:
    return values[mask].mean().item() if mask.any() else None
