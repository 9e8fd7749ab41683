"""A quantity beside its baseline, and how the two are timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

MOST = 20  # rounds


@dataclass(frozen=True)
class Measured:
    """A quantity and its baseline, of one process and one moment.

    Attributes:
        value, baseline: both in `unit`.
        unit: of either.
        ratio: above 1 where ours is better, unless the row says otherwise.
        extra: further numbers by name.
    """

    value: float
    baseline: float
    unit: str
    ratio: float
    extra: dict[str, float] = field(default_factory=dict)


def rate(value: float, baseline: float, unit: str, **extra: float) -> Measured:
    """Of a quantity that is better the larger it is."""
    return Measured(value, baseline, unit, value / baseline, extra)


def duration(value: float, baseline: float, **extra: float) -> Measured:
    """Of seconds, which are better the fewer they are."""
    return Measured(value, baseline, "s", baseline / value, extra)


def fastest(*runs: Callable[[], object], budget: float) -> list[float]:
    """Seconds of each run: the least of some rounds in which they take turns, after one run each to warm up.

    Whatever else the machine does only ever adds to a time, so the least is nearest to the work itself; and taking
    turns gives both sides the same machine.

    Args:
        runs: what is timed.
        budget: seconds after which no round begins, though there are always two, and never more than `MOST`.
    """
    for run in runs:
        run()
    end = time.perf_counter() + budget
    rounds: list[list[float]] = []
    while len(rounds) < 2 or (len(rounds) < MOST and time.perf_counter() < end):
        rounds.append([seconds(run) for run in runs])
    least: list[float] = np.min(rounds, 0).tolist()
    return least


def seconds(run: Callable[[], object]) -> float:
    """Of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
