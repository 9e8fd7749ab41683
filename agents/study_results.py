"""Makes tables, and a figure, of logs of studies: ``python -m agents.study_results LOGS --figure study.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from agents.study_claims import BUDGETS, Difference, Log, claims
from worldmodel.command import command
from worldmodel.metrics.evaluation import BASELINES, REAL
from worldmodel.pictures.png import write_png
from worldmodel.pictures.study import Line, study_figure


@command
def main() -> None:
    """Prints the tables, and draws the figure where one is wanted."""
    given = arguments().parse_args()
    logs = [Log(path) for path in sorted(given.logs)]
    print("\n\n".join(part for log in logs for part in (table(log), claims_table(log), control(log)) if part))
    if given.figure:
        given.figure.parent.mkdir(parents=True, exist_ok=True)
        write_png(given.figure, study_figure({log.path.stem: lines(log) for log in logs}))
        print(given.figure)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m agents.study_results", description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+", help="metrics.jsonl files of agents.study")
    parser.add_argument("--figure", type=Path, help="draw measures against capacity here, as a PNG")
    return parser


def table(log: Log) -> str:
    """Means over seeds of every fit, at both budgets, and below them baselines and real clips."""
    commit = log.header["commit"][:10] if log.header else "unknown"
    machine = log.header["machine"] if log.header else "unknown"
    parts = [f"{log.path.stem}: seeds {', '.join(map(str, log.seeds))}; commit {commit}; {machine}"]
    for budget in BUDGETS:
        rows = []
        for member in log.members:
            for capacity in log.capacities:
                cells = [cell for cell in log.cells(member, capacity) if budget in cell]
                if not cells:
                    continue
                updates = sum(cell[budget]["updates"] for cell in cells) / len(cells)
                seconds = sum(cell[budget]["seconds"] for cell in cells) / len(cells)
                numbers = [log.mean(member, capacity, measure, budget) for measure in log.measures]
                told = f"{member:<11}{capacity[0]:>8g}{capacity[1]:>9g}{cells[0]['parameters'] / 1e6:>9.2f}M"
                told += f"{updates:>9.0f}{seconds:>8.0f}s"
                rows.append(told + "".join(f"{number:>14.3f}" for number in numbers if number is not None))
        if not rows:
            continue
        head = f"{'':<11}{'K':>8}{'M':>9}{'params':>10}{'updates':>9}{'fitting':>9}"
        head += "".join(f"{measure.title:>14}" for measure in log.measures)
        for row in (*BASELINES, REAL):
            known = [log.without_model(row, measure) for measure in log.measures]
            shown = "".join(f"{'' if number is None else f'{number:.3f}':>14}" for number in known)
            rows.append(f"{row:<56}{shown}".rstrip())
        parts.append("\n".join([f"after equal {budget}", head, *rows]))
    return "\n\n".join(parts)


def claims_table(log: Log) -> str:
    """How much better, in each measure's own unit, and 95 % intervals over fits; above 0 the claim holds."""
    parts = []
    for title, pairs in claims(log).items():
        rows = []
        for measure in log.measures:
            found = [log.difference(pairs, measure, budget) for budget in BUDGETS]
            if any(found):
                rows.append(f"  {measure.title:<16}" + "".join(f"{with_interval(each):>34}" for each in found).rstrip())
        if rows:
            parts.append("\n".join([title, *rows]))
    if not parts:
        return ""
    head = f"{'how much better':<18}" + "".join(f"{f'after equal {budget}':>34}" for budget in BUDGETS)
    return "\n\n".join([head, *parts])


def with_interval(difference: Difference | None) -> str:
    """A difference and its interval."""
    if difference is None:
        return ""
    known = difference.low is not None and difference.high is not None
    interval = f" [{difference.low:.3g}, {difference.high:.3g}]" if known else ""
    return f"{difference.better:+.3g}{interval}"


def control(log: Log) -> str:
    """Whether better video planned better: the returns, and rank correlations over fits."""
    found = log.correlations()
    if not found:
        return ""
    parts = [f"return that was planned, mean of {len(log.planned[0]['returns'])} episodes; a column a seed"]
    for member in log.members:
        for capacity in log.capacities:
            means = [np.mean(cell["returns"]) for cell in log.cells(member, capacity) if "returns" in cell]
            parts.append(f"{member:<11}{capacity[0]:>8g}{capacity[1]:>9g}" + "".join(f"{mean:>9.1f}" for mean in means))
    parts.append(f"\nrank correlation with it, over {len(log.planned)} fits, 95 % interval; and within members")
    for title, each in found.items():
        within = "" if each.within is None else f"{each.within:>+8.2f}"
        parts.append(f"{title:<16}{each.rank:>+8.2f} {f'[{each.low:+.2f}, {each.high:+.2f}]':<16}{within}".rstrip())
    return "\n".join(parts)


def lines(log: Log) -> list[Line]:
    """What the figure draws."""
    found = []
    for member in log.members:
        for budget in BUDGETS:
            points = {
                measure.title: [
                    (log.cells(member, capacity)[0]["parameters"], value)
                    for capacity in log.capacities
                    if (value := log.mean(member, capacity, measure, budget)) is not None
                ]
                for measure in log.measures
            }
            found.append(Line(member, budget, points))
    return found


if __name__ == "__main__":
    main()
