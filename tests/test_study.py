"""The study: every member is fitted to both budgets and measured, once, however often it is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Command, running

from agents.study_cells import Cell
from worldmodel.bouncing import bouncing_episode
from worldmodel.episode import episode_path, save_episode
from worldmodel.records import read_records, whole_lines

TINY = [
    *("capacities=[[0.125,0.02]]", "seeds=[0]", "updates=2", "minutes=0.0001", "windows=3", "context=2", "horizon=3"),
    *("samples=2", "accelerator=cpu", "precision=32-true"),
    *("+model.hidden=32", "+model.feature=32", "+train.batch=2", "+train.window=4", "+train.unrolling.draw_forced=1"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for folder in ("data", "more"):
        for index in range(4):
            save_episode(bouncing_episode(index, 8, 32), episode_path(home / folder, index))
    return home


@pytest.fixture(scope="module")
def study(home: Path) -> Iterator[Command]:
    with running("agents.study", home, "data=[data,more]", "held_out=0.5", *TINY) as command:
        yield command


def test_every_member_is_measured_at_both_budgets(study: Command, home: Path) -> None:
    outcome = study("run=whole")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == "whole/metrics.jsonl\n"
    cells = read_records(home / "whole" / "metrics.jsonl", "cell")
    assert [cell["member"] for cell in cells] == ["svg_prime", "svg", "lstm", "cnn", "rssm"]
    for cell in cells:
        assert (cell["K"], cell["M"], cell["seed"]) == (0.125, 0.02, 0) and cell["parameters"] > 0
        for budget in ("updates", "time"):
            found = cell[budget]
            assert found["updates"] >= 2 and found["seconds"] >= 0
            assert len(found["frames"]["psnr"]["mean of z"]) == 3
            assert len(found["by_window"]["psnr"]["best of 2"]) == 3 and "mean frame" not in found["by_window"]["psnr"]
            assert set(found["clips"]) == {"appearance", "motion"}
            chance = cell["member"] in ("svg_prime", "svg", "rssm")
            assert ("kl" in found["frames"]) == chance
            same = found["frames"]["psnr"]["mean of z"] == found["frames"]["psnr"]["mean of 2"]
            assert same != chance
        assert cell["updates"]["updates"] == 2


def test_what_was_measured_is_not_fitted_again(study: Command, home: Path) -> None:
    some = ["members=[rssm,cnn]", "run=stopped"]
    assert study(*some).status == 0
    log = home / "stopped" / "metrics.jsonl"
    first, *_ = read_records(log, "cell")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + lines[2][: len(lines[2]) // 2])  # killed while it wrote
    assert whole_lines(log) == len(b"".join(lines[:2]))
    refused = study(*some)
    assert refused.status == 2 and "already holds a run: add resume=true" in refused.stderr
    outcome = study(*some, "resume=true")
    assert outcome.status == 0, outcome.stderr
    cells = read_records(log, "cell")
    assert [Cell.of(cell).member for cell in cells] == ["rssm", "cnn"] and cells[0] == first
    other = study(*some, "resume=true", "updates=3")
    assert other.status == 2 and "was begun otherwise: updates 2 then, 3 now" in other.stderr
    fewer = study(*some, "resume=true", "samples=3")  # whose best would be held against that of 2
    assert fewer.status == 2 and "was begun otherwise: samples 2 then, 3 now" in fewer.stderr


def test_a_fit_that_diverges_is_told_and_the_others_go_on(study: Command, home: Path) -> None:
    outcome = study(
        "members=[cnn]", "+model.advance=residual", "+train.learning_rate=1e30", "seeds=[0,1]", "run=diverged"
    )
    assert outcome.status == 0, outcome.stderr
    log = home / "diverged" / "metrics.jsonl"
    told = read_records(log, "diverged")
    assert [(cell["member"], cell["seed"]) for cell in told] == [("cnn", 0), ("cnn", 1)] and not read_records(
        log, "cell"
    )
    assert "not finite" in told[0]["why"] and "not finite" in outcome.stderr


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["members=[svg_second]"], "error: svg_second cannot be composed"),
        (["feedback=frames"], "error: feedback is 'frames'"),
        (["capacities=[[0,1]]"], "error: model.K is 0.0"),
        (["data=nowhere"], "error: nowhere is not a folder"),
        (["held_out=0"], "error: there is 0 episode: give two or more"),
        (["minutes=-1"], "error: minutes is -1"),
        (["planning=1", "env=cartpole_gym"], "error: the model in ['data', 'more'] was trained on another environment"),
    ],
)
def test_mistakes_are_a_line(study: Command, overrides: list[str], says: str) -> None:
    outcome = study("run=mistaken", *overrides)
    assert outcome.status == 2 and outcome.stderr.startswith(says), outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_logs_are_of_numbers_that_json_knows(home: Path) -> None:
    for line in (home / "whole" / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line and json.loads(line)
    assert np.isfinite(read_records(home / "whole" / "metrics.jsonl", "cell")[0]["parameters"])
