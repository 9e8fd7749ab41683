"""What a study's log says of the claims: differences between members, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from worldmodel.errors import DataError
from worldmodel.metrics.evaluation import HIGHER, MEAN, REAL, SAMPLE
from worldmodel.records import read_records

DRAWS = 4000  # of a bootstrap
BUDGETS = ("updates", "time")

Fitted = tuple[str, tuple[float, float]]
"""A member, and its capacity K and M."""

Pair = tuple[Fitted, Fitted]


@dataclass(frozen=True)
class Measure:
    """A number of a fit: of frames, by window, or of clips.

    Attributes:
        title: as tables have it.
        metric: of frames, or the stream of clips.
        best: of the samples; else the mean of z; of clips, one sample.
        clips: whether it is a Fréchet distance between sets, which no single window has.
    """

    title: str
    metric: str
    best: bool = False
    clips: bool = False

    @property
    def sign(self) -> int:
        """1 where more is better."""
        return 1 if self.metric in HIGHER else -1

    def of(self, cell: Mapping[str, Any], budget: str) -> np.ndarray:
        """Of each window; of clips a single number."""
        found = cell[budget]
        if self.clips:
            return np.array([found["clips"][self.metric][SAMPLE]["frechet"]])
        rows = found["by_window"][self.metric]
        row = next(name for name in rows if name.startswith("best of")) if self.best else MEAN
        return np.array(rows[row])


MEASURES = (
    Measure("PSNR, best", "psnr", best=True),
    Measure("PSNR, mean z", "psnr"),
    Measure("SSIM, best", "ssim", best=True),
    Measure("SSIM, mean z", "ssim"),
    Measure("appearance", "appearance", clips=True),
    Measure("motion", "motion", clips=True),
    Measure("reward error", "reward"),
)


@dataclass(frozen=True)
class Difference:
    """How much better the first is than the second, in a measure's own unit, and a 95 % interval.

    The interval is a bootstrap's over seeds and windows, drawn together: with two seeds it says little of seeds. None
    for distances of clips, of which there is one a fit.
    """

    better: float
    low: float | None
    high: float | None


class Log:
    """A study's cells, by what was fitted; DataError for a log without any.

    Attributes:
        members, capacities, seeds: in the order in which they were first fitted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_records(path, "header")[-1] if read_records(path, "header") else None
        cells = read_records(path, "cell")
        if not cells:
            raise DataError(f"{path} holds no cell of a study: give the metrics.jsonl of agents.study")
        self.members = list(dict.fromkeys(cell["member"] for cell in cells))
        self.capacities = list(dict.fromkeys((cell["K"], cell["M"]) for cell in cells))
        self.seeds = list(dict.fromkeys(cell["seed"] for cell in cells))
        self._cells = {(cell["member"], (cell["K"], cell["M"]), cell["seed"]): cell for cell in cells}

    def cells(self, member: str, capacity: tuple[float, float]) -> list[dict[str, Any]]:
        """One a seed that was fitted."""
        keys = ((member, capacity, seed) for seed in self.seeds)
        return [self._cells[key] for key in keys if key in self._cells]

    def mean(self, member: str, capacity: tuple[float, float], measure: Measure, budget: str) -> float | None:
        """Over seeds and windows; None where none was fitted, or none was measured at this budget."""
        found = [measure.of(cell, budget).mean() for cell in self.cells(member, capacity) if budget in cell]
        return float(np.mean(found)) if found else None

    def floor(self, stream: str, budget: str) -> float:
        """The Fréchet distance of two sets of real clips."""
        cell = next(cell for cell in self._cells.values() if budget in cell)
        return float(cell[budget]["clips"][stream][REAL]["frechet"])

    def difference(self, pairs: Sequence[Pair], measure: Measure, budget: str) -> Difference | None:
        """How much better the first of each pair is than the second, in the mean over pairs.

        None where a fit is missing.
        """
        parts = []
        for first, second in pairs:
            one, other = self.cells(*first), self.cells(*second)
            if len(one) != len(self.seeds) or len(other) != len(self.seeds):
                return None
            if any(budget not in cell for cell in (*one, *other)):
                return None
            of = [np.stack([measure.of(cell, budget) for cell in cells]) for cells in (one, other)]
            parts.append(measure.sign * (of[0] - of[1]))  # (seeds, windows)
        better = np.mean(parts, axis=0)
        if measure.clips:
            return Difference(float(better.mean()), None, None)
        low, high = bootstrap(better)
        return Difference(float(better.mean()), low, high)

    def correlations(self, budget: str = "time") -> dict[str, tuple[float, int]]:
        """Spearman's, by measure, of being better and of the return that was planned, over fits; and of how many."""
        planned = [cell for cell in self._cells.values() if "returns" in cell and budget in cell]
        if len(planned) < 3:
            return {}
        returns = [np.mean(cell["returns"]) for cell in planned]
        found = {}
        for measure in MEASURES:
            values = [measure.sign * measure.of(cell, budget).mean() for cell in planned]
            if np.std(values) > 0 and np.std(returns) > 0:
                found[measure.title] = float(spearmanr(values, returns).statistic), len(planned)
        return found


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """A 95 % interval of the mean of (seeds, windows), both drawn with repetition."""
    rng = np.random.default_rng(0)
    seeds, windows = values.shape
    # How often each is drawn, as a share.
    of_seeds, of_windows = (rng.multinomial(n, [1 / n] * n, size=DRAWS) / n for n in (seeds, windows))
    means = ((of_seeds @ values) * of_windows).sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def claims(log: Log) -> dict[str, list[Pair]]:
    """The comparisons that a log allows: pairs of what was fitted, the first of which is said to be better."""
    smallest, largest = log.capacities[0], log.capacities[-1]
    found: dict[str, list[Pair]] = {}
    for member in log.members:
        if smallest != largest:
            found[f"capacity: {member}, largest against smallest"] = [((member, largest), (member, smallest))]
    for title, first, second in (
        ("recurrence: lstm against cnn", "lstm", "cnn"),
        ("chance: svg_prime against lstm", "svg_prime", "lstm"),
        ("maps: svg_prime against svg", "svg_prime", "svg"),
        ("control: svg_prime against rssm", "svg_prime", "rssm"),
    ):
        if first in log.members and second in log.members:
            found[title] = [((first, capacity), (second, capacity)) for capacity in log.capacities]
    return found
