"""The ladder's findings as one page: what each rung scores, how models err, and where control is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agents.measuring import Measured

RANDOM = "random policy"
ONLINE = "model of its own data"
OFFLINE = "model of good data too"
SIMULATOR = "planner in the simulator"
"""The rungs, from the ground up."""

STEPS = (1, 2, 3, 5, 8, 12, 15, 20, 30, 50)  # of the horizon, that the page shows


def page(title: str, chance: Sequence[float], simulator: Sequence[float], models: Mapping[str, Measured]) -> str:
    """The whole page.

    Args:
        title: says the task, the seed and the planner.
        chance, simulator: returns of the random policy and of the planner in the simulator.
        models: by rung, `OFFLINE` and `ONLINE`.
    """
    returns = {RANDOM: chance, **{name: models[name].returns for name in (ONLINE, OFFLINE)}, SIMULATOR: simulator}
    sources = [f"{name}: {model.checkpoint}, {_updates(model)} updates" for name, model in models.items()]
    return "\n\n".join(
        [
            "\n".join([title, *sources]),
            "Returns. `share`: of the way from the random policy to the planner in the simulator.\n" + _scores(returns),
            _verdict(returns),
            "What plans expect to earn over their horizon, and what came, replanned at every decision.\n"
            + _expectations(models),
            "Errors of imagined steps, all on the same unseen episodes, of chance and of both models: shares of the\n"
            "variance there (1: no better than the mean); of frames, of the variance in the model's own data.\n"
            + _errors(models),
        ]
    )


def _updates(model: Measured) -> str:
    return "an unknown number of" if model.updates is None else str(model.updates)


def _scores(returns: Mapping[str, Sequence[float]]) -> str:
    ground, top = np.mean(returns[RANDOM]), np.mean(returns[SIMULATOR])
    lines = [f"{'':<26}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}  episodes   share"]
    for name, values in returns.items():
        x = np.asarray(values)
        share = "–" if top <= ground else format((x.mean() - ground) / (top - ground), ".0%")
        lines.append(f"{name:<26}{x.mean():>9.1f}{x.std():>9.1f}{x.min():>9.1f}{x.max():>9.1f}{len(x):>10}{share:>8}")
    return "\n".join(lines)


def _verdict(returns: Mapping[str, Sequence[float]]) -> str:
    """What is lost on each way down, with the standard error of the difference of two means of episodes."""
    height = np.mean(returns[SIMULATOR]) - np.mean(returns[RANDOM])
    if height <= 0:
        return (
            "The planner does no better than chance in the simulator itself: "
            "give it more candidates, or a horizon that fits the task."
        )
    ways = {
        "with the model, though its data is good": (SIMULATOR, OFFLINE),
        "with the data it collects itself, and the time to fit it": (OFFLINE, ONLINE),
    }
    lines, certain = [], {}
    for way, (above, below) in ways.items():
        loss = (np.mean(returns[above]) - np.mean(returns[below])) / height
        error = np.sqrt(sum(_squared_error(returns[rung]) for rung in (above, below))) / height
        lines.append(f"lost {way}: {loss:.0%} ± {error:.0%}")
        if loss > 2 * error:
            certain[way] = loss
        if loss < -2 * error:
            lines.append(
                "  (a gain: what is lower on the ladder does better, so what is above it lacks data or fitting)"
            )
    if not certain:
        return "\n".join([*lines, "No loss on the way down is larger than twice its standard error over episodes."])
    worst = max(certain, key=lambda way: certain[way])
    return "\n".join([*lines, f"Most control is lost {worst}."])


def _squared_error(values: Sequence[float]) -> float:
    """Of a mean; one episode tells nothing of its own error."""
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else 0.0


def _expectations(models: Mapping[str, Measured]) -> str:
    lines = [f"{'':<26}{'expected':>10}{'realised':>10}{'correlation':>13}{'decisions':>11}"]
    for name, model in models.items():
        found = model.expectation
        cells = [_number(value, ".2f") for value in (found.expected, found.realised, found.correlation)]
        lines.append(f"{name:<26}{cells[0]:>10}{cells[1]:>10}{cells[2]:>13}{found.decisions:>11}")
    return "\n".join(lines)


def _errors(models: Mapping[str, Measured]) -> str:
    every = [steps for model in models.values() for kinds in model.errors.values() for steps in kinds.values()]
    shown = [step for step in STEPS if step <= max(map(len, every))]
    lines = [f"{'imagined steps':<44}" + "".join(f"{step:>8}" for step in shown)]
    for name, model in models.items():
        for feedback, quantities in model.errors.items():
            for quantity, steps in quantities.items():
                cells = "".join(f"{_number(steps[step - 1], '.3f'):>8}" for step in shown)
                lines.append(f"{f'{name}, {feedback}: {quantity}':<44}{cells}")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
