"""One fit of a study: a member of the family, of one capacity, from one seed, measured at two budgets."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.metrics.clips import RandomFeatures
from worldmodel.metrics.evaluation import BASELINES, evaluate_video
from worldmodel.metrics.frames import psnr, ssim
from worldmodel.model import Model
from worldmodel.replay import Batch, Replay
from worldmodel.trainer import TrainConfig, Trainer

CHUNK = 5  # updates between looks at the clock
DIGITS = 5  # of what is logged for each window


@dataclass(frozen=True)
class Cell:
    """What is fitted."""

    member: str
    K: float
    M: float
    seed: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Cell:
        """Of a record that tells of one."""
        return cls(record["member"], record["K"], record["M"], record["seed"])


@dataclass(frozen=True)
class Parts:
    """How it is made, and fitted; `feedback` is what an imagined step feeds to the next."""

    model: ModelConfig
    train: TrainConfig
    feedback: str


def fit_cell(
    cell: Cell, parts: Parts, replay: Replay, fabric: Fabric, settings: Mapping[str, Any]
) -> Iterator[tuple[str, Model, dict[str, Any]]]:
    """Fits until both budgets are spent; at each, its name (``updates`` or ``time``), the model, and what was spent.

    Time is that of fitting alone. With 0 minutes there is one budget, the updates.
    """
    torch.manual_seed(cell.seed)
    trainer = Trainer(build(parts.model, replay.spec, feedback=parts.feedback), parts.train, fabric)
    budgets = {"updates", "time"} if settings["minutes"] else {"updates"}
    seconds = 0.0
    while budgets:
        left = settings["updates"] - trainer.updates
        count = min(CHUNK, left) if left > 0 else CHUNK
        start = time.perf_counter()
        for _ in trainer.fit(replay, count, seed=cell.seed):
            pass
        seconds += time.perf_counter() - start
        reached = {"updates": trainer.updates >= settings["updates"], "time": seconds >= 60 * settings["minutes"]}
        for budget in sorted(budgets):
            if reached[budget]:
                budgets.remove(budget)
                yield budget, trainer.model.eval(), {"updates": trainer.updates, "seconds": round(seconds, 1)}


def measured(model: Model, windows: Batch, reference: Batch, *, context: int, samples: int) -> dict[str, Any]:
    """What is logged of an evaluation: means over windows at each step, means over steps of each window, and clips."""
    found = evaluate_video(
        model,
        windows,
        reference,
        context=context,
        samples=samples,
        frame_metrics={"psnr": psnr, "ssim": ssim},
        streams={"appearance": RandomFeatures(motion=False), "motion": RandomFeatures(motion=True)},
    )
    by_window = {
        metric: {
            row: [round(value, DIGITS) for value in values] for row, values in rows.items() if row not in BASELINES
        }
        for metric, rows in found.by_window.items()
    }
    return {"frames": found.frames, "by_window": by_window, "clips": found.clips}
