"""A run's report: what is in its folder, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.errors import DataError
from worldmodel.files import write_atomic
from worldmodel.pictures.curve import curve_figure
from worldmodel.pictures.losses import has_terms, terms_figure
from worldmodel.pictures.model_sections import model_sections
from worldmodel.pictures.page import Media, Page, Section, embedded, render
from worldmodel.pictures.themed import themed_svg
from worldmodel.published import ENV_FRAMES, published_returns
from worldmodel.records import numbers, read_records, telling
from worldmodel.run_folder import CONFIG, read_config

LADDER = "ladder.txt"
HEADER = ("command", "commit", "dirty", "machine", "versions")  # of a log, what the page tells of it
PARTS = {"playing": "episode", "fitting": "fit", "dreaming": "dream"}  # and the records whose seconds are theirs
VIDEOS = {
    "dream.mp4": "An evaluated episode beside what the model imagines of it",
    "film.mp4": "The planner's episode",
    "plan.mp4": "The planner's searches, decision by decision",
    "open_loop.mp4": "What happened beside what the model imagines",
}
PICTURES = {
    "trust.png": "What the policy imagines to earn against what it earned, from the same states",
    "ladder.png": "Errors against the horizon of the ladder's models",
}


def write_report(run: Path) -> Path:
    """Writes `report.html` into a run folder; it opens without a network.

    Raises DataError for a folder that holds no run, or a log that is none of ours.
    """
    metrics = run / "metrics.jsonl"
    if not (run / CONFIG).is_file() and not metrics.is_file():
        raise DataError(f"{run} holds no run (neither {CONFIG} nor metrics.jsonl): give the folder of one")
    records = _records(metrics)
    headers = records.get("header", [])
    model = model_sections(run)
    with telling(metrics):
        for record in (record for found in records.values() for record in found if "returns" in record):
            numbers(record["returns"])
        told = [_learning(run, records), _outcomes(run, records), model, _fitting(records), _effort(records)]
        sections = [section for part in (*told, _media(run), _configuration(run)) for section in part]
        header = (
            {key: headers[0][key] for key in HEADER} | {"versions": dict(headers[0]["versions"])} if headers else None
        )
        page = Page(_title(run, records), header, _cards(records), sections)
        text = render(page)
    path = run / "report.html"
    write_atomic(path, text.encode())
    return path


def _records(metrics: Path) -> dict[str, list[dict[str, Any]]]:
    """By kind."""
    kinds = (
        "header",
        "random_policy",
        "evaluation",
        "collection",
        "reaching",
        "film",
        "plans",
        "episode",
        "fit",
        "dream",
        "trust",
    )
    return {kind: found for kind in kinds if metrics.is_file() and (found := read_records(metrics, kind))}


def _title(run: Path, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    kinds = ("evaluation", "collection", "reaching", "film", "plans")
    told = next((records[kind][-1] for kind in kinds if kind in records), None)
    return f"{told['env']}, {told['task']}, seed {told['seed']}" if told else run.name


def _cards(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    cards = {}
    for kind, name in (("evaluation", "return"), ("collection", "return"), ("random_policy", "random policy")):
        if kind in records:
            returns = np.array(records[kind][-1]["returns"])
            cards[name] = f"{returns.mean():.1f}" + (f" ± {returns.std():.1f}" if len(returns) > 1 else "")
    if "evaluation" in records and (last := records["evaluation"][-1])["env_frames"]:
        cards["environment frames"] = f"{last['env_frames']:,}"
        cards["minutes"] = f"{last['wall_clock_s'] / 60:.1f}"
    return cards


def _learning(run: Path, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    if "evaluation" not in records or "random_policy" not in records:
        return []
    evaluations, chance = records["evaluation"], records["random_policy"][-1]
    env, task = evaluations[-1]["env"], evaluations[-1]["task"]
    reported = {} if read_config(run).get("goal") else published_returns(env, task)
    curve = themed_svg(
        lambda: curve_figure(evaluations, float(np.mean(chance["returns"])), reported=reported, at=ENV_FRAMES),
        f"Learning curve: returns of evaluations against environment frames, {env} {task}",
    )
    rows = {"random policy": chance["returns"]}
    goal = read_config(run).get("goal")
    told = f"Planned for the goal {goal}, not for these rewards." if goal else ""
    if not evaluations[-1]["env_frames"]:  # it learned nothing
        rows["the checkpoint's model"] = evaluations[-1]["returns"]
        return [Section("evaluation", "Evaluation", text=told, table=_returns("", rows))]
    rows |= {f"{record['env_frames']:,}": record["returns"] for record in evaluations}
    text = "Diamonds are what others report from pixels after 100,000 frames, each with settings of its own; "
    text += "worldmodel/published.py says where each number was found."
    return [
        Section("learning", "Learning curve", text=told or (text if reported else ""), figures=[curve]),
        Section("evaluation", "Evaluation", text=told, table=_returns("after frames", rows)),
    ]


def _outcomes(run: Path, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    """Of commands that do not learn."""
    sections = []
    if "collection" in records:
        rows = {record["policy"]: record["returns"] for record in records["collection"]}
        sections.append(Section("evaluation", "Episodes", table=_returns("policy", rows)))
    if "reaching" in records:
        table: list[Sequence[str]] = [("goals led to", "reached", "of", "mean distance at the end", "nearest")]
        for record in records["reaching"]:
            distances = (f"{np.mean(record[key]):.3f}" for key in ("final", "nearest"))
            table.append((record["policy"], str(record["reached"]), str(len(record["final"])), *distances))
        sections.append(Section("reaching", "Goals", table=table))
    if "plans" in records:
        table = [("plans", "expected", "came", "correlation")]
        for record in records["plans"]:
            numbers = (record[key] for key in ("expected", "realised", "correlation"))
            shown = ("–" if value is None else f"{value:.2f}" for value in numbers)
            table.append((f"{record['decisions']} of {record['horizon']} decisions", *shown))
        text = f"The episode earned {records['plans'][-1]['episode_return']:.1f}. The table has mean returns of plans "
        text += "that ended within it: what they were expected to earn, and what came."
        sections.append(Section("plans", "What plans were worth", text=text, table=table))
    if (run / LADDER).is_file():
        sections.append(Section("ladder", "The ladder", code=(run / LADDER).read_text()))
    return sections


def _returns(name: str, rows: Mapping[str, Sequence[float]]) -> list[Sequence[str]]:
    table: list[Sequence[str]] = [(name, "mean", "std", "least", "greatest", "episodes")]
    for key, returns in rows.items():
        x = np.array(returns)
        numbers = (f"{value:.1f}" for value in (x.mean(), x.std(), x.min(), x.max()))
        table.append((key, *numbers, str(len(x))))
    return table


def _fitting(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    sections = []
    for kind, title, against in (("fit", "Losses", "updates"), ("dream", "The policy in the dream", "env_frames")):
        if found := [record for record in records.get(kind, ()) if has_terms(record)]:
            svg = themed_svg(lambda found=found, x=against: terms_figure(found, x), f"{title} against {against}")  # type: ignore[misc]
            sections.append(Section(kind, title, figures=[svg]))
    if "trust" in records:
        table: list[Sequence[str]] = [("after frames", "imagined", "earned", "root mean square error", "correlation")]
        for record in records["trust"]:
            numbers = (record[key] for key in ("imagined", "real", "error", "correlation"))
            shown = ("–" if value is None else f"{value:.2f}" for value in numbers)
            table.append((f"{record['env_frames']:,}", *shown))
        horizon = records["trust"][-1]["horizon"]
        text = f"What the policy imagines to earn over {horizon} decisions, and what it earned from the same states."
        sections.append(Section("trust", "Trust in the dream", text=text, table=table))
    return sections


def _effort(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    """Where the time went."""
    table = [("", "minutes", "times", "seconds each")]
    for name, kind in PARTS.items():
        if seconds := [record["seconds"] for record in records.get(kind, ()) if "seconds" in record]:
            spent = f"{sum(seconds) / 60:.1f}"
            table.append((name, spent, f"{len(seconds):,}", f"{sum(seconds) / len(seconds):.2f}"))
    if "evaluation" in records and "evaluation_s" in (last := records["evaluation"][-1]):
        table.append(("evaluation", f"{last['evaluation_s'] / 60:.1f}", "", ""))
    return [Section("effort", "Where the time went", table=table)] if len(table) > 1 else []


def _media(run: Path) -> list[Section]:
    def found(files: Mapping[str, str], kind: str) -> tuple[list[Media], str]:
        """What there is, and what is too large."""
        there = {name: label for name, label in files.items() if (run / name).is_file()}
        every = {name: embedded(run / name, kind, label) for name, label in there.items()}
        large = [name for name, media in every.items() if media is None]
        told = f"Too large for this page, and beside it in the run's folder: {', '.join(large)}." if large else ""
        return [media for media in every.values() if media is not None], told

    sections = []
    videos, told = found(VIDEOS, "video/mp4")
    if videos or told:
        sections.append(Section("videos", "Videos", text=told, videos=videos))
    pictures, told = found(PICTURES, "image/png")
    if pictures or told:
        sections.append(Section("pictures", "Pictures", text=told, pictures=pictures))
    return sections


def _configuration(run: Path) -> list[Section]:
    if not (run / CONFIG).is_file():
        return []
    return [Section("configuration", "Configuration", code=(run / CONFIG).read_text())]
