"""Makes tables, and a figure, of raw logs: ``python -m agents.results results/first/*/*.jsonl --figure scores.png``.

A row is a folder, its logs the seeds. What counts in each is its last evaluation, or what agents.collect played; of
runs that learned a second table tells the way there, and the figure draws it beside what papers report, a panel a task.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t

from agents.logs import LAST, Log, read_log
from worldmodel.command import command
from worldmodel.errors import DataError
from worldmodel.pictures.report import PARTS
from worldmodel.pictures.scores import Panel, Study, draw_scores
from worldmodel.published import ENV_FRAMES, published_returns

MARKS = {"25k": 25_000, "50k": 50_000, "100k": 100_000}  # environment frames
FEWEST = 3  # seeds of which an interval is told: of two it would say nothing


@command
def main() -> None:
    """Prints the tables, and draws the figure where one is wanted."""
    given = arguments().parse_args()
    studies = read_studies(given.logs)
    print(table(studies))
    if given.figure:
        given.figure.parent.mkdir(parents=True, exist_ok=True)
        draw_scores(given.figure, panels(studies))
        print(given.figure)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m agents.results", description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+", help="metrics.jsonl files, such as results/STUDY/ENV/seed0.jsonl")
    parser.add_argument("--figure", type=Path, help="draw learning curves here, as a PNG")
    return parser


def read_studies(paths: Sequence[Path]) -> dict[Path, list[Log]]:
    """By folder, what its logs say; DataError for one that is none, and for a folder of several tasks."""
    studies: dict[Path, list[Log]] = defaultdict(list)
    for path in sorted(paths):
        studies[path.parent].append(read_log(path))
    for folder, logs in studies.items():
        tasks = sorted({f"{log.env}/{log.task}" for log in logs})
        if len(tasks) > 1:
            raise DataError(f"{folder} holds logs of {', '.join(tasks)}: keep each task's in a folder of their own")
    return dict(studies)


def table(studies: Mapping[Path, Sequence[Log]]) -> str:
    """A line for each folder of logs, the same for those that learned, and which commits and machines they are of.

    `std` is between the means of seeds, unknown of one; `min` and `max` are single episodes; `gain` is the mean less
    the random policy's; `frames` are simulator steps learned from, where the run itself learned. See `learning` for the
    second table.
    """
    width = max(len(str(folder)) for folder in studies) + 2
    head = (
        f"{'':<{width}}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}{'random':>9}{'gain':>9}{'frames':>9}  episodes  seeds"
    )
    lines = [head]
    for folder, logs in studies.items():
        means = [mean(log.returns) for log in logs]
        every = [value for log in logs for value in log.returns]
        chance = [value for log in logs for value in log.chance]
        numbers = [mean(means), std(means), min(every), max(every), mean(chance), mean(means) - mean(chance)]
        frames = max(log.env_frames for log in logs) or "–"
        seeds = ", ".join(str(log.seed) for log in logs)
        lines.append(f"{folder!s:<{width}}{cells(numbers)}{frames:>9}{len(every):>10}  {seeds}")
    learned = {folder: logs for folder, logs in studies.items() if all(log.curve for log in logs)}
    if learned:
        lines += ["", *learning(learned, width), ""]
    every_log = [log for found in studies.values() for log in found]
    lines.append(f"commits: {', '.join(sorted({commit for log in every_log for commit in log.commits}))}")
    lines.append(f"machines: {'; '.join(sorted({log.machine for log in every_log}))}")
    return "\n".join(lines)


def learning(studies: Mapping[Path, Sequence[Log]], width: int) -> list[str]:
    """A line for each folder of runs that learned.

    `last 3` is the mean of the last three evaluations, over seeds and, at the end, of each; `std` and the 95% interval
    (Student's t) are of the seeds' means; `25k` is the newest evaluation at or before 25,000 frames, for seeds that all
    got there; `minutes` went by in collecting, planning and fitting, on average, and the shares of them in playing, in
    fitting the model, and in dreaming, the policy's learning in the dream included.
    """
    last = f"last {LAST}"
    marks = "".join(f"{name:>9}" for name in MARKS)
    parts = "".join(f"{name:>9}" for name in PARTS)
    lines = [f"{'':<{width}}{last:>9}{'std':>9}{'95% interval':>18}{marks}{'minutes':>9}{parts}  {last} of each seed"]
    for folder, logs in studies.items():
        lasts = [log.last for log in logs]
        reached = [[value for log in logs if (value := log.after(frames)) is not None] for frames in MARKS.values()]
        at = [mean(values) if len(values) == len(logs) else math.nan for values in reached]
        bounds = interval(lasts)
        between = f"{bounds[0]:.1f} to {bounds[1]:.1f}" if bounds else "–"
        numbers = cells([*at, mean([log.minutes for log in logs])])
        spent = [mean([log.shares[name] for log in logs if name in log.shares]) for name in PARTS]
        shares = "".join(f"{'–' if math.isnan(share) else format(share, '.0%'):>9}" for share in spent)
        each = ", ".join(f"{value:.1f}" for value in lasts)
        lines.append(f"{folder!s:<{width}}{cells([mean(lasts), std(lasts)])}{between:>18}{numbers}{shares}  {each}")
    return lines


def panels(studies: Mapping[Path, Sequence[Log]]) -> list[Panel]:
    """A panel for each task that was learned, in the order of the folders."""
    tasks: dict[tuple[str, str], dict[Path, Sequence[Log]]] = defaultdict(dict)
    for folder, logs in studies.items():
        if all(log.curve for log in logs):
            tasks[logs[0].env, logs[0].task][folder] = logs
    found = []
    for (env, task), folders in tasks.items():
        chance = [value for logs in folders.values() for log in logs for value in log.chance]
        found.append(
            Panel(
                title=env.replace("_", " ") if env.endswith(task) else f"{env} {task}",
                studies=[Study(folder.parent.name, [log.curve for log in logs]) for folder, logs in folders.items()],
                chance=mean(chance) if chance else None,
                reported=published_returns(env, task),
                at=ENV_FRAMES,
            )
        )
    return found


def mean(values: Sequence[float]) -> float:
    """NaN of no values, which `cells` shows as a dash."""
    return float(np.mean(values)) if values else math.nan


def std(values: Sequence[float]) -> float:
    """Of a sample; NaN of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The mean's 95% interval by Student's t; None of fewer than FEWEST values."""
    n = len(values)
    if n < FEWEST:
        return None
    half = float(t.ppf(0.975, n - 1)) * std(values) / math.sqrt(n)
    return mean(values) - half, mean(values) + half


def cells(numbers: Sequence[float]) -> str:
    """Nine characters each; a dash for what is not known."""
    return "".join(f"{'–' if math.isnan(number) else format(number, '.1f'):>9}" for number in numbers)


if __name__ == "__main__":
    main()
