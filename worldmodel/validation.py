"""How far a model can be trusted on data it never saw: open-loop errors against the horizon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.errors import DataError
from worldmodel.model import Model
from worldmodel.replay import Batch, Replay

Errors = Mapping[str, Sequence[float | None]]
"""By quantity, the error of each imagined step, from the first on, as `open_loop_errors` gives them."""


def fixed_windows(paths: Sequence[Path], count: int, *, context: int, horizon: int) -> Batch:
    """Windows of episodes, the same every time, so that models and moments can be compared.

    Each has `context` frames and up to `horizon` decisions more, one at least.
    Raises DataError where no episode is long enough.
    """
    return Replay(paths).sample(count, context + horizon, np.random.default_rng(0), minimum=context + 1)


@torch.inference_mode()
def open_loop_errors(model: Model, batch: Batch, context: int) -> dict[str, list[float | None]]:
    """Filters `context` frames of each window, imagines the rest under the true actions with the mean of each z.

    Args:
        model: in evaluation mode, on the batch's device.
        batch: windows of t frames.
        context: frames given, in 1..t-1.

    Returns:
        ``reward``, ``frame`` and ``embedding`` (of frames): t - context numbers each, the mean squared error of every
        step as a share of the variance in the batch (of frames: of the model's own frame variance), so 1 is no better
        than the mean; what never varies is measured in its own unit. Padded steps count nowhere; a step that every
        window lacks is None. In a model that diverges they are NaN or infinite from some step on.

    Raises DataError when the context leaves nothing to imagine.
    """
    scale = _Scale(model, batch, context)
    state = model.initial(batch.frames[:, :context], batch.actions[:, : context - 1])
    errors: dict[str, list[float | None]] = {"reward": [], "frame": [], "embedding": []}
    for i in range(context - 1, batch.frames.shape[1] - 1):
        prediction = model.imagine(state, batch.actions[:, i])
        state = prediction.state
        found = scale.errors(i, prediction.reward, model.decode(state), model.embedding(state))
        for name, value in found.items():
            errors[name].append(value)
    return errors


@torch.inference_mode()
def copy_last_errors(model: Model, batch: Batch, context: int) -> dict[str, list[float | None]]:
    """The same of no model at all: that everything stays as in the last given frame, the last known reward too.

    With a context of one frame no reward is known; the batch's mean stands in for it.
    """
    scale = _Scale(model, batch, context)
    frame = batch.frames[:, context - 1].float() / 255
    reward = batch.rewards[:, context - 2] if context > 1 else batch.rewards[batch.mask.bool()].mean()
    errors: dict[str, list[float | None]] = {"reward": [], "frame": [], "embedding": []}
    for i in range(context - 1, batch.frames.shape[1] - 1):
        for name, value in scale.errors(i, reward, frame, scale.embeddings[:, context - 1]).items():
            errors[name].append(value)
    return errors


def recorded(errors: Errors) -> dict[str, Any]:
    """Errors as a record holds them: None for what is no finite number, and how many those are (``nonfinite``)."""
    finite = {
        name: [value if value is not None and math.isfinite(value) else None for value in values]
        for name, values in errors.items()
    }
    return {**finite, "nonfinite": _nonfinite(errors)}


def told(errors: Errors) -> str:
    """The same in words: the reward's first and last error, and whether the model diverges."""
    known = [value for value in errors["reward"] if value is not None]
    line = f"held-out reward error {known[0]:.3f} after 1 step"
    line += f", {known[-1]:.3f} after {len(known)} (1 = no better than the mean)"
    if count := _nonfinite(errors):
        total = sum(value is not None for values in errors.values() for value in values)
        line += f"; the model diverges in imagination, {count} of {total} held-out errors are not finite"
    return line


def frame_error(errors: Errors) -> float | None:
    """The mean over the steps of frames; None where one of them is no finite number."""
    error = float(np.mean([value for value in errors["frame"] if value is not None]))
    return error if math.isfinite(error) else None


def _nonfinite(errors: Errors) -> int:
    return sum(value is not None and not math.isfinite(value) for values in errors.values() for value in values)


class _Scale:
    """What errors of a batch are measured by, and the embeddings of its frames (b, t, ...)."""

    def __init__(self, model: Model, batch: Batch, context: int) -> None:
        t = batch.frames.shape[1]
        if not 1 <= context < t:
            raise DataError(f"a context of {context} leaves nothing to imagine in windows of {t} frames")
        self._model = model
        self._batch = batch
        self._mask = batch.mask.bool()
        self.embeddings = model.encode(batch.frames.flatten(0, 1))[0].unflatten(0, batch.frames.shape[:2])
        # Of each number about its own mean, then one for all of them, as for frames.
        self._spread = _unless_constant(self.embeddings[:, 1:][self._mask].double().var(0, correction=0).mean())
        self._variance = _unless_constant(batch.rewards[self._mask].double().var(correction=0))

    def errors(self, i: int, reward: Tensor, frame: Tensor, embedding: Tensor) -> dict[str, float | None]:
        """Of what is said to come of actions[i]: reward (b,), frame (b, c, h, w) in [0, 1] and its embedding."""
        batch, mask = self._batch, self._mask[:, i]
        seen = batch.frames[:, i + 1].float() / 255
        drawn = (frame - seen) / self._model.statistics.frame_std
        embedded = embedding - self.embeddings[:, i + 1]
        return {
            "reward": _mean((reward - batch.rewards[:, i]).square() / self._variance, mask),
            "frame": _mean(drawn.square().flatten(1).mean(1), mask),
            "embedding": _mean(embedded.square().flatten(1).mean(1) / self._spread, mask),
        }


def _unless_constant(variance: Tensor) -> float:
    """A quantity that never varies has no scale of its own: leave its unit, as the model's statistics do."""
    return variance.item() if variance > 1e-8 else 1.0


def _mean(values: Tensor, mask: Tensor) -> float | None:
    return values[mask].mean().item() if mask.any() else None
