"""The ladder's findings as text: what each rung scores, how models err, and where control is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agents.expectation import Expectation

RANDOM = "random policy"
SIMULATOR = "planner in the simulator"
OFFLINE = "model of good data"
ONLINE = "model of its own data"
"""The rungs, from the ground up: (a) is the simulator's, (b) the good data's, (c) the model's own data's."""

Errors = Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]
"""By rung, by feedback (features, pixels), by quantity (reward, frame, embedding): the error of each step."""


def share(mean: float, ground: float, top: float) -> float | None:
    """How far up from the random policy to the planner in the simulator, as a share; None where the two are one."""
    return None if top == ground else (mean - ground) / (top - ground)


def scores_text(returns: Mapping[str, Sequence[float]]) -> str:
    """A line a rung, from the ground up; `share` is of the way from the random policy to the simulator's planner."""
    ground, top = np.mean(returns[RANDOM]), np.mean(returns[SIMULATOR])
    lines = [f"{'':<26}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}  episodes   share"]
    for name in (RANDOM, ONLINE, OFFLINE, SIMULATOR):
        x = np.asarray(returns[name])
        climbed = share(float(x.mean()), float(ground), float(top))
        shown = "      –" if climbed is None else f"{climbed:>7.0%}"
        lines.append(f"{name:<26}{x.mean():>9.1f}{x.std():>9.1f}{x.min():>9.1f}{x.max():>9.1f}{len(x):>10}{shown:>8}")
    return "\n".join(lines)


def errors_text(errors: Errors) -> str:
    """A line for each rung, feedback and quantity; a column for some of the horizon's steps."""
    horizon = max(len(steps) for kinds in errors.values() for found in kinds.values() for steps in found.values())
    shown = [step for step in (1, 2, 3, 5, 8, 12, 15, 20, 30, 50) if step <= horizon]
    lines = [f"{'step':<44}" + "".join(f"{step:>8}" for step in shown)]
    for rung, feedbacks in errors.items():
        for feedback, quantities in feedbacks.items():
            for quantity, steps in quantities.items():
                cells = [steps[step - 1] if step <= len(steps) else None for step in shown]
                values = "".join(f"{'–' if cell is None else format(cell, '.3f'):>8}" for cell in cells)
                lines.append(f"{f'{rung}, {feedback}: {quantity}':<44}{values}")
    return "\n".join(lines)


def expectations_text(expectations: Mapping[str, Expectation]) -> str:
    """A line a model: what its plans promised over their horizon, what came, and how the two go together."""
    lines = [f"{'':<26}{'expected':>10}{'realised':>10}{'correlation':>13}{'decisions':>11}"]
    for name, found in expectations.items():
        values = (found.expected, found.realised, found.correlation)
        cells = ["–" if value is None else format(value, ".2f") for value in values]
        lines.append(f"{name:<26}{cells[0]:>10}{cells[1]:>10}{cells[2]:>13}{found.decisions:>11}")
    return "\n".join(lines)


def verdict(returns: Mapping[str, Sequence[float]]) -> str:
    """Which step down the ladder loses most."""
    means = {name: float(np.mean(values)) for name, values in returns.items()}
    top = share(means[SIMULATOR], means[RANDOM], means[SIMULATOR])
    if top is None or means[SIMULATOR] < means[RANDOM]:
        return "The planner does no better than chance in the simulator itself: give it more samples, or a horizon that fits."
    losses = {
        "model (fitted to good data, it still plans worse than the simulator)": means[SIMULATOR] - means[OFFLINE],
        "data and the time to fit (with its own it plans worse than with good data)": means[OFFLINE] - means[ONLINE],
    }
    height = means[SIMULATOR] - means[RANDOM]
    lines = [f"lost by the {reason}: {loss / height:.0%}" for reason, loss in losses.items()]
    worst = max(losses, key=lambda reason: losses[reason])
    if losses[worst] <= 0:
        return "\n".join([*lines, "Nothing is lost between the simulator and the model of its own data."])
    return "\n".join([*lines, f"Most control is lost by the {worst.partition(' (')[0]}."])
