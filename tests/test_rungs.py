"""The ladder's page, of made-up findings."""

from __future__ import annotations

import pytest

from agents.expectation import Expectation
from agents.measuring import Measured
from agents.rungs import OFFLINE, ONLINE, page

STEPS = [0.1, 0.2, 0.3, 0.4, 0.5, None]


def measured(*returns: float, expectation: Expectation | None = None, errors: list | None = None) -> Measured:
    curves = {"reward": errors or STEPS, "frame": STEPS}
    return Measured(
        "runs/some",
        300,
        list(returns),
        expectation or Expectation(9, 5.0, 4.0, 0.25),
        {"features": curves, "pixels": curves},
    )


def paper(chance: float, online: float, offline: float, simulator: float, *, spread: float = 0.0) -> str:
    """Returns of two episodes a rung, so far on both sides of their mean."""
    models = {OFFLINE: measured(offline - spread, offline + spread), ONLINE: measured(online - spread, online + spread)}
    return page("line/reach, seed 0", [chance] * 2, [simulator - spread, simulator + spread], models)


WITH_THE_MODEL = "lost with the model, though its data is good: "
WITH_ITS_DATA = "lost with the data it collects itself, and the time to fit it: "
NONE = "No loss on the way down is larger than twice its standard error over episodes"


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ((0, 15, 20, 100), ["80%", "5%", "Most control is " + WITH_THE_MODEL[:-2]]),
        ((10, 20, 90, 110), ["20%", "70%", "Most control is " + WITH_ITS_DATA[:-2]]),
        ((0, 100, 100, 100), ["0%", "0%", NONE]),
    ],
)
def test_the_verdict_says_how_much_is_lost_where(returns: tuple[float, ...], says: list[str]) -> None:
    verdict = paper(*returns).split("\n\n")[2]
    assert verdict.splitlines() == [
        f"{WITH_THE_MODEL}{says[0]} ± 0%",
        f"{WITH_ITS_DATA}{says[1]} ± 0%",
        f"{says[2]}.",
    ]


def test_a_rung_that_does_better_than_the_one_above_is_pointed_out() -> None:
    verdict = paper(-20, 60, 100, 80).split("\n\n")[2].splitlines()
    assert verdict[0] == f"{WITH_THE_MODEL}-20% ± 0%" and verdict[1].startswith("  (a gain: what is lower")
    assert verdict[2:] == [f"{WITH_ITS_DATA}40% ± 0%", f"Most control is {WITH_ITS_DATA[:-2]}."]
    assert paper(0, 130, 120, 100).split("\n\n")[2].splitlines()[4] == f"{NONE}."


def test_a_loss_within_its_error_is_none() -> None:
    """Two episodes 2 s apart have means with standard error s, their difference one of sqrt(2) s."""
    verdict = paper(0, 70, 90, 100, spread=10).split("\n\n")[2].splitlines()
    assert verdict == [f"{WITH_THE_MODEL}10% ± 14%", f"{WITH_ITS_DATA}20% ± 14%", f"{NONE}."]
    verdict = paper(0, 70, 90, 100, spread=5).split("\n\n")[2].splitlines()
    assert verdict[1:] == [f"{WITH_ITS_DATA}20% ± 7%", f"Most control is {WITH_ITS_DATA[:-2]}."]


@pytest.mark.parametrize("simulator", [10, 5])
def test_a_planner_no_better_than_chance_is_the_first_thing_to_mend(simulator: float) -> None:
    text = paper(10, 20, 30, simulator)
    assert text.split("\n\n")[2].startswith("The planner does no better than chance in the simulator itself: give it")
    assert "lost" not in text
    assert [line.split()[-1] for line in text.split("\n\n")[1].splitlines()[2:]] == ["–"] * 4  # shares of nothing


def test_returns_stand_from_the_ground_up_with_their_spread_and_share() -> None:
    models = {OFFLINE: measured(50, 70), ONLINE: measured(20, 20)}
    scores = page("line/reach, seed 3", [10, 10], [100, 120], models).split("\n\n")[:2]
    source = "runs/some, 300 updates"
    assert scores[0].splitlines() == ["line/reach, seed 3", f"{OFFLINE}: {source}", f"{ONLINE}: {source}"]
    says, header, *rows = scores[1].splitlines()
    assert says.startswith("Returns. `share`") and header.split() == ["mean", "std", "min", "max", "episodes", "share"]
    assert [" ".join(row.split()) for row in rows] == [
        "random policy 10.0 0.0 10.0 10.0 2 0%",
        "model of its own data 20.0 0.0 20.0 20.0 2 10%",
        "model of good data too 60.0 10.0 50.0 70.0 2 50%",
        "planner in the simulator 110.0 10.0 100.0 120.0 2 100%",
    ]
    assert len({len(row) for row in (header, *rows)}) == 1


def test_expectations_that_are_not_known_are_dashes() -> None:
    models = {
        OFFLINE: measured(50, expectation=Expectation(40, 12.345, 6.0, -0.5)),
        ONLINE: measured(20, expectation=Expectation(0, None, None, None)),
    }
    _, header, good, own = page("", [10], [100], models).split("\n\n")[3].splitlines()
    assert header.split() == ["expected", "realised", "correlation", "decisions"]
    assert good.split()[5:] == ["12.35", "6.00", "-0.50", "40"] and good.startswith(OFFLINE)
    assert own.split()[5:] == ["–", "–", "–", "0"] and own.startswith(ONLINE)


def test_errors_are_shown_at_some_steps_of_the_horizon_by_feedback() -> None:
    models = {OFFLINE: measured(50), ONLINE: measured(20, errors=[1, None, 3, 4, 5, 6])}
    _, _, header, *rows = page("", [10], [100], models).split("\n\n")[4].splitlines()
    assert header.split() == ["imagined", "steps", "1", "2", "3", "5"]
    assert [row[:44].rstrip() for row in rows] == [
        f"{rung}, {feedback}: {quantity}"
        for rung in (OFFLINE, ONLINE)
        for feedback in ("features", "pixels")
        for quantity in ("reward", "frame")
    ]
    assert rows[0][44:].split() == rows[5][44:].split() == ["0.100", "0.200", "0.300", "0.500"]
    assert rows[4][44:].split() == ["1.000", "–", "3.000", "5.000"]
    assert len({len(row) for row in (header, *rows)}) == 1
