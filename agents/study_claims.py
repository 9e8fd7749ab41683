"""What a study's log says of the claims: differences between members, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student_t

from worldmodel.errors import DataError
from worldmodel.metrics.evaluation import HIGHER, MEAN, REAL, SAMPLE
from worldmodel.records import number, numbers, read_records, telling, text

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
        row = next((name for name in rows if name.startswith("best of")), "best of N") if self.best else MEAN
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

    The interval is Student's over pairs of fits, one a capacity and seed; None for a single pair. All fits are measured
    on the same windows, so it says what other seeds would give on them, and nothing of other videos.
    """

    better: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Correlation:
    """Spearman's, of being better by a measure and of the return that was planned.

    Attributes:
        rank: over all fits, and `low` and `high`, a bootstrap's 95 % interval over them.
        within: the mean over members of that over a member's own fits: whether of two models alike the better one
            plans better. None where no member has three that differ.
    """

    rank: float
    low: float
    high: float
    within: float | None


class Log:
    """A study's cells, by what was fitted; DataError for a log without any.

    Attributes:
        members, seeds: in the order in which they were first fitted.
        capacities: K and M, the smallest first.
        measures: those that vary; rewards, for one, may not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_records(path, "header")[-1] if read_records(path, "header") else None
        cells = read_records(path, "cell")
        if not cells:
            raise DataError(f"{path} holds no cell of a study: give the metrics.jsonl of agents.study")
        with telling(path):
            for cell in cells:
                check_cell(cell)
            if self.header:
                for key in ("commit", "machine"):
                    text(self.header[key])
        self.members = list(dict.fromkeys(cell["member"] for cell in cells))
        self.capacities = sorted({(cell["K"], cell["M"]) for cell in cells})
        self.seeds = list(dict.fromkeys(cell["seed"] for cell in cells))
        self.measures = [measure for measure in MEASURES if varies(cells, measure)]
        self._cells = {(cell["member"], (cell["K"], cell["M"]), cell["seed"]): cell for cell in cells}

    def cells(self, member: str, capacity: tuple[float, float]) -> list[dict[str, Any]]:
        """One a seed that was fitted."""
        keys = ((member, capacity, seed) for seed in self.seeds)
        return [self._cells[key] for key in keys if key in self._cells]

    def mean(self, member: str, capacity: tuple[float, float], measure: Measure, budget: str) -> float | None:
        """Over seeds and windows; None where none was fitted, or none was measured at this budget."""
        found = [measure.of(cell, budget).mean() for cell in self.cells(member, capacity) if budget in cell]
        return float(np.mean(found)) if found else None

    def without_model(self, row: str, measure: Measure) -> float | None:
        """What a baseline, or real clips, have by a measure, which no fit changes; None where that is nothing."""
        cell = next(iter(self._cells.values()))
        found = next(cell[budget] for budget in BUDGETS if budget in cell)
        if measure.clips:
            known = found["clips"][measure.metric].get(row)
            return None if known is None else float(known["frechet"])
        steps = found["frames"][measure.metric].get(row)
        return None if steps is None else float(np.mean(steps))

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
            ours, theirs = ([float(measure.of(cell, budget).mean()) for cell in cells] for cells in (one, other))
            parts += [measure.sign * (a - b) for a, b in zip(ours, theirs, strict=True)]
        return Difference(float(np.mean(parts)), *student(parts))

    @property
    def planned(self) -> list[dict[str, Any]]:
        """The fits in which episodes were planned."""
        return [cell for cell in self._cells.values() if "returns" in cell]

    def correlations(self) -> dict[str, Correlation]:
        """By measure; of at least three fits. Plans are made after both budgets: what counts is the later one."""
        planned = self.planned
        if len(planned) < 3:
            return {}
        members = np.array([cell["member"] for cell in planned])
        returns = np.array([np.mean(cell["returns"]) for cell in planned])
        found = {}
        for measure in self.measures:
            values = np.array([measure.sign * measure.of(cell, last_budget(cell)).mean() for cell in planned])
            rank = spearman(values, returns)
            if rank is None:
                continue
            rng = np.random.default_rng(0)
            drawn = (rng.integers(len(planned), size=len(planned)) for _ in range(DRAWS))
            ranks = [rank for rows in drawn if (rank := spearman(values[rows], returns[rows])) is not None]
            low, high = np.quantile(ranks, (0.025, 0.975))
            own = [spearman(values[members == member], returns[members == member]) for member in self.members]
            known = [each for each in own if each is not None]
            found[measure.title] = Correlation(rank, float(low), float(high), float(np.mean(known)) if known else None)
        return found


def check_cell(cell: Mapping[str, Any]) -> None:
    """What `telling` tells of, where a cell lacks what tables and figures read, or has something else there."""
    text(cell["member"])
    for key in ("K", "M", "seed", "parameters"):
        number(cell[key])
    if "returns" in cell:
        numbers(cell["returns"])
    budgets = [budget for budget in BUDGETS if budget in cell]
    if not budgets:
        raise ValueError(f"a cell of {cell['member']} has neither of {', '.join(BUDGETS)}")
    for budget in budgets:
        fit = cell[budget]
        for key in ("updates", "seconds"):
            number(fit[key])
        for rows in (*fit["frames"].values(), *fit["by_window"].values()):
            for row in rows.values():
                numbers(row)
        for rows in fit["clips"].values():
            for row in rows.values():
                number(row["frechet"])
        for measure in MEASURES:
            measure.of(cell, budget)
            if not measure.clips:
                fit["frames"][measure.metric].get(REAL)


def varies(cells: Sequence[Mapping[str, Any]], measure: Measure) -> bool:
    """Whether a measure tells any two fits apart."""
    return len({float(measure.of(cell, budget).mean()) for cell in cells for budget in BUDGETS if budget in cell}) > 1


def last_budget(cell: Mapping[str, Any]) -> str:
    """The one that took the most updates: a fit's model is then as it is planned in."""
    return max((budget for budget in BUDGETS if budget in cell), key=lambda budget: cell[budget]["updates"])


def spearman(values: np.ndarray, returns: np.ndarray) -> float | None:
    """Rank correlation; None of fewer than three, or where one side never varies."""
    if len(values) < 3 or not np.ptp(values) or not np.ptp(returns):
        return None
    return float(spearmanr(values, returns).statistic)


def student(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """A 95 % interval of the mean, of values that are drawn alike; None of a single one."""
    n = len(values)
    if n < 2:
        return None, None
    half = float(student_t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


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
        ("svg_prime against svg, equal K and M", "svg_prime", "svg"),  # not equal in parameters: see the table
        ("svg_prime against rssm, equal K and M", "svg_prime", "rssm"),
    ):
        if first in log.members and second in log.members:
            found[title] = [((first, capacity), (second, capacity)) for capacity in log.capacities]
    return found
