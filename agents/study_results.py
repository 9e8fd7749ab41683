"""Makes tables, and a figure, of logs of studies: ``python -m agents.study_results LOGS --figure study.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from agents.study_claims import BUDGETS, MEASURES, Log, claims
from worldmodel.command import command
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
    """Means over seeds of every fit, at both budgets; the last line of each has real clips' own distances."""
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
                numbers = [log.mean(member, capacity, measure, budget) for measure in MEASURES]
                told = f"{member:<11}{capacity[0]:>8g}{capacity[1]:>9g}{cells[0]['parameters'] / 1e6:>9.2f}M"
                told += f"{updates:>9.0f}{seconds:>8.0f}s"
                rows.append(told + "".join(f"{number:>14.3f}" for number in numbers if number is not None))
        if not rows:
            continue
        head = f"{'':<11}{'K':>8}{'M':>9}{'params':>10}{'updates':>9}{'fitting':>9}"
        head += "".join(f"{measure.title:>14}" for measure in MEASURES)
        floors = "".join(f"{log.floor(m.metric, budget):>14.3f}" if m.clips else " " * 14 for m in MEASURES)
        parts.append("\n".join([f"after equal {budget}", head, *rows, f"{'real clips':<56}{floors}".rstrip()]))
    return "\n\n".join(parts)


def claims_table(log: Log) -> str:
    """How much better, in each measure's own unit, and 95 % intervals over fits; above 0 the claim holds."""
    width = max(len(title) for title in claims(log)) + 2 if claims(log) else 0
    parts = []
    for budget in BUDGETS:
        rows = []
        for title, pairs in claims(log).items():
            cells = []
            for measure in MEASURES:
                found = log.difference(pairs, measure, budget)
                if found is None:
                    break
                interval = "" if found.low is None else f" [{found.low:.3g}, {found.high:.3g}]"
                cells.append(f"{f'{found.better:+.3g}{interval}':>32}")
            else:
                rows.append(f"{title:<{width}}" + "".join(cells))
        if rows:
            head = f"{'':<{width}}" + "".join(f"{measure.title:>32}" for measure in MEASURES)
            parts.append("\n".join([f"how much better, after equal {budget}", head, *rows]))
    return "\n\n".join(parts)


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
                for measure in MEASURES
            }
            found.append(Line(member, budget, points))
    return found


if __name__ == "__main__":
    main()
