"""How long a run takes, from the seconds of its steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.forecast import Pace, expected_seconds
from agents.learner import Schedule
from worldmodel.spec import EnvSpec

SPEC = EnvSpec("fade", "out", "box", 1, (-1.0,), (1.0,), 3, 30, (8, 8))  # 10 decisions an episode
SCHEDULE = Schedule(
    seed=0,
    episodes=6,
    seed_episodes=2,
    first_updates=50,
    updates=7,
    exploration=0.3,
    evaluate_every=3,
    evaluation_episodes=4,
    context=2,
)
# Played at random: 2 seed episodes and 4 to evaluate chance. Planned: 4 further episodes, and 2 evaluations of 4.
PLAYED, PLANNED, UPDATES = 18, 12, 50 + 4 * 7


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (Pace(step=1, plan=0, update=0), 10 * PLAYED),
        (Pace(step=0, plan=1, update=0), 10 * PLANNED),
        (Pace(step=0, plan=0, update=1), UPDATES),
        (Pace(step=0.5, plan=2, update=3), 5 * PLAYED + 20 * PLANNED + 3 * UPDATES),
    ],
)
def test_every_step_of_the_schedule_counts(pace: Pace, seconds: float) -> None:
    assert expected_seconds(SCHEDULE, pace, SPEC) == pytest.approx(seconds)


def test_a_last_decision_that_the_time_limit_cuts_counts_too() -> None:
    assert expected_seconds(SCHEDULE, Pace(1, 0, 0), replace(SPEC, time_limit=31)) == 11 * PLAYED
