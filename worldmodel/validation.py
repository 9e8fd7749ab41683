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

ROWS = 16  # windows that are imagined at a time

Errors = Mapping[str, Sequence[float | None]]
"""By quantity, the error of each imagined step, from the first on, as `open_loop_errors` gives them."""


def fixed_windows(paths: Sequence[Path], count: int, *, context: int, horizon: int) -> Batch:
    """Windows of episodes, the same every time, so that models and moments can be compared.

    Each has `context` frames and up to `horizon` decisions more, one at least.
    Raises DataError where no episode is long enough.
    """
    return Replay(paths).sample(count, context + horizon, np.random.default_rng(0), minimum=context + 1)


@torch.inference_mode()
def open_loop_errors(model: Model, batch: Batch, context: int, *, rows: int = ROWS) -> dict[str, list[float | None]]:
    """Filters `context` frames of each window, imagines the rest under the true actions with the mean of each z.

    Args:
        model: in evaluation mode, on the batch's device.
        batch: windows of t frames.
        context: frames given, in 1..t-1.
        rows: windows that are imagined, and frames that are encoded, at a time; the embeddings of all are kept.

    Returns:
        ``reward``, ``frame`` and ``embedding`` (of frames): t - context numbers each, the mean squared error of every
        step as a share of the variance in the batch (of frames: of the model's own frame variance), so 1 is no better
        than the mean; what never varies is measured in its own unit. Padded steps count nowhere; a step that every
        window lacks is None. In a model that diverges they are NaN or infinite from some step on.

    Raises DataError when the context leaves nothing to imagine.
    """
    errors = _Errors(model, batch, context, rows)
    for first in range(0, len(batch.frames), rows):
        some = slice(first, first + rows)
        frames, actions = batch.frames[some], batch.actions[some]
        state = model.initial(frames[:, :context], actions[:, : context - 1])
        for i in range(context - 1, batch.frames.shape[1] - 1):
            prediction = model.imagine(state, actions[:, i])
            state = prediction.state
            errors.record(some, i, prediction.reward, model.decode(state), model.embedding(state))
    return errors.means()


@torch.inference_mode()
def copy_last_errors(model: Model, batch: Batch, context: int) -> dict[str, list[float | None]]:
    """The same of no model at all: that everything stays as in the last given frame, the last known reward too.

    With a context of one frame no reward is known; the batch's mean stands in for it.
    """
    errors = _Errors(model, batch, context, ROWS)
    frame = batch.frames[:, context - 1].float() / 255
    reward = batch.rewards[:, context - 2] if context > 1 else batch.rewards[batch.mask.bool()].mean()
    for i in range(context - 1, batch.frames.shape[1] - 1):
        errors.record(slice(None), i, reward, frame, errors.embeddings[:, context - 1])
    return errors.means()


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


def shortfall(batch: Batch, context: int) -> str | None:
    """In words, that not all windows have a true frame at every step; None where all have.

    Errors of late steps are then those of fewer windows, the ones that are far from their episode's end.
    """
    steps = batch.mask[:, context - 1 :].sum(1).int()
    horizon = batch.mask.shape[1] - context + 1
    if (whole := int((steps == horizon).sum())) == len(steps):
        return None
    return f"{whole} of {len(steps)} held-out windows last the horizon of {horizon} steps, the longest {steps.max()}"


def frame_error(errors: Errors) -> float | None:
    """The mean over the steps of frames; None where one of them is no finite number."""
    error = float(np.mean([value for value in errors["frame"] if value is not None]))
    return error if math.isfinite(error) else None


def _nonfinite(errors: Errors) -> int:
    return sum(value is not None and not math.isfinite(value) for values in errors.values() for value in values)


class _Errors:
    """Errors of a batch's transitions, what they are measured by, and the embeddings of its frames (b, t, ...)."""

    def __init__(self, model: Model, batch: Batch, context: int, rows: int) -> None:
        b, t = batch.frames.shape[:2]
        if not 1 <= context < t:
            raise DataError(f"a context of {context} leaves nothing to imagine in windows of {t} frames")
        self._model = model
        self._batch = batch
        self._first = context - 1
        self._mask = batch.mask.bool()
        encoded = [model.encode(frames)[0].float() for frames in batch.frames.flatten(0, 1).split(rows)]
        self.embeddings = torch.cat(encoded).unflatten(0, (b, t))
        # Of each number about its own mean, then one for all of them, as for frames.
        self._spread = _unless_constant(self.embeddings[:, 1:][self._mask].var(0, correction=0).mean())
        self._variance = _unless_constant(batch.rewards[self._mask].cpu().double().var(correction=0))
        self._found = {name: torch.zeros_like(batch.mask) for name in ("reward", "frame", "embedding")}

    def record(self, rows: slice, i: int, reward: Tensor, frame: Tensor, embedding: Tensor) -> None:
        """Of what is said to come of actions[i]: reward (b,), frame (b, c, h, w) in [0, 1] and its embedding."""
        seen = self._batch.frames[rows, i + 1].float() / 255
        drawn = (frame.float() - seen) / self._model.statistics.frame_std
        embedded = embedding.float() - self.embeddings[rows, i + 1]
        off = reward.float() - self._batch.rewards[rows, i]
        self._found["reward"][rows, i] = off.square() / self._variance
        self._found["frame"][rows, i] = drawn.square().flatten(1).mean(1)
        self._found["embedding"][rows, i] = embedded.square().flatten(1).mean(1) / self._spread

    def means(self) -> dict[str, list[float | None]]:
        """Over the windows, of each step that was imagined."""
        steps = range(self._first, self._mask.shape[1])
        return {name: [_mean(values[:, i], self._mask[:, i]) for i in steps] for name, values in self._found.items()}


def _unless_constant(variance: Tensor) -> float:
    """A quantity that never varies has no scale of its own: leave its unit, as the model's statistics do."""
    return variance.item() if variance > 1e-8 else 1.0


def _mean(values: Tensor, mask: Tensor) -> float | None:
    return values[mask].mean().item() if mask.any() else None
