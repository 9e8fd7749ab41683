"""Tables and figure of a study say what its log says, and intervals hold what they should."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.study_claims import MEASURES, Log, claims, last_budget, student
from agents.study_results import claims_table, control, lines, table
from worldmodel.errors import DataError
from worldmodel.pictures.study import study_figure

SMALL, LARGE = (0.125, 0.0625), (0.25, 0.125)


def cell(member: str, capacity: tuple[float, float], seed: int, quality: float, **more: Any) -> dict[str, Any]:
    """Of four windows; in dB its samples are 1 better than its mean, and each window 10 above the one before."""
    rng = np.random.default_rng([seed, int(100 * quality)])
    psnr = quality + 10 * np.arange(4) + rng.normal(0, 0.01, 4)
    frechet = {"one sample": {"frechet": 50 - quality, "mmd": 0.0}, "real clips": {"frechet": 2.0, "mmd": 0.0}}
    found = {
        "updates": 10,
        "seconds": 1.5,
        "frames": {name: {"copy last frame": [5.0, 7.0]} for name in ("psnr", "ssim", "reward")},
        "by_window": {
            "psnr": {"mean of z": psnr.tolist(), "best of 3": (psnr + 1).tolist()},
            "ssim": {"mean of z": [0.5] * 4, "best of 3": [0.75] * 4},
            "reward": {"mean of z": [1 / quality] * 4, "best of 3": [0.0] * 4},
        },
        "clips": {"appearance": frechet, "motion": frechet},
    }
    parameters = int(1e6 * capacity[0])
    return {
        **{"kind": "cell", "member": member, "K": capacity[0], "M": capacity[1], "seed": seed},
        **{"parameters": parameters, "multiply_adds": 1, "updates": found, "time": found, **more},
    }


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "bouncing.jsonl"
    cells = [
        cell(member, capacity, seed, quality + (4 if capacity == LARGE else 0), returns=[100 * quality + seed])
        for seed in (0, 1)
        for capacity in (SMALL, LARGE)
        for member, quality in (("svg_prime", 13.0), ("lstm", 10.0), ("cnn", 8.0))
    ]
    header = {"kind": "header", "commit": "0123456789abcdef", "machine": "a machine"}
    path.write_text("".join(json.dumps(record) + "\n" for record in [header, *cells]))
    return Log(path)


def test_differences_are_those_of_the_log(log: Log) -> None:
    found = claims(log)
    assert list(found) == [
        *(f"capacity: {member}, largest against smallest" for member in ("svg_prime", "lstm", "cnn")),
        *("recurrence: lstm against cnn", "chance: svg_prime against lstm"),
    ]
    best, mean_z, *_, motion, reward = MEASURES
    for title, expected in (
        ("capacity: cnn, largest against smallest", 4),
        ("recurrence: lstm against cnn", 2),
        ("chance: svg_prime against lstm", 3),
    ):
        for measure in (best, mean_z):
            difference = log.difference(found[title], measure, "time")
            assert difference is not None and difference.low is not None and difference.high is not None
            assert difference.better == pytest.approx(expected, abs=0.03)
            assert expected - 0.2 < difference.low < difference.better < difference.high < expected + 0.2
        far = log.difference(found[title], motion, "updates")
        assert far is not None and far.better == pytest.approx(expected)  # nearer is better
    errors = log.difference(found["recurrence: lstm against cnn"], reward, "time")
    assert errors is not None
    assert errors.better == pytest.approx(np.mean([1 / 8 - 1 / 10, 1 / 12 - 1 / 14]))


@pytest.mark.parametrize("n", [2, 6])
def test_an_interval_holds_the_mean_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(1)
    intervals = [student(3 + rng.normal(0, 1, n)) for _ in range(1000)]
    held = sum(low is not None and high is not None and low <= 3 <= high for low, high in intervals)
    assert 930 <= held <= 970
    assert student([7.0, 7.0]) == (7.0, 7.0) and student([7.0]) == (None, None)


def test_capacities_are_in_order_of_size_however_they_were_fitted(log: Log) -> None:
    header, *cells = (json.loads(line) for line in log.path.read_text().splitlines())
    log.path.write_text("".join(json.dumps(record) + "\n" for record in [header, *reversed(cells)]))
    again = Log(log.path)
    assert again.capacities == log.capacities == [SMALL, LARGE]
    difference = again.difference(claims(again)["capacity: cnn, largest against smallest"], MEASURES[0], "time")
    assert difference is not None and difference.better == pytest.approx(4, abs=0.03)


def test_plans_are_held_against_the_model_that_made_them() -> None:
    made = cell("svg", SMALL, 0, 10.0)
    assert last_budget(made | {"updates": made["updates"] | {"updates": 11}}) == "updates"
    assert last_budget(made | {"time": made["time"] | {"updates": 11}}) == "time"


def test_tables_hold_every_fit_and_claim(log: Log) -> None:
    shown = table(log)
    assert shown.startswith("bouncing: seeds 0, 1; commit 0123456789; a machine")
    assert shown.count("svg_prime") == 4 and shown.count("real clips") == 2
    row = next(line for line in shown.splitlines() if line.startswith("lstm") and " 0.25" in line).split()
    assert row[:6] == ["lstm", "0.25", "0.125", "0.25M", "10", "2s"]
    assert [float(value) for value in row[6:]] == pytest.approx([30, 29, 36, 36, 1 / 14], abs=0.02)
    copied = next(line for line in shown.splitlines() if line.startswith("copy last frame"))
    assert copied.split()[3:] == ["6.000", "6.000", "6.000"]  # no clips were measured of it here
    assert (
        "recurrence: lstm against cnn" in claims_table(log)
        and len(re.findall(r"\+(2\.9|3\.0|3 )\d? ?\[", claims_table(log))) == 8
    )
    told = control(log)
    lines = told.splitlines()
    assert lines[0] == "return that was planned, mean of 1 episodes; a column a seed"
    assert lines[1].split() == ["svg_prime", "0.125", "0.0625", "1300.0", "1301.0"]
    assert "rank correlation with it, over 12 fits, 95 % interval; and within members" in lines
    assert "SSIM" not in told  # which never varies
    best = log.correlations()["PSNR, best"]
    # Members go by quality, as returns do; a member's own returns know nothing of its capacity.
    assert 0 < best.low < best.rank < best.high <= 1 and best.within == pytest.approx(0, abs=0.5)


def test_the_figure_draws_each_member_at_both_budgets(log: Log) -> None:
    figure = study_figure({"bouncing": lines(log)})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [measure.title for measure in MEASURES if measure.metric != "ssim"]  # which never varies
    drawn = figure.axes[0].lines
    assert [(line.get_label()[:9], line.get_linestyle()) for line in drawn][:3] == [
        ("svg_prime", "-"),
        ("_child1", "--"),
        ("lstm", "-"),
    ]
    assert list(drawn[0].get_xdata()) == [125_000, 250_000]
    np.testing.assert_allclose(drawn[0].get_ydata(), [29, 33], atol=0.03)
    with pytest.raises(DataError, match="there is no study to draw"):
        study_figure({})


def test_a_log_that_lacks_fits_says_what_it_can(log: Log) -> None:
    records = [json.loads(line) for line in log.path.read_text().splitlines()]
    kept = [record for record in records if (record.get("seed"), record.get("member")) != (1, "cnn")]
    log.path.write_text("".join(json.dumps(record) + "\n" for record in kept))
    part = Log(log.path)
    assert part.difference(claims(part)["recurrence: lstm against cnn"], MEASURES[0], "time") is None
    assert "recurrence" not in claims_table(part) and "chance" in claims_table(part)
    log.path.write_text(json.dumps(records[0]) + "\n")
    with pytest.raises(DataError, match="holds no cell of a study"):
        Log(log.path)
