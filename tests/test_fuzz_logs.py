"""Logs and votes of others, changed: tables, figures and reports tell them, or raise an error of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzzing import fuzz
from test_results import CHANCE, COLLECTED, evaluation
from test_results import log as results_log
from test_study_results import LARGE, SMALL, cell

from agents.measuring import simulator_returns
from agents.results import panels, read_studies
from agents.results import table as results_table
from agents.study_claims import Log
from agents.study_results import claims_table, control, lines
from agents.study_results import table as study_table
from worldmodel.count_votes import count, read, table
from worldmodel.pictures.report import write_report

pytestmark = pytest.mark.faults


def test_logs(tmp_path: Path) -> None:
    path = tmp_path / "study" / "seed0.jsonl"
    parts = [{"kind": kind, "seconds": 1.5} for kind in ("episode", "fit", "dream")]
    results_log(path, 0, CHANCE, evaluation(5), evaluation(10, 20, env_frames=800), *parts)

    def load() -> None:
        studies = read_studies([path])
        results_table(studies)
        panels(studies)

    fuzz("logs of runs", path.read_bytes(), path.write_bytes, load, 800)


def test_logs_of_collections(tmp_path: Path) -> None:
    path = tmp_path / "seed0.jsonl"
    env = {"name": "cartpole", "size": [64, 64]}
    results_log(path, 0, {**COLLECTED, "policy": "simulator"})
    header, *rest = path.read_text().splitlines()
    told = {**json.loads(header), "config": {"exploration": 0, "env": env}}
    data = "\n".join([json.dumps(told), *rest]).encode()
    fuzz("logs of collections", data, path.write_bytes, lambda: simulator_returns(path, env), 300)


def test_logs_of_studies(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    cells = [
        cell(member, capacity, seed, quality, returns=[quality])
        for seed in (0, 1)
        for capacity in (SMALL, LARGE)
        for member, quality in (("lstm", 10.0 + seed), ("cnn", 8.0 - seed))
    ]
    header = {"kind": "header", "commit": "0123456789abcdef", "machine": "a machine"}
    data = "\n".join(json.dumps(record) for record in (header, *cells)).encode()

    def load() -> None:
        log = Log(path)
        study_table(log)
        claims_table(log)
        lines(log)

    fuzz("logs of studies", data, path.write_bytes, load, 500)
    fuzz("what studies planned", data, path.write_bytes, lambda: control(Log(path)), 8)


def test_reports(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    trust = {"kind": "trust", "imagined": 1.0, "real": 2.0, "error": 0.5, "correlation": None, "env_frames": 9}
    results_log(
        path, 0, {"kind": "episode", "seconds": 1.5}, {**COLLECTED, "policy": "random"}, {**trust, "horizon": 5}
    )
    header, *rest = path.read_text().splitlines()
    told = {**json.loads(header), "command": "python -m a", "versions": {"torch": "2.6"}}
    data = "\n".join([json.dumps(told), *rest]).encode()
    fuzz("runs' logs in their reports", data, path.write_bytes, lambda: write_report(tmp_path), 300)


def test_reports_of_learning(tmp_path: Path) -> None:
    """Fewer: their figures take long to draw."""
    path = tmp_path / "metrics.jsonl"
    terms = {"kind": "fit", "seconds": 1.5, "updates": 3, "env_frames": 9, "loss": 0.5, "kl": 0.25}
    results_log(path, 0, CHANCE, {**terms}, {**terms, "updates": 6}, evaluation(5.0), evaluation(6.0, env_frames=800))
    data = path.read_bytes()
    data = data[data.index(b"\n") + 1 :]  # without a header
    fuzz("reports of learning", data, path.write_bytes, lambda: write_report(tmp_path), 24)


def test_votes(tmp_path: Path) -> None:
    key = {"study": "ab", "a": "one", "b": "two", "left": ["a", "b", "a"]}
    votes = {"study": "ab", "session": "s", "votes": {"0": "left", "1": "right", "2": "same"}}
    files = {"key": tmp_path / "key.json", "votes": tmp_path / "votes.json"}
    for name, value in (("key", key), ("votes", votes)):
        files[name].write_text(json.dumps(value))

    def load() -> None:
        found = read(files["key"], ("study", "a", "b", "left"))
        table(count(found, [files["votes"]]), found)

    for name, path in files.items():
        whole = path.read_bytes()
        fuzz(f"{name} of a preference", whole, path.write_bytes, load, 600)
        path.write_bytes(whole)
