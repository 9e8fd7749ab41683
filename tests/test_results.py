"""The table of raw logs says what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.results import table
from worldmodel.errors import DataError


def log(path: Path, seed: int, *records: dict[str, Any], dirty: bool = False) -> Path:
    header = {"kind": "header", "commit": f"{seed}" * 40, "dirty": dirty, "machine": "a lathe"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({**record, "seed": seed}) + "\n" for record in (header, *records)))
    return path


def evaluation(*returns: float, env_frames: int = 400) -> dict[str, Any]:
    return {"kind": "evaluation", "returns": returns, "env_frames": env_frames}


def test_a_row_a_folder_and_its_seeds(tmp_path: Path) -> None:
    chance = {"kind": "random_policy", "returns": [1.0, 2.0]}
    resumed = {"kind": "resume", "commit": "c" * 40, "dirty": False}
    paths = [
        log(tmp_path / "a" / "seed0.jsonl", 0, chance, evaluation(5), evaluation(10, 20, env_frames=800)),
        log(tmp_path / "a" / "seed1.jsonl", 1, resumed, evaluation(30, 50), dirty=True),
        log(tmp_path / "b" / "seed7.jsonl", 7, {"kind": "collection", "returns": [8.0], "env_frames": 99}),
    ]
    head, a, b, commits, machines = table(paths[::-1]).splitlines()
    assert head.split() == ["mean", "std", "min", "max", "random", "frames", "episodes", "seeds"]
    # The last evaluation of each; seeds' means are 15 and 40.
    assert a.split() == [str(tmp_path / "a"), "27.5", "17.7", "10.0", "50.0", "1.5", "800", "4", "0,", "1"]
    assert b.split() == [str(tmp_path / "b"), "8.0", "–", "8.0", "8.0", "–", "–", "1", "7"]
    assert commits == f"commits: {'0' * 10}, {'1' * 10} (changed), {'7' * 10}, {'c' * 10}"
    assert machines == "machines: a lathe"


def test_a_log_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 1 headers and 0 outcomes: give a finished run's log"):
        table([log(tmp_path / "a.jsonl", 0)])
    for other in (tmp_path / "b.jsonl", tmp_path):
        with pytest.raises(DataError, match=r"is no file: give metrics\.jsonl files"):
            table([other])
    (tmp_path / "c.jsonl").write_text("# a page of prose\n")
    with pytest.raises(DataError, match=r"c\.jsonl is no log"):
        table([tmp_path / "c.jsonl"])
