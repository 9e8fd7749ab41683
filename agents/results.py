"""Makes a table of raw logs: ``python -m agents.results results/*/cartpole/*.jsonl``.

A row is a folder, its logs the seeds. What counts in each is its last evaluation, or what agents.collect played.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from worldmodel.command import command
from worldmodel.errors import DataError
from worldmodel.records import read_records


class Log(NamedTuple):
    """One seed's outcome: the returns of its episodes, the random policy's where it was measured, and the origin.

    `env_frames` is 0 where the run did not learn.
    """

    seed: int
    returns: list[float]
    chance: list[float]
    env_frames: int
    commits: list[str]
    machine: str


@command
def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m agents.results", description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+", help="metrics.jsonl files, such as results/STUDY/ENV/seed0.jsonl")
    print(table(parser.parse_args().logs))


def table(paths: Sequence[Path]) -> str:
    """A line for each folder of logs, and below which seeds, commits and machines they are of.

    `std` is between the means of seeds, unknown of one; `min` and `max` are single episodes; `frames` are simulator
    steps learned from, where the run itself learned. Raises DataError for a log without a header or without returns.
    """
    studies: dict[Path, list[Log]] = defaultdict(list)
    for path in sorted(paths):
        studies[path.parent].append(read_log(path))
    width = max(len(str(folder)) for folder in studies) + 2
    head = f"{'':<{width}}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}{'random':>9}{'frames':>9}  episodes  seeds"
    lines = [head]
    for folder, logs in studies.items():
        means = [np.mean(log.returns) for log in logs]
        every = np.concatenate([log.returns for log in logs])
        chance = [value for log in logs for value in log.chance]
        spread = np.std(means, ddof=1) if len(means) > 1 else None
        numbers = [np.mean(means), spread, every.min(), every.max(), np.mean(chance) if chance else None]
        cells = "".join(f"{'–' if number is None else format(number, '.1f'):>9}" for number in numbers)
        frames = max(log.env_frames for log in logs) or "–"
        seeds = ", ".join(str(log.seed) for log in logs)
        lines.append(f"{folder!s:<{width}}{cells}{frames:>9}{len(every):>10}  {seeds}")
    logs = [log for found in studies.values() for log in found]
    lines.append(f"commits: {', '.join(sorted({commit for log in logs for commit in log.commits}))}")
    lines.append(f"machines: {'; '.join(sorted({log.machine for log in logs}))}")
    return "\n".join(lines)


def read_log(path: Path) -> Log:
    """What a `metrics.jsonl` says in the end; DataError when it has no header or no returns."""
    if not path.is_file():
        raise DataError(f"{path} is no file: give metrics.jsonl files, such as RUN/metrics.jsonl")
    try:
        headers = read_records(path, "header") + read_records(path, "resume")
        outcomes = read_records(path, "evaluation") or read_records(path, "collection")
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is no log ({error!r}): give metrics.jsonl files") from error
    if not headers or not outcomes:
        raise DataError(f"{path} holds {len(headers)} headers and {len(outcomes)} outcomes: give a finished run's log")
    outcome = outcomes[-1]
    chance = [value for record in read_records(path, "random_policy") for value in record["returns"]]
    commits = [header["commit"][:10] + (" (changed)" if header["dirty"] else "") for header in headers]
    frames = outcome["env_frames"] if outcome["kind"] == "evaluation" else 0
    return Log(outcome["seed"], outcome["returns"], chance, frames, commits, headers[0]["machine"])


if __name__ == "__main__":
    main()
