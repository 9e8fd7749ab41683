"""Logs that are none, and what a run that stopped short says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.logs import read_log
from worldmodel.errors import DataError

HEADER = {"kind": "header", "commit": "0" * 40, "dirty": False, "machine": "a lathe"}


def test_a_log_of_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(HEADER) + "\n")
    with pytest.raises(DataError, match="holds 1 headers and 0 outcomes: give a finished run's log"):
        read_log(tmp_path / "a.jsonl")
    for other in (tmp_path / "b.jsonl", tmp_path):
        with pytest.raises(DataError, match=r"is no file: give metrics\.jsonl files"):
            read_log(other)
    (tmp_path / "c.jsonl").write_text("# a page of prose\n")
    with pytest.raises(DataError, match=r"c\.jsonl is no log"):
        read_log(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("env_frames", "found"), [(9, None), (10, 1.0), (29, 2.0), (30, 3.0), (39, 3.0), (40, 4.0), (41, None)]
)
def test_a_moment_between_evaluations_is_the_one_before(tmp_path: Path, env_frames: int, found: float | None) -> None:
    common = {"kind": "evaluation", "env": "a", "task": "b", "seed": 0, "wall_clock_s": 30.0}
    evaluations = [{**common, "env_frames": 10 * x, "returns": [x - 1, x + 1]} for x in (1, 2, 3, 4)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in (HEADER, *evaluations)))
    log = read_log(path)
    assert (log.env_frames, log.last, log.minutes) == (40, 3.0, 0.5)
    assert log.after(env_frames) == found
