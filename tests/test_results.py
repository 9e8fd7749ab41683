"""The tables and panels of raw logs say what is in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agents.results import interval, main, panels, read_studies, table
from worldmodel.errors import DataError


def log(path: Path, seed: int, *records: dict[str, Any], dirty: bool = False) -> Path:
    header = {"kind": "header", "commit": f"{seed}" * 40, "dirty": dirty, "machine": "a lathe"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({**record, "seed": seed}) + "\n" for record in (header, *records)))
    return path


def evaluation(
    *returns: float, env_frames: int = 400, task: str = "swingup", wall_clock_s: float = 90.0
) -> dict[str, Any]:
    played = {"env": "cartpole", "task": task, "returns": returns}
    return {"kind": "evaluation", "env_frames": env_frames, "wall_clock_s": wall_clock_s, **played}


COLLECTED = {**evaluation(8.0, env_frames=99), "kind": "collection"}
CHANCE = {"kind": "random_policy", "returns": [1.0, 2.0]}


def test_a_row_a_folder_and_its_seeds(tmp_path: Path) -> None:
    resumed = {"kind": "resume", "commit": "c" * 40, "dirty": False}
    paths = [
        log(tmp_path / "a" / "seed0.jsonl", 0, CHANCE, evaluation(5), evaluation(10, 20, env_frames=800)),
        log(tmp_path / "a" / "seed1.jsonl", 1, resumed, evaluation(30, 50), dirty=True),
        log(tmp_path / "b" / "seed7.jsonl", 7, COLLECTED),
    ]
    head, a, b, _, learning, way, _, commits, machines = table(read_studies(paths[::-1])).splitlines()
    assert head.split() == ["mean", "std", "min", "max", "random", "gain", "frames", "episodes", "seeds"]
    # The last evaluation of each; seeds' means are 15 and 40.
    assert a.split() == [str(tmp_path / "a"), "27.5", "17.7", "10.0", "50.0", "1.5", "26.0", "800", "4", "0,", "1"]
    assert b.split() == [str(tmp_path / "b"), "8.0", "–", "8.0", "8.0", "–", "–", "–", "1", "7"]
    # Of the seed with two evaluations their mean, (5 + 15) / 2, and 40 of the other.
    columns = [
        "last",
        "3",
        "std",
        "95%",
        "interval",
        "25k",
        "50k",
        "100k",
        "minutes",
        "playing",
        "fitting",
        "dreaming",
        "last",
        "3",
        "of",
        "each",
        "seed",
    ]
    assert learning.split() == columns
    assert way.split() == [str(tmp_path / "a"), "25.0", "21.2", *"––––", "1.5", *"–––", "10.0,", "40.0"]
    assert commits == f"commits: {'0' * 10}, {'1' * 10} (changed), {'7' * 10}, {'c' * 10}"
    assert machines == "machines: a lathe"


def test_what_learned_nothing_has_one_table(tmp_path: Path) -> None:
    """Neither what was collected nor what was planned in a model of before."""
    paths = [
        log(tmp_path / "a" / "seed0.jsonl", 0, COLLECTED),
        log(tmp_path / "b" / "seed0.jsonl", 0, CHANCE, evaluation(4.0, env_frames=0)),
    ]
    assert len(table(read_studies(paths)).splitlines()) == 5
    assert panels(read_studies(paths)) == []


def test_the_way_is_told_by_the_newest_evaluation_at_or_before(tmp_path: Path) -> None:
    def run(seed: int, end: int, *, first: int = 20, each: float = 1.0) -> Path:
        evaluations = [
            evaluation(each * x, env_frames=1000 * x, wall_clock_s=60 * x) for x in range(first, end + 1, first)
        ]
        return log(tmp_path / "a" / f"seed{seed}.jsonl", seed, *evaluations)

    row = table(read_studies([run(0, 100), run(1, 100, each=3)])).splitlines()[4].split()[1:]
    # Means of 60, 80, 100 and 180, 240, 300; after 20k, 40k and 100k frames 1 and 3 times the thousands.
    assert row == ["160.0", "113.1", "–", "40.0", "80.0", "200.0", "100.0", *"–––", "80.0,", "240.0"]
    # A third seed that only got to 60k: of 100k nothing can be said, but of three seeds there is an interval.
    row = table(read_studies([run(0, 100), run(1, 100, each=3), run(2, 60)])).splitlines()[4].split()[1:]
    means = [80.0, 240.0, 40.0]
    low, high = (np.mean(means) + sign * 4.30265 * np.std(means, ddof=1) / 3**0.5 for sign in (-1, 1))
    assert row[:2] == ["120.0", "105.8"] and row[2:5] == [f"{low:.1f}", "to", f"{high:.1f}"]
    assert row[5:] == [f"{100 / 3:.1f}", f"{200 / 3:.1f}", "–", f"{260 / 3:.1f}", *"–––", "80.0,", "240.0,", "40.0"]


def test_shares_of_the_minutes_are_those_of_the_records(tmp_path: Path) -> None:
    spent = [{"kind": kind, "seconds": seconds} for kind, seconds in (("episode", 9.0), ("fit", 30.0), ("fit", 15.0))]
    dreamed = {"kind": "dream", "seconds": 36.0}
    paths = [
        log(tmp_path / "cem" / "seed0.jsonl", 0, *spent, evaluation(5)),
        log(tmp_path / "ppo" / "seed0.jsonl", 0, *spent, dreamed, evaluation(5)),
        log(tmp_path / "ppo" / "seed1.jsonl", 1, *spent, dreamed, evaluation(5, wall_clock_s=180.0)),
    ]
    cem, ppo = table(read_studies(paths)).splitlines()[5:7]
    assert cem.split()[6:11] == ["–", "1.5", "10%", "50%", "–"]
    assert [word for word in ppo.split() if "%" in word] == ["8%", "38%", "30%"]  # means of two seeds


def test_no_interval_of_fewer_than_three_seeds() -> None:
    assert interval([1.0, 2.0]) is None
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_a_panel_a_task_beside_what_papers_report(tmp_path: Path) -> None:
    paths = [
        log(tmp_path / "x" / "here" / "seed0.jsonl", 0, CHANCE, evaluation(5, 7), evaluation(10, env_frames=800)),
        log(tmp_path / "x" / "here" / "seed1.jsonl", 1, evaluation(30)),
        log(tmp_path / "y" / "here" / "seed0.jsonl", 0, evaluation(1)),
        log(tmp_path / "y" / "there" / "seed0.jsonl", 0, evaluation(2, task="fly")),
        log(tmp_path / "z" / "here" / "seed0.jsonl", 0, COLLECTED),
    ]
    swingup, fly = panels(read_studies(paths))
    assert (swingup.title, fly.title) == ("cartpole swingup", "cartpole fly")
    assert [(study.name, study.seeds) for study in swingup.studies] == [
        ("x", [{400: 6.0, 800: 10.0}, {400: 30.0}]),
        ("y", [{400: 1.0}]),
    ]
    assert (swingup.chance, fly.chance) == (1.5, None)
    assert swingup.reported["TD-MPC"] == 770 and fly.reported == {}


def test_one_command_makes_tables_and_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, figure = log(tmp_path / "a" / "seed0.jsonl", 0, CHANCE, evaluation(5)), tmp_path / "docs" / "scores.png"
    monkeypatch.setattr(sys, "argv", ["results", str(path), "--figure", str(figure)])
    main()
    assert capsys.readouterr().out == f"{table(read_studies([path]))}\n{figure}\n"
    with Image.open(figure) as image:
        image.load()


def test_a_folder_of_two_tasks_is_an_error(tmp_path: Path) -> None:
    paths = [log(tmp_path / "a" / f"{task}.jsonl", 0, evaluation(5, task=task)) for task in ("swingup", "balance")]
    with pytest.raises(DataError, match=r"a holds logs of cartpole/balance, cartpole/swingup: keep each task's in a"):
        read_studies(paths)
