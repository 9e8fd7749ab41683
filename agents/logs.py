"""What a run's raw log says in the end: returns, the way there, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldmodel.errors import DataError
from worldmodel.pictures.report import PARTS
from worldmodel.records import number, numbers, read_records, telling, text

LAST = 3  # evaluations that are averaged: a single one is a lucky or an unlucky moment of a run


@dataclass(frozen=True)
class Log:
    """One seed's outcome.

    Attributes:
        env, task, seed: what was played.
        returns: of the last evaluation's episodes, or of those that agents.collect played.
        chance: the random policy's returns, where they were measured.
        curve: mean return of each evaluation by the environment frames learned from until then, in order; empty where
            the run did not learn.
        minutes: of collecting, planning and fitting.
        shares: of those minutes, by the names of PARTS, in [0, 1]; learning in the dream is dreaming too.
        commits, machine: where it was run.
    """

    env: str
    task: str
    seed: int
    returns: list[float]
    chance: list[float]
    curve: dict[int, float]
    minutes: float
    shares: dict[str, float]
    commits: list[str]
    machine: str

    @property
    def env_frames(self) -> int:
        """Learned from in all; 0 where the run did not learn."""
        return max(self.curve, default=0)

    @property
    def last(self) -> float:
        """Mean of the last LAST evaluations, or of all where there are fewer, in a run that learned."""
        return float(np.mean(list(self.curve.values())[-LAST:]))

    def after(self, env_frames: int) -> float | None:
        """Mean return of the newest evaluation at or before so many frames; None if the run did not get there."""
        seen = [value for frames, value in self.curve.items() if frames <= env_frames]
        return seen[-1] if seen and self.env_frames >= env_frames else None


def read_log(path: Path) -> Log:
    """What a `metrics.jsonl` says in the end; DataError when it has no header or no returns, or is no log of ours."""
    if not path.is_file():
        raise DataError(f"{path} is no file: give metrics.jsonl files, such as RUN/metrics.jsonl")
    headers = read_records(path, "header") + read_records(path, "resume")
    evaluations = read_records(path, "evaluation")
    outcomes = evaluations or read_records(path, "collection")
    if not headers or not outcomes:
        raise DataError(f"{path} holds {len(headers)} headers and {len(outcomes)} outcomes: give a finished run's log")
    with telling(path):
        outcome = outcomes[-1]
        seconds = {
            name: sum(number(record["seconds"]) for record in read_records(path, kind)) for name, kind in PARTS.items()
        }
        clock = number(outcome["wall_clock_s"])
        return Log(
            env=text(outcome["env"]),
            task=text(outcome["task"]),
            seed=int(number(outcome["seed"])),
            returns=numbers(outcome["returns"]),
            chance=[value for record in read_records(path, "random_policy") for value in numbers(record["returns"])],
            curve={
                int(number(record["env_frames"])): float(np.mean(numbers(record["returns"])))
                for record in evaluations
                if record["env_frames"]
            },
            minutes=clock / 60,
            shares={name: spent / clock for name, spent in seconds.items() if spent},
            commits=[text(header["commit"])[:10] + (" (changed)" if header["dirty"] else "") for header in headers],
            machine=text(headers[0]["machine"]),
        )
