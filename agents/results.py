"""Makes a table of raw logs: ``python -m agents.results results/*/cartpole/*.jsonl``.

A row is a folder, its logs the seeds. What counts in each is its last evaluation, or what agents.collect played.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from worldmodel.command import command
from worldmodel.errors import DataError
from worldmodel.records import read_records


class Log(NamedTuple):
    """One seed's outcome: the returns of its episodes, the random policy's where it was measured, and the origin."""

    seed: int
    returns: list[float]
    chance: list[float]
    env_frames: int
    commit: str
    machine: str


@command
def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m agents.results", description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+", help="metrics.jsonl files, such as results/STUDY/ENV/seed0.jsonl")
    print(table(parser.parse_args().logs))


def table(paths: Sequence[Path]) -> str:
    """A line for each folder of logs, and below which seeds, commits and machines they are of.

    `std` is between the means of seeds; `least` and `most` are single episodes. Raises DataError for a log without
    a header or without returns.
    """
    studies: dict[Path, list[Log]] = defaultdict(list)
    for path in sorted(paths):
        studies[path.parent].append(read_log(path))
    width = max(len(str(folder)) for folder in studies) + 2
    head = f"{'':<{width}}{'mean':>9}{'std':>9}{'least':>9}{'most':>9}{'random':>9}{'frames':>9}  episodes  seeds"
    lines = [head]
    for folder, logs in studies.items():
        means = [np.mean(log.returns) for log in logs]
        every = np.concatenate([log.returns for log in logs])
        chance = [value for log in logs for value in log.chance]
        numbers = [np.mean(means), np.std(means), every.min(), every.max()]
        cells = "".join(f"{number:>9.1f}" for number in numbers) + f"{f'{np.mean(chance):.1f}' if chance else '–':>9}"
        frames = max(log.env_frames for log in logs)
        seeds = ", ".join(str(log.seed) for log in logs)
        lines.append(f"{folder!s:<{width}}{cells}{frames:>9}{len(every):>10}  {seeds}")
    logs = [log for found in studies.values() for log in found]
    lines.append(f"commits: {', '.join(sorted({log.commit for log in logs}))}")
    lines.append(f"machines: {'; '.join(sorted({log.machine for log in logs}))}")
    return "\n".join(lines)


def read_log(path: Path) -> Log:
    """What a `metrics.jsonl` says in the end; DataError when it has no header or no returns."""
    if not path.is_file():
        raise DataError(f"{path} does not exist: give metrics.jsonl files")
    headers = read_records(path, "header")
    outcomes = read_records(path, "evaluation") or read_records(path, "collection")
    if not headers or not outcomes:
        raise DataError(f"{path} holds {len(headers)} headers and {len(outcomes)} outcomes: give a finished run's log")
    header, outcome = headers[0], outcomes[-1]
    chance = [value for record in read_records(path, "random_policy") for value in record["returns"]]
    commit = header["commit"][:10] + (" (changed)" if header["dirty"] else "")
    return Log(outcome["seed"], outcome["returns"], chance, _frames(outcome), commit, header["machine"])


def _frames(outcome: dict[str, Any]) -> int:
    """Simulator steps that the policy learned from: none where it did not learn."""
    return outcome["env_frames"] if outcome["kind"] == "evaluation" else 0


if __name__ == "__main__":
    main()
