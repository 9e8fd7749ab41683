"""A model's open-loop video beside the truth: every metric at every step, of its mean, its samples, and baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError, DataError, check_whole
from worldmodel.futures import imagine_futures
from worldmodel.hardware import without_autocast
from worldmodel.metrics.clips import Stream
from worldmodel.metrics.distances import frechet_distance, polynomial_mmd
from worldmodel.replay import Batch, Replay
from worldmodel.svg import WorldModel

FrameMetric = Callable[[Tensor, Tensor], Tensor]
"""Predicted frames (b, k, c, h, w) and true ones (b, c, h, w), each for k of them, in [0, 1], to (b, k)."""

HIGHER = ("psnr", "ssim", "vgg16_cosine")  # is better; of all others, lower
ROWS = 16  # windows that are imagined at a time, at most
FUTURES = 256  # and of their futures
FRAMES = 256  # that are compared at a time
MEAN, COPY, AVERAGE, GIVEN = "mean of z", "copy last frame", "mean frame", "all frames given"
SAMPLE, REAL = "one sample", "real clips"
BASELINES = (COPY, AVERAGE)


@dataclass(frozen=True)
class Evaluation:
    """What was found; nothing of the context counts anywhere.

    Attributes:
        windows, horizon, context, samples: how many windows, frames each that were predicted, frames before them that
            were given, and samples.
        frames: by metric and by what predicted, the mean over windows at each of the horizon's steps. ``reward`` is
            the squared error as a share of the rewards' variance; ``kl``, in nats, is of the posterior from the prior,
            when all frames are given.
        by_window: the same way, the mean over the horizon of each window.
        clips: by stream and by what predicted, ``frechet`` and ``mmd`` to real clips of other episodes. As many real
            clips, those that were to be predicted, stand beside: what two sets of the same source have.
    """

    windows: int
    horizon: int
    context: int
    samples: int
    frames: Mapping[str, Mapping[str, Sequence[float]]]
    by_window: Mapping[str, Mapping[str, Sequence[float]]]
    clips: Mapping[str, Mapping[str, Mapping[str, float]]]


def halves(paths: Sequence[Path], count: int, *, context: int, horizon: int) -> tuple[Batch, Batch]:
    """Two sets of as many whole windows, of every other episode of each folder: to predict, and to compare with.

    Each has `count` windows, no two of which share a transition, or as many as there are: the beginning of every
    episode, then what comes after, in turn.
    Raises DataError for fewer than two episodes, or where one half has fewer than two windows.
    """
    for name, value, least in (("windows", count, 2), ("context", context, 1), ("horizon", horizon, 2)):
        check_whole(name, value, least)
    if len(paths) < 2:
        raise DataError(f"there is {len(paths)} episode: give two or more, one to predict and one to compare with")
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    parts = [[path for folder in folders.values() for path in folder[first::2]] for first in (0, 1)]
    if not all(parts):
        raise DataError(f"{len(paths)} episodes of {len(folders)} folders make no two halves: give two or more of each")
    replays = [Replay(part) for part in parts]
    known = min(count, *(replay.whole_windows(context + horizon) for replay in replays))
    if known < 2:
        raise DataError(
            f"half of the {len(paths)} episodes have {known} whole windows of {context} + {horizon} frames: "
            "set a shorter horizon, or give more or longer episodes"
        )
    one, other = (replay.whole(known, context + horizon) for replay in replays)
    return one, other


@torch.inference_mode()
def evaluate_video(
    model: WorldModel,
    windows: Batch,
    reference: Batch,
    *,
    context: int,
    samples: int,
    frame_metrics: Mapping[str, FrameMetric],
    streams: Mapping[str, Stream],
    seed: int = 0,
) -> Evaluation:
    """Filters each window's context, imagines the rest under its actions, and compares.

    Best of N is, of each metric, the sample that is best over the horizon (Denton & Fergus 2018); mean of N, over all.

    Args:
        model: in evaluation mode.
        windows: that are predicted, without padding, as many as
        reference: of other episodes.
        context: frames given, at least 1.
        samples: futures whose z are drawn, beside that of their means.
        frame_metrics, streams: by name; networks of them are moved to the model's device, where all is computed.
            Features of streams other than ``fvd`` are standardised by the reference's.
        seed: of the draws.

    Raises DataError for windows with padding, or not as many as in the reference.
    """
    check_whole("samples", samples, 0)
    n, t = windows.frames.shape[:2]
    if not 1 <= context < t - 1:
        raise ConfigError(f"context is {context} frames, windows have {t}: leave two or more to predict")
    if not bool(windows.mask.all() and reference.mask.all()) or windows.frames.shape != reference.frames.shape:
        raise DataError("windows and reference must be whole, and as many: take both from `halves`")
    for network in (*frame_metrics.values(), *streams.values()):
        if isinstance(network, nn.Module):
            network.to(model.device)
    generator = torch.Generator().manual_seed(seed)
    average = reference.frames[:, context:].flatten(0, 1).double().mean(0).round().to(torch.uint8)
    reward_mean = float(reference.rewards[:, context - 1 :].mean())
    found: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    drawn: dict[str, list[Tensor]] = defaultdict(list)
    rows = min(ROWS, max(1, FUTURES // (1 + samples)))
    for first in range(0, n, rows):
        frames, actions, rewards = (x[first : first + rows] for x in (windows.frames, windows.actions, windows.rewards))
        b = len(frames)
        imagined, earned = imagine_futures(model, frames, actions, context, samples, generator)
        true, given = frames[:, context:], frames[:, context - 1 : context].expand(-1, t - context, -1, -1, -1)
        for name, metric in frame_metrics.items():
            held = torch.stack((given, average.expand_as(given)), 1)
            of_rows = per_frame(metric, torch.cat((imagined, held), 1), true, model.device)
            record(found[name], of_rows[:, :-2], samples, higher=name in HIGHER)
            found[name][COPY].append(of_rows[:, -2])
            found[name][AVERAGE].append(of_rows[:, -1])
        came = rewards[:, context - 1 :]
        record(found["reward"], (earned - came[:, None]).square(), samples, higher=False)
        last = rewards[:, context - 2 : context - 1] if context > 1 else torch.full((b, 1), reward_mean)
        found["reward"][COPY].append((last - came).square())
        found["reward"][AVERAGE].append((reward_mean - came).square())
        nats = model.nats(frames.to(model.device), actions.to(model.device))
        if nats is not None:
            found["kl"][GIVEN].append(nats[:, context - 1 :].cpu())
        drawn[MEAN].append(imagined[:, 0])
        if samples:
            drawn[SAMPLE].append(imagined[:, 1])
        drawn[COPY].append(given)
    variance = float(windows.rewards[:, context - 1 :].double().var(correction=0))
    scale = {"reward": 1 / variance if variance > 1e-8 else 1.0}  # a reward that never varies keeps its unit
    whole = {
        metric: {row: scale.get(metric, 1.0) * torch.cat(parts).double() for row, parts in rows.items()}
        for metric, rows in found.items()
    }
    clips = {row: torch.cat(parts) for row, parts in drawn.items()} | {REAL: windows.frames[:, context:]}
    real = reference.frames[:, context:]
    return Evaluation(
        windows=n,
        horizon=t - context,
        context=context,
        samples=samples,
        frames={metric: {row: x.mean(0).tolist() for row, x in rows.items()} for metric, rows in whole.items()},
        by_window={metric: {row: x.mean(1).tolist() for row, x in rows.items()} for metric, rows in whole.items()},
        clips={name: distances(name, stream, clips, real, model.device) for name, stream in streams.items()},
    )


def per_frame(metric: FrameMetric, predicted: Tensor, true: Tensor, device: torch.device) -> Tensor:
    """Of frames (b, k, t, c, h, w) and (b, t, c, h, w), both uint8, to (b, k, t) on the processor.

    A few at a time, since networks hold many maps of each; and a true frame once for all k that are held against it.
    """
    b, k, t = predicted.shape[:3]
    few = max(1, FRAMES // k)
    pairs = zip(predicted.transpose(1, 2).flatten(0, 1).split(few), true.flatten(0, 1).split(few), strict=True)
    with without_autocast(device):  # small differences count
        found = [metric(unit(one, device), unit(other, device)).cpu() for one, other in pairs]
    return torch.cat(found).view(b, t, k).transpose(1, 2)


def unit(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 frames on a device, in [0, 1]."""
    return frames.to(device).float() / 255


def record(rows: dict[str, list[Tensor]], values: Tensor, samples: int, *, higher: bool) -> None:
    """Files values (b, 1 + samples, horizon) under what predicted them."""
    rows[MEAN].append(values[:, 0])
    if samples:
        drawn = values[:, 1:]
        over = drawn.mean(2)
        best = over.argmax(1) if higher else over.argmin(1)
        rows[f"best of {samples}"].append(drawn[torch.arange(len(drawn)), best])
        rows[f"mean of {samples}"].append(drawn.mean(1))


def distances(
    name: str, stream: Stream, clips: Mapping[str, Tensor], reference: Tensor, device: torch.device
) -> Mapping[str, Mapping[str, float]]:
    """Of each kind of clips (n, t, c, h, w) uint8 to the reference's, in the features of a stream."""

    def features(of: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        with without_autocast(device):
            parts = [stream(unit(part, device)).cpu() for part in of.split(ROWS)]
        return torch.cat(parts).double().numpy()

    real = features(reference)
    centre, scale = (0.0, 1.0) if name == "fvd" else (real.mean(0), float(np.sqrt(real.var(0).mean())) or 1.0)
    known = (real - centre) / scale
    found = {}
    for row, of in clips.items():
        x = (features(of) - centre) / scale
        found[row] = {"frechet": frechet_distance(known, x), "mmd": polynomial_mmd(known, x)}
    return found
